"""The record store in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from itertools import islice
from typing import Self

from workflow_core.errors import InputError, RunInProgressError, RunNotFoundError
from workflow_core.memory.adapter import MemoryAdapter, MemorySettings, shared_database
from workflow_core.memory.database import MemoryConnection, MemoryDatabase
from workflow_core.model import (
    HistoryEntry,
    OutboxEvent,
    Page,
    Record,
    RecordQuery,
    RunState,
)
from workflow_core.ports import (
    AdapterContext,
    Capability,
    Erasure,
    OutboxBacklog,
    Outcome,
    RecordStore,
    RunCopy,
    StoreTransaction,
    Write,
)

__all__ = ["MemoryRecordStore", "MemoryTransaction"]


class MemoryTransaction(StoreTransaction):
    """What the store lends: a view on a `MemoryConnection`, which commits or rolls back."""

    connection: MemoryConnection

    def __init__(self, connection: MemoryConnection) -> None:
        self.connection = connection

    def store_many(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        """As the port says."""
        return self.connection.store_many(writes)

    @property
    def stamped_at(self) -> datetime | None:
        """As the port says."""
        return self.connection.stamped_at

    def delete_outbox_events(self, ids: Sequence[str]) -> Sequence[str]:
        """As the port says."""
        return self.connection.delete_outbox_events(ids)

    def lookup_many(self, run_ids: Sequence[str]) -> Mapping[str, Record]:
        """As the port says; nobody else writes until the end anyway."""
        return self.connection.lookup_many(run_ids)

    def latest(self, workflow: str, foreign_id: str) -> Record:
        """As the port says."""
        record = self.connection.latest(workflow, foreign_id)
        if record is None:
            raise RunNotFoundError(f"no run with foreign id {foreign_id!r}", workflow=workflow)
        return record


class MemoryRecordStore(MemoryAdapter, RecordStore):
    """Runs in the memory of this process: complete, quick, and gone with the process.

    Args:
        database: where the runs are; shared by the adapters that shall see the same ones.
    """

    def __init__(self, database: MemoryDatabase) -> None:
        super().__init__(database)
        self._changes_seen = -1

    @classmethod
    def from_config(cls, settings: MemorySettings, context: AdapterContext) -> Self:
        """For the entry point: all memory adapters of one engine share one database."""
        database = shared_database(context)
        database.runs.history_data = settings.history_data
        return cls(database)

    @property
    def capabilities(self) -> frozenset[Capability]:
        """All that a record store may offer."""
        return frozenset(
            {
                Capability.TRANSACTIONS,
                Capability.SEARCH,
                Capability.HISTORY,
                Capability.WAKES,
                Capability.CLAIMS,
            }
        )

    def store(self, write: Write) -> None:
        """A batch of one."""
        (outcome,) = self.store_many([write])
        if outcome is not None:
            raise outcome

    def store_many(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        """In one transaction."""
        with self.database.begin() as connection:
            return connection.store_many(writes)

    def lookup(self, run_id: str) -> Record:
        """As the port says."""
        with self.database.lock:
            return self._found(run_id)

    def lookup_many(
        self,
        run_ids: Sequence[str],
        *,
        primary: bool = False,
    ) -> Mapping[str, Record]:
        """All at one instant."""
        with self.database.lock:
            rows = self.database.runs.rows
            return {run_id: rows[run_id] for run_id in run_ids if run_id in rows}

    def latest(self, workflow: str, foreign_id: str) -> Record:
        """As the port says."""
        with self.database.lock:
            record = self.database.runs.latest(workflow, foreign_id)
        if record is None:
            raise RunNotFoundError(f"no run with foreign id {foreign_id!r}", workflow=workflow)
        return record

    def list_records(self, query: RecordQuery) -> Page[Record]:
        """As the port says."""
        with self.database.lock:
            return self.database.runs.page(query, self._is_driven)

    def count_records(self, query: RecordQuery) -> Mapping[tuple[str, int, RunState], int]:
        """All at one instant."""
        with self.database.lock:
            return self.database.runs.counts(query, self._is_driven)

    def history(self, run_id: str) -> Sequence[HistoryEntry]:
        """Every version until the run is purged."""
        with self.database.lock:
            self._found(run_id)
            return self.database.runs.history(run_id)

    def erase_copies(self, run_id: str) -> Erasure:
        """Blanks reasons and errors in the history, search attributes, and headers of events."""
        with self.database.lock:
            self.database.runs.blank_copies(run_id)
            self.database.outbox.blank(run_id)
        return Erasure(
            erased=[
                "its history: errors and reasons",
                "its search attributes",
                "its events in the outbox: headers",
            ]
        )

    def purge(
        self, query: RecordQuery, *, doomed: Callable[[Sequence[str]], None] | None = None
    ) -> int:
        """As the port says, the runs created first going first."""
        database = self.database
        with database.begin():
            with database.lock:
                matching = database.runs.matching(query.replace(after=None), self._is_driven)
                ended = (
                    record.run_id
                    for record in matching
                    if not record.state.is_live and not database.outbox.has_rows_of(record.run_id)
                )
                going = list(islice(ended, query.limit))
            if doomed is not None and going:
                doomed(going)
            with database.lock:
                for run_id in going:
                    database.runs.remove(run_id)
            return len(going)

    def list_outbox_events(self, workflows: Sequence[str], *, limit: int) -> Sequence[OutboxEvent]:
        """As the port says."""
        with self.database.lock:
            return self.database.outbox.due(workflows, self.now(), limit=limit)

    def add_outbox_events(self, events: Sequence[OutboxEvent]) -> None:
        """As the port says."""
        with self.database.lock:
            now = self.now()
            for event in events:
                self.database.outbox.add(event, now)

    def delete_outbox_events(self, ids: Sequence[str]) -> None:
        """As the port says."""
        with self.database.lock:
            for id_ in ids:
                self.database.outbox.delete(id_)

    def claim_outbox_events(
        self, workflows: Sequence[str], *, limit: int, lease: timedelta
    ) -> Sequence[OutboxEvent]:
        """As the port says."""
        with self.database.lock:
            now = self.now()
            claimed = self.database.outbox.due(workflows, now, limit=limit)
            self.database.outbox.hold([row.id for row in claimed], now + lease)
            return claimed

    def delay_outbox_events(self, ids: Sequence[str], delay: timedelta) -> None:
        """As the port says; an event that was delayed for longer keeps its time."""
        with self.database.lock:
            self.database.outbox.delay(ids, self.now() + delay)

    def next_outbox_due(self, workflows: Sequence[str]) -> timedelta | None:
        """Exact; None: there is none."""
        with self.database.lock:
            return self.database.outbox.next_due(workflows, self.now())

    def outbox_backlog(self, workflow: str, *, most: int) -> OutboxBacklog:
        """Of `most` rows at most, those filed first."""
        with self.database.lock:
            return self.database.outbox.backlog(workflow, self.now(), most)

    def outbox_changed(self) -> bool:
        """Exact, but that a row delayed anew counts as well."""
        with self.database.lock:
            before, self._changes_seen = self._changes_seen, self.database.outbox.changes
            return before != self._changes_seen

    def list_outbox(self, *, after: str | None = None, limit: int = 100) -> Page[OutboxEvent]:
        """As the port says; looks at all rows."""
        with self.database.lock:
            items, is_more = self.database.outbox.page(after or "", self.now(), limit)
        return Page(items=items, next=items[-1].id if is_more else None)

    def adopt(self, copies: Sequence[RunCopy]) -> None:
        """As the port says."""
        database = self.database
        mine = {copy.record.run_id for copy in copies}
        with database.begin(), database.lock:
            for record in (copy.record for copy in copies if copy.record.state.is_live):
                live = database.runs.live.get((record.workflow, record.foreign_id))
                if live is not None and live not in mine:
                    raise RunInProgressError(
                        workflow=record.workflow, foreign_id=record.foreign_id, live_run_id=live
                    )
            for run_id in mine & database.runs.rows.keys():
                database.runs.remove(run_id)
            for copy in copies:
                database.runs.adopt(copy.record, copy.history)

    def now(self) -> datetime:
        """The database's clock."""
        return self.database.clock.now()

    def transaction(self) -> AbstractContextManager[StoreTransaction]:
        """As the port says; `MemoryDatabase.begin` tells whom it keeps waiting."""
        return self._transaction()

    def join(self, connection: object) -> StoreTransaction:
        """Write on a `MemoryConnection` that somebody else commits."""
        if not isinstance(connection, MemoryConnection) or (
            connection.database is not self.database
        ):
            raise InputError(
                f"{type(connection).__name__} is no connection of this memory database",
                adapter="memory",
            )
        connection.check_open()
        return MemoryTransaction(connection)

    @contextmanager
    def _transaction(self) -> Iterator[StoreTransaction]:
        with self.database.begin() as connection:
            yield MemoryTransaction(connection)

    def _found(self, run_id: str) -> Record:
        record = self.database.runs.rows.get(run_id)
        if record is None:
            raise RunNotFoundError(f"no run {run_id}", run_id=run_id)
        return record

    def _is_driven(self, record: Record) -> bool:
        return (
            not record.state.is_driven
            or record.skipped
            or (record.next_try_at is not None and record.next_try_at > self.now())
            or self.database.outbox.has_rows_of(record.run_id)
        )
