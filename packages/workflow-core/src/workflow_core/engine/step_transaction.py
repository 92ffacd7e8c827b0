"""The transaction that a body shares with its transition: a step's, opened when it is first needed.

While the body runs, the verbs of the same engine write in it too, wherever they are called from in
that thread: with a database that lets one transaction write at a time a verb with a transaction of
its own would wait for the very step that called it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from workflow_core.errors import AdapterError, StoreBusyError
from workflow_core.ports import Clock, RecordStore, StoreTransaction

__all__ = ["Slots", "StepTransaction", "forget_lent", "lending", "lent"]

logger = logging.getLogger("workflow_core.engine")

_LONG = 5.0  # seconds after which an open transaction is worth a word


class Lent(Protocol):
    """What the verbs in a body write in."""

    @property
    def store(self) -> RecordStore:
        """Whose transaction it is."""

    @property
    def is_open(self) -> bool:
        """Whether it has begun."""

    def for_verb(self) -> StoreTransaction:
        """The transaction, begun now at the latest. Raises AdapterError."""

    @property
    def once_committed(self) -> Callable[[Callable[[], None]], None] | None:
        """Takes what is to be called once it has committed; None: nobody here learns of it."""


_LENT: ContextVar[Lent | None] = ContextVar("workflow_lent_transaction", default=None)


def lent(store: RecordStore) -> Lent | None:
    """The transaction of the body that is running here, if it is one of this store's."""
    current = _LENT.get()
    return current if current is not None and current.store is store else None


def forget_lent() -> None:
    """In a forked child, which may have been made by a body: its transaction is the parent's."""
    _LENT.set(None)


@contextmanager
def lending(store: RecordStore, transaction: StoreTransaction) -> Iterator[None]:
    """Around a body: the verbs in it write in this transaction, which is somebody else's."""
    token = _LENT.set(_Borrowed(store, transaction))
    try:
        yield
    finally:
        _LENT.reset(token)


@dataclass(frozen=True)
class _Borrowed:
    store: RecordStore
    transaction: StoreTransaction
    is_open: bool = True
    once_committed: None = None

    def for_verb(self) -> StoreTransaction:
        return self.transaction


class Slots:
    """How many steps hold a transaction at once, so that all else never lacks a connection."""

    def __init__(self, store: RecordStore) -> None:
        self.count = max(1, store.transactions_at_once)
        self._free = threading.BoundedSemaphore(self.count)

    def take(self) -> None:
        """Wait for one."""
        self._free.acquire()

    def give_back(self) -> None:
        """The next one may go on."""
        self._free.release()


class _RolledBackError(Exception):
    """Leaves the store's transaction without committing it; never seen outside."""


class StepTransaction:
    """One body's transaction; a context manager around the body. One thread at a time.

    Leaving it rolls back what `commit` has not committed.

    Args:
        store: lends the transaction.
        slots: shared by all steps of the process.
        clock: tells how long it is open.
        name: whose it is, for the log.

    Attributes:
        has_verbs: whether a verb of the engine has taken part in it.
    """

    def __init__(self, store: RecordStore, slots: Slots, clock: Clock, name: str) -> None:
        self.store = store
        self._slots = slots
        self._clock = clock
        self._name = name
        self._lent: AbstractContextManager[StoreTransaction] | None = None
        self._transaction: StoreTransaction | None = None
        self._opened_at = 0.0
        self._token: Token[Lent | None] | None = None
        self._ended = False
        self._then: list[Callable[[], None]] = []
        self.has_verbs = False

    @property
    def is_open(self) -> bool:
        """Whether the body has used it."""
        return self._transaction is not None

    @property
    def joined(self) -> StoreTransaction:
        """The store's transaction, opened now if it is not open yet.

        Raises:
            AdapterUnavailableError: the store does not answer.
            AdapterError: the body has ended.
        """
        if self._transaction is None:
            if self._ended:
                raise AdapterError(
                    f"{self._name} has ended, and with it the transaction of its connection",
                    hint="Use run.connection within the body only",
                )
            self._slots.take()
            try:
                entered = self.store.transaction()
                self._transaction = entered.__enter__()
            except BaseException:
                self._slots.give_back()
                raise
            self._lent = entered
            self._opened_at = self._clock.monotonic()
        return self._transaction

    def for_verb(self) -> StoreTransaction:
        """As `joined`, for a verb that may file events in the outbox."""
        self.has_verbs = True
        return self.joined

    def connection(self) -> Any:
        """What the body knows as ``run.connection``. Raises as `joined`."""
        return self.joined.connection

    def has_lost(self, error: BaseException | None) -> bool:
        """Whether the body's error was others in the way, so that it is no fault of the body."""
        if self._transaction is None or error is None:
            return False
        return isinstance(error, StoreBusyError) or self._transaction.is_contention(error)

    @property
    def once_committed(self) -> Callable[[Callable[[], None]], None]:
        """Takes what is to be called by `commit`."""
        return self._then.append

    def commit(self) -> None:
        """Commit. Raises AdapterUnavailableError: nobody knows whether it was."""
        self._leave(None)
        for call in self._then:
            call()

    def roll_back(self) -> None:
        """Undo all of it; what the store says about that does not matter any more."""
        try:
            self._leave(_RolledBackError())
        except _RolledBackError:
            pass
        except AdapterError as error:
            logger.debug("%s: while rolling back: %s", self._name, error)

    def __enter__(self) -> Self:
        self._token = _LENT.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._token is not None
        _LENT.reset(self._token)
        self.roll_back()
        self._ended = True

    def _leave(self, failure: BaseException | None) -> None:
        leaving, self._lent, self._transaction = self._lent, None, None
        self._ended = True
        if leaving is None:
            return
        try:
            leaving.__exit__(type(failure) if failure else None, failure, None)
        finally:
            self._slots.give_back()
            lasted = self._clock.monotonic() - self._opened_at
            if lasted > _LONG:
                logger.warning(
                    "%s held its transaction open for %.0f s: what it locked had to wait. "
                    "Do slow things before the first use of run.connection",
                    self._name,
                    lasted,
                )
