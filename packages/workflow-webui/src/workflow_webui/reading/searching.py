"""Free text: looked for in what no store has an index for (ids, reasons, errors, data).

That means reading runs, so a page reads a bounded number of them, says how far it has come, and
goes on from there when it is asked to: so any number of runs can be gone through, page by page.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from workflow_core import Record, RecordQuery

from workflow_webui.reading.data_tree import Masking
from workflow_webui.ui import Ask

__all__ = ["Found", "look_through"]

_READ_AT_ONCE = 500
_MOST_READ = 2_000  # runs that one page looks through


@dataclass(frozen=True, kw_only=True)
class Found:
    """What one page has found, and how far it has looked."""

    records: Sequence[Record]
    read: int
    reached: datetime | None
    """When the last run that was looked at was begun; None: there was none to look at."""
    next: str | None
    """The bookmark to go on from; None: all were looked through."""


def look_through(ask: Ask, query: RecordQuery, text: str, limit: int) -> Found:
    """The runs that hold the text in what this user may see, `limit` of them at most.

    Raises:
        InputError: the query cannot be.
        AdapterUnavailableError: the store does not answer.
    """
    found: list[Record] = []
    read, reached = 0, None
    looking = _Looking(ask, text)
    query = query.replace(limit=_READ_AT_ONCE)
    while True:
        page = ask.ui.engine.runs(query)
        hits = [place for place, record in enumerate(page.items) if looking.finds(record)]
        if len(hits) > (room := limit - len(found)):
            # read no further than the last that fits: there the next page begins
            query = query.replace(limit=hits[room - 1] + 1)
            continue
        found += [page.items[place] for place in hits]
        read += len(page.items)
        reached = page.items[-1].created_at if page.items else reached
        if page.next is None or read >= _MOST_READ or len(found) >= limit:
            return Found(records=found, read=read, reached=reached, next=page.next)
        query = query.replace(after=page.next)


class _Looking:
    """Looks for a text in all that this user may see of a run, and in nothing else."""

    def __init__(self, ask: Ask, text: str) -> None:
        self._text = text.lower()
        self._ask = ask
        self._masking = Masking(ask.ui.settings.masked)

    def finds(self, record: Record) -> bool:
        return any(self._text in part.lower() for part in self._parts(record))

    def _parts(self, record: Record) -> list[str]:
        parts = [record.foreign_id, record.run_id, record.reason, *record.headers.values()]
        if self._ask.sees_data:
            parts += [record.last_error, *map(str, record.search.values()), self._data(record)]
        return parts

    def _data(self, record: Record) -> str:
        # most data does not hold the text at all, and need not be read
        if self._text.isascii() and self._text.encode() not in record.data.lower():
            return ""
        try:
            value: object = self._masking.masked(json.loads(record.data))
        except (ValueError, RecursionError):
            return ""
        return json.dumps(value, ensure_ascii=False)
