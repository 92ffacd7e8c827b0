"""Every command of docs/command.md and docs/moving.md is run, in order, and its output compared.

Run ids, times, checksums and figures of the machine are made alike on both sides.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from workflow_ctl.app import cli

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "command.md").read_text(encoding="utf-8")  # the one that has the definition
PAGES = ["command.md", "moving.md"]
ALIKE = [
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "RUN"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), "TIME"),
    (re.compile(r"\d:\d\d:\d\d old"), "AGE"),
    (re.compile(r"\d+ ms +"), "LATENCY "),
    (re.compile(r"SQLite [\d.]+"), "SQLite"),
    (re.compile(r"latency +"), "latency "),
    (re.compile(r"checksum [0-9a-f]{64}"), "checksum"),
    # how far it came in that time is the machine's
    (re.compile(r"it is at .*"), "it is somewhere"),
]


def alike(text: str) -> str:
    for pattern, word in ALIKE:
        text = pattern.sub(word, text)
    return "\n".join(line.rstrip() for line in text.strip().split("\n"))


@pytest.fixture(params=PAGES)
def steps(request: pytest.FixtureRequest) -> list[tuple[str, str]]:
    """Each command of the page, with what it prints."""
    return list(steps_of((DOCS / request.param).read_text(encoding="utf-8")))


def steps_of(page: str) -> Iterator[tuple[str, str]]:
    for block in re.findall(r"^```console\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = step.partition("\n")
            yield command, output


@pytest.fixture
def folder(tmp_path: Path, steps: list[tuple[str, str]]) -> Path:
    (definition,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "shop.py").write_text(definition)
    for command, output in steps:
        if command.startswith("cat "):
            (tmp_path / command.removeprefix("cat ")).write_text(output)
    return tmp_path


class Shell:
    """As much of a shell as the page needs; the command runs in this process, which is quicker."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.in_background: list[subprocess.Popen[bytes]] = []
        self._environ = monkeypatch
        self._names: dict[str, str] = {}
        self._code = 0

    def do(self, line: str) -> str:
        """What the line prints, on both streams."""
        for name, value in self._names.items():
            line = line.replace(f"${name}", value)
        return "".join(self._one(part.strip()) for part in line.split(";"))

    def _one(self, command: str) -> str:
        if kept := re.fullmatch(r"(\w+)=\$\((.*)\)", command):
            said = self._one(kept[2]).strip()
            assert self._code == 0, said
            self._names[kept[1]] = said
            return ""
        words = shlex.split(command)
        if words[0] == "export":
            for word in words[1:]:
                self._environ.setenv(*word.split("=", 1))
            return ""
        if words[0] == "cat":
            return Path(words[1]).read_text()
        if words == ["echo", "$?"]:
            return f"{self._code}\n"
        assert words[0] == "workflow", command
        if words[-1] == "&":
            served = [sys.executable, "-m", "workflow_ctl", *words[1:-1]]
            self.in_background.append(subprocess.Popen(served, stderr=subprocess.DEVNULL))
            return ""
        done = CliRunner().invoke(cli, words[1:], prog_name="workflow")
        self._code = done.exit_code
        return done.output


def test_every_command_prints_what_the_page_says(
    folder: Path, steps: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail when a word of an output was changed in the page."""
    for name in [name for name in os.environ if name.startswith("WORKFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(folder)
    shell = Shell(monkeypatch)
    try:
        for command, wanted in steps:
            assert alike(shell.do(command)) == alike(wanted), command
    finally:
        for process in shell.in_background:
            process.terminate()
            process.wait(timeout=60)


def test_every_exit_code_is_told() -> None:
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
    done = subprocess.run(
        [sys.executable, "-c", "from workflow_ctl.exits import Exit; print(*map(int, Exit))"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told == set(map(int, done.stdout.split()))
