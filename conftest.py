"""For every test run in this repository, of the tree or of wheels."""

import importlib.metadata as metadata
import os
from collections.abc import Generator

import pytest

UNDER_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def pytest_configure(config: pytest.Config) -> None:
    """Refuses to test the stranger's project that has the name workflow-core on the index."""
    try:
        core = metadata.distribution("workflow-core")
    except metadata.PackageNotFoundError:
        return  # then importing it says so where it is needed
    if "Private :: Do Not Upload" not in (core.metadata.get_all("Classifier") or []):
        raise pytest.UsageError(
            f"the installed workflow-core {core.version} is not this repository's:"
            " something resolved a sibling by its name alone; see CONTRIBUTING.md"
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turns a skip into a failure under CI: what is skipped there is tested nowhere."""
    report = yield
    if UNDER_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {reason(report.longrepr)}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for whole modules."""
    report = yield
    if UNDER_CI and report.outcome == "skipped":
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {reason(report.longrepr)}"
    return report


def reason(longrepr: object) -> str:
    """The last part of what pytest keeps of a skip: file, line, reason."""
    return str(longrepr[-1]) if isinstance(longrepr, tuple) else str(longrepr)
