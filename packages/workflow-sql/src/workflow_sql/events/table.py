"""The event table: which part of it a run's events go to, and rows to insert."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

from workflow_core.model import Event

from workflow_sql.database import Database
from workflow_sql.dialects import Cursor
from workflow_sql.rows import EVENT_COLUMNS, event_row

__all__ = ["EventTable"]

_COLUMNS = ("part", "event_id", *EVENT_COLUMNS, "filed_at")


class EventTable:
    """Appends events in whatever transaction it is given. Any thread."""

    def __init__(self, database: Database) -> None:
        self._dialect = database.dialect
        self._table = database.tables.events
        self._parts = database.installation.partitions

    def append(self, cursor: Cursor, events: Sequence[Event], now: int) -> None:
        """Insert them in order. Raises the driver's errors."""
        parts = self._parts
        rows = [
            (
                # the same in every process and release: cursors belong to parts. CRC-32 because
                # every language has it, and Python has it in C
                crc32(event.run_id.encode()) % parts,
                event.id,
                *event_row(event, now),
                now,
            )
            for event in events
        ]
        self._dialect.append(cursor, self._table, _COLUMNS, rows)
