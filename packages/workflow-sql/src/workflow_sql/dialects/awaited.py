"""Cursors on a caller's connection of an asyncio driver.

SQLAlchemy runs what `run_sync` is given in a greenlet of its own, and what has to be awaited there
is handed to the event loop by `await_only`. Outside of it nothing here can be used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

from sqlalchemy.util import await_only

__all__ = ["AwaitedCursor", "SpelledCursor"]


class AwaitedCursor:
    """A driver's asyncio cursor, used as if it were none. One greenlet at a time.

    Args:
        cursor: the driver's.
        spell: makes a statement with "?" for parameters one as the driver wants it.
    """

    def __init__(self, cursor: Any, spell: Callable[[str], Any]) -> None:
        self._cursor = cursor
        self._spell = spell

    @property
    def rowcount(self) -> int:
        """As PEP 249 has it, and so the rest."""
        return int(self._cursor.rowcount)

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Self:  # noqa: D102
        await_only(self._cursor.execute(self._spell(sql), parameters or None))
        return self

    def executemany(self, sql: str, rows: Any) -> None:  # noqa: D102
        await_only(self._cursor.executemany(self._spell(sql), rows))

    def fetchone(self) -> Any:  # noqa: D102
        return await_only(self._cursor.fetchone())

    def fetchall(self) -> list[Any]:  # noqa: D102
        return list(await_only(self._cursor.fetchall()))

    def close(self) -> None:  # noqa: D102
        await_only(self._cursor.close())


class SpelledCursor:
    """A cursor that SQLAlchemy has made usable already; it gets whole statements and no parameters.

    Drivers of one family write parameters into statements in ways that differ with each release.

    Args:
        cursor: what SQLAlchemy has made.
        escape: makes a text one that can stand between quotes.
    """

    def __init__(self, cursor: Any, escape: Callable[[str], str]) -> None:
        self._cursor = cursor
        self._escape = escape

    @property
    def rowcount(self) -> int:
        """As PEP 249 has it, and so the rest."""
        return int(self._cursor.rowcount)

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Self:  # noqa: D102
        first, *others = sql.split("?")
        parts = zip(map(self._written, parameters), others, strict=True)
        self._cursor.execute("".join([first, *(f"{value}{part}" for value, part in parts)]))
        return self

    def executemany(self, sql: str, rows: Any) -> None:  # noqa: D102
        for row in rows:
            self.execute(sql, row)

    def fetchone(self) -> Any:  # noqa: D102
        return self._cursor.fetchone()

    def fetchall(self) -> list[Any]:  # noqa: D102
        return [tuple(row) for row in self._cursor.fetchall()]

    def close(self) -> None:  # noqa: D102
        self._cursor.close()

    def _written(self, value: object) -> str:
        if value is None:
            return "null"
        if isinstance(value, int):
            return str(int(value))
        if isinstance(value, bytes):
            return f"x'{value.hex()}'"
        if isinstance(value, tuple):
            return f"({', '.join(map(self._written, value))})"
        return f"'{self._escape(str(value))}'"
