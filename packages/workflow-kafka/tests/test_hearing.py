"""Members that are alive and hear nothing, and those that only seem so, on a real broker."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from workflow_adaptertest.servers import Space
from workflow_core.model import Event, RunState
from workflow_core.ports import Delivery
from workflow_kafka import KafkaConnectorSource, KafkaEventStreamer, KafkaSettings
from workflow_kafka.cluster import Cluster
from workflow_kafka.inbox import Inbox
from workflow_kafka.member import Member
from workflow_kafka.receiver import KafkaReceiver
from workflow_kafka.source import KafkaTopicSettings

OpenStreamer = Callable[..., KafkaEventStreamer]
Hears = KafkaReceiver[Event]

PATIENCE = 60.0
NOW, A_WHILE = timedelta(0), timedelta(milliseconds=300)
TOPIC, NAME = "orders-1", "orders-main-steps"


def events(count: int) -> list[Event]:
    return [
        Event(
            id=str(uuid.uuid4()),
            topic=TOPIC,
            workflow="orders",
            run_id=f"run-{number}",
            foreign_id=f"order-{number}",
            status=1,
            state=RunState.RUNNING,
            version=1,
        )
        for number in range(count)
    ]


def send(streamer: KafkaEventStreamer, sent: list[Event]) -> None:
    with streamer.new_sender() as sender:
        outcomes = sender.send_many(sent, timedelta(seconds=PATIENCE))
    assert list(outcomes) == [None] * len(sent)


def listen(streamer: KafkaEventStreamer) -> Hears:
    """A receiver that has its partitions."""
    receiver = streamer.new_receiver([TOPIC], NAME)
    assert isinstance(receiver, KafkaReceiver)
    eventually(lambda: bool(receiver._inbox.held()), "no partition was assigned")
    return receiver


def take(receiver: KafkaReceiver[Any], count: int) -> list[Delivery[Any]]:
    taken: list[Delivery[Any]] = []
    end = time.monotonic() + PATIENCE
    while len(taken) < count:
        assert time.monotonic() < end, f"{len(taken)} of {count} came"
        taken += receiver.recv_many(count - len(taken), timedelta(seconds=1))
    return taken


def eventually(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.02)


class Behind:
    """What a test does to a member's client behind the member's back, on its thread."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._calls: dict[Member[Any], Callable[[Consumer], object]] = {}
        go_on = Member._round

        def first_ours(member: Member[Any], consumer: Consumer) -> None:
            call = self._calls.get(member)
            if call is not None:
                call(consumer)
                del self._calls[member]
            go_on(member, consumer)

        monkeypatch.setattr(Member, "_round", first_ours)

    def do(self, receiver: KafkaReceiver[Any], call: Callable[[Consumer], object]) -> None:
        self._calls[receiver._member] = call
        eventually(lambda: not self._calls, "the member does not go on")

    def make_deaf(self, receiver: KafkaReceiver[Any], partitions: int = 99) -> None:
        """To so many of its partitions: nothing is fetched of them. All else goes on."""
        self.do(receiver, lambda consumer: consumer.pause(consumer.assignment()[:partitions]))

    def make_hear(self, receiver: KafkaReceiver[Any]) -> None:
        self.do(receiver, lambda consumer: consumer.resume(consumer.assignment()))


@pytest.fixture
def behind(monkeypatch: pytest.MonkeyPatch) -> Behind:
    return Behind(monkeypatch)


@pytest.mark.parametrize("partitions", [1, 3])
def test_member_whose_fetching_has_stopped_says_for_how_long(
    open_streamer: OpenStreamer, behind: Behind, partitions: int
) -> None:
    """It polls, commits and beats as ever, and one partition may be all that it does not hear.

    Seen to fail when all its partitions have to be silent for it.
    """
    streamer = open_streamer()
    with listen(streamer) as receiver:
        send(streamer, events(30))
        receiver.ack(take(receiver, 30))
        assert receiver.deaf_for() == NOW
        behind.make_deaf(receiver, partitions)
        send(streamer, events(30))
        eventually(lambda: receiver.deaf_for() > A_WHILE, "it believes that it hears")
        receiver.recv_many(30, NOW)
        assert receiver.deaf_for() > A_WHILE
        behind.make_hear(receiver)
        eventually(lambda: receiver.deaf_for() == NOW, "it does not know that it hears again")


def test_member_with_a_full_window_is_not_deaf(open_streamer: OpenStreamer) -> None:
    """Seen to fail when it is looked at what is there alone: 180 events wait."""
    streamer = open_streamer(window=10)
    with listen(streamer) as receiver:
        send(streamer, events(200))
        take(receiver, 10)
        eventually(lambda: receiver._member._paused is True, "the window is full")
        time.sleep(2 * A_WHILE.total_seconds())
        assert receiver.deaf_for() == NOW
        take(receiver, 190)


def test_member_without_partitions_is_not_deaf(open_streamer: OpenStreamer) -> None:
    """They are another's, and so is what waits there. Seen to fail when the group's lag counts."""
    one, two = open_streamer(partitions=1, window=10), open_streamer(partitions=1)
    with listen(one), two.new_receiver([TOPIC], NAME) as second:
        send(one, events(100))
        eventually(lambda: (two.lag([TOPIC], NAME) or NOW) > A_WHILE, "nothing waits")
        assert isinstance(second, KafkaReceiver)
        assert second.deaf_for() == NOW


def test_marks_of_transactions_are_no_messages(
    open_streamer: OpenStreamer, kafka_space: Space
) -> None:
    """Others write to a foreign topic within transactions, whose ends nobody is handed.

    Seen to fail when all below a partition's end was a message: it could not be read in time.
    """
    topic = f"{kafka_space.name}.{TOPIC}"
    streamer = open_streamer(partitions=1)
    with listen(streamer) as receiver:
        producer = Producer(
            {"bootstrap.servers": kafka_space.url.bootstrap, "transactional.id": kafka_space.name}
        )
        producer.init_transactions(PATIENCE)
        producer.begin_transaction()
        producer.produce(topic, b"no event", b"key")
        producer.commit_transaction(PATIENCE)
        partition = receiver._inbox.held()[0]
        eventually(lambda: partition.next == 1, "it was not received")
        assert receiver.deaf_for() == NOW
        assert streamer.lag([TOPIC], NAME) == NOW


class Foreign:
    """A topic of somebody else's, with two partitions."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._topic = f"{space.name}.payments"
        self._servers = {"bootstrap.servers": space.url.bootstrap}
        settings = KafkaSettings(bootstrap_servers=[space.url.bootstrap], partitions=2)
        assert Cluster(settings).ensure([self._topic]) == {}

    def source(self, instance: str) -> KafkaConnectorSource:
        settings = KafkaTopicSettings(
            bootstrap_servers=[self._space.url.bootstrap], topic=self._topic, window=10
        )
        return KafkaConnectorSource(settings, instance=instance, namespace=self._space.name)

    def send(self, count: int, partition: int) -> None:
        producer = Producer(self._servers)
        for number in range(count):
            producer.produce(self._topic, str(number).encode(), b"key", partition)
        assert producer.flush(PATIENCE) == 0


@pytest.fixture
def foreign(kafka_space: Space) -> Foreign:
    return Foreign(kafka_space)


def test_receiver_of_a_foreign_topic_says_so_too(foreign: Foreign, behind: Behind) -> None:
    with foreign.source("one") as source, source.new_receiver("payments") as receiver:
        assert isinstance(receiver, KafkaReceiver)
        foreign.send(3, 0)
        take(receiver, 3)
        behind.make_deaf(receiver)
        foreign.send(3, 1)
        eventually(lambda: bool(receiver.deaf_for()), "it believes that it hears")


def test_nothing_stays_paused_that_was_so_when_more_was_assigned(
    foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A window is full, so its partition is paused; then another member leaves, and there is room.

    Seen to fail when what was assigned stood for all that the member has: it never heard of its
    first partition again.
    """
    came: list[Delivery[Any]] = []
    makes_room: list[Inbox[Any]] = []
    assign = Member._on_assign

    def assigned(member: Member[Any], consumer: Consumer, more: list[TopicPartition]) -> None:
        assign(member, consumer, more)
        for inbox in makes_room:
            came.extend(inbox.take(1000, NOW))

    monkeypatch.setattr(Member, "_on_assign", assigned)
    with foreign.source("one") as one, foreign.source("two") as two:
        first, second = one.new_receiver("payments"), two.new_receiver("payments")
        assert isinstance(first, KafkaReceiver)
        assert isinstance(second, KafkaReceiver)
        members = (first, second)
        eventually(lambda: [len(m._inbox.held()) for m in members] == [1, 1], "one for each")
        foreign.send(50, first._inbox.held()[0].number)
        eventually(lambda: first._member._paused is True, "the window is full")
        makes_room.append(first._inbox)
        second.close()
        eventually(lambda: bool(came), "nothing was assigned")
        came += take(first, 50 - len(came))
        assert [int(delivery.event.value) for delivery in came] == list(range(50))
