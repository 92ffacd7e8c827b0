"""The journal: every write of the engine goes through here.

It knows the one thing that the rest need not: how events leave with their record.

- Streamer and store are one installation: events due now go into the stream in the store's own
  transaction, delayed ones into the outbox.
- They are not: all events go into the outbox; those due now are held for this process, which
  publishes them right after the commit (`Publisher`).
- There is no streamer (a client): all go into the outbox, for the relays of whoever serves.

And it has timers armed and cancelled with the writes that need it (`TimerClerk`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from workflow_core.engine.fresh import FreshRecords
from workflow_core.engine.gathering import Gathering
from workflow_core.engine.observers import Observers
from workflow_core.engine.publisher import HELD_FOR, Publisher
from workflow_core.engine.timers.clerk import TimerChanges, TimerClerk
from workflow_core.errors import AdapterError, AdapterUnavailableError
from workflow_core.model import Event, EventsPublished, OutboxEvent, Record
from workflow_core.ports import EventStreamer, Outcome, RecordStore, StoreTransaction, Write

__all__ = ["Committed", "Journal"]

logger = logging.getLogger("workflow_core.engine")

_NOW = timedelta(0)


class Committed(NamedTuple):
    """A batch that is durable.

    Attributes:
        outcomes: of each write, in order.
        at: what the store has stamped them with; None: it does not tell.
    """

    outcomes: Sequence[Outcome]
    at: datetime | None


class Journal:
    """Commits writes and sees their events off. Any thread.

    Args:
        store: where records live.
        streamer: how events travel, or None for a client that only writes.
        publisher: for events that are not published within the store's transaction.
        fresh: keeps what is committed for those who would look it up at once.
        clerk: for timers, where there is a timeout store.
        observers: told what is published in the store's transactions.
    """

    def __init__(
        self,
        store: RecordStore,
        streamer: EventStreamer | None,
        publisher: Publisher | None,
        fresh: FreshRecords,
        clerk: TimerClerk | None = None,
        observers: Observers | None = None,
    ) -> None:
        self.clerk = clerk
        self.fresh = fresh
        self._observers = observers
        self._store = store
        self._streamer = streamer
        self._publisher = publisher
        self.gathering = Gathering(self.commit)
        """For verbs, of which many threads may each commit a write at once."""
        self._joined: bool | None = None
        self._listeners: list[Callable[[Sequence[Record]], None]] = []
        self.on_delayed: Callable[[timedelta], None] = _nobody
        """Told the shortest delay of the events that a commit filed."""

    def forked(self) -> None:
        """In a forked child: the relay that is told of delays works in the parent."""
        self.on_delayed = _nobody
        self.gathering.forked()
        self.fresh.forked()

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
        return self.commit_told(writes).outcomes if writes else []

    def commit_told(self, writes: Sequence[Write]) -> Committed:
        """As `commit`, and what else is known of it."""
        try:
            committed = self._commit(writes)
        except BaseException:
            self.fresh.doubt(writes)
            raise
        stored = [w for w, outcome in zip(writes, committed.outcomes, strict=True) if not outcome]
        if committed.at is None:
            self.fresh.forget(stored)
        else:
            self.fresh.keep(stored, committed.at)
        self._announce(stored)
        return committed

    def _commit(self, writes: Sequence[Write]) -> Committed:
        timers = None if self.clerk is None else self.clerk.changes(writes)
        if timers is not None:
            writes = timers.writes
        if self.joined:
            committed = self._commit_joined(writes, timers)
        else:
            committed = self._commit_to_outbox(writes, timers)
        if timers is not None:
            timers.committed(committed.outcomes)
        return committed

    def store_within(self, transaction: StoreTransaction, write: Write) -> Outcome:
        """Store in a transaction of the engine's own that is about to be committed.

        Once it is, `announce_within` is due. Where the streamer does not join it the events are
        left to the relay, which is told.

        Raises:
            AdapterError: the stream refuses an event for good.
            AdapterUnavailableError: the transaction is lost.
        """
        if not self.joined:
            return self.store_joined(transaction, [write])[0]
        timers = None if self.clerk is None else self.clerk.changes([write])
        if timers is not None:
            (write,) = timers.writes
        outcome = transaction.store_many([_with_delayed_events_only(write)])[0]
        _write_timers(timers, transaction, [outcome])
        due = [filed.event for filed in write.events if filed.delay <= _NOW]
        if outcome is None and due:
            assert self._streamer is not None
            self._streamer.send_within(transaction, due)
        return outcome

    def store_joined(
        self, transaction: StoreTransaction, writes: Sequence[Write]
    ) -> Sequence[Outcome]:
        """Store in a transaction that somebody else ends: all events are left to the relays.

        Raises:
            AdapterUnavailableError: the transaction is lost.
        """
        timers = None if self.clerk is None else self.clerk.changes(writes)
        if timers is not None:
            writes = timers.writes
        outcomes = transaction.store_many(writes)
        _write_timers(timers, transaction, outcomes)
        return outcomes

    def announce_within(self, write: Write, *, filed: bool) -> None:
        """What `store_within` stored is committed; `filed`: and other events in the outbox."""
        self.fresh.forget([write])
        self._announce([write])
        if filed or not self.joined:
            self.on_delayed(_NOW)  # the relay's, and due at once

    def _announce(self, stored: Sequence[Write]) -> None:
        self._tell_delays(event for write in stored for event in write.events)
        records = [write.record for write in stored]
        for listener in self._listeners:
            listener(records)

    def file(self, events: Sequence[OutboxEvent]) -> None:
        """File events without a write. Raises AdapterUnavailableError: file them again."""
        if not events:
            return
        self._store.add_outbox_events(events)
        self._tell_delays(events)

    def _commit_joined(self, writes: Sequence[Write], timers: TimerChanges | None) -> Committed:
        try:
            return self._commit_beside(writes, timers)
        except AdapterUnavailableError:
            raise
        except AdapterError as error:
            # One of the events, nobody knows which: the relay finds it, and no other waits for it.
            logger.error("the stream refuses an event for good, left to the relay: %s", error)
            return self._commit_to_outbox(writes, timers)

    def _commit_beside(self, writes: Sequence[Write], timers: TimerChanges | None) -> Committed:
        assert self._streamer is not None
        with self._store.transaction() as transaction:
            outcomes = transaction.store_many([_with_delayed_events_only(w) for w in writes])
            _write_timers(timers, transaction, outcomes)
            due = [
                filed.event
                for write, outcome in zip(writes, outcomes, strict=True)
                if outcome is None
                for filed in write.events
                if filed.delay <= _NOW
            ]
            if due:
                self._streamer.send_within(transaction, due)
            committed = Committed(outcomes, transaction.stamped_at)
        if self._observers is not None and due:
            self._observers.tell(EventsPublished(by="writer", count=len(due)))
        return committed

    def _commit_to_outbox(self, writes: Sequence[Write], timers: TimerChanges | None) -> Committed:
        if self._publisher is None:
            return self._store_many(writes, timers)
        ticket = self._publisher.ticket()
        if not ticket.accepted:
            return self._store_many(writes, timers)
        committed = self._store_many([_held(write) for write in writes], timers)
        due: list[Event] = [
            filed.event
            for write, outcome in zip(writes, committed.outcomes, strict=True)
            if outcome is None
            for filed in write.events
            if filed.delay <= _NOW
        ]
        self._publisher.offer(due, ticket)
        return committed

    def _store_many(self, writes: Sequence[Write], timers: TimerChanges | None) -> Committed:
        if timers is None or not timers.joined:
            return Committed(self._store.store_many(writes), None)
        with self._store.transaction() as transaction:
            outcomes = transaction.store_many(writes)
            timers.write_within(transaction, outcomes)
            return Committed(outcomes, transaction.stamped_at)

    def _tell_delays(self, events: Iterable[OutboxEvent]) -> None:
        shortest = min((filed.delay for filed in events if filed.delay > _NOW), default=None)
        if shortest is not None:
            self.on_delayed(shortest)


def _nobody(delay: timedelta) -> None:
    """Nobody is told."""


def _write_timers(
    timers: TimerChanges | None, transaction: StoreTransaction, outcomes: Sequence[Outcome]
) -> None:
    if timers is not None and timers.joined:
        timers.write_within(transaction, outcomes)


def _with_delayed_events_only(write: Write) -> Write:
    delayed = tuple([filed for filed in write.events if filed.delay > _NOW])
    return write if len(delayed) == len(write.events) else write.replace(events=delayed)


def _held(write: Write) -> Write:
    return write.replace(
        events=[
            filed if filed.delay > _NOW else filed.replace(held_for=HELD_FOR)
            for filed in write.events
        ]
    )
