"""Events: hints that a run has work. The record is the truth; a stale event is dropped."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from workflow_core.model.states import RunState
from workflow_core.model.value import UNSTAMPED, Value

__all__ = ["ConnectorEvent", "Event", "EventKind", "OutboxEvent"]


class EventKind(StrEnum):
    """Why an event exists. Strangers to the workflow care for ENTERED alone."""

    ENTERED = "entered"
    """The run entered the status, or the run state that the event tells."""
    RETRY = "retry"
    """A failed attempt is to be tried again."""
    RESUMED = "resumed"
    REPEATED = "repeated"
    """The step answered Repeat."""
    NUDGE = "nudge"
    """Filed again for a version whose event may be lost, too early, or kept for safety."""


class Event(Value, frozen=True, kw_only=True, gc=False):
    """What travels over a streamer: which run stands where, at which version."""

    id: str
    """A UUIDv7 made by the engine, the same in the outbox and on the stream; a streamer that
    carries no such header (a foreign writer's event) makes one up from its own position."""
    topic: str
    workflow: str
    run_id: str
    foreign_id: str
    status: int
    state: RunState
    version: int
    """The record's version that this event is about."""
    kind: EventKind = EventKind.ENTERED
    target: str = ""
    """The one consumer it is meant for; "" for all."""
    attempt: int = 0
    """How often its target has failed on it."""
    headers: Mapping[str, str] = {}
    created_at: datetime = UNSTAMPED
    """Stamped, where it is not yet, by the store that filed it or the streamer that took it."""


class OutboxEvent(Value, frozen=True, kw_only=True, gc=False):
    """An event on its way into, or kept in, a record store's outbox.

    Its row is hidden until ``delay`` has passed, and for ``held_for`` it belongs to its writer,
    which means to publish it itself. Both count from the store's clock at the write.
    """

    event: Event
    delay: timedelta = timedelta(0)
    """Not before this is the event due: a retry, a repeat, a delayed trigger."""
    held_for: timedelta = timedelta(0)
    """The writer's lease on the row; zero: any relay may take it as soon as it is due."""

    @property
    def id(self) -> str:
        """The event's id names the row too."""
        return self.event.id


class ConnectorEvent(Value, frozen=True, kw_only=True, gc=False):
    """An event of a foreign stream, as a connector source tells it."""

    id: str
    """Unique and stable within its source: what makes a trigger from it idempotent."""
    key: str
    value: bytes
    headers: Mapping[str, str] = {}
    created_at: datetime = UNSTAMPED
