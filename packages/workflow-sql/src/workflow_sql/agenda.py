"""Rows of many workflows by time, through an index on (workflow, time)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from workflow_sql.dialects import Cursor, Row

__all__ = ["Agenda"]

_AT_ONCE = 100  # workflows asked for in one statement


class Agenda:
    """Asks for what is due. Any thread.

    Each workflow is a range of its own, cut off at the limit, so that a backlog of any size is
    never sorted whole.

    Args:
        table: where.
        columns: what to answer; the time is among them.
        time: the column to go by.
        condition: which rows count at all; "" for all.
    """

    def __init__(
        self, table: str, columns: tuple[str, ...], *, time: str, condition: str = ""
    ) -> None:
        self._place = columns.index(time)
        mine = f"workflow = ? and {condition}" if condition else "workflow = ?"
        self._time = time
        self._due = (
            f"select * from (select {', '.join(columns)} from {table}"
            f" where {mine} and {time} <= ? order by {time} limit ?%s) part"
        )
        self._first = f"select min({time}) from {table} where {mine}"

    def due(
        self, cursor: Cursor, workflows: Sequence[str], limit: int, now: int, *, claiming: str = ""
    ) -> list[Row]:
        """The rows whose time is `now` or before, earliest first.

        With `claiming`, the dialect's words for it, they stay locked in the cursor's transaction,
        and those that others have locked are left out.
        """
        found: list[Row] = []
        for part in _parts(workflows):
            each = [value for workflow in part for value in (workflow, now, limit)]
            sql = f"{_united(self._due % claiming, len(part))} order by {self._time} limit ?"
            cursor.execute(sql, (*each, limit))
            found += cursor.fetchall()
        found.sort(key=lambda row: row[self._place])
        return found[:limit]

    def first(self, cursor: Cursor, workflows: Sequence[str]) -> int | None:
        """The earliest time; None: there is no row."""
        times: list[int] = []
        for part in _parts(workflows):
            cursor.execute(_united(self._first, len(part)), part)
            times += [time for (time,) in cursor.fetchall() if time is not None]
        return min(times, default=None)


def _parts(workflows: Sequence[str]) -> Iterator[Sequence[str]]:
    distinct = list(dict.fromkeys(workflows))
    for start in range(0, len(distinct), _AT_ONCE):
        yield distinct[start : start + _AT_ONCE]


@lru_cache(maxsize=256)
def _united(one: str, times: int) -> str:
    return " union all ".join([one] * times)
