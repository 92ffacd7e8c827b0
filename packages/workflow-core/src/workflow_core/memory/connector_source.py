"""A connector source in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from workflow_core.memory.adapter import MemoryAdapter, shared_database
from workflow_core.memory.database import MemoryDatabase
from workflow_core.memory.event_streamer import MemoryReceiver
from workflow_core.model import ConnectorEvent, Event, RunState
from workflow_core.ports import (
    AdapterContext,
    Capability,
    Closable,
    ConnectorSource,
    Delivery,
    Receiver,
    Shards,
)

__all__ = ["MemoryConnectorSource", "MemoryStreamSettings"]

_NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True)
class MemoryStreamSettings:
    """Which stream it is.

    Attributes:
        stream: its name; sources of one name in one engine are the same stream.
    """

    stream: str


class _Foreign(Event, frozen=True, kw_only=True, gc=False):
    """A foreign event as the log keeps it: its key is what the log divides by."""

    value: bytes


class MemoryConnectorSource(MemoryAdapter, ConnectorSource):
    """A stream in the memory of this process, for tests and for trying things out.

    Its events lie in 16 partitions by key. As with the memory event streamer, what every name has
    passed is dropped, and a stream that no name reads keeps its events for an hour.

    Args:
        database: where the stream is; several sources over one database may share it.
        stream: the stream's name in there.
        instance: the process that this one acts for; see `MemoryDatabase.vanish`.
    """

    def __init__(self, database: MemoryDatabase, stream: str, *, instance: str = "") -> None:
        super().__init__(database)
        self._topic = f"connector source {stream}"
        self._instance = instance
        self._given: set[Closable] = set()

    @classmethod
    def from_config(cls, settings: MemoryStreamSettings, context: AdapterContext) -> Self:
        """For the entry point: all memory adapters of one engine share one database."""
        return cls(shared_database(context), settings.stream, instance=context.instance)

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Blocked receivers wake at once."""
        return frozenset({Capability.WAKES})

    def send(
        self,
        key: str,
        value: bytes,
        *,
        headers: Mapping[str, str] = _NOTHING,
        id: str | None = None,
    ) -> None:
        """Append an event to the stream. Any thread.

        Args:
            key: events of one key are handled in order.
            value: what it carries.
            headers: what comes with it.
            id: unique in the stream; made up if left out.
        """
        database = self.database
        with database.lock:
            number = database.numbers.get(self._topic, 0) + 1
            database.numbers[self._topic] = number
            event = _Foreign(
                id=str(number) if id is None else id,
                topic=self._topic,
                workflow="",
                run_id=key,
                foreign_id="",
                status=0,
                state=RunState.INITIATED,
                version=0,
                headers=dict(headers),
                value=value,
            )
            database.log.append(event, database.clock.now())

    def new_receiver(self, name: str, *, shards: Shards | None = None) -> Receiver[ConnectorEvent]:
        """As the port says; 16 shards at most."""
        database = self.database
        with database.lock:
            reader = database.log.open(
                [self._topic],
                name,
                shards=shards,
                from_latest=False,
                instance=self._instance,
                now=database.clock.now(),
            )
        receiver = MemoryReceiver(database, reader, forget=self._given.discard)
        self._given.add(receiver)
        return _ForeignReceiver(receiver)

    def close(self) -> None:
        """Close all receivers too."""
        super().close()
        while self._given:
            self._given.pop().close()


class _ForeignReceiver(Receiver[ConnectorEvent]):
    def __init__(self, receiver: MemoryReceiver) -> None:
        self._receiver = receiver

    def recv(self, timeout: timedelta) -> Delivery[ConnectorEvent] | None:
        deliveries = self.recv_many(1, timeout)
        return deliveries[0] if deliveries else None

    def recv_many(self, limit: int, timeout: timedelta) -> Sequence[Delivery[ConnectorEvent]]:
        return [_told(each) for each in self._receiver.recv_many(limit, timeout)]

    def ack(self, deliveries: Sequence[Delivery[ConnectorEvent]]) -> None:
        self._receiver.ack(deliveries)

    def close(self) -> None:
        self._receiver.close()


def _told(delivery: Delivery[Event]) -> Delivery[ConnectorEvent]:
    kept = delivery.event
    assert isinstance(kept, _Foreign)
    event = ConnectorEvent(
        id=kept.id,
        key=kept.run_id,
        value=kept.value,
        headers=kept.headers,
        created_at=kept.created_at,
    )
    return Delivery(event=event, receipt=delivery.receipt, suspect=delivery.suspect)
