"""Where a verb reads and writes: on the engine's own, or in a transaction that somebody else ends.

A verb of the engine's own asks again when the store does not answer, and is committed when it
returns. In somebody else's transaction nothing is asked twice and nothing is committed: what went
wrong is told, and whoever began the transaction rolls it back and begins it again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from functools import partial
from typing import Any

from workflow_core.definition import Workflow
from workflow_core.engine.core import Core
from workflow_core.engine.observed_ports import adapter_of
from workflow_core.engine.patience import patiently
from workflow_core.engine.step_transaction import lending, lent
from workflow_core.errors import (
    NotSupportedError,
    ServingError,
    StoreBusyError,
    VersionConflictError,
)
from workflow_core.model import Record, RunState
from workflow_core.ports import Capability, Outcome, StoreTransaction, Write

__all__ = [
    "JoinedLedger",
    "Ledger",
    "OwnLedger",
    "check_lends",
    "check_transactional",
    "ledger_here",
]


class Ledger(ABC):
    """Reads and writes runs for one verb.

    Attributes:
        is_unsure: whether a try of the last `commit` got no answer, so that it may have taken
            effect though the next one lost.
    """

    is_unsure = False

    def __init__(self, core: Core) -> None:
        self._core = core
        self._seen: dict[str, RunState] = {}  # by run, where somebody observes

    def saw(self, records: Iterable[Record]) -> None:
        """What it is about to write over, for observers; `lookup` and `lock` say so themselves."""
        if self._core.observers is not None:
            self._seen = {record.run_id: record.state for record in records}

    def _changes(
        self, writes: Sequence[Write], outcomes: Sequence[Outcome]
    ) -> list[tuple[str, RunState | None, RunState]]:
        """Of which workflow's runs the state has changed, from what to what."""
        changes: list[tuple[str, RunState | None, RunState]] = []
        for write, outcome in zip(writes, outcomes, strict=True):
            record = write.record
            before = self._seen.get(record.run_id)
            if outcome is None and (before is not None or record.version == 1):
                changes.append((record.workflow, before, record.state))
        return changes

    @abstractmethod
    def lookup(self, run_ids: Sequence[str]) -> Mapping[str, Record]:
        """Those of the runs that exist, as they are now.

        Raises:
            AdapterUnavailableError: no answer.
        """

    @abstractmethod
    def lock(self, run_ids: Sequence[str]) -> Mapping[str, Record]:
        """As `lookup`, by one who is about to write them."""

    @abstractmethod
    def latest(self, workflow: str, foreign_id: str) -> Record:
        """The live run of the foreign id, else the last. Raises RunNotFoundError too."""

    @abstractmethod
    def commit(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        """Write each for itself, with its events; outcomes in order.

        Raises:
            AdapterUnavailableError: nobody knows what was written.
        """

    @abstractmethod
    def now(self) -> datetime:
        """The store's clock."""

    def lent(self) -> AbstractContextManager[object]:
        """Around a user's body: its verbs write where this ledger does. Default: they need not."""
        return nullcontext()


class OwnLedger(Ledger):
    """The engine's own transactions, one a call. One thread at a time."""

    def lookup(self, run_ids: Sequence[str]) -> Mapping[str, Record]:
        """From the primary."""
        found = patiently(
            lambda: self._core.store.lookup_many(run_ids, primary=True), self._core.crew.manual
        )
        self.saw(found.values())
        return found

    def lock(self, run_ids: Sequence[str]) -> Mapping[str, Record]:
        """Keeps nobody out: who loses reads again."""
        return self.lookup(run_ids)

    def latest(self, workflow: str, foreign_id: str) -> Record:
        """From the primary."""
        return self._core.store.latest(workflow, foreign_id)

    def commit(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        """Durable on return, and its events on their way."""
        tries = 0

        def commit() -> Sequence[Outcome]:
            nonlocal tries
            tries += 1
            return self._core.journal.gathering.commit(writes)

        outcomes = patiently(commit, self._core.crew.manual)
        self.is_unsure = tries > 1
        if self._core.observers is not None:
            for change in self._changes(writes, outcomes):
                self._core.observers.changed(*change)
        return outcomes

    def now(self) -> datetime:
        """Asked of the store."""
        return patiently(self._core.store.now, self._core.crew.manual)


class JoinedLedger(Ledger):
    """Somebody else's transaction. One thread at a time, until that transaction ends.

    Its events are outbox rows and nothing else: an event in the stream whose transaction stays
    open for minutes would hold up all readers behind it.

    Args:
        core: the engine's.
        transaction: what is written in.
        once_committed: given what is to be called once it has committed; None: nobody here learns
            whether it does, so observers are told nothing of what is written in it.
    """

    def __init__(
        self,
        core: Core,
        transaction: StoreTransaction,
        once_committed: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        super().__init__(core)
        self._transaction = transaction
        self._once_committed = once_committed

    def lookup(self, run_ids: Sequence[str]) -> Mapping[str, Record]:
        """What the transaction sees, its own writes included."""
        found = self._transaction.lookup_many(run_ids)
        self.saw(found.values())
        return found

    def lock(self, run_ids: Sequence[str]) -> Mapping[str, Record]:
        """As last committed, until the transaction's end."""
        found = self._transaction.lock_many(run_ids)
        self.saw(found.values())
        return found

    def latest(self, workflow: str, foreign_id: str) -> Record:
        """What the transaction sees, its own writes included."""
        return self._transaction.latest(workflow, foreign_id)

    def commit(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        """Commits nothing: whoever began the transaction does.

        Raises:
            StoreBusyError: others were in the way; the transaction is to be begun again.
        """
        outcomes = self._core.journal.store_joined(self._transaction, writes)
        for outcome in outcomes:
            # what was locked was changed all the same: this transaction sees an older state
            if isinstance(outcome, VersionConflictError) and outcome.expected:
                raise StoreBusyError(
                    f"run {outcome.run_id} was changed by others meanwhile",
                    run_id=outcome.run_id,
                    hint="Roll the transaction back and retry it",
                ) from outcome
        observers = self._core.observers
        if observers is not None and self._once_committed is not None:
            for change in self._changes(writes, outcomes):
                self._once_committed(partial(observers.changed, *change))
        return outcomes

    def now(self) -> datetime:
        """Asked of the store, on a connection of its own."""
        return self._core.store.now()

    def lent(self) -> AbstractContextManager[object]:
        """In the very transaction: one of their own would wait for it."""
        return lending(self._core.store, self._transaction)


def ledger_here(core: Core) -> Ledger:
    """That of the body that runs here, else the engine's own. Raises AdapterError."""
    body = lent(core.store)
    if body is None:
        return OwnLedger(core)
    return JoinedLedger(core, body.for_verb(), body.once_committed)


def check_lends(core: Core) -> None:
    """Refuse to join transactions of a store that has none.

    Raises:
        NotSupportedError: no TRANSACTIONS.
    """
    if Capability.TRANSACTIONS not in core.store.capabilities:
        raise NotSupportedError(
            f"{type(adapter_of(core.store)).__name__} knows no transactions that one could join",
            hint="Leave connection= out, or choose a record store in your database, such as sql",
        )


def check_transactional(workflows: Sequence[Workflow[Any, Any]], core: Core) -> None:
    """Refuse to serve steps in transactions where the record store has none.

    Raises:
        ServingError: names the first such step.
    """
    for workflow in workflows:
        for step in workflow.steps.values():
            if step.transaction and Capability.TRANSACTIONS not in core.store.capabilities:
                raise ServingError(
                    f"step {step.told} wants a transaction,"
                    f" and {type(adapter_of(core.store)).__name__} lends none",
                    workflow=workflow.name,
                    hint="Choose a record store in your database, such as sql",
                )
