"""The relay: sends what nobody else will.

That is what a dead or overloaded writer left in the outbox, what was delayed (a delayed event *is*
the retry), and what was written by clients and inside users' transactions. Any number may run:
each claims what it sends. Where the store offers no claims, the relay is a role.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Sequence
from datetime import timedelta

from workflow_core.engine.gate import Gate
from workflow_core.engine.observers import Observers
from workflow_core.engine.process import Process
from workflow_core.engine.telling import of_event
from workflow_core.errors import AdapterError, AdapterUnavailableError
from workflow_core.model import UNSTAMPED, Event, EventsPublished, OutboxEvent
from workflow_core.ports import Capability, Clock, EventSender, EventStreamer, RecordStore

__all__ = ["Relay"]

logger = logging.getLogger("workflow_core.engine")

_LEASE = timedelta(seconds=10)  # a relay that dies gives its claims back after so long
_SEND_TIMEOUT = timedelta(seconds=8)  # less than the lease
_POLL = 1.0  # seconds between two looks where the store cannot tell what comes
_LOOK_ANYWAY = 5.0  # seconds; a dead writer's rows become due by time alone
_REFUSED_AGAIN = timedelta(minutes=1)
_BATCH = 500
_NOW = timedelta(0)


class Relay(Process):
    """Claims due outbox events, publishes them, and forgets their rows.

    Args:
        store, streamer: the two ends.
        workflows: whose events it relays.
        joined: whether an event can be moved within one transaction.
        gate: open while this process may relay.
        observers: told what was published.
    """

    name = "relay"

    def __init__(
        self,
        store: RecordStore,
        streamer: EventStreamer,
        workflows: Sequence[str],
        *,
        joined: bool,
        gate: Gate,
        clock: Clock,
        observers: Observers | None = None,
    ) -> None:
        self._store = store
        self._streamer = streamer
        self._workflows = list(workflows)
        self._joined = joined
        self._gate = gate
        self._clock = clock
        self._observers = observers
        self._sender: EventSender | None = None
        self._look_at = 0.0
        self._lock = threading.Lock()
        self._filed = threading.Event()
        self._tells_changes = Capability.WAKES in store.capabilities

    def poll(self, wait: timedelta) -> bool:
        """Move one batch, or wait until something may be due."""
        if not self._gate.is_open:
            self._gate.wait(wait)
            return False
        if not self._may_be_due(wait) or not self._is_due():
            return False
        events = self._store.claim_outbox_events(self._workflows, limit=_BATCH, lease=_LEASE)
        if events:
            self._move(events)
        return bool(events)

    def expect(self, delay: timedelta) -> None:
        """Something that this process filed will be due after `delay`. Any thread."""
        at = self._clock.monotonic() + delay.total_seconds()
        with self._lock:
            if at >= self._look_at:
                return
            self._look_at = at
        self._filed.set()

    def wake(self) -> None:
        """End a wait."""
        self._filed.set()

    def next_due(self) -> timedelta | None:
        """When the next event is due by the store, and it is time to look."""
        due = self._store.next_outbox_due(self._workflows)
        if due is None:
            return None
        return max(due, timedelta(seconds=self._look_at - self._clock.monotonic()))

    def close(self) -> None:
        """Close the sender."""
        if self._sender is not None:
            self._sender.close()
            self._sender = None

    def _may_be_due(self, wait: timedelta) -> bool:
        """Whether it is worth asking the store; waits for that at most `wait`."""
        rest = self._look_at - self._clock.monotonic()
        if rest <= 0:
            return True
        self._filed.wait(min(wait.total_seconds(), rest))
        self._filed.clear()
        return self._clock.monotonic() >= self._look_at or (
            self._tells_changes and self._store.outbox_changed()
        )

    def _is_due(self) -> bool:
        with self._lock:
            self._look_at = math.inf  # what is expected while we ask must not be overwritten
        try:
            due = self._store.next_outbox_due(self._workflows)
        except BaseException:
            self.expect(_NOW)  # else the store would never be asked again
            raise
        if due is None:  # nothing there, or a store that cannot tell
            seconds = _LOOK_ANYWAY if self._tells_changes else _POLL
        else:
            seconds = min(due.total_seconds(), _LOOK_ANYWAY)
        with self._lock:
            self._look_at = min(self._look_at, self._clock.monotonic() + max(0.0, seconds))
        return seconds <= 0 or (due is None and not self._tells_changes)

    def _move(self, events: Sequence[OutboxEvent]) -> None:
        if not self._joined:
            self._publish(events)
            return
        try:
            self._move_within_transaction(events)
        except AdapterUnavailableError:
            raise
        except AdapterError as error:
            logger.debug("one of %d events is refused, each for itself now: %s", len(events), error)
            self._publish(events)

    def _move_within_transaction(self, events: Sequence[OutboxEvent]) -> None:
        with self._store.transaction() as transaction:
            ours = set(transaction.delete_outbox_events([filed.id for filed in events]))
            moved = [_as_of_now(filed) for filed in events if filed.id in ours]
            if moved:
                self._streamer.send_within(transaction, moved)
        self._tell(len(moved))

    def _publish(self, events: Sequence[OutboxEvent]) -> None:
        if self._sender is None:
            self._sender = self._streamer.new_sender()
        outcomes = self._sender.send_many([_as_of_now(filed) for filed in events], _SEND_TIMEOUT)
        published, unsent, refused = [], [], []
        for filed, outcome in zip(events, outcomes, strict=True):
            if outcome is None:
                published.append(filed.id)
            elif isinstance(outcome, AdapterUnavailableError):
                unsent.append(filed.id)
            else:
                refused.append(filed.id)
                logger.error(
                    "run %s: its event for topic %s is refused: %s",
                    filed.event.run_id,
                    filed.event.topic,
                    outcome,
                    extra=of_event(filed.event, process_name=self.name),
                )
        self._tell(len(published))
        if published:
            self._store.delete_outbox_events(published)
        if refused:
            self._store.delay_outbox_events(refused, _REFUSED_AGAIN)
        if unsent:
            self._store.delay_outbox_events(unsent, _NOW)
            raise AdapterUnavailableError(f"{len(unsent)} events could not be published")

    def _tell(self, published: int) -> None:
        if self._observers is not None and published:
            self._observers.tell(EventsPublished(by="relay", count=published))


def _as_of_now(filed: OutboxEvent) -> Event:
    """Its age begins now: the time it was meant to wait is no lag."""
    return filed.event.replace(created_at=UNSTAMPED)
