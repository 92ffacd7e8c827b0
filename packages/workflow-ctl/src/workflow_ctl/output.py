"""Prints answers: tables for people, one JSON document for programs."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import IO, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

__all__ = ["Output", "bars", "counted", "plain", "when"]

_WIDE = 4000  # columns where there is no terminal: nothing is cut or wrapped in a pipe
# what moves the cursor, hides text or turns its direction; what is not assigned may do so tomorrow
_UNSAFE = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}


def plain(text: object) -> str:
    """The text in one line, with everything in it that a terminal might obey escaped."""
    return "".join(
        char.encode("unicode_escape", "surrogatepass").decode()
        if unicodedata.category(char) in _UNSAFE
        else char
        for char in str(text)
    )


def counted(count: int, what: str) -> str:
    """So many of them, in words: "1 run", "2 runs"."""
    return f"1 {what}" if count == 1 else f"{count} {what}s"


def when(at: datetime | None) -> str:
    """A time for people, to the second; "" for none."""
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S}"


def bars(console: Console) -> Progress:
    """Bars with a description, how far it came and how long it will take; gone when they end."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


class Output:
    """Where a command prints.

    Args:
        as_json: one JSON document instead of text.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.console = _console(sys.stdout)
        self.errors = _console(sys.stderr)

    def document(self, document: object) -> None:
        """Print JSON; ASCII alone, so that nothing in it is obeyed by a terminal either."""
        sys.stdout.write(json.dumps(_jsonable(document), indent=2) + "\n")

    def answer(self, document: object, *lines: object) -> None:
        """The document, or these lines."""
        if self.as_json:
            self.document(document)
            return
        for line in lines:
            self.line(line)

    def line(self, text: object = "", style: str = "") -> None:
        """One line for people."""
        self.console.print(Text(plain(text), style=style), soft_wrap=True)

    def note(self, text: object, style: str = "") -> None:
        """One line on standard error: what is no part of the answer."""
        self.errors.print(Text(plain(text), style=style), soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]], none: str) -> None:
        """A table; `none` is said where it has no rows."""
        if not rows:
            self.line(none)
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(Text("" if cell is None else plain(cell)) for cell in row))
        self.console.print(table)

    def fields(self, fields: Mapping[str, object]) -> None:
        """Names and values, one pair a line; empty ones are left out."""
        width = max(map(len, fields), default=0)
        for name, value in fields.items():
            if value not in (None, "", False):
                self.line(f"{name:<{width}}  {value}")


def _console(stream: IO[str]) -> Console:
    is_terminal = stream.isatty()
    return Console(file=stream, width=None if is_terminal else _WIDE, highlight=False)


def _jsonable(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Enum):
        return value.name.lower()
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_jsonable(item) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)
