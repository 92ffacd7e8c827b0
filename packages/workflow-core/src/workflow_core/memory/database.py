"""The one database behind the memory adapters, and its transactions."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Self

from workflow_core.errors import (
    AdapterError,
    AdapterUnavailableError,
    RunInProgressError,
    StoreBusyError,
    VersionConflictError,
)
from workflow_core.memory.event_log import EventLog
from workflow_core.memory.outbox import Outbox
from workflow_core.memory.role_book import RoleBook
from workflow_core.memory.run_table import RunTable
from workflow_core.memory.timer_table import TimerTable
from workflow_core.model import Event, OutboxEvent, Record, SearchValue, Timeout
from workflow_core.ports import Clock, Closable, Outcome, SystemClock, Write, in_forked_child
from workflow_core.ports.record_store import check_distinct

__all__ = ["MemoryConnection", "MemoryDatabase"]

_WRITER_PATIENCE = 5.0  # seconds that a writer waits for another one's open transaction


class MemoryDatabase(Closable):
    """Runs, outbox, events, timers and roles in the memory of this process, gone with it.

    Any number of adapters share it; adapters of several instances over one database are a cluster
    in one process. Any thread may use it; a forked child may not: it would write to a copy that
    nobody else sees, so its adapters answer `ClosedError`. There is one writer of runs at a time: a
    transaction makes others wait for its end, for five seconds at most, then they get an
    `AdapterUnavailableError`. Readers never wait and see what is committed.

    Args:
        clock: the clock to stamp and compare by; None: the machine's.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock: Clock = SystemClock() if clock is None else clock
        self.is_parents = False
        """Whether this process was forked from the one that has the runs."""
        self._start()
        in_forked_child(self._forked)

    def _start(self) -> None:
        self.lock = threading.Lock()  # guards the tables; held for moments only
        self.runs = RunTable()
        self.outbox = Outbox()
        self.log = EventLog(self.lock)
        self.numbers: dict[str, int] = {}  # of foreign streams: how many events each ever had
        self.timers = TimerTable()
        self.roles = RoleBook(self.lock, self.clock)
        self._writing = threading.Lock()  # held for as long as a transaction is open
        self._writer: int | None = None  # the thread that took it

    def _forked(self) -> None:
        self.is_parents = True
        self._start()  # locks may be held by threads that do not exist here

    def begin(self) -> MemoryConnection:
        """A transaction, to be used in ``with``: leaving commits, an exception rolls back.

        Raises:
            StoreBusyError: this very thread has one open already, and would wait for ever.
            AdapterUnavailableError: another one has been open for too long.
        """
        if not self._writing.acquire(blocking=False):
            if self._writer == threading.get_ident():
                raise StoreBusyError(
                    "this thread writes to the memory store while it has a transaction of it open",
                    adapter="memory",
                    hint="Write through that transaction, or after its end",
                )
            if not self._writing.acquire(timeout=_WRITER_PATIENCE):
                raise AdapterUnavailableError(
                    f"another transaction has been open for over {_WRITER_PATIENCE:g} s",
                    adapter="memory",
                )
        self._writer = threading.get_ident()
        return MemoryConnection(self)

    def release_writer(self) -> None:
        """Let the next writer in; called by the connection that ends."""
        self._writer = None
        self._writing.release()

    def vanish(self, instance: str) -> None:
        """Kill the process of this instance, as far as the database can see: for simulations.

        Its receivers and its scheduler answer `ClosedError` from now on. What it had received and
        not acked comes again, marked suspect. Its roles are free, and suspect, after the lease
        time. Transactions are not an instance's: roll back what it had open.
        """
        with self.lock:
            self.log.vanish(instance, self.clock.now())
            self.roles.vanish(instance)


class MemoryConnection:
    """An open transaction of a `MemoryDatabase`. One thread at a time.

    What it writes is kept aside, and put into the tables in one step by ``commit``.
    """

    def __init__(self, database: MemoryDatabase) -> None:
        self.database = database
        self._is_open = True
        self.stamped_at: datetime | None = None
        self._written: list[Record] = []
        self._runs: dict[str, Record] = {}
        self._live: dict[tuple[str, str], str | None] = {}
        self._filed: list[tuple[OutboxEvent, datetime]] = []
        self._deleted: dict[str, None] = {}
        self._sent: list[Event] = []
        self._timers: list[tuple[Sequence[Timeout], Sequence[str], datetime]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        if not self._is_open:
            return
        if failure is None:
            self.commit()
        else:
            self.rollback()

    def store_many(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        """Write runs with their events; as `RecordStore.store_many`."""
        self.check_open()
        check_distinct(writes)
        now = self.stamped_at = self.database.clock.now()
        return [self._store(write, now) for write in writes]

    def delete_outbox_events(self, ids: Sequence[str]) -> Sequence[str]:
        """Delete outbox rows, and answer the ids of those that were there."""
        self.check_open()
        with self.database.lock:
            present = self.database.outbox.present(ids)
        mine = [id_ for id_ in present if id_ not in self._deleted]
        self._deleted.update(dict.fromkeys(mine))
        filed = {row.id for row, _ in self._filed}.intersection(ids) - set(mine)
        self._filed = [(row, at) for row, at in self._filed if row.id not in filed]
        return [*mine, *filed]

    def lookup_many(self, run_ids: Sequence[str]) -> dict[str, Record]:
        """Those of the runs that exist, what was written here included."""
        self.check_open()
        with self.database.lock:
            rows = self.database.runs.rows
            return {
                run_id: self._runs.get(run_id) or rows[run_id]
                for run_id in run_ids
                if run_id in self._runs or run_id in rows
            }

    def latest(self, workflow: str, foreign_id: str) -> Record | None:
        """The live run of the foreign id, else the one created last; None: there is none."""
        self.check_open()
        mine = [
            record
            for record in self._runs.values()
            if (record.workflow, record.foreign_id) == (workflow, foreign_id)
        ]
        with self.database.lock:
            found = self.database.runs.latest(workflow, foreign_id)
        if found is not None and found.run_id not in self._runs:
            mine.append(found)
        return max(mine, key=lambda r: (r.state.is_live, r.created_at, r.run_id), default=None)

    def send(self, events: Sequence[Event]) -> None:
        """Publish when, and only if, this commits."""
        self.check_open()
        self._sent.extend(events)

    def change_timers(self, arm: Sequence[Timeout], cancel: Sequence[str]) -> None:
        """Arm and cancel timers when, and only if, this commits."""
        self.check_open()
        self._timers.append((arm, cancel, self.database.clock.now()))

    def commit(self) -> None:
        """Put all that was written into the tables, visible to all at once."""
        self.check_open()
        self._is_open = False
        database = self.database
        try:
            with database.lock:
                for record in self._written:
                    database.runs.put(record)
                for id_ in self._deleted:
                    database.outbox.delete(id_)
                for row, at in self._filed:
                    database.outbox.add(row, at)
                for arm, cancel, at in self._timers:
                    for timeout in arm:
                        database.timers.create(timeout, at)
                    for key in cancel:
                        database.timers.close(key)
                if self._sent:
                    now = database.clock.now()
                    for event in self._sent:
                        database.log.append(event, now)
        finally:
            database.release_writer()

    def rollback(self) -> None:
        """Forget all that was written."""
        self.check_open()
        self._is_open = False
        self.database.release_writer()

    def check_open(self) -> None:
        """Raises `AdapterError` once it was committed or rolled back."""
        if not self._is_open:
            raise AdapterError("this transaction has ended already", adapter="memory")

    def _store(self, write: Write, now: datetime) -> Outcome:
        new = write.record
        runs = self.database.runs
        old = self._runs.get(new.run_id) or runs.rows.get(new.run_id)
        if (0 if old is None else old.version) != new.version - 1:
            if old is not None and (old.version, old.write_id) == (new.version, new.write_id):
                return None  # this very write was here before, its answer was lost
            return VersionConflictError(
                run_id=new.run_id,
                expected=new.version - 1,
                found=None if old is None else old.version,
            )
        foreign_key = (new.workflow, new.foreign_id)
        if old is not None and (old.workflow, old.foreign_id) != foreign_key:
            return AdapterError(
                "a run keeps its workflow and foreign id", run_id=new.run_id, adapter="memory"
            )
        if new.state.is_live:
            live = self._live_run(foreign_key)
            if live is not None and live != new.run_id:
                return RunInProgressError(
                    workflow=new.workflow, foreign_id=new.foreign_id, live_run_id=live
                )
            self._live[foreign_key] = new.run_id
        elif old is not None and old.state.is_live:
            self._live[foreign_key] = None
        stamped = new.replace(
            created_at=now if old is None else old.created_at,
            updated_at=now,
            entered_at=(
                now if old is None or new.entered_version == new.version else old.entered_at
            ),
            next_try_at=None if write.retry_in is None else now + write.retry_in,
            search=_search(write, old),
        )
        self._runs[new.run_id] = stamped
        self._written.append(stamped)
        for row in write.events:
            self._filed.append((row, now))
        return None

    def _live_run(self, foreign_key: tuple[str, str]) -> str | None:
        if foreign_key in self._live:
            return self._live[foreign_key]
        return self.database.runs.live.get(foreign_key)


def _search(write: Write, old: Record | None) -> Mapping[str, SearchValue]:
    if write.search is not None:
        return write.search
    return {} if old is None else old.search
