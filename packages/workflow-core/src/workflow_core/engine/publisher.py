"""The publisher: sends what this process wrote, right after its commit, in batches.

An outbox row belongs to its writer for a few seconds and never afterwards: what could not be sent
within them is dropped here and left to the relays. So a slow broker is never sent an event by both
for long, and a crash between commit and publish loses nothing.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from workflow_core.engine.observers import Observers
from workflow_core.engine.process import Process
from workflow_core.errors import AdapterUnavailableError
from workflow_core.model import Event, EventsPublished
from workflow_core.ports import Clock, EventSender, RecordStore, leave_to_parent

__all__ = ["HELD_FOR", "Publisher", "Ticket"]

HELD_FOR = timedelta(seconds=5)  # the writer's lease on its outbox rows
_MARGIN = 0.5  # seconds before the lease's end after which nothing is sent any more
_LIMIT = 20_000  # events waiting; beyond, writers leave their rows to the relays
_SLOW_DOWN = 2_000  # events waiting; beyond, consumers receive nothing more
_BATCH = 500
_NOW = timedelta(0)


@dataclass(frozen=True, slots=True)
class Ticket:
    """Taken before the write, so that the lease is never thought longer than it is."""

    accepted: bool
    deadline: float


class Publisher(Process):
    """Publishes and deletes in bulk; one per engine. Any thread may offer.

    Args:
        store: whose outbox rows are deleted once their events are published.
        new_sender: opens the sender at the first use.
        clock: its monotonic side measures the leases.
        start: given the publisher at each offer, so that its thread starts with the first.
        observers: told what was published.
    """

    name = "publisher"

    def __init__(
        self,
        store: RecordStore,
        new_sender: Callable[[], EventSender],
        clock: Clock,
        start: Callable[[Process], None],
        observers: Observers | None = None,
    ) -> None:
        self._store = store
        self._new_sender = new_sender
        self._clock = clock
        self._start = start
        self._observers = observers
        self._begin()

    def _begin(self) -> None:
        self._sender: EventSender | None = None
        self._queue: deque[tuple[Event, float]] = deque()
        self._published: list[str] = []
        self._busy = False
        self._ready = threading.Condition()

    def forked(self) -> None:
        """In a forked child: what waits is the parent's to send, and so is its sender."""
        leave_to_parent(self._sender)
        self._begin()

    def ticket(self) -> Ticket:
        """To be taken before the write whose events are to be offered."""
        deadline = self._clock.monotonic() + HELD_FOR.total_seconds() - _MARGIN
        return Ticket(len(self._queue) < _LIMIT, deadline)

    def offer(self, events: Sequence[Event], ticket: Ticket) -> None:
        """Publish these, whose rows are held for this process since the ticket."""
        if not events:
            return
        with self._ready:
            self._queue.extend((event, ticket.deadline) for event in events)
            self._ready.notify()
        self._start(self)

    @property
    def is_crowded(self) -> bool:
        """So much waits that consumers should receive nothing more for now."""
        return len(self._queue) > _SLOW_DOWN

    def poll(self, wait: timedelta) -> bool:
        """Send one batch and delete its rows."""
        self._delete_published()
        batch = self._take(wait)
        if not batch:
            return False
        try:
            self._send(batch)
            self._delete_published()
        finally:
            with self._ready:
                self._busy = False
                self._ready.notify_all()
        return True

    def wake(self) -> None:
        """End a wait for events."""
        with self._ready:
            self._ready.notify()

    def give_up(self) -> None:
        """Leave what is not published to the relays at once."""
        with self._ready:
            ids = [event.id for event, _ in self._queue]
            self._queue.clear()
        for start in range(0, len(ids), _BATCH):
            self._store.delay_outbox_events(ids[start : start + _BATCH], _NOW)

    def drain(self, timeout: timedelta) -> None:
        """Wait until all that was offered is published; leave the rest to the relays at once.

        Raises AdapterUnavailableError: the relays take the rest when its lease has ended.
        """
        self.await_sent(timeout)
        self.give_up()

    def await_sent(self, timeout: timedelta) -> bool:
        """Wait until all that was offered is published and its rows deleted; whether it is."""
        with self._ready:
            return self._ready.wait_for(
                lambda: not (self._queue or self._busy), timeout.total_seconds()
            )

    def close(self) -> None:
        """Close the sender."""
        if self._sender is not None:
            self._sender.close()
            self._sender = None

    def _take(self, wait: timedelta) -> list[tuple[Event, float]]:
        now = self._clock.monotonic()
        with self._ready:
            if not self._queue and wait:
                self._ready.wait(wait.total_seconds())
                now = self._clock.monotonic()
            batch: list[tuple[Event, float]] = []
            while self._queue and len(batch) < _BATCH:
                event, deadline = self._queue.popleft()
                if deadline > now:  # else the row is no longer ours
                    batch.append((event, deadline))
            self._busy = bool(batch)
            if not batch:  # perhaps the leases of all have ended
                self._ready.notify_all()
            return batch

    def _send(self, batch: list[tuple[Event, float]]) -> None:
        rest = min(deadline for _, deadline in batch) - self._clock.monotonic()
        try:
            if self._sender is None:
                self._sender = self._new_sender()
            outcomes = self._sender.send_many(
                [event for event, _ in batch], timedelta(seconds=max(rest, 0.0))
            )
        except AdapterUnavailableError:
            self._put_back(batch)
            raise
        again = [
            entry
            for entry, outcome in zip(batch, outcomes, strict=True)
            if isinstance(outcome, AdapterUnavailableError)
        ]
        sent = [
            event.id for (event, _), outcome in zip(batch, outcomes, strict=True) if outcome is None
        ]
        self._published += sent
        if self._observers is not None and sent:
            self._observers.tell(EventsPublished(by="writer", count=len(sent)))
        # An event that the streamer refuses for good stays in the outbox: the relay reports it.
        if again:
            self._put_back(again)
            self._delete_published()  # before the back-off, which may outlast their lease
            raise AdapterUnavailableError(f"{len(again)} events could not be published")

    def _put_back(self, batch: list[tuple[Event, float]]) -> None:
        with self._ready:
            self._queue.extendleft(reversed(batch))

    def _delete_published(self) -> None:
        if not self._published:
            return
        self._store.delete_outbox_events(self._published)
        self._published = []
