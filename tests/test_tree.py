"""Rules for every file of the repository."""

import ast
import os
import re
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from lib.members import ROOT, dependency_group, members, requirement_name

SOURCE_LINES = 400
TEST_LINES = 600

# a shell command in a fenced block of a page
FENCE = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
SHELL = {"sh", "bash", "shell", "console"}


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def is_test(path: Path) -> bool:
    return "tests" in path.relative_to(ROOT).parts


def test_no_file_is_too_long_to_be_read_in_one_go(text_files: list[Path]) -> None:
    code = [path for path in text_files if path.suffix == ".py" or path.parent.name == "scripts"]
    long = {
        str(path.relative_to(ROOT)): lines(path)
        for path in code
        if lines(path) > (TEST_LINES if is_test(path) else SOURCE_LINES)
    }
    assert long == {}


def test_no_file_names_a_machine_or_an_index(text_files: list[Path]) -> None:
    folders = "|".join(["root", "work", "home", "Users", "farm", "tmp"])
    # spelt so that this file does not match itself
    path = re.compile(rf"(?<![\w.~$}}\])*>/-])/(?:{folders})(?:/[\w.]|\b(?![\w/]))")
    host = re.compile("|".join(["py" + r"pi\.org", "python" + r"hosted\.org"]))
    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file, number, line in every_line(text_files)
        if path.search(line) or host.search(line)
    ]
    assert found == []


def test_nothing_tells_to_install_a_sibling_by_its_bare_name(text_files: list[Path]) -> None:
    """Some of the names belong to strangers on the public index: who follows it gets theirs."""
    tool = r"\b(?:pip3?|pipx|uv|poetry|pdm|conda|session)\b"
    verb = r"(?:\b(?:install|add)|--with)\b"
    name = r"[\s\"'(,]workflow-[a-z-]+(?:\[[a-z,]+\])?(?=[\s\"'`,)=<>~!]|\.?$)"
    bare = re.compile(rf"{tool}[^\n#;]*?{verb}[^\n#;]*?{name}")
    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file, number, line in every_line(text_files)
        if bare.search(line) and not re.search(r"\s-c\s|--constraint", line)
    ]
    assert found == []


def test_the_tools_of_no_group_are_siblings() -> None:
    names = {member.name for member in members()}
    assert names.isdisjoint(requirement_name(tool) for tool in dependency_group("dev"))


def test_commands_in_the_pages_exist(text_files: list[Path]) -> None:
    """Of each command in a page: the script or file that it starts with, and nox's sessions."""
    sessions = nox_sessions()
    problems: list[str] = []
    for page, command in page_commands(text_files):
        words = command.split()
        if re.match(r"(\./)?(scripts|\.ci|examples)/", words[0]):
            script = ROOT / words[0]
            if not (script.is_file() and os.access(script, os.X_OK)):
                problems.append(f"{page}: {command}: no such command")
        if "nox" in words:
            named = [word for flag, word in pairwise(words) if flag in {"-s", "--session"}]
            problems += [
                f"{page}: {command}: no session {word}"
                for word in named
                if word.strip("\"'").partition("(")[0] not in sessions
            ]
        problems += [
            f"{page}: {command}: {word} is not there"
            for word in words[1:]
            if re.match(r"(\./)?(packages|adaptertest|docs|examples|scripts|tests)/[\w./-]+$", word)
            and not (ROOT / word).exists()
        ]
    assert problems == []


def test_python_in_the_pages_can_be_parsed(text_files: list[Path]) -> None:
    problems: list[str] = []
    for page in (path for path in text_files if path.suffix == ".md"):
        for language, block in FENCE.findall(page.read_text(encoding="utf-8")):
            if language in {"python", "py"}:
                try:
                    ast.parse(textwrap.dedent(block))
                except SyntaxError as problem:
                    problems.append(f"{page.relative_to(ROOT)}: {problem}: {block}")
    assert problems == []


def every_line(files: list[Path]) -> Iterator[tuple[Path, int, str]]:
    for path in files:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            yield path, number, line


def page_commands(files: list[Path]) -> Iterator[tuple[str, str]]:
    for page in (path for path in files if path.suffix == ".md"):
        for language, block in FENCE.findall(page.read_text(encoding="utf-8")):
            if language not in SHELL:
                continue
            for line in block.splitlines():
                if language == "console" and not line.startswith("$ "):
                    continue  # what the command printed
                command = line.removeprefix("$ ").strip()
                if command and not command.startswith("#"):
                    yield str(page.relative_to(ROOT)), command


def nox_sessions() -> set[str]:
    source = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    return {
        node.name
        for node in source.body
        if isinstance(node, ast.FunctionDef)
        and any("session" in ast.unparse(decorator) for decorator in node.decorator_list)
    }
