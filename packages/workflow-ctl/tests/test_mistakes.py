"""What a person gets wrong and what befalls the command: a sentence, and the code for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from workflow_core import Engine, Trigger
from workflow_ctl import steering
from workflow_ctl.app import main
from workflow_ctl.exits import Exit

if TYPE_CHECKING:
    from tests.conftest import Shop

NO_UTF8 = "\udcff"  # as Python hands on an argument's byte that is none


@dataclass
class End:
    """What the command said, and how it ended."""

    code: int
    out: str
    err: str


Ended = Callable[..., End]


@pytest.fixture
def ended(shop: Shop, capfd: pytest.CaptureFixture[str]) -> Ended:
    """The command as its script calls it, on the shop's file."""

    def run(*words: str) -> End:
        with pytest.raises(SystemExit) as end:
            main([*words, "--embedded", shop.file])
        captured = capfd.readouterr()
        assert "Traceback" not in captured.err
        assert isinstance(end.value.code, int)
        return End(end.value.code, captured.out, captured.err)

    return run


@pytest.mark.parametrize(
    ("body", "name", "told"),
    [
        ("def made():\n    raise RuntimeError('boom')", ":made", "RuntimeError: boom ({}:2)"),
        ("def made(name):\n    return []", ":made", "missing 1 required positional argument"),
        ("def made():\n    raise SystemExit(7)", ":made", "SystemExit: 7 ({}:2)"),
        ("raise SystemExit(7)", "", "SystemExit: 7 ({}:1)"),
        ("\ndef broken(:", "", "SyntaxError: invalid syntax ({}:2)"),
    ],
)
def test_definitions_that_cannot_be_had_are_told_with_their_place(
    ended: Ended, tmp_path: Path, request: pytest.FixtureRequest, body: str, name: str, told: str
) -> None:
    """Seen to fail with the command ended by what a module raised, and with importlib's line."""
    module = f"theirs_{abs(hash(request.node.name))}"
    (tmp_path / f"{module}.py").write_text(body)
    answer = ended("runs", "list", "--workflow", "orders", "--app", f"{module}{name}")
    assert answer.code == Exit.USAGE
    assert told.format(tmp_path / f"{module}.py") in answer.err


@pytest.mark.parametrize(
    "words",
    [
        ["why", NO_UTF8],
        ["runs", "list", "--foreign-id", f"order {NO_UTF8}"],
        ["runs", "pause", "1", NO_UTF8, "--reason", "x"],
        ["dead-letters", "list", NO_UTF8],
        ["trigger", "orders", "order-1", "--app", "ctl_shop", "--data", NO_UTF8],
        ["runs", "list", "--created-after", "0001-01-01"],
        ["runs", "list", "--created-after", "0001-01-01T00:00:00+14:00"],
        ["runs", "list", "--status", "²"],
        ["runs", "list", "--status", "2147483648"],
        ["runs", "list", "--status", "9" * 5_000],
    ],
)
def test_odd_words_are_the_callers_mistake(ended: Ended, words: list[str]) -> None:
    """Seen to fail each with 70, a mistake of the command's own."""
    assert ended(*words).code == Exit.USAGE


@pytest.mark.parametrize("words", [["runs", "list", "--limit", "0"], ["runs", "pause", "--all"]])
def test_wrong_words_are_told_in_json_too(ended: Ended, words: list[str]) -> None:
    """Seen to fail with text for a program."""
    answer = ended(*words, "--json")
    assert (answer.code, answer.out) == (Exit.USAGE, "")
    assert json.loads(answer.err)["message"]


def test_mistake_of_ours_is_told_in_json_too(ended: Ended, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail with text for a program."""

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(Engine, "runs", broken)
    answer = ended("runs", "list", "--json")
    assert answer.code == Exit.FAILED
    assert json.loads(answer.err) == {"error": "ZeroDivisionError", "message": "ours"}


def test_interrupted_verb_says_that_its_work_stays(
    ended: Ended, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first batch. Seen to fail with not a word said."""
    orders = [Trigger(f"order-{number}", shop.module.Order()) for number in range(501)]
    with Engine.embedded(shop.file) as engine:
        engine.trigger_many(shop.module.orders, orders)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(steering.progress, "_told", interrupt)
    words = ["runs", "pause", "--all", "--yes", "--reason", "x"]
    answer = ended(*words)
    assert answer.code == Exit.INTERRUPTED
    assert "what was done so far is done" in answer.err
    monkeypatch.undo()
    told = json.loads(ended(*words, "--json").out)
    assert (told["changed"], told["unchanged"]) == (1, 500)


def process(shop: Shop, *words: str, stdout: int | None = None, shell: str = 'exec "$@"') -> End:
    command = ["sh", "-c", shell, "sh", sys.executable, "-m", "workflow_ctl", *words]
    done = subprocess.run(
        command, cwd=shop.folder, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False
    )
    return End(done.returncode, "", done.stderr)


@pytest.mark.parametrize("words", [["--help"], ["runs", "list"], ["runs", "list", "--json"]])
def test_reader_who_has_had_enough_is_no_mistake(shop: Shop, words: list[str]) -> None:
    """Seen to fail with 1, which is an answer of the command's."""
    reader, writer = os.pipe()
    os.close(reader)
    where = [] if words == ["--help"] else ["--embedded", shop.file]
    try:
        answer = process(shop, *words, *where, stdout=writer)
    finally:
        os.close(writer)
    assert (answer.code, answer.err) == (Exit.OK, "")


@pytest.mark.parametrize(
    "words",
    [["--help"], ["runs", "list"], ["runs", "list", "--json"], ["check"], ["check", "--json"]],
)
def test_output_that_cannot_be_written_is_told(shop: Shop, words: list[str]) -> None:
    """On a full disk. Seen to fail with 70, a mistake of ours.

    The two that end with an answer of their own (`check`) write it as late as they end.
    """
    where = [] if words == ["--help"] else ["--embedded", shop.file]
    answer = process(shop, *words, *where, shell='exec "$@" >/dev/full')
    assert answer.code == Exit.UNWRITTEN
    told = json.loads(answer.err)["message"] if "--json" in words else answer.err
    assert "the output cannot be written: No space left on device; what was done is done" in told
    assert "Traceback" not in answer.err


def test_message_that_cannot_be_written_leaves_the_exit_code(shop: Shop) -> None:
    """Seen to fail with 70, and 1."""
    full = 'exec "$@" 2>/dev/full'
    assert process(shop, "why", "nonsense", "--embedded", shop.file, shell=full).code == 3
    assert process(shop, "bogus", shell=full).code == Exit.USAGE


@pytest.mark.parametrize(("closed", "code"), [(">&-", Exit.OK), ("2>&-", Exit.NOT_FOUND)])
def test_closed_stream_is_no_mistake(shop: Shop, closed: str, code: Exit) -> None:
    """Seen to fail with 70 and 1."""
    words = ["runs", "list"] if code is Exit.OK else ["why", "nonsense"]
    answer = process(shop, *words, "--embedded", shop.file, shell=f'exec "$@" {closed}')
    assert (answer.code, answer.err) == (code, "")
