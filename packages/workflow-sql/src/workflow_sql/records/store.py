"""The record store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

from workflow_core.errors import AdapterUnavailableError
from workflow_core.model import HistoryEntry, OutboxEvent, Page, Record, RecordQuery, RunState
from workflow_core.ports import (
    AdapterContext,
    Capability,
    Erasure,
    OutboxBacklog,
    Outcome,
    RecordStore,
    RunCopy,
    StoreTransaction,
    Tally,
    Write,
)
from workflow_core.ports.record_store import check_distinct

from workflow_sql.database import Database
from workflow_sql.instants import from_microseconds
from workflow_sql.records.joining import Joining
from workflow_sql.records.listing import Listing
from workflow_sql.records.moving import Moving
from workflow_sql.records.outbox import Outbox
from workflow_sql.records.reading import Reader
from workflow_sql.records.transaction import SqlTransaction
from workflow_sql.records.upkeep import Upkeep
from workflow_sql.records.writing import Writer
from workflow_sql.settings import History, SqlSettings

__all__ = ["SqlRecordStore"]


class SqlRecordStore(RecordStore):
    """Runs in a SQL database. Each method does what `RecordStore` says; any thread.

    Erasing reaches the record, its history, its outbox rows and timers, and the file's free pages.
    Rows of the event table keep the run's id, foreign id and headers until they are trimmed.

    Args:
        database: where.
        history: what is kept of earlier versions.
        history_keep: of how many of the latest versions, at most; a few more may be there.
    """

    def __init__(
        self,
        database: Database,
        *,
        history: History = History.ON,
        history_keep: int = 1_000,
    ) -> None:
        self.database = database
        self._history = history
        self._reader = Reader(database)
        self._writer = Writer(database, history, history_keep)
        self._listing = Listing(database)
        self._outbox = Outbox(database, self._writer)
        self._upkeep = Upkeep(database, self._listing)
        self._moving = Moving(database, history)
        self._joining = Joining(database)
        self._outbox_pulse: object = None

    @classmethod
    def from_config(cls, settings: SqlSettings, context: AdapterContext) -> SqlRecordStore:
        """The entry point."""
        return cls(
            Database.shared(settings, context),
            history=settings.history,
            history_keep=settings.history_keep,
        )

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Transactions, claims and word of changes; a history unless it is off."""
        always = {Capability.TRANSACTIONS, Capability.SEARCH, Capability.CLAIMS, Capability.WAKES}
        return frozenset(always if self._history is History.OFF else always | {Capability.HISTORY})

    @property
    def transactions_at_once(self) -> int:
        """Half of the pool; the other half does for all else. With SQLite one writes anyway."""
        return self.database.transactions_at_once

    def check_health(self) -> str:
        """The database's and the schema's version."""
        return self.database.check_health()

    def now(self) -> datetime:
        """The database's clock."""
        return from_microseconds(self.database.now())

    # -- writing -------------------------------------------------------------------------------

    def store(self, write: Write) -> None:
        """As `store_many` of one."""
        [outcome] = self.store_many([write])
        if outcome is not None:
            raise outcome

    def store_many(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        """One transaction for all of them."""
        check_distinct(writes)
        if not writes:
            return []
        tries = self.database.tries()
        while True:
            try:
                with self.transaction() as transaction:
                    return transaction.store_many(writes)
            except AdapterUnavailableError as error:
                tries.again_or_raise(error)

    @contextmanager
    def transaction(self) -> Iterator[SqlTransaction]:
        """A transaction whose ``connection`` is SQLAlchemy's.

        With SQLite all writers wait while it is open, in this process and in others: keep it
        short. What was lost in it is never committed, even if its error was swallowed.
        """
        failure: AdapterUnavailableError | None = None
        with self.database.lending("the transaction") as writing:
            transaction = SqlTransaction(
                self.database,
                self._reader,
                self._writer,
                writing.connection,
                writing.cursor,
                writing.now,
            )
            yield transaction
            failure = transaction.failure
            if failure is not None:
                raise failure
            writing.wakes = transaction.wakes
            writing.tells = transaction.tells

    def join(self, connection: object) -> StoreTransaction:
        """Takes SQLAlchemy's Connection or Session, or the driver's own connection."""
        driver, cursor = self._joining.cursor(connection)
        return SqlTransaction(
            self.database,
            self._reader,
            self._writer,
            connection,
            cursor,
            self.database.now(),
            joined_driver=driver,
        )

    # -- reading -------------------------------------------------------------------------------

    def lookup(self, run_id: str) -> Record:
        """One statement by key."""
        with self.database.reading("looking up a run") as cursor:
            return self._reader.lookup(cursor, run_id)

    def lookup_many(self, run_ids: Sequence[str], *, primary: bool = False) -> Mapping[str, Record]:
        """A statement for each thousand of them; of the replica, where there is one."""
        if not primary:
            answer = self.database.ask_replica(
                "looking up runs", lambda cursor: self._reader.lookup_many(cursor, run_ids)
            )
            if answer is not None:
                return answer
        with self.database.reading("looking up runs") as cursor:
            return self._reader.lookup_many(cursor, run_ids)

    def latest(self, workflow: str, foreign_id: str) -> Record:
        """The live one by its unique key, else the last by index."""
        with self.database.reading("looking up a foreign id") as cursor:
            return self._reader.latest(cursor, workflow, foreign_id)

    def list_records(self, query: RecordQuery) -> Page[Record]:
        """By key and not by offset: page after page costs the same."""
        return self._listing.page(query)

    def count_records(self, query: RecordQuery) -> Mapping[tuple[str, int, RunState], int]:
        """Ended runs are counted in an index, live ones in the table."""
        return self._listing.counts(query)

    def tally_records(self, query: RecordQuery) -> Tally:
        """Two statements, each bounded by the page."""
        return self._listing.tally(query)

    def outbox_backlog(self, workflow: str, *, most: int) -> OutboxBacklog:
        """By the index, never more than `most` rows of either sort."""
        return self._outbox.backlog(workflow, most)

    def history(self, run_id: str) -> Sequence[HistoryEntry]:
        """Every version that is kept; where none is, the present one."""
        kept = [] if self._history is History.OFF else self._upkeep.history(run_id)
        return kept or super().history(run_id)

    def history_many(self, run_ids: Sequence[str]) -> Mapping[str, Sequence[HistoryEntry]]:
        """In one statement for some hundred runs; those of which none is kept one by one."""
        kept = {} if self._history is History.OFF else self._upkeep.histories(run_ids)
        return {**super().history_many([r for r in run_ids if r not in kept]), **kept}

    # -- the outbox ----------------------------------------------------------------------------

    def list_outbox_events(self, workflows: Sequence[str], *, limit: int) -> Sequence[OutboxEvent]:
        """By index, never the whole backlog."""
        return self._outbox.due(workflows, limit)

    def claim_outbox_events(
        self, workflows: Sequence[str], *, limit: int, lease: timedelta
    ) -> Sequence[OutboxEvent]:
        """A read while nothing is due, else one transaction."""
        return self._outbox.claim(workflows, limit, lease)

    def add_outbox_events(self, events: Sequence[OutboxEvent]) -> None:
        """One transaction."""
        if events:
            self._outbox.add(events)

    def delete_outbox_events(self, ids: Sequence[str]) -> None:
        """One transaction."""
        if ids:
            self._outbox.delete(ids)

    def delay_outbox_events(self, ids: Sequence[str], delay: timedelta) -> None:
        """One transaction."""
        if ids:
            self._outbox.delay(ids, delay)

    def next_outbox_due(self, workflows: Sequence[str]) -> timedelta | None:
        """One look into the index for each workflow, in one statement."""
        return self._outbox.next_due(workflows)

    def outbox_changed(self) -> bool:
        """Whether anybody has committed anything since: a few microseconds, no statement.

        With a server it may be a moment until other processes' commits are known here.
        """
        before, self._outbox_pulse = self._outbox_pulse, self.database.watch.perhaps()
        return before != self._outbox_pulse

    # -- upkeep --------------------------------------------------------------------------------

    def erase_copies(self, run_id: str) -> Erasure:
        """Also overwrites what earlier versions left behind in the files."""
        return self._upkeep.erase_copies(run_id)

    def purge(
        self, query: RecordQuery, *, doomed: Callable[[Sequence[str]], None] | None = None
    ) -> int:
        """Records, history and timers go together, some hundred runs in one transaction."""
        return self._upkeep.purge(query, doomed)

    # -- moving --------------------------------------------------------------------------------

    def adopt(self, copies: Sequence[RunCopy]) -> None:
        """One transaction."""
        if copies:
            self._moving.adopt(copies)

    def list_outbox(self, *, after: str | None = None, limit: int = 100) -> Page[OutboxEvent]:
        """By key: page after page costs the same."""
        return self._moving.outbox(after, limit)
