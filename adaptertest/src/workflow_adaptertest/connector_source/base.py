"""What all parts of the connector source's contract use."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from datetime import timedelta
from typing import ClassVar, Protocol, cast

import pytest
from workflow_core.model import ConnectorEvent
from workflow_core.ports import Capability, ConnectorSource, Delivery, Receiver, Shards

from workflow_adaptertest.contract import Contract, Opener
from workflow_adaptertest.env import Env
from workflow_adaptertest.samples import Samples

__all__ = [
    "NAME",
    "OTHER",
    "ZERO",
    "ConnectorSourceCases",
    "Subscribe",
    "balances",
    "events_of",
    "gather",
    "ids",
    "take",
    "values",
    "values_of",
]

NAME = "orders-payments-connector"
OTHER = "shipping-payments-connector"
ZERO = timedelta(0)
_A_MOMENT = timedelta(milliseconds=20)  # a turn of one member among several


class Subscribe(Protocol):
    """Opens a receiver on the first handle; closed after the case at the latest."""

    def __call__(
        self,
        name: str = NAME,
        *,
        shards: Shards | None = None,
        source: ConnectorSource | None = None,
    ) -> Receiver[ConnectorEvent]:
        """The receiver."""


class ConnectorSourceCases(Contract):
    """What every `ConnectorSource` does.

    Write ``adapter``, and ``feed``, which puts events into the foreign stream as its own writers
    do; see `Contract`.
    """

    port: ClassVar[str] = "connector source"
    _settable: ClassVar[frozenset[str]] = Contract._settable | {"feed"}

    def adapter(self, env: Env) -> AbstractContextManager[ConnectorSource]:
        """Make the source; see `Contract.adapter`."""
        return cast("AbstractContextManager[ConnectorSource]", super().adapter(env))

    def feed(self, env: Env, events: Sequence[ConnectorEvent]) -> None:
        """Put these into the stream, in order, durable on return: key, value and headers.

        Ids and times are the stream's own where writers do not choose them; no case looks for
        those that it gave.
        """
        raise NotImplementedError(f"{type(self).__name__} must define feed(self, env, events)")

    def _basic_calls(
        self, handle: ConnectorSource, env: Env, make: Samples
    ) -> Mapping[str, Callable[[], object]]:
        receiver = env.entered(handle.new_receiver(NAME, shards=None))

        def round_trip() -> None:
            self.feed(env, events_of(1))
            receiver.ack(take(receiver, 1, env))

        return {"write, receive and ack one event": round_trip}

    @pytest.fixture
    def source(self, open_handle: Opener) -> ConnectorSource:
        """The source under test."""
        return cast(ConnectorSource, open_handle())

    @pytest.fixture
    def other(self, source: ConnectorSource, open_handle: Opener) -> ConnectorSource:
        """A second handle, as another process has it."""
        return cast(ConnectorSource, open_handle())

    @pytest.fixture
    def subscribe(self, source: ConnectorSource) -> Iterator[Subscribe]:
        """Opens receivers; closed after the case at the latest."""
        with ExitStack() as receivers:
            first = source

            def open_one(
                name: str = NAME,
                *,
                shards: Shards | None = None,
                source: ConnectorSource | None = None,
            ) -> Receiver[ConnectorEvent]:
                return receivers.enter_context((source or first).new_receiver(name, shards=shards))

            yield open_one


def balances(source: ConnectorSource) -> bool:
    """Then members divide the stream among themselves, and shards are not asked for."""
    return Capability.BALANCES_MEMBERS in source.capabilities


def events_of(count: int, told: str = "event") -> list[ConnectorEvent]:
    """That many, with keys and values of their own."""
    return [
        ConnectorEvent(id=f"{told}-{n}", key=f"key-{n}", value=f"{told}-{n}".encode())
        for n in range(count)
    ]


def take(
    receiver: Receiver[ConnectorEvent], count: int, env: Env
) -> list[Delivery[ConnectorEvent]]:
    """Receive until there are that many, and fail when they do not come."""
    deliveries: list[Delivery[ConnectorEvent]] = []
    end = time.monotonic() + env.patience.total_seconds()
    while len(deliveries) < count:
        rest = timedelta(seconds=max(0.0, end - time.monotonic()))
        more = receiver.recv_many(count - len(deliveries), rest)
        assert more or rest, f"{len(deliveries)} of {count} events came within {env.patience}"
        deliveries += more
    return deliveries


def gather(
    members: Sequence[Receiver[ConnectorEvent]], events: Sequence[ConnectorEvent], env: Env
) -> list[list[Delivery[ConnectorEvent]]]:
    """Let several receivers read until together they have all the events: what came to each."""
    shares: list[list[Delivery[ConnectorEvent]]] = [[] for _ in members]
    missing = values_of(events)
    end = time.monotonic() + env.patience.total_seconds()
    while missing:
        assert time.monotonic() < end, f"{len(missing)} of {len(events)} events reached no member"
        for member, share in zip(members, shares, strict=True):
            more = member.recv_many(100, _A_MOMENT)
            share += more
            missing -= values(more)
    for member, share in zip(members, shares, strict=True):
        share += member.recv_many(100, ZERO)
    return shares


def values(deliveries: Sequence[Delivery[ConnectorEvent]]) -> set[bytes]:
    """Of what was received."""
    return {delivery.event.value for delivery in deliveries}


def values_of(events: Sequence[ConnectorEvent]) -> set[bytes]:
    """Of what was written."""
    return {event.value for event in events}


def ids(deliveries: Sequence[Delivery[ConnectorEvent]]) -> dict[bytes, str]:
    """By value."""
    return {delivery.event.value: delivery.event.id for delivery in deliveries}
