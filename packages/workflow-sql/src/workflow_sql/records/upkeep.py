"""What is kept of earlier versions, and how all of a run goes."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from operator import attrgetter

from sqlalchemy import Select, select
from sqlalchemy.sql.elements import ColumnElement
from workflow_core.model import HistoryEntry, RecordQuery, RunState
from workflow_core.ports import Erasure

from workflow_sql.database import Database, Writing
from workflow_sql.records.listing import Listing
from workflow_sql.rows import HISTORY, history_entry_of

__all__ = ["LEFT_IN_LOG", "Upkeep"]

LEFT_IN_LOG = "pages in the write-ahead log, until a long read has ended"
"""What remains where the database's files could not be scrubbed."""

_ERASED = (
    "its history: data, errors and reasons",
    "its search attributes",
    "its events in the outbox: headers",
    "its timers: errors",
    "free pages of the database's file, where it is one (SQLite)",
)
_KEPT_BY_DATABASES = (
    "the database's replicas and backups; where it is a server, its logs, and dead rows until they "
    "are vacuumed or purged"
)
_AT_ONCE = 500  # runs purged in one transaction, so that others can write in between


class Upkeep:
    """Reads and clears what stands beside the records. Any thread."""

    def __init__(self, database: Database, listing: Listing) -> None:
        self._database = database
        self._listing = listing
        self._tables = database.tables

    def history(self, run_id: str) -> list[HistoryEntry]:
        """The versions kept, oldest first."""
        with self._database.reading("reading the history") as cursor:
            cursor.execute(
                f"select {HISTORY} from {self._tables.history.fullname}"
                " where run_id = ? order by version",
                (run_id,),
            )
            return [history_entry_of(row) for row in cursor.fetchall()]

    def histories(self, run_ids: Sequence[str]) -> dict[str, list[HistoryEntry]]:
        """The same of several runs; those of which nothing is kept are left out."""
        dialect = self._database.dialect
        found: dict[str, list[HistoryEntry]] = {}
        with self._database.reading("reading histories") as cursor:
            for packed in dialect.packs(run_ids):
                cursor.execute(
                    f"select {HISTORY} from {self._tables.history.fullname}"
                    f" where {dialect.within('run_id')}",
                    (packed,),
                )
                for entry in map(history_entry_of, cursor.fetchall()):
                    found.setdefault(entry.run_id, []).append(entry)
        for entries in found.values():
            entries.sort(key=attrgetter("version"))
        return found

    def erase_copies(self, run_id: str) -> Erasure:
        """Scrub data, errors, reasons, headers and what it is found by."""
        tables = self._tables
        with self._database.writing("erasing a run's copies") as writing:
            for statement in (
                f"update {tables.history.fullname} set data = null, error = '', reason = ''"
                " where run_id = ?",
                f"update {tables.timers.fullname} set error = '' where run_id = ?",
                f"update {tables.records.fullname} set search = null where run_id = ?",
                f"delete from {tables.search.fullname} where run_id = ?",
            ):
                writing.cursor.execute(statement, (run_id,))
            self._erase_outbox(writing, run_id)
        remains = [_KEPT_BY_DATABASES]
        if not self._database.scrub():
            remains.append(LEFT_IN_LOG)
        return Erasure(erased=_ERASED, remains=remains)

    def _erase_outbox(self, writing: Writing, run_id: str) -> None:
        """Each gets another id: who claimed it before cannot publish it any more as it was."""
        outbox = self._tables.outbox.fullname
        writing.cursor.execute(
            f"select id from {outbox} where run_id = ? and headers <> ''", (run_id,)
        )
        for (id_,) in writing.cursor.fetchall():
            writing.cursor.execute(
                f"update {outbox} set headers = '', id = ? where id = ?", (str(uuid.uuid4()), id_)
            )

    def purge(self, query: RecordQuery, doomed: Callable[[Sequence[str]], None] | None) -> int:
        """Delete ended runs and all that is theirs, at most the query's limit."""
        gone = 0
        # at rest no writer is disturbed
        while gone < query.limit and self._database.select(
            self.purge_statement(query, 1), "looking for runs to purge"
        ):
            wanted = min(query.limit - gone, _AT_ONCE)
            with self._database.lending("purging runs") as writing:
                with self._database.told("purging runs"):
                    run_ids = self._ended(writing, query, wanted)
                if doomed is not None and run_ids:
                    doomed(run_ids)
                with self._database.told("purging runs"):
                    self._delete(writing, run_ids)
            gone += len(run_ids)
            if len(run_ids) < wanted:
                break
        return gone

    def purge_statement(self, query: RecordQuery, limit: int) -> Select[tuple[str]]:
        """The runs that may go."""
        conditions: list[ColumnElement[bool]] = [
            *self._listing.conditions(query.replace(states=self._ended_states(query))),
            self._listing.without_events(),
        ]
        return select(self._tables.records.c.run_id).where(*conditions).limit(limit)

    def _ended_states(self, query: RecordQuery) -> list[RunState]:
        # each by name, also where the query names none: the index goes by state, then by time
        wanted = RunState if query.states is None else query.states
        return [state for state in wanted if state.is_finished]

    def _ended(self, writing: Writing, query: RecordQuery, limit: int) -> list[str]:
        return list(writing.connection.scalars(self.purge_statement(query, limit)))

    def _delete(self, writing: Writing, run_ids: Sequence[str]) -> None:
        dialect = self._database.dialect
        packed = dialect.pack(run_ids)
        tables = self._tables
        for table in (tables.records, tables.history, tables.timers, tables.search):
            writing.cursor.execute(
                f"delete from {table.fullname} where {dialect.within('run_id')}", (packed,)
            )
