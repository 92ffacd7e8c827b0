"""The outbox: events on their way to the streamer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from workflow_core.model import OutboxEvent

from workflow_sql.agenda import Agenda
from workflow_sql.database import Database
from workflow_sql.dialects import Cursor, Row
from workflow_sql.instants import later
from workflow_sql.records.writing import Writer
from workflow_sql.rows import OUTBOX_COLUMNS, event_of, outbox_row

__all__ = ["Outbox"]

_DUE_AT = OUTBOX_COLUMNS.index("due_at")


class Outbox:
    """Events by when they may be taken: once they are due and nobody holds them. Any thread."""

    def __init__(self, database: Database, writer: Writer) -> None:
        self._database = database
        self._writer = writer
        self._table = database.tables.outbox.name
        self._agenda = Agenda(self._table, OUTBOX_COLUMNS, time="hidden_until")

    def due(self, workflows: Sequence[str], limit: int) -> list[OutboxEvent]:
        """What may be taken, oldest due first."""
        with self._database.reading("looking for outbox events") as cursor:
            rows = self._takeable(cursor, workflows, limit, self._database.now())
        return _filed(rows)

    def claim(self, workflows: Sequence[str], limit: int, lease: timedelta) -> list[OutboxEvent]:
        """What may be taken, hidden from now on for `lease`."""
        wait = self.next_due(workflows)
        if wait is None or wait > timedelta(0):
            return []  # at rest no writer is disturbed
        dialect = self._database.dialect
        with self._database.writing("claiming outbox events") as writing:
            rows = self._takeable(writing.cursor, workflows, limit, writing.now)
            writing.cursor.execute(
                f"update {self._table} set hidden_until = ? where {dialect.within('id')}",
                (later(writing.now, lease), dialect.pack([row[0] for row in rows])),
            )
        return _filed(rows)

    def add(self, events: Sequence[OutboxEvent]) -> None:
        """File them; those that are there stay as they are."""
        with self._database.writing("filing outbox events") as writing:
            self._writer.file_events(
                writing.cursor, [outbox_row(event, writing.now) for event in events]
            )

    def delete(self, ids: Sequence[str]) -> None:
        """Forget them."""
        dialect = self._database.dialect
        with self._database.writing("deleting outbox events") as writing:
            writing.cursor.execute(
                f"delete from {self._table} where {dialect.within('id')}", (dialect.pack(ids),)
            )

    def delay(self, ids: Sequence[str], delay: timedelta) -> None:
        """Hide them until `delay` from now, whoever held them; none gets due early."""
        dialect = self._database.dialect
        with self._database.writing("delaying outbox events") as writing:
            until = later(writing.now, delay)
            writing.cursor.execute(
                f"update {self._table}"
                " set hidden_until = case when due_at > ? then due_at else ? end"
                f" where {dialect.within('id')}",
                (until, until, dialect.pack(ids)),
            )

    def next_due(self, workflows: Sequence[str]) -> timedelta | None:
        """How long until the first may be taken; None: there is none."""
        with self._database.reading("looking for outbox events") as cursor:
            first = self._agenda.first(cursor, workflows)
        return None if first is None else timedelta(microseconds=first - self._database.now())

    def _takeable(
        self, cursor: Cursor, workflows: Sequence[str], limit: int, now: int
    ) -> list[Row]:
        # by when they became free, which is the index; among them by when they were due
        rows = self._agenda.due(cursor, workflows, limit, now)
        return sorted(rows, key=lambda row: row[_DUE_AT])


def _filed(rows: Sequence[Row]) -> list[OutboxEvent]:
    return [OutboxEvent(event=event_of(row[0], row[1:_DUE_AT])) for row in rows]
