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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from xml.etree import ElementTree

from lib import cards, checks, cores, wheels
from lib.environment import uv_environment
from lib.members import ROOT, members

# Longer than any stage takes on a slow machine; a stage that hangs would never tell.
STAGE_SECONDS = 4200
_TO_SERVICES = {
    "workflow-etcd-roles",
    "workflow-kafka",
    "workflow-redis-timeout",
    "workflow-reflex",
    "workflow-sql",
}

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
    def cards(self) -> Path:
        return self.scratch / "cards"

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

    def call(
        self,
        command: list[str],
        env: dict[str, str],
        cwd: Path = ROOT,
        output: IO[str] | None = None,
    ) -> bool:
        try:
            done = subprocess.run(
                command,
                stdout=output,
                stderr=output and subprocess.STDOUT,
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
        """What a person's machine cannot have, its tests skip; under CI they would all fail.

        A browser and Prometheus too.
        """
        return (
            self.python([([*checks.servers(), "install"], {}), *checks.programs()]) or not UNDER_CI
        )

    def nox(
        self,
        *sessions: str,
        env: dict[str, str] | None = None,
        within: Sequence[str] = (),
        output: IO[str] | None = None,
    ) -> bool:
        """On the wheels of this run, in environments of its own: two runs may go on at once."""
        self.reports.mkdir(exist_ok=True)
        built = {"BUILT_WHEELS": str(self.dist), "TEST_REPORTS": str(self.reports)}
        built["TEST_CARDS"] = str(self.cards)
        words = ["-m", "nox", "--envdir", str(self.scratch / "nox"), "--session", *sessions]
        command = [sys.executable, *within, sys.executable] if within else [sys.executable]
        return self.call([*command, *words], {**built, **(env or {})}, output=output)

    def tests(self) -> bool:
        """In three lanes, each with servers of its own: much of a test is waiting.

        The adapters to services share one set of servers, in the state in which each leaves it.
        What the other lanes print comes at the end, if they fail.
        """
        names = [member.name for member in members()]
        rest = [f"tests({name})" for name in names if name not in _TO_SERVICES]
        lanes = {"repository": ["packaging"], "rest": rest}
        with ThreadPoolExecutor(len(lanes)) as threads:
            beside = [threads.submit(self.lane, *lane) for lane in lanes.items()]
            adapters = [f"tests({name})" for name in names if name in _TO_SERVICES]
            good = self.nox(*adapters, within=checks.servers_of_adapters())
            return all([good, *(lane.result() for lane in beside)])

    def lane(self, name: str, sessions: Sequence[str]) -> bool:
        """These sessions beside others; tells what they printed if they fail."""
        printed = self.scratch / f"{name}.txt"
        with printed.open("w", encoding="utf-8") as output:
            good = self.nox(*sessions, env=checks.servers_beside(name), output=output)
        if not good:
            print(printed.read_text(encoding="utf-8"), flush=True)
        return good

    def conformance(self) -> bool:
        """Whether the tests have found of our adapters what their cards say."""
        told = list(cards.differences(cards.cards(self.cards), cards.cards()))
        print("\n".join(told) or "as the cards say")
        return not told or not UNDER_CI  # a person's machine may lack a server

    def released_cores(self) -> bool:
        """The contracts on the cores that the ranges allow and that are not this tree's."""
        if not cores.pairs():
            print("every range begins with this tree's core, and there is no release")
            return True
        return self.nox("cores", within=checks.servers_of_adapters())

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


def failures(reports: Iterable[Path]) -> list[str]:
    """The failed tests, each with the first line of why: a log is often kept by its end alone."""
    found: list[str] = []
    for report in sorted(reports):
        for case in ElementTree.parse(report).iter("testcase"):
            found += [
                f"{case.get('classname', '')}::{case.get('name', '')}: "
                f"{(problem.get('message') or 'no message').splitlines()[0][:300]}"
                for problem in case
                if problem.tag in {"failure", "error"}
            ]
    return found


def everything(run: Run) -> bool:
    stages: list[tuple[str, Callable[[], bool]]] = [
        ("ruff check", lambda: run.python(checks.style())),
        ("ruff format", lambda: run.python(checks.format_())),
        ("import rules", lambda: run.python(checks.imports())),
        ("mypy", lambda: run.python(checks.types())),
        ("typing tests", lambda: run.python(checks.typing_tests(sys.executable))),
        ("build", run.build),
        ("servers", run.servers),
        ("tests, on wheels", run.tests),
        ("cards of the adapters", run.conformance),
        ("released cores", run.released_cores),
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
    for line in failures(run.reports.glob("*.xml")):
        print(f"FAILED {line}")
    for name, seconds, fine in run.timings:
        print(f"{'ok    ' if fine else 'FAILED'} {seconds:7.1f} s  {name}")
    passed, failed = run.counts()
    print(f"{passed} passed, {failed if good else max(failed, 1)} failed", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
