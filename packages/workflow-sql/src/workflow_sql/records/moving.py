"""Runs and events on their way from one store to another."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from workflow_core.errors import InputError, RunInProgressError
from workflow_core.model import HistoryEntry, OutboxEvent, Page, Record
from workflow_core.ports import RunCopy, Write

from workflow_sql.database import Database, Writing
from workflow_sql.dialects import Row
from workflow_sql.instants import microseconds
from workflow_sql.records.searching import SearchWriter
from workflow_sql.records.written import HISTORY, INSERTED, new_row
from workflow_sql.rows import OUTBOX_COLUMNS, event_of
from workflow_sql.schema import LIVE
from workflow_sql.settings import History

__all__ = ["Moving"]

_DUE_AT = OUTBOX_COLUMNS.index("due_at")
_PAGE = "id:"


class Moving:
    """Takes over what another store has, and lists what only a move asks for. Any thread.

    Args:
        database: whose tables.
        history: what is kept of earlier versions.
    """

    def __init__(self, database: Database, history: History) -> None:
        self._database = database
        self._history = history
        self._search = SearchWriter(database)
        tables = database.tables
        within = database.dialect.within("run_id")
        self._clear = [
            f"delete from {table.fullname} where {within}"
            for table in (tables.records, tables.history, tables.search)
        ]
        self._live_run = (
            f"select run_id from {tables.records.fullname}"
            f" where workflow = ? and foreign_id = ? and {LIVE}"
        )

    def adopt(self, copies: Sequence[RunCopy]) -> None:
        """Replace these runs, each with its history and attributes, in one transaction."""

        def replace(writing: Writing) -> None:
            dialect, cursor = self._database.dialect, writing.cursor
            for packed in dialect.packs(sorted(copy.record.run_id for copy in copies)):
                for statement in self._clear:
                    cursor.execute(statement, (packed,))
            records = sorted((copy.record for copy in copies), key=lambda r: r.foreign_id)
            taken = dialect.insert_absent(
                cursor, self._database.tables.records, INSERTED, [_row(r) for r in records]
            )
            for record, is_taken in zip(records, taken, strict=True):
                if not is_taken:
                    cursor.execute(self._live_run, (record.workflow, record.foreign_id))
                    raise RunInProgressError(
                        workflow=record.workflow,
                        foreign_id=record.foreign_id,
                        live_run_id=cursor.fetchone()[0],
                    )
            for record in records:
                if record.search:
                    write = Write(record=record.replace(version=1), search=record.search)
                    self._search.write(cursor, [write], microseconds(record.created_at))
            if self._history is not History.OFF:
                rows = [self._entry(entry) for copy in copies for entry in copy.history]
                dialect.insert_new(cursor, self._database.tables.history, HISTORY, rows)

        self._database.transact("adopting runs", replace)

    def outbox(self, after: str | None, limit: int) -> Page[OutboxEvent]:
        """By key."""
        if after is not None and not after.startswith(_PAGE):
            raise InputError(f"{after!r} is no page of this store's outbox", adapter="sql")
        beyond = "" if after is None else after.removeprefix(_PAGE)
        with self._database.reading("listing the outbox") as cursor:
            cursor.execute(
                f"select {', '.join(OUTBOX_COLUMNS)} from {self._database.tables.outbox.fullname}"
                " where id > ? order by id limit ?",
                (beyond, limit + 1),
            )
            rows = cursor.fetchall()
            now = self._database.now()
        items = [
            OutboxEvent(
                event=event_of(row[0], row[1:_DUE_AT]),
                delay=timedelta(microseconds=max(0, row[_DUE_AT] - now)),
            )
            for row in rows[:limit]
        ]
        return Page(items=items, next=f"{_PAGE}{items[-1].id}" if len(rows) > limit else None)

    def _entry(self, entry: HistoryEntry) -> Row:
        return (
            entry.run_id,
            entry.version,
            microseconds(entry.at),
            entry.status,
            int(entry.state),
            entry.attempts,
            entry.reason,
            entry.error,
            entry.data if self._history is History.WITH_DATA else None,
        )


def _row(record: Record) -> Row:
    values: dict[str, object] = dict(
        zip(INSERTED, new_row(Write(record=record, search=record.search), 0), strict=True)
    )
    stamps = {
        "created_at": microseconds(record.created_at),
        "updated_at": microseconds(record.updated_at),
        "entered_at": microseconds(record.entered_at),
        "next_try_at": None if record.next_try_at is None else microseconds(record.next_try_at),
    }
    return tuple((values | stamps).values())
