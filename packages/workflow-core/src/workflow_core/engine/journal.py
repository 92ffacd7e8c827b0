"""The journal: every write of the engine goes through here.

It knows the one thing that the rest need not: how events leave with their record.

- Streamer and store are one installation: events due now go into the stream in the store's own
  transaction, delayed ones into the outbox.
- They are not: all events go into the outbox; those due now are held for this process, which
  publishes them right after the commit (`Publisher`).
- There is no streamer (a client): all go into the outbox, for the relays of whoever serves.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta

from workflow_core.engine.publisher import HELD_FOR, Publisher
from workflow_core.errors import AdapterError, AdapterUnavailableError
from workflow_core.model import Event, OutboxEvent, Record
from workflow_core.ports import EventStreamer, Outcome, RecordStore, Write

__all__ = ["Journal"]

logger = logging.getLogger("workflow_core.engine")

_NOW = timedelta(0)


class Journal:
    """Commits writes and sees their events off. Any thread.

    Args:
        store: where records live.
        streamer: how events travel, or None for a client that only writes.
        publisher: for events that are not published within the store's transaction.
    """

    def __init__(
        self, store: RecordStore, streamer: EventStreamer | None, publisher: Publisher | None
    ) -> None:
        self._store = store
        self._streamer = streamer
        self._publisher = publisher
        self._joined: bool | None = None
        self._listeners: list[Callable[[Sequence[Record]], None]] = []
        self.on_delayed: Callable[[timedelta], None] = lambda delay: None
        """Told the shortest delay of the events that a commit filed."""

    @property
    def joined(self) -> bool:
        """Whether events are published within the store's transaction."""
        if self._joined is None:
            self._joined = self._streamer is not None and self._streamer.joins(self._store)
        return self._joined

    def listen(self, listener: Callable[[Sequence[Record]], None]) -> None:
        """Tell `listener` the records of each commit, from the committing thread."""
        self._listeners.append(listener)

    def commit(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        """Store each write for itself, with its events; outcomes in order.

        Raises:
            AdapterUnavailableError: nobody knows what was stored: commit the same writes again.
        """
        if not writes:
            return []
        outcomes = self._commit_joined(writes) if self.joined else self._commit_to_outbox(writes)
        stored = [write for write, outcome in zip(writes, outcomes, strict=True) if outcome is None]
        self._tell_delays(event for write in stored for event in write.events)
        records = [write.record for write in stored]
        for listener in self._listeners:
            listener(records)
        return outcomes

    def file(self, events: Sequence[OutboxEvent]) -> None:
        """File events without a write. Raises AdapterUnavailableError: file them again."""
        if not events:
            return
        self._store.add_outbox_events(events)
        self._tell_delays(events)

    def _commit_joined(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        try:
            return self._commit_beside(writes)
        except AdapterUnavailableError:
            raise
        except AdapterError as error:
            # One of the events, nobody knows which: the relay finds it, and no other waits for it.
            logger.error("the stream refuses an event for good, left to the relay: %s", error)
            return self._commit_to_outbox(writes)

    def _commit_beside(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        assert self._streamer is not None
        with self._store.transaction() as transaction:
            outcomes = transaction.store_many([_with_delayed_events_only(w) for w in writes])
            due = [
                filed.event
                for write, outcome in zip(writes, outcomes, strict=True)
                if outcome is None
                for filed in write.events
                if filed.delay <= _NOW
            ]
            if due:
                self._streamer.send_within(transaction, due)
        return outcomes

    def _commit_to_outbox(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        if self._publisher is None:
            return self._store.store_many(writes)
        ticket = self._publisher.ticket()
        if not ticket.accepted:
            return self._store.store_many(writes)
        outcomes = self._store.store_many([_held(write) for write in writes])
        due: list[Event] = [
            filed.event
            for write, outcome in zip(writes, outcomes, strict=True)
            if outcome is None
            for filed in write.events
            if filed.delay <= _NOW
        ]
        self._publisher.offer(due, ticket)
        return outcomes

    def _tell_delays(self, events: Iterable[OutboxEvent]) -> None:
        shortest = min((filed.delay for filed in events if filed.delay > _NOW), default=None)
        if shortest is not None:
            self.on_delayed(shortest)


def _with_delayed_events_only(write: Write) -> Write:
    if all(filed.delay > _NOW for filed in write.events):
        return write
    return write.replace(events=[filed for filed in write.events if filed.delay > _NOW])


def _held(write: Write) -> Write:
    return write.replace(
        events=[
            filed if filed.delay > _NOW else filed.replace(held_for=HELD_FOR)
            for filed in write.events
        ]
    )
