"""What stands in data is shown, and obeyed by no terminal; markup in it stays text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from workflow_ctl.output import plain

if TYPE_CHECKING:
    from tests.conftest import Shop

HOSTILE = "\x1b[2J[red]x\u202e\r\n\x07\u2028\x9b[link=https://evil]"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("order-1", "order-1"),
        ("Größe 尺寸 🕰", "Größe 尺寸 🕰"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("\u202etxt.exe", "\\u202etxt.exe"),
        ("\ud800", "\\ud800"),
        ("[bold]not[/bold]", "[bold]not[/bold]"),
    ],
)
def test_plain_escapes_what_a_terminal_might_obey(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_every_view_of_a_run_escapes_what_stands_in_it(shop: Shop) -> None:
    """Seen to fail when a foreign id was printed as it is, and when it was read as markup."""
    run_id = shop.known(
        "trigger", "orders", HOSTILE, "--data", '{"total": -1}', "--header", f"origin={HOSTILE}",
        "--json",
    ).json["run_id"]  # fmt: skip
    shop.here("runs", "pause", run_id, "--reason", HOSTILE)
    views = [
        ["runs", "list"],
        ["runs", "show", run_id, "--data"],
        ["runs", "history", run_id],
        ["why", run_id],
        ["runs", "list", "--json"],
        ["why", run_id, "--json"],
    ]
    for words in views:
        answer = shop.known(*words)
        assert not set("\x1b\u202e\r\x07\u2028\x9b") & set(answer.out), words
        if "--json" not in words and "history" not in words:
            assert "[link=https://evil]" in answer.out, "markup is text"


def test_errors_escape_what_they_quote(shop: Shop) -> None:
    answer = shop.here("why", "run\x1b[2J", code=3)
    assert "\x1b" not in answer.err
    assert "\\x1b[2J" in answer.err
