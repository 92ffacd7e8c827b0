"""The port of the timeout store: durable timers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import timedelta

from workflow_core.errors import NotSupportedError
from workflow_core.model import Page, Timeout
from workflow_core.ports.adapter import Adapter
from workflow_core.ports.record_store import RecordStore
from workflow_core.ports.store_transaction import StoreTransaction

__all__ = ["TimeoutStore"]


class TimeoutStore(Adapter, ABC):
    """Durable timers. ``Timeout.key`` (run, version of entry, timer name) is made by the core.

    A timer is open (due at a time, or parked) until it is completed or cancelled; a closed key is
    remembered until `forget`, so that a late create does not arm it again. All methods may be
    repeated after an `AdapterUnavailableError`.
    """

    # -- to be written -------------------------------------------------------------------------

    @abstractmethod
    def create(self, timeout: Timeout) -> None:
        """Arm it: due ``delay`` from now.

        The same key again changes nothing, but that a parked one is due again, at the time it had.

        Raises:
            AdapterUnavailableError: nobody knows whether it is armed: create it again.
        """

    @abstractmethod
    def complete(self, key: str) -> bool:
        """It fired. True for the one caller that closed it, False for all others and unknown keys.

        Raises:
            AdapterUnavailableError: nobody knows: ask again, and take False for "perhaps mine".
        """

    @abstractmethod
    def cancel(self, key: str) -> bool:
        """It shall not fire. True for the one caller that closed it. Raises as `complete`."""

    @abstractmethod
    def park(self, key: str) -> None:
        """Its run is paused: not due until it is created again. Closed and unknown keys: nothing.

        Raises:
            AdapterUnavailableError: nobody knows: park it again.
        """

    @abstractmethod
    def reschedule(
        self, key: str, delay: timedelta, *, attempts: int, error: str, repeat: int = 0
    ) -> None:
        """It failed or repeats: due again ``delay`` from now. Closed and unknown keys: nothing.

        ``repeat`` is kept only where it is more than what is there: idempotency keys are made of
        it, and what a process that was frozen says late must not let two repeats share one.

        Raises:
            AdapterUnavailableError: nobody knows: reschedule it again.
        """

    @abstractmethod
    def list_valid(self, workflows: Sequence[str], *, limit: int) -> Sequence[Timeout]:
        """Open timers of these workflows that are due, earliest first; parked ones are not.

        Raises:
            AdapterUnavailableError: no answer.
        """

    @abstractmethod
    def list_timeouts(
        self, workflow: str, *, after: str | None = None, limit: int = 100
    ) -> Page[Timeout]:
        """All open timers, parked ones too: for people, and for moving to another adapter.

        In order of key. Raises:
            InputError: ``after`` is none of this store's.
            AdapterUnavailableError: no answer.
        """

    # -- may be overridden ---------------------------------------------------------------------

    def list_soon(
        self, workflows: Sequence[str], *, within: timedelta, limit: int
    ) -> Sequence[Timeout]:
        """As `list_valid`, and with them those that will be due within ``within``.

        The engine looks their runs up before their time, and calls their functions on it. So
        ``delay`` tells of each how long that is, by the store's clock at some moment of the call:
        zero or less where it is due. Default: only those that are due.

        Raises:
            AdapterUnavailableError: no answer.
        """
        return self.list_valid(workflows, limit=limit)

    def create_many(self, timeouts: Sequence[Timeout]) -> None:
        """Each as `create`."""
        for timeout in timeouts:
            self.create(timeout)

    def complete_many(self, keys: Sequence[str]) -> Sequence[bool]:
        """Each as `complete`, answers in order."""
        return [self.complete(key) for key in keys]

    def cancel_many(self, keys: Sequence[str]) -> Sequence[bool]:
        """Each as `cancel`, answers in order."""
        return [self.cancel(key) for key in keys]

    def park_many(self, keys: Sequence[str]) -> None:
        """Each as `park`."""
        for key in keys:
            self.park(key)

    def reschedule_many(self, timeouts: Sequence[Timeout]) -> None:
        """Each as `reschedule`, by key, delay, attempts, error and repeat."""
        for timeout in timeouts:
            self.reschedule(
                timeout.key,
                timeout.delay,
                attempts=timeout.attempts,
                error=timeout.error,
                repeat=timeout.repeat,
            )

    def forget(self, run_ids: Sequence[str]) -> None:
        """These runs have ended: drop all that is kept of them, open and closed keys alike.

        Default: it is kept.

        Raises:
            AdapterUnavailableError: some may be left: forget them again.
        """

    def closed_runs(
        self, workflow: str, *, after: str | None = None, limit: int = 1000
    ) -> Page[str]:
        """Runs of which closed timers are remembered: those that have ended are to be forgotten.

        Each once, in an order of the store's. A page may hold few or none though others follow.
        Default: none, for a store whose memory of closed timers ends by itself.

        Raises:
            InputError: ``after`` is none of this store's.
            AdapterUnavailableError: no answer.
        """
        return Page(items=[])

    def closed_keys(self, run_ids: Sequence[str]) -> Sequence[str]:
        """The keys of the closed timers that are remembered of these runs.

        For moving to another adapter. Default: none, so that one which fired and left its run
        where it was may be armed again by the adapter moved to.

        Raises:
            AdapterUnavailableError: no answer.
        """
        return []

    def of_run(self, workflow: str, run_id: str) -> Sequence[Timeout]:
        """The open timers of one run, parked ones too: for people, who ask for one run at a time.

        Default: walks `list_timeouts`, which takes as long as the workflow has timers.

        Raises:
            AdapterUnavailableError: no answer.
        """
        found: list[Timeout] = []
        page = self.list_timeouts(workflow, limit=1000)
        while True:
            found += [timeout for timeout in page.items if timeout.run_id == run_id]
            if page.next is None:
                return found
            page = self.list_timeouts(workflow, after=page.next, limit=1000)

    def next_due(self, workflows: Sequence[str]) -> timedelta | None:
        """How long until a timer of these is due, by the store's clock; zero or less: one is now.

        None: there is none, or the store cannot tell (the default); the poller then polls.

        Raises:
            AdapterUnavailableError: no answer.
        """
        return None

    def joins(self, store: RecordStore) -> bool:
        """Whether `write_within` works with transactions of this very store. Default: no.

        Raises:
            AdapterUnavailableError: no answer.
        """
        return False

    def write_within(
        self, transaction: StoreTransaction, *, arm: Sequence[Timeout], cancel: Sequence[str]
    ) -> None:
        """Arm and cancel on the store's transaction, with the transition that needs it.

        Raises:
            AdapterUnavailableError: the transaction is lost; leave it and start again.
            NotSupportedError: it does not join (the default).
        """
        raise NotSupportedError(f"{type(self).__name__} cannot write within a transaction")
