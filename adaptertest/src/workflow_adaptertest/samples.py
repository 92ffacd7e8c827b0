"""Values that cases store and send, and how cases compare and refuse."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, Self, TypeVar

from workflow_core.errors import RunNotFoundError
from workflow_core.model import (
    UNSTAMPED,
    Event,
    OutboxEvent,
    Record,
    RunState,
    Timeout,
    uuid7,
)
from workflow_core.ports import Outcome, StoreTransaction, Write

__all__ = [
    "ORDERS",
    "OnPurposeError",
    "Refusal",
    "Samples",
    "StrangeTransaction",
    "refuses",
    "unstamped",
]

ORDERS = "orders"
"""The workflow of all samples that name none."""

E = TypeVar("E", bound=Exception)

_ZERO = timedelta(0)
_BORN = datetime(2026, 3, 29, tzinfo=UTC)


class Samples:
    """Makes values that differ in all that must be unique. One thread at a time."""

    def __init__(self, source: random.Random) -> None:
        self._random = source
        self._made = 0

    def id(self) -> str:
        """A UUIDv7."""
        return uuid7(_BORN, self._random)

    def record(self, **changes: Any) -> Record:
        """A run as a trigger writes it, with a run id and a foreign id of its own."""
        self._made += 1
        values: dict[str, Any] = {
            "workflow": ORDERS,
            "foreign_id": f"order-{self._made}",
            "run_id": self.id(),
            "status": 1,
            "state": RunState.INITIATED,
            "version": 1,
            "write_id": self.id(),
            "data": b'{"total":99}',
        }
        return Record(**(values | changes))

    def next(self, record: Record, **changes: Any) -> Record:
        """The run's next version: at another status if ``changes`` say so, else a mere retry."""
        values: dict[str, Any] = {
            "version": record.version + 1,
            "write_id": self.id(),
            "state": RunState.RUNNING,
        }
        if "status" in changes:
            values["entered_version"] = record.version + 1
        return record.replace(**(values | changes))

    def ended(self, record: Record, state: RunState = RunState.COMPLETED) -> Record:
        """The run's next version, in which it has ended."""
        return self.next(record, state=state, status=9)

    def event(self, record: Record, **changes: Any) -> Event:
        """The event of this version."""
        values: dict[str, Any] = {
            "id": self.id(),
            "topic": f"{record.workflow}-{record.status}",
            "workflow": record.workflow,
            "run_id": record.run_id,
            "foreign_id": record.foreign_id,
            "status": record.status,
            "state": record.state,
            "version": record.version,
        }
        return Event(**(values | changes))

    def outbox(
        self,
        record: Record,
        *,
        delay: timedelta = _ZERO,
        held_for: timedelta = _ZERO,
        **changes: Any,
    ) -> OutboxEvent:
        """The same, on its way into the outbox."""
        return OutboxEvent(event=self.event(record, **changes), delay=delay, held_for=held_for)

    def write(self, record: Record, *, retry_in: timedelta | None = None) -> Write:
        """The record and one event of it."""
        return Write(record=record, events=[self.outbox(record)], retry_in=retry_in)

    def writes(self, count: int, **changes: Any) -> list[Write]:
        """That many new runs, each with an event."""
        return [self.write(self.record(**changes)) for _ in range(count)]

    def timeout(self, **changes: Any) -> Timeout:
        """A timer of a run of its own."""
        self._made += 1
        run_id = changes.get("run_id", self.id())
        values: dict[str, Any] = {
            "key": f"{run_id}/1/give_up-{self._made}",
            "workflow": ORDERS,
            "run_id": run_id,
            "status": 2,
            "entered_version": 1,
            "name": f"give_up-{self._made}",
        }
        return Timeout(**(values | changes))


def unstamped(records: Sequence[Record]) -> list[Record]:
    """The records without the times that the store stamps, to be compared with what was written."""
    return [
        record.replace(
            created_at=UNSTAMPED, updated_at=UNSTAMPED, entered_at=UNSTAMPED, next_try_at=None
        )
        for record in records
    ]


class Refusal(Generic[E]):
    """What `refuses` caught, in ``error``."""

    error: E

    def __init__(self, kind: type[E], because: str) -> None:
        self._kind = kind
        self._because = because

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> bool:
        if isinstance(error, self._kind):
            self.error = error
            return True
        assert kind is not None, f"no {self._kind.__name__} was raised: {self._because}"
        return False


def refuses(kind: type[E], because: str) -> Refusal[E]:
    """Fails unless the block raises ``kind``; any other error is passed on."""
    return Refusal(kind, because)


class OnPurposeError(Exception):
    """Raised in a transaction to have it rolled back."""


class StrangeTransaction(StoreTransaction):
    """A transaction of no store at all."""

    def store_many(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        return [None] * len(writes)

    def delete_outbox_events(self, ids: Sequence[str]) -> Sequence[str]:
        return ids

    def lookup_many(self, run_ids: Sequence[str]) -> Mapping[str, Record]:
        return {}

    def latest(self, workflow: str, foreign_id: str) -> Record:
        raise RunNotFoundError(f"no run with foreign id {foreign_id!r}", workflow=workflow)
