"""What `scripts/test` and the root's conftest promise to whoever reads their output."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from check import Run, count, summary

from lib.environment import pip_settings
from lib.members import ROOT

SKIPS = """
import pytest

def test_passes():
    pass

@pytest.mark.skip(reason="no server")
def test_skips():
    pass

@pytest.mark.xfail(strict=True, reason="known")
def test_fails_as_known():
    assert False
"""
SKIPPED_MODULE = "import pytest\n\npytest.importorskip('no_such_module_anywhere')\n"


def run_pytest(folder: Path, test: str, *, ci: bool) -> tuple[int, tuple[int, int], str]:
    """Runs this repository's conftest on one file; answers exit code, counts and output."""
    shutil.copy(ROOT / "conftest.py", folder)
    (folder / "pyproject.toml").write_text("[tool.pytest]\nstrict = true\n", encoding="utf-8")
    (folder / "test_it.py").write_text(test, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--junitxml=report.xml", "-p", "no:cacheprovider"],
        cwd=folder,
        env={**os.environ, "CI": "true" if ci else ""},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, count([folder / "report.xml"]), done.stdout


def test_skip_is_a_failure_under_ci(tmp_path: Path) -> None:
    code, counts, output = run_pytest(tmp_path, SKIPS, ci=True)
    assert (code, counts) == (1, (1, 1))
    assert "skipped, which CI does not allow: Skipped: no server" in output


def test_skip_is_a_skip_on_a_laptop(tmp_path: Path) -> None:
    code, counts, _ = run_pytest(tmp_path, SKIPS, ci=False)
    assert (code, counts) == (0, (1, 0))


def test_skipped_module_is_a_failure_under_ci(tmp_path: Path) -> None:
    code, counts, output = run_pytest(tmp_path, SKIPPED_MODULE, ci=True)
    assert code != 0
    assert counts == (0, 1)
    assert "skipped, which CI does not allow" in output


@pytest.mark.parametrize(
    ("good", "last"), [(True, "0 passed, 0 failed"), (False, "0 passed, 1 failed")], ids=str
)
def test_last_line_never_hides_a_failed_stage(
    good: bool, last: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(tmp_path)
    run.stage("style", lambda: good)
    summary(run, good=good)
    assert capsys.readouterr().out.splitlines()[-1] == last


def test_failed_tests_are_named_at_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seen to fail with a summary of the stages alone."""
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "0.xml").write_text(
        '<testsuite tests="2" skipped="0" failures="1" errors="0"><testcase classname="a" name="b">'
        '<failure message="assert 1 == 2&#10;more"/></testcase><testcase name="c"/></testsuite>',
        encoding="utf-8",
    )
    summary(Run(tmp_path), good=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["FAILED a::b: assert 1 == 2", "1 passed, 1 failed"]


def test_uv_is_told_what_only_pip_is_configured_with(tmp_path: Path) -> None:
    python = tmp_path / "python"  # the environment of this test may have no pip to ask
    python.write_text("#!/bin/sh\necho \"global.index-url='https://mirror.example/simple'\"\n")
    python.chmod(0o755)
    settings = pip_settings.__wrapped__(str(python))
    assert settings == {"UV_DEFAULT_INDEX": "https://mirror.example/simple"}
