"""The timeout store in memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Self

from workflow_core.errors import InputError, NotSupportedError
from workflow_core.memory.adapter import MemoryAdapter, MemorySettings, shared_database
from workflow_core.memory.record_store import MemoryRecordStore, MemoryTransaction
from workflow_core.model import Page, Timeout
from workflow_core.ports import AdapterContext, RecordStore, StoreTransaction, TimeoutStore

__all__ = ["MemoryTimeoutStore"]

_AFTER = "after "  # what a page's key begins with


class MemoryTimeoutStore(MemoryAdapter, TimeoutStore):
    """Timers in the memory of this process.

    Args:
        database: where the timers are; over the database of a memory record store they join its
            transactions.
    """

    @classmethod
    def from_config(cls, settings: MemorySettings, context: AdapterContext) -> Self:
        """For the entry point: all memory adapters of one engine share one database."""
        return cls(shared_database(context))

    def create(self, timeout: Timeout) -> None:
        """A batch of one."""
        self.create_many([timeout])

    def create_many(self, timeouts: Sequence[Timeout]) -> None:
        """As the port says."""
        database = self.database
        with database.lock:
            now = database.clock.now()
            for timeout in timeouts:
                database.timers.create(timeout, now)

    def complete(self, key: str) -> bool:
        """A batch of one."""
        return self.complete_many([key])[0]

    def complete_many(self, keys: Sequence[str]) -> Sequence[bool]:
        """As the port says."""
        with self.database.lock:
            return [self.database.timers.close(key) for key in keys]

    def cancel(self, key: str) -> bool:
        """A batch of one."""
        return self.cancel_many([key])[0]

    def cancel_many(self, keys: Sequence[str]) -> Sequence[bool]:
        """As the port says; a timer is closed the same way, whatever for."""
        return self.complete_many(keys)

    def park(self, key: str) -> None:
        """A batch of one."""
        self.park_many([key])

    def park_many(self, keys: Sequence[str]) -> None:
        """As the port says."""
        with self.database.lock:
            for key in keys:
                self.database.timers.park(key)

    def reschedule(
        self, key: str, delay: timedelta, *, attempts: int, error: str, repeat: int = 0
    ) -> None:
        """As the port says; a parked one stays parked."""
        with self.database.lock:
            self._reschedule(key, delay, attempts, error, repeat)

    def reschedule_many(self, timeouts: Sequence[Timeout]) -> None:
        """As the port says, all at one instant."""
        with self.database.lock:
            for timeout in timeouts:
                self._reschedule(
                    timeout.key, timeout.delay, timeout.attempts, timeout.error, timeout.repeat
                )

    def _reschedule(
        self, key: str, delay: timedelta, attempts: int, error: str, repeat: int
    ) -> None:
        due_at = self.database.clock.now() + delay
        self.database.timers.reschedule(key, due_at, attempts=attempts, error=error, repeat=repeat)

    def list_valid(self, workflows: Sequence[str], *, limit: int) -> Sequence[Timeout]:
        """As the port says."""
        database = self.database
        with database.lock:
            return database.timers.due(workflows, database.clock.now(), limit=limit)

    def list_soon(
        self, workflows: Sequence[str], *, within: timedelta, limit: int
    ) -> Sequence[Timeout]:
        """As the port says, and exact."""
        database = self.database
        with database.lock:
            now = database.clock.now()
            return database.timers.soon(workflows, now, now + within, limit=limit)

    def list_timeouts(
        self, workflow: str, *, after: str | None = None, limit: int = 100
    ) -> Page[Timeout]:
        """As the port says."""
        with self.database.lock:
            items, is_more = self.database.timers.page(workflow, self._place(after), limit)
        return Page(items=items, next=_AFTER + items[-1].key if is_more else None)

    def of_run(self, workflow: str, run_id: str) -> Sequence[Timeout]:
        """As the port says, without looking at others."""
        with self.database.lock:
            return self.database.timers.of_run(workflow, run_id)

    @staticmethod
    def _place(after: str | None) -> str | None:
        if after is not None and not after.startswith(_AFTER):
            raise InputError(f"{after!r} is no page of this store", adapter="memory")
        return None if after is None else after.removeprefix(_AFTER)

    def forget(self, run_ids: Sequence[str]) -> None:
        """As the port says."""
        with self.database.lock:
            for run_id in run_ids:
                self.database.timers.forget(run_id)

    def closed_keys(self, run_ids: Sequence[str]) -> Sequence[str]:
        """As the port says."""
        with self.database.lock:
            return [key for run_id in run_ids for key in self.database.timers.closed_of(run_id)]

    def closed_runs(
        self, workflow: str, *, after: str | None = None, limit: int = 1000
    ) -> Page[str]:
        """Looks at so many runs at most."""
        with self.database.lock:
            items, last = self.database.timers.closed_runs(workflow, self._place(after), limit)
        return Page(items=items, next=None if last is None else _AFTER + last)

    def next_due(self, workflows: Sequence[str]) -> timedelta | None:
        """Exact; None: there is none."""
        database = self.database
        with database.lock:
            return database.timers.next_due(workflows, database.clock.now())

    def joins(self, store: RecordStore) -> bool:
        """Whether it is a memory store over the same database."""
        return isinstance(store, MemoryRecordStore) and store.database is self.database

    def write_within(
        self, transaction: StoreTransaction, *, arm: Sequence[Timeout], cancel: Sequence[str]
    ) -> None:
        """As the port says."""
        if not isinstance(transaction, MemoryTransaction) or (
            transaction.connection.database is not self.database
        ):
            raise NotSupportedError(
                f"{type(transaction).__name__} is no transaction of this memory database",
                adapter="memory",
            )
        transaction.connection.change_timers(arm, cancel)
