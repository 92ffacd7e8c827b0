"""Runs the stages of `scripts/test`, one after the other, and ends at the first that fails.

The last line is always `N passed, N failed`: the sum over all runs of pytest. A stage that is no
run of pytest, or a run that broke off before it could count, counts as one failure.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from lib import checks, wheels
from lib.environment import uv_environment
from lib.members import ROOT, members

# Longer than any stage takes on a slow machine; a stage that hangs would never tell.
STAGE_SECONDS = 1500

UNDER_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}


@dataclass
class Run:
    """One run of this script: where it may write, and what has come out so far."""

    scratch: Path
    timings: list[tuple[str, float, bool]] = field(default_factory=list)

    @property
    def reports(self) -> Path:
        return self.scratch / "reports"

    @property
    def dist(self) -> Path:
        return self.scratch / "dist"

    def stage(self, name: str, work: Callable[[], bool]) -> bool:
        print(f"\n== {name}", flush=True)
        begin = time.monotonic()
        good = work()
        self.timings.append((name, time.monotonic() - begin, good))
        return good

    def python(self, commands: Iterable[checks.Command]) -> bool:
        # all of them, also after one that failed: a stage tells everything it knows
        outcomes = [self.call([sys.executable, *words], env) for words, env in commands]
        return all(outcomes)

    def call(self, command: list[str], env: dict[str, str], cwd: Path = ROOT) -> bool:
        try:
            done = subprocess.run(
                command,
                env={**uv_environment(sys.executable), **env},
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                timeout=STAGE_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            print(f"ended after {STAGE_SECONDS} s without an answer")
            return False
        return done.returncode == 0

    def pytest(self, arguments: list[str]) -> bool:
        self.reports.mkdir(exist_ok=True)
        report = self.reports / f"{len(list(self.reports.iterdir()))}.xml"
        options = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT)]
        command = [sys.executable, "-m", "pytest", *options, f"--junitxml={report}", *arguments]
        return self.call(command, {}, cwd=Path.cwd())  # paths are meant as they were typed

    def build(self) -> bool:
        try:
            wheels.build_all(self.dist, sys.executable)
        except RuntimeError as problem:
            print(problem)
            return False
        print("\n".join(sorted(path.name for path in self.dist.iterdir())))
        return True

    def servers(self) -> bool:
        """What a person's machine cannot have, its tests skip; under CI they would all fail."""
        return self.python([([*checks.servers(), "install"], {})]) or not UNDER_CI

    def nox(self, session: str, *, within: Sequence[str] = ()) -> bool:
        """On the wheels of this run, in environments of its own: two runs may go on at once."""
        self.reports.mkdir(exist_ok=True)
        env = {"BUILT_WHEELS": str(self.dist), "TEST_REPORTS": str(self.reports)}
        command = ["-m", "nox", "--envdir", str(self.scratch / "nox"), "--session", session]
        return self.python([([*within, sys.executable, *command] if within else command, env)])

    def demo(self) -> bool:
        folder = self.scratch / "demo"
        folder.mkdir()
        return self.call([str(ROOT / "scripts" / "demo")], {"TMPDIR": str(folder)}, cwd=folder)

    def counts(self) -> tuple[int, int]:
        return count(self.reports.glob("*.xml"))


def count(reports: Iterable[Path]) -> tuple[int, int]:
    """How many tests passed and failed, by pytest's own reports."""
    passed = failed = 0
    for report in reports:
        for suite in ElementTree.parse(report).iter("testsuite"):
            total, skipped, failures, errors = (
                int(suite.get(name, "0")) for name in ("tests", "skipped", "failures", "errors")
            )
            passed += total - skipped - failures - errors
            failed += failures + errors
    return passed, failed


def everything(run: Run) -> bool:
    stages: list[tuple[str, Callable[[], bool]]] = [
        ("ruff check", lambda: run.python(checks.style())),
        ("ruff format", lambda: run.python(checks.format_())),
        ("import rules", lambda: run.python(checks.imports())),
        ("mypy", lambda: run.python(checks.types())),
        ("typing tests", lambda: run.python(checks.typing_tests(sys.executable))),
        ("build", run.build),
        ("servers", run.servers),
        # one set of servers for all members, in the state in which the tests leave it
        ("tests, on wheels", lambda: run.nox("tests", within=[*checks.servers(), "run", "--"])),
        ("packaging", lambda: run.nox("packaging")),
    ]
    if (ROOT / "scripts" / "demo").exists():
        stages.append(("demo", run.demo))
    return all(run.stage(name, work) for name, work in stages)


def main(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="workflow-test-") as scratch:
        run = Run(Path(scratch))
        if arguments == ["--quick"]:
            folders = [str(member.tests) for member in members() if member.tests.is_dir()]
            good = run.stage("tests, on the tree", lambda: run.pytest(folders))
        elif arguments:
            good = run.stage("pytest", lambda: run.pytest(arguments))
        else:
            good = everything(run)
        summary(run, good=good)
    return 0 if good else 1


def summary(run: Run, *, good: bool) -> None:
    print()
    for name, seconds, fine in run.timings:
        print(f"{'ok    ' if fine else 'FAILED'} {seconds:7.1f} s  {name}")
    passed, failed = run.counts()
    print(f"{passed} passed, {failed if good else max(failed, 1)} failed", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
