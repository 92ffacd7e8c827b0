"""What is kept of earlier versions, and how all of a run goes."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Select, select
from sqlalchemy.sql.elements import ColumnElement
from workflow_core.model import HistoryEntry, RecordQuery, RunState

from workflow_sql.database import Database, Writing
from workflow_sql.records.listing import Listing
from workflow_sql.rows import HISTORY, history_entry_of

__all__ = ["Upkeep"]

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
                f"select {HISTORY} from {self._tables.history.name}"
                " where run_id = ? order by version",
                (run_id,),
            )
            return [history_entry_of(row) for row in cursor.fetchall()]

    def erase_copies(self, run_id: str) -> None:
        """Scrub data, errors, reasons and headers from all but the record itself."""
        tables = self._tables
        with self._database.writing("erasing a run's copies") as writing:
            for statement in (
                f"update {tables.history.name} set data = null, error = '', reason = ''"
                " where run_id = ?",
                f"update {tables.outbox.name} set headers = '' where run_id = ?",
                f"update {tables.timers.name} set error = '' where run_id = ?",
            ):
                writing.cursor.execute(statement, (run_id,))
        self._database.scrub()

    def purge(self, query: RecordQuery) -> int:
        """Delete ended runs and all that is theirs, at most the query's limit."""
        gone = 0
        while gone < query.limit:
            wanted = min(query.limit - gone, _AT_ONCE)
            with self._database.writing("purging runs") as writing:
                run_ids = self._ended(writing, query, wanted)
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
        for table in (self._tables.records, self._tables.history, self._tables.timers):
            writing.cursor.execute(
                f"delete from {table.name} where {dialect.within('run_id')}", (packed,)
            )
