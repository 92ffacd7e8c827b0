"""What all parts of the event streamer's contract use."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from datetime import timedelta
from typing import ClassVar, Protocol, cast

import pytest
from workflow_core.model import Event, Record
from workflow_core.ports import (
    Capability,
    Delivery,
    EventSender,
    EventStreamer,
    Receiver,
    RecordStore,
    Shards,
)

from workflow_adaptertest.contract import Contract, Opener
from workflow_adaptertest.env import Env
from workflow_adaptertest.samples import Samples

__all__ = [
    "BALANCED",
    "JOINS_NONE",
    "NAME",
    "TOPIC",
    "ZERO",
    "EventStreamerCases",
    "Subscribe",
    "balances",
    "drain",
    "gather",
    "ids_of",
    "sent",
    "take",
]

TOPIC = "orders-1"
NAME = "orders-main-steps"
ZERO = timedelta(0)
BALANCED = "members divide the stream by themselves: no shards"
JOINS_NONE = "it joins no store's transactions"
_A_MOMENT = timedelta(milliseconds=20)  # a turn of one member among several


class Subscribe(Protocol):
    """Opens a receiver on the first handle; closed after the case at the latest."""

    def __call__(
        self,
        name: str = NAME,
        *,
        topics: Sequence[str] = (TOPIC,),
        shards: Shards | None = None,
        from_latest: bool = False,
        streamer: EventStreamer | None = None,
    ) -> Receiver[Event]:
        """The receiver."""


class EventStreamerCases(Contract):
    """Fixtures: ``streamer``, ``other``, ``sender``, ``subscribe``."""

    port: ClassVar[str] = "event streamer"
    _settable: ClassVar[frozenset[str]] = Contract._settable | {"joined_store"}

    def adapter(self, env: Env) -> AbstractContextManager[EventStreamer]:
        """Make the event streamer; see `Contract.adapter`."""
        return cast("AbstractContextManager[EventStreamer]", super().adapter(env))

    def joined_store(self, env: Env) -> AbstractContextManager[RecordStore] | None:
        """A record store over the same database, whose transactions the streamer joins.

        None, as here: the streamer joins none.
        """
        return None

    def _basic_calls(
        self, handle: EventStreamer, env: Env, make: Samples
    ) -> Mapping[str, Callable[[], object]]:
        sender = env.entered(handle.new_sender())
        receiver = env.entered(handle.new_receiver([TOPIC], NAME, shards=None, from_latest=False))

        def round_trip() -> None:
            sent(sender, make, env, [make.record()])
            receiver.ack(take(receiver, 1, env))

        elsewhere = make.record(status=2)
        return {
            "send one event": lambda: sender.send(make.event(elsewhere)),
            "send, receive and ack one event": round_trip,
        }

    @pytest.fixture
    def streamer(self, open_handle: Opener) -> EventStreamer:
        """The streamer under test."""
        return cast(EventStreamer, open_handle())

    @pytest.fixture
    def other(self, streamer: EventStreamer, open_handle: Opener) -> EventStreamer:
        """A second handle, as another process has it."""
        return cast(EventStreamer, open_handle())

    @pytest.fixture
    def sender(self, streamer: EventStreamer) -> Iterator[EventSender]:
        """A sender of the first handle."""
        with streamer.new_sender() as sender:
            yield sender

    @pytest.fixture
    def subscribe(self, streamer: EventStreamer) -> Iterator[Subscribe]:
        """Opens receivers."""
        with ExitStack() as receivers:
            first = streamer

            def open_one(
                name: str = NAME,
                *,
                topics: Sequence[str] = (TOPIC,),
                shards: Shards | None = None,
                from_latest: bool = False,
                streamer: EventStreamer | None = None,
            ) -> Receiver[Event]:
                return receivers.enter_context(
                    (streamer or first).new_receiver(
                        topics, name, shards=shards, from_latest=from_latest
                    )
                )

            yield open_one

    @pytest.fixture
    def joined(self, env: Env) -> Iterator[RecordStore | None]:
        """The record store whose transactions the streamer joins, if it joins any."""
        store = self.joined_store(env)
        if store is None:
            yield None
        else:
            with store as opened:
                yield opened


def balances(streamer: EventStreamer) -> bool:
    """Then members divide the stream among themselves, and shards are not asked for."""
    return Capability.BALANCES_MEMBERS in streamer.capabilities


def sent(sender: EventSender, make: Samples, env: Env, records: Sequence[Record]) -> list[Event]:
    """Send one event per record to the topic of the cases."""
    events = [make.event(record, topic=TOPIC) for record in records]
    outcomes = sender.send_many(events, env.patience)
    assert list(outcomes) == [None] * len(events), "None: published; one outcome per event"
    return events


def take(receiver: Receiver[Event], count: int, env: Env) -> list[Delivery[Event]]:
    """Receive until there are that many, and fail when they do not come."""
    deliveries: list[Delivery[Event]] = []
    end = time.monotonic() + env.patience.total_seconds()
    while len(deliveries) < count:
        rest = timedelta(seconds=max(0.0, end - time.monotonic()))
        more = receiver.recv_many(count - len(deliveries), rest)
        assert len(more) <= count - len(deliveries), "recv_many answers at most `limit`"
        assert more or rest, f"{len(deliveries)} of {count} events came within {env.patience}"
        deliveries += more
    return deliveries


def drain(receiver: Receiver[Event], markers: Sequence[Event], env: Env) -> list[Delivery[Event]]:
    """Receive until all markers have come; what came before them is among the answer.

    As events come in order per run, all that was to come of a marker's run came before it: so a
    case can tell that something does not come without waiting for it.
    """
    missing = {event.id for event in markers}
    deliveries: list[Delivery[Event]] = []
    end = time.monotonic() + env.patience.total_seconds()
    while missing:
        rest = timedelta(seconds=max(0.0, end - time.monotonic()))
        more = receiver.recv_many(100, rest)
        assert more or rest, f"{len(missing)} of {len(markers)} new events did not come"
        deliveries += more
        missing -= {delivery.event.id for delivery in more}
    return deliveries


def gather(
    members: Sequence[Receiver[Event]], events: Sequence[Event], env: Env
) -> list[list[Delivery[Event]]]:
    """Let several receivers read until together they have all the events: what came to each."""
    shares: list[list[Delivery[Event]]] = [[] for _ in members]
    missing = {event.id for event in events}
    end = time.monotonic() + env.patience.total_seconds()
    while missing:
        assert time.monotonic() < end, f"{len(missing)} of {len(events)} events reached no member"
        for member, share in zip(members, shares, strict=True):
            more = member.recv_many(100, _A_MOMENT)
            share += more
            missing -= {delivery.event.id for delivery in more}
    for member, share in zip(members, shares, strict=True):
        share += member.recv_many(100, ZERO)  # what has come to a second member by now
    return shares


def ids_of(deliveries: Sequence[Delivery[Event]]) -> list[str]:
    """The ids of the events, in the order in which they came."""
    return [delivery.event.id for delivery in deliveries]
