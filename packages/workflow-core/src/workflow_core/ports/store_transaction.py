"""Writes, what becomes of them, and the transactions in which they are made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeAlias

from workflow_core.errors import AdapterError, RunInProgressError, VersionConflictError
from workflow_core.model import HistoryEntry, OutboxEvent, Record, SearchValue, Value

__all__ = ["Outcome", "RunCopy", "StoreTransaction", "Write"]


class Write(Value, frozen=True, kw_only=True, gc=False):
    """One transition: the record as it shall be, and the events that exist if and only if it is."""

    record: Record
    """Version 1 inserts; version n replaces version n-1 of the same run and nothing else."""
    events: Sequence[OutboxEvent] = ()
    retry_in: timedelta | None = None
    """The store sets ``next_try_at`` to now + this; None: it is cleared."""
    search: Mapping[str, SearchValue] | None = None
    """What the run is found by from now on (SEARCH); None: it stays as it was."""


class RunCopy(Value, frozen=True, kw_only=True, gc=False):
    """A run as another store has it, on its way into this one."""

    record: Record
    """With all its stamps and its search attributes."""
    history: Sequence[HistoryEntry] = ()
    """The versions that are kept of it, oldest first."""


Outcome: TypeAlias = VersionConflictError | RunInProgressError | AdapterError | None
"""What became of one write. None: it is stored, also when this very write (same version, same
``write_id``) was there already. Any AdapterError: this item is refused for good."""


class StoreTransaction(ABC):
    """An open transaction of the store's database. One thread at a time."""

    connection: object
    """The driver's own; the user's code and a streamer beside the store write on it."""

    # -- to be written -------------------------------------------------------------------------

    @abstractmethod
    def store_many(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        """Write here; never commit, never retry.

        As `RecordStore.store_many`, but nothing is visible to others until the transaction
        commits. A loser leaves the transaction usable.

        Raises:
            AdapterUnavailableError: the transaction is lost; leave it and start again.
        """

    @abstractmethod
    def delete_outbox_events(self, ids: Sequence[str]) -> Sequence[str]:
        """Delete rows here and answer the ids of those that were there, in any order.

        Whoever gets an id moves its event; nobody else does. Unknown ids are no error.

        Raises:
            AdapterUnavailableError: the transaction is lost; leave it and start again.
        """

    @abstractmethod
    def lookup_many(self, run_ids: Sequence[str]) -> Mapping[str, Record]:
        """Those of the runs that exist for this transaction, what it has written itself included.

        Raises:
            AdapterUnavailableError: the transaction is lost; leave it and start again.
        """

    @abstractmethod
    def latest(self, workflow: str, foreign_id: str) -> Record:
        """As `RecordStore.latest`, as this transaction sees it.

        Raises:
            RunNotFoundError: no run with this foreign id; the transaction stays usable.
            AdapterUnavailableError: the transaction is lost; leave it and start again.
        """

    # -- may be overridden ---------------------------------------------------------------------

    @property
    def stamped_at(self) -> datetime | None:
        """What the last `store_many` has stamped all its writes with, but for those kept before.

        With it the engine knows a record as it is stored, and need not ask. Default: None, not
        told.
        """
        return None

    def lock_many(self, run_ids: Sequence[str]) -> Mapping[str, Record]:
        """As `lookup_many`, but as last committed, and nobody else changes them until the end.

        Waits for others that write them now. Default: `lookup_many`, which keeps nobody out; who
        then writes may lose.

        Raises:
            AdapterUnavailableError: the transaction is lost; leave it and start again.
        """
        return self.lookup_many(run_ids)

    def is_contention(self, error: BaseException) -> bool:
        """Whether `error`, met by a user's statement on the connection, was others in the way.

        Then the same transaction, begun anew, may well succeed. Default: no.
        """
        return False
