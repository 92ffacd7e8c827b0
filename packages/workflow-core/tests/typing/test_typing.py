"""Types are behaviour: one file must pass both checkers, and every marked line of another must not.

A line marked ``# error`` that a checker passes fails the test, and so does an error on a line
without a mark. A line where the checkers differ names the one that finds it, and why:
``# error: mypy, the other …``.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKERS = ("mypy", "basedpyright")
FOLDER = Path(__file__).parent
GOOD, BAD = FOLDER / "good.py", FOLDER / "bad.py"
# where the checkers find what is tested: beside it in the tree, or among what is installed
SPEC = importlib.util.find_spec("workflow_core")
SOURCE = Path(str(SPEC and SPEC.origin)).parents[1]
MARK = re.compile(r"# error(?:: (?P<checker>\w+), \w.*)?$")

Found = dict[Path, dict[int, str]]  # file → line → one message


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Found]:
    """What each checker reports, from one run each over both files, side by side."""
    folder = tmp_path_factory.mktemp("typing")
    running = {"mypy": start_mypy(folder), "basedpyright": start_basedpyright(folder)}
    outputs = {checker: process.communicate(timeout=120) for checker, process in running.items()}
    read = {"mypy": read_mypy, "basedpyright": read_basedpyright}
    reported: dict[str, Found] = {}
    for checker, (output, errors) in outputs.items():
        assert running[checker].returncode == 1, f"{checker} did not check: {output}{errors}"
        reported[checker] = {}
        for file, line, message in read[checker](output):
            reported[checker].setdefault(file, {})[line] = message
    return reported


def start_mypy(folder: Path) -> "subprocess.Popen[str]":
    options = ["--strict", "--config-file=", "--output=json", f"--cache-dir={folder / 'mypy'}"]
    return start("mypy", [*options, str(GOOD), str(BAD)])


def start_basedpyright(folder: Path) -> "subprocess.Popen[str]":
    config = folder / "pyrightconfig.json"
    config.write_text(json.dumps({"typeCheckingMode": "strict", "extraPaths": [str(SOURCE)]}))
    options = ["--project", str(config), "--pythonpath", sys.executable, "--outputjson"]
    return start("basedpyright", [*options, str(GOOD), str(BAD)])


def start(checker: str, arguments: list[str]) -> "subprocess.Popen[str]":
    environment = dict(os.environ)
    if "site-packages" not in SOURCE.parts:  # there mypy finds it by itself, and insists on it
        environment["MYPYPATH"] = str(SOURCE)
    return subprocess.Popen(
        [sys.executable, "-m", checker, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def read_mypy(output: str) -> Iterator[tuple[Path, int, str]]:
    for line in output.splitlines():
        report = json.loads(line)
        if report["severity"] == "error":
            yield Path(report["file"]).resolve(), report["line"], report["message"]


def read_basedpyright(output: str) -> Iterator[tuple[Path, int, str]]:
    for report in json.loads(output)["generalDiagnostics"]:
        if report["severity"] == "error":
            line = report["range"]["start"]["line"] + 1
            yield Path(report["file"]).resolve(), line, report["message"]


def marked(checker: str) -> set[int]:
    lines = BAD.read_text(encoding="utf-8").splitlines()
    marks = {number: MARK.search(line) for number, line in enumerate(lines, start=1)}
    return {number for number, mark in marks.items() if mark and mark["checker"] in (None, checker)}


@pytest.mark.parametrize("checker", CHECKERS)
def test_checker_passes_every_line_when_the_workflow_is_right(
    checker: str, found: dict[str, Found]
) -> None:
    """Seen to fail with `Answer` without Pause."""
    assert found[checker].get(GOOD.resolve(), {}) == {}


@pytest.mark.parametrize("checker", CHECKERS)
def test_checker_refuses_every_marked_line_and_no_other_when_it_is_a_mistake(
    checker: str, found: dict[str, Found]
) -> None:
    """Seen to fail with a covariant payload, with Any for a body's answer, a mark too many."""
    reported = found[checker][BAD.resolve()]
    missed = sorted(marked(checker) - reported.keys())
    unexpected = {line: text for line, text in reported.items() if line not in marked(checker)}
    assert (missed, unexpected) == ([], {})


def test_bad_file_holds_at_least_the_known_mistakes_when_it_is_edited() -> None:
    for checker in CHECKERS:
        assert len(marked(checker)) >= 45
