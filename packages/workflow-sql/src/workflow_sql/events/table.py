"""The event table: which part of it a run's events go to, rows to insert and to erase."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

from workflow_core.model import Event

from workflow_sql.database import Database, Writing
from workflow_sql.dialects import Cursor
from workflow_sql.rows import EVENT_COLUMNS, event_row

__all__ = ["EventTable"]

_COLUMNS = ("part", "event_id", *EVENT_COLUMNS, "filed_at")


class EventTable:
    """Appends events in whatever transaction it is given, erases in its own. Any thread."""

    def __init__(self, database: Database) -> None:
        self._dialect = database.dialect
        self._database = database
        self._table = database.tables.events
        self._parts = database.installation.partitions

    def append(self, cursor: Cursor, events: Sequence[Event], now: int) -> None:
        """Insert them in order. Raises the driver's errors."""
        rows = [
            (
                self._part_of(event.run_id),
                event.id,
                *event_row(event, now),
                now,
            )
            for event in events
        ]
        self._dialect.append(cursor, self._table, _COLUMNS, rows)

    def erase(self, run_id: str, topics: Sequence[str]) -> bool:
        """Empty the headers of this run's events; whether nothing of them is left in the files.

        Raises:
            AdapterUnavailableError: some may be left.
        """
        events = self._table.fullname
        found: list[int] = []
        # looked for beforehand, so that no writer waits for it
        with self._database.reading("looking for a run's events") as cursor:
            for topic in topics:
                cursor.execute(
                    f"select id from {events}"
                    " where topic = ? and part = ? and run_id = ? and headers <> ''",
                    (topic, self._part_of(run_id), run_id),
                )
                found += [id_ for (id_,) in cursor.fetchall()]

        def empty(writing: Writing) -> None:
            for id_ in sorted(found):
                writing.cursor.execute(f"update {events} set headers = '' where id = ?", (id_,))

        if found:
            self._database.transact("erasing a run's events", empty)
        return self._database.scrub()

    def _part_of(self, run_id: str) -> int:
        # the same in every process and release: cursors belong to parts. CRC-32 because every
        # language has it, and Python has it in C
        return crc32(run_id.encode()) % self._parts
