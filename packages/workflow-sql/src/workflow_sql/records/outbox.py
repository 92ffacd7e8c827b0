"""The outbox: events on their way to the streamer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from workflow_core.model import OutboxEvent
from workflow_core.ports import OutboxBacklog

from workflow_sql.agenda import Agenda
from workflow_sql.database import Database, Writing
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
        self._table = database.tables.outbox.fullname
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

        def take(writing: Writing) -> list[Row]:
            rows = self._takeable(
                writing.cursor, workflows, limit, writing.now, claiming=dialect.claiming
            )
            sql = f"update {self._table} set hidden_until = ? where {dialect.within('id')}"
            for packed in dialect.packs([row[0] for row in rows]):
                writing.cursor.execute(sql, (later(writing.now, lease), packed))
            return rows

        return _filed(self._database.transact("claiming outbox events", take))

    def add(self, events: Sequence[OutboxEvent]) -> None:
        """File them; those that are there stay as they are."""

        def file(writing: Writing) -> None:
            rows = [outbox_row(event, writing.now) for event in events]
            self._writer.file_events(writing.cursor, rows)
            writing.tells = True

        self._database.transact("filing outbox events", file)

    def delete(self, ids: Sequence[str]) -> None:
        """Forget them."""
        dialect = self._database.dialect
        table = self._database.tables.outbox
        self._database.transact(
            "deleting outbox events",
            lambda writing: dialect.delete_taken(writing.cursor, table, ids),
        )

    def delay(self, ids: Sequence[str], delay: timedelta) -> None:
        """Hide them until `delay` from now, whoever held them; none gets due early."""
        dialect = self._database.dialect

        def hide(writing: Writing) -> None:
            until = later(writing.now, delay)
            sql = (
                f"update {self._table}"
                " set hidden_until = case when due_at > ? then due_at else ? end"
                f" where {dialect.within('id')}"
            )
            for packed in dialect.packs(sorted(ids)):
                writing.cursor.execute(sql, (until, until, packed))

        self._database.transact("delaying outbox events", hide)

    def next_due(self, workflows: Sequence[str]) -> timedelta | None:
        """How long until the first may be taken; None: there is none."""
        with self._database.reading("looking for outbox events") as cursor:
            first = self._agenda.first(cursor, workflows)
        return None if first is None else timedelta(microseconds=first - self._database.now())

    def backlog(self, workflow: str, most: int) -> OutboxBacklog:
        """Ranges of the index, each cut off at `most`; who holds a row just now is not asked."""
        part = (
            f"select due_at from {self._table} where workflow = ? and hidden_until %s ?"
            " order by hidden_until limit ?"
        )
        counted = f"select count(*), min(due_at) from ({part}) part where due_at %s ?"
        with self._database.reading("counting outbox events") as cursor:
            now = self._database.now()
            ask = (workflow, now, most, now)
            cursor.execute(counted % ("<=", "<="), ask)
            ((free, first),) = cursor.fetchall()
            cursor.execute(counted % (">", "<="), ask)
            ((held, first_held),) = cursor.fetchall()
            cursor.execute(counted % (">", ">"), ask)
            ((scheduled, _),) = cursor.fetchall()
        firsts = [time for time in (first, first_held) if time is not None]
        oldest = timedelta(microseconds=now - min(firsts)) if firsts else timedelta(0)
        return OutboxBacklog(due=min(free + held, most), scheduled=scheduled, oldest=oldest)

    def _takeable(
        self, cursor: Cursor, workflows: Sequence[str], limit: int, now: int, claiming: str = ""
    ) -> list[Row]:
        # by when they became free, which is the index; among them by when they were due
        rows = self._agenda.due(cursor, workflows, limit, now, claiming=claiming)
        return sorted(rows, key=lambda row: row[_DUE_AT])


def _filed(rows: Sequence[Row]) -> list[OutboxEvent]:
    return [OutboxEvent(event=event_of(row[0], row[1:_DUE_AT])) for row in rows]
