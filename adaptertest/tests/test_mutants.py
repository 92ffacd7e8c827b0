"""Adapters with one defect each: the suite has to notice every one of them."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

MUTANTS = Path(__file__).parent / "mutants"


def noticed_by(file: Path) -> Mapping[str, str]:
    """Mutant by name: the case that its file says must fail."""
    spec = importlib.util.spec_from_file_location(f"mutants_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {mutant.__name__: case for mutant, case in module.NOTICED_BY.items()}


@pytest.mark.parametrize(
    "port",
    [
        "record_stores",
        "event_streamers",
        "role_schedulers",
        "timeout_stores",
        "connector_sources",
        "acceptances",
    ],
)
def test_suite_notices_every_mutant_when_run_over_it(port: str, pytester: pytest.Pytester) -> None:
    file = MUTANTS / f"{port}.py"
    cases = noticed_by(file)
    pytester.makepyfile(**{f"test_{port}": file.read_text(encoding="utf-8")})
    nodes = [f"test_{port}.py::Test{mutant}::{case}" for mutant, case in cases.items()]
    outcome = pytester.inline_run("-p", "no:randomly", "--import-mode=importlib", *nodes)
    passed, skipped, failed = outcome.listoutcomes()
    assert len(failed) == len(cases), [report.nodeid for report in (*passed, *skipped)]
    for report in failed:
        assert report.when == "call", f"{report.nodeid}: the {report.when} broke, not the case"
        assert "AssertionError" in report.longreprtext, "noticed by the case, not by accident"
