"""The event streamer in memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Self

from workflow_core.errors import AdapterError, ClosedError, NotSupportedError
from workflow_core.memory.adapter import MemoryAdapter, MemorySettings, shared_database
from workflow_core.memory.database import MemoryDatabase
from workflow_core.memory.event_log import LogReader
from workflow_core.memory.record_store import MemoryRecordStore, MemoryTransaction
from workflow_core.model import Event
from workflow_core.ports import (
    AdapterContext,
    Capability,
    Closable,
    Delivery,
    Erasure,
    EventSender,
    EventStreamer,
    Receiver,
    RecordStore,
    Shards,
    StoreTransaction,
)

__all__ = ["MemoryEventStreamer", "MemoryReceiver", "MemorySender"]


class MemoryEventStreamer(MemoryAdapter, EventStreamer):
    """Events in the memory of this process.

    Each topic is a log in 16 partitions; a run's events share one. A name's cursor stands in each
    partition. What every name has passed is dropped. A name without an open receiver is forgotten
    after seven days; a topic that no name reads keeps its events for an hour, and at most 16,384
    of them per partition.

    Args:
        database: where the events are.
        instance: the process that this one acts for; see `MemoryDatabase.vanish`.
    """

    def __init__(self, database: MemoryDatabase, *, instance: str) -> None:
        super().__init__(database)
        self._instance = instance
        self._given: set[Closable] = set()  # senders and receivers that are open

    @classmethod
    def from_config(cls, settings: MemorySettings, context: AdapterContext) -> Self:
        """For the entry point: all memory adapters of one engine share one database."""
        return cls(shared_database(context), instance=context.instance)

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Blocked receivers wake at once."""
        return frozenset({Capability.WAKES})

    def new_sender(self) -> EventSender:
        """As the port says."""
        sender = MemorySender(self.database, forget=self._given.discard)
        self._given.add(sender)
        return sender

    def new_receiver(
        self,
        topics: Sequence[str],
        name: str,
        *,
        shards: Shards | None = None,
        from_latest: bool = False,
    ) -> Receiver[Event]:
        """As the port says; 16 shards at most."""
        database = self.database
        with database.lock:
            reader = database.log.open(
                topics,
                name,
                shards=shards,
                from_latest=from_latest,
                instance=self._instance,
                now=database.clock.now(),
            )
        receiver = MemoryReceiver(database, reader, forget=self._given.discard)
        self._given.add(receiver)
        return receiver

    def joins(self, store: RecordStore) -> bool:
        """Whether it is a memory store over the same database."""
        return isinstance(store, MemoryRecordStore) and store.database is self.database

    def send_within(self, transaction: StoreTransaction, events: Sequence[Event]) -> None:
        """As the port says."""
        if not isinstance(transaction, MemoryTransaction) or (
            transaction.connection.database is not self.database
        ):
            raise NotSupportedError(
                f"{type(transaction).__name__} is no transaction of this memory database",
                adapter="memory",
            )
        transaction.connection.send(events)

    def lag(self, topics: Sequence[str], name: str) -> timedelta | None:
        """Counted from the event's arrival in its topic."""
        with self.database.lock:
            return self.database.log.lag(topics, name, self.database.clock.now())

    def erase_copies(self, run_id: str, topics: Sequence[str]) -> Erasure:
        """As the port says."""
        with self.database.lock:
            self.database.log.blank(run_id, topics)
        return Erasure(
            erased=["its published events: headers"],
            remains=["its foreign id in published events, until all have read them"],
        )

    def close(self) -> None:
        """Close all senders and receivers too."""
        super().close()
        while self._given:
            self._given.pop().close()


class MemorySender(EventSender):
    """Appends to the log. Any thread."""

    def __init__(self, database: MemoryDatabase, *, forget: Callable[[Closable], None]) -> None:
        self._database = database
        self._forget = forget
        self._is_open = True

    def send(self, event: Event) -> None:
        """A batch of one."""
        self.send_many([event], timedelta(0))

    def send_many(
        self,
        events: Sequence[Event],
        timeout: timedelta,
    ) -> Sequence[AdapterError | None]:
        """All of them, at once."""
        if not self._is_open:
            raise ClosedError("the event sender was closed", adapter="memory")
        database = self._database
        with database.lock:
            now = database.clock.now()
            for event in events:
                database.log.append(event, now)
        return [None] * len(events)

    def close(self) -> None:
        """Nothing is on its way."""
        self._is_open = False
        self._forget(self)


class MemoryReceiver(Receiver[Event]):
    """Reads the log. One thread at a time, except ``close``."""

    def __init__(
        self, database: MemoryDatabase, reader: LogReader, *, forget: Callable[[Closable], None]
    ) -> None:
        self._database = database
        self._reader = reader
        self._forget = forget

    def recv(self, timeout: timedelta) -> Delivery[Event] | None:
        """A batch of one."""
        deliveries = self.recv_many(1, timeout)
        return deliveries[0] if deliveries else None

    def recv_many(self, limit: int, timeout: timedelta) -> Sequence[Delivery[Event]]:
        """As the port says; wakes at once."""
        with self._database.lock:
            self._check_open()
            deliveries = self._reader.take(limit)
            if deliveries or not timeout:
                return deliveries
            deadline = time.monotonic() + timeout.total_seconds()
            while not deliveries and (rest := deadline - time.monotonic()) > 0:
                self._reader.changed.wait(min(rest, threading.TIMEOUT_MAX))
                self._check_open()
                deliveries = self._reader.take(limit)
            return deliveries

    def ack(self, deliveries: Sequence[Delivery[Any]]) -> None:
        """As the port says; what was acked beyond a gap does not come again either."""
        with self._database.lock:
            self._check_open()
            self._database.log.ack(deliveries, self._database.clock.now())

    def close(self) -> None:
        """As the port says."""
        with self._database.lock:
            self._database.log.close(self._reader, self._database.clock.now())
        self._forget(self)

    def _check_open(self) -> None:
        if not self._reader.is_open:
            raise ClosedError("the event receiver was closed", adapter="memory")
