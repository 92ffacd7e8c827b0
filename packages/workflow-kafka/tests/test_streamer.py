"""What the contract does not ask of every streamer, on a real broker."""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs export too little
    AdminClient,
    ConfigResource,
    ResourceType,
)
from workflow_adaptertest.servers import Proxied, Space
from workflow_core.errors import AdapterError, AdapterUnavailableError, ClosedError, InputError
from workflow_core.model import Event, RunState
from workflow_core.ports import Delivery, Receiver, Secret, Shards
from workflow_kafka import Assignor, KafkaEventStreamer, KafkaSettings
from workflow_kafka.cluster import Cluster

OpenStreamer = Callable[..., KafkaEventStreamer]

LONG = timedelta(seconds=60)
NOW = timedelta(0)
TOPIC, NAME = "orders-1", "orders-main-steps"


def event(run: str = "run-0", **changes: Any) -> Event:
    values: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "topic": TOPIC,
        "workflow": "orders",
        "run_id": run,
        "foreign_id": f"order of {run}",
        "status": 1,
        "state": RunState.RUNNING,
        "version": 1,
    }
    return Event(**(values | changes))


def send(streamer: KafkaEventStreamer, *events: Event) -> None:
    with streamer.new_sender() as sender:
        assert list(sender.send_many(events, LONG)) == [None] * len(events)


def take(receiver: Receiver[Event], count: int) -> list[Delivery[Event]]:
    taken: list[Delivery[Event]] = []
    end = time.monotonic() + LONG.total_seconds()
    while len(taken) < count:
        assert time.monotonic() < end, f"{len(taken)} of {count} came"
        taken += receiver.recv_many(count - len(taken), timedelta(seconds=1))
    return taken


def eventually(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + LONG.total_seconds()
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def runs_of(deliveries: Sequence[Delivery[Event]]) -> list[str]:
    return [delivery.event.run_id for delivery in deliveries]


class Raw:
    """The broker as a stranger sees it."""

    def __init__(self, space: Space) -> None:
        self._servers: dict[str, Any] = {"bootstrap.servers": space.url.bootstrap}
        self.topic = f"{space.name}.{TOPIC}"
        self.group = f"{space.name}.{NAME}"

    def produce(self, value: bytes | None, key: bytes, headers: Any) -> None:
        producer = Producer(self._servers)
        producer.produce(self.topic, value, key, headers=headers)
        assert producer.flush(60) == 0

    def messages(self, count: int) -> list[Any]:
        consumer = Consumer({**self._servers, "group.id": "none", "auto.offset.reset": "earliest"})
        consumer.assign([TopicPartition(self.topic, number, 0) for number in range(6)])
        found: list[Any] = []
        while len(found) < count:
            message = consumer.poll(1)
            if message is not None and message.error() is None:
                found.append(message)
        consumer.close()
        return found

    def config(self) -> dict[str, str]:
        admin = AdminClient(self._servers)
        [future] = admin.describe_configs([ConfigResource(ResourceType.TOPIC, self.topic)]).values()
        return {name: entry.value for name, entry in future.result(60).items()}

    def committed(self, cluster: Cluster, partitions: int = 3) -> dict[int, int]:
        keys = [(self.topic, number) for number in range(partitions)]
        return {key[1]: offset for key, offset in cluster.committed(self.group, keys).items()}


@pytest.fixture
def raw(kafka_space: Space) -> Raw:
    return Raw(kafka_space)


# -- the wire ----------------------------------------------------------------------------------


def test_messages_are_gos_on_the_broker(open_streamer: OpenStreamer, raw: Raw) -> None:
    streamer = open_streamer(partitions=6)
    places = {"run-0": 3, "run-1": 4, "run-2": 1, "3f2504e0-4f89-41d3-9a0c-0305e82c3301": 3}
    send(streamer, *(event(run) for run in places))
    found = {message.key().decode(): message for message in raw.messages(len(places))}
    assert {run: message.partition() for run, message in found.items()} == places
    first = found["run-0"]
    assert first.value() == b"1"
    assert first.headers()[:6] == [
        ("workflow_name", b"orders"),
        ("foreign_id", b"order of run-0"),
        ("topic", b"orders-1"),
        ("run_id", b"run-0"),
        ("run_state", b"2"),
        ("record_version", b"1"),
    ]
    assert raw.config()["message.timestamp.type"] == "LogAppendTime", "no producer's clock counts"


def test_strangers_messages_are_read_or_passed_over(
    open_streamer: OpenStreamer, raw: Raw, caplog: pytest.LogCaptureFixture
) -> None:
    streamer = open_streamer(partitions=1)
    send(streamer, event("ours"))
    go = {"workflow_name": "orders", "foreign_id": "f", "topic": TOPIC, "run_state": "2"}
    raw.produce(b"not a number", b"poison", [*go.items(), ("record_version", "1")])
    raw.produce(None, b"tombstone", None)
    raw.produce(b"1", b"gos", [*go.items(), ("run_id", "gos"), ("record_version", "3")])
    with streamer.new_receiver([TOPIC], NAME) as receiver:
        came = take(receiver, 2)
        assert runs_of(came) == ["ours", "gos"]
        receiver.ack(came)
    assert [record.levelname for record in caplog.records if "no event" in record.message] == [
        "ERROR",
        "ERROR",
    ]
    assert "not a number" not in caplog.text
    send(streamer, event("next"))
    with streamer.new_receiver([TOPIC], NAME) as receiver:
        assert runs_of(take(receiver, 1)) == ["next"], "what holds no event is done"


# -- sending -----------------------------------------------------------------------------------


def test_those_that_fail_are_named_when_the_others_are_sent(open_streamer: OpenStreamer) -> None:
    streamer = open_streamer()
    batch = [
        event("good"),
        event("surrogate", foreign_id="\ud800"),
        event("large", headers={"h": "x" * 2_000_000}),
        event("elsewhere", topic="no/topic-1"),
        event("good too"),
    ]
    with streamer.new_sender() as sender:
        outcomes = sender.send_many(batch, LONG)
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [type(None), AdapterError, AdapterError, AdapterError, type(None)]
    assert "MSG_SIZE_TOO_LARGE" in str(outcomes[2])
    assert "no/topic-1" in str(outcomes[3])
    with streamer.new_receiver([TOPIC], NAME) as receiver:
        assert runs_of(sorted_by_run(take(receiver, 2))) == ["good", "good too"]


def sorted_by_run(deliveries: list[Delivery[Event]]) -> list[Delivery[Event]]:
    return sorted(deliveries, key=lambda delivery: delivery.event.run_id)


def test_send_is_unavailable_in_time_when_nobody_answers(open_streamer: OpenStreamer) -> None:
    streamer = open_streamer()
    send(streamer, event())
    dead = open_streamer(bootstrap_servers=["127.0.0.1:1"], send_timeout=timedelta(seconds=1))
    with dead.new_sender() as sender, pytest.raises(AdapterUnavailableError):
        sender.send(event())
    with pytest.raises(AdapterUnavailableError):
        dead.new_receiver([TOPIC], NAME)
    assert "1 broker" in streamer.check_health()


def test_nothing_is_sent_after_its_time_when_the_broker_comes_back(
    open_streamer: OpenStreamer, kafka_behind: Proxied
) -> None:
    """Seen to fail without the purge: the library sends it as soon as it can."""
    streamer = open_streamer(bootstrap_servers=[kafka_behind.url.bootstrap])
    with streamer.new_sender() as sender:
        sender.send(event("before"))
        kafka_behind.cut()
        [outcome] = sender.send_many([event("late")], timedelta(seconds=1))
        assert isinstance(outcome, AdapterUnavailableError)
        kafka_behind.mend()
        while sender.send_many([event("after")], LONG) != [None]:
            pass
    with streamer.new_receiver([TOPIC], NAME) as receiver:
        came = runs_of(take(receiver, 2))
    assert set(came) == {"before", "after"}


# -- topics ------------------------------------------------------------------------------------


def test_missing_topic_is_refused_by_name_when_it_may_not_be_made(
    open_streamer: OpenStreamer, raw: Raw
) -> None:
    streamer = open_streamer(create_topics=False)
    with streamer.new_sender() as sender:
        [outcome] = sender.send_many([event()], LONG)
        assert type(outcome) is AdapterError
        assert raw.topic in str(outcome)
        with pytest.raises(AdapterError, match=raw.topic):
            streamer.new_receiver([TOPIC], NAME)
        send(open_streamer(), event())  # somebody makes it
        assert list(sender.send_many([event()], LONG)) == [None], "it is looked for again"


def test_topics_are_made_as_configured(open_streamer: OpenStreamer, raw: Raw) -> None:
    streamer = open_streamer(
        partitions=5,
        replication=1,
        topic_config={"retention.ms": "3600000", "message.timestamp.type": "CreateTime"},
    )
    send(streamer, event())
    config = raw.config()
    assert (config["retention.ms"], config["message.timestamp.type"]) == ("3600000", "CreateTime")


def test_new_topic_is_waited_for_until_the_broker_tells_of_it(
    kafka_space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whoever comes next is told that there is none. Seen to fail without the wait."""
    cluster = Cluster(KafkaSettings(bootstrap_servers=[kafka_space.url.bootstrap]))
    topic, looks, told = f"{kafka_space.name}.new", 0, cluster._list

    def late(timeout: float) -> dict[str, int]:
        nonlocal looks
        looks += 1
        return {name: count for name, count in told().items() if name != topic or looks > 3}

    monkeypatch.setattr(cluster, "_list", late)
    assert cluster.ensure([topic]) == {}
    assert looks == 4
    cluster.close()


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"replication": 7}, "replication"),
        ({"topic_config": {"no.such": "1"}}, "topic_config"),
    ],
)
def test_topic_that_cannot_be_made_is_refused_with_the_brokers_reason(
    open_streamer: OpenStreamer, changes: dict[str, Any], hint: str
) -> None:
    with pytest.raises(AdapterError, match=hint) as refusal:
        open_streamer(**changes).new_receiver([TOPIC], NAME)
    assert not isinstance(refusal.value, AdapterUnavailableError)


def test_shards_are_refused_when_members_balance_themselves(open_streamer: OpenStreamer) -> None:
    with pytest.raises(InputError, match="no shards"):
        open_streamer().new_receiver([TOPIC], NAME, shards=Shards(count=1, held=frozenset({0})))


# -- offsets -----------------------------------------------------------------------------------


def test_highest_safe_offset_is_committed_without_closing(
    open_streamer: OpenStreamer, raw: Raw
) -> None:
    streamer = open_streamer(partitions=1)
    send(streamer, *(event(version=number) for number in range(1, 6)))
    cluster = streamer._cluster
    with streamer.new_receiver([TOPIC], NAME) as receiver:
        came = take(receiver, 5)
        receiver.ack([came[4], came[1], came[0]])
        eventually(lambda: raw.committed(cluster, 1) == {0: 2}, "offset 2 is not acked")
        receiver.ack([came[2]])
        eventually(lambda: raw.committed(cluster, 1) == {0: 3}, "offset 3 is not acked")
    assert raw.committed(cluster, 1) == {0: 3}


def test_rebalance_in_order_runs_nothing_twice_when_work_ends_in_time(
    open_streamer: OpenStreamer,
) -> None:
    one, two = open_streamer(hand_over=LONG), open_streamer()
    runs = [f"run-{number}" for number in range(30)]
    send(one, *map(event, runs))
    first = one.new_receiver([TOPIC], NAME)
    in_hand = take(first, 30)
    second = two.new_receiver([TOPIC], NAME)
    # the first would let go of its partitions only when what it has in hand is done
    assert second.recv(timedelta(seconds=1)) is None
    first.ack(in_hand)
    send(one, *(event(run, version=2) for run in runs))
    came: list[Delivery[Event]] = []
    shares = {id(first): 0, id(second): 0}
    end = time.monotonic() + LONG.total_seconds()
    while len(came) < 30:
        assert time.monotonic() < end, f"{len(came)} of 30 came"
        for member in (first, second):
            more = member.recv_many(100, timedelta(milliseconds=50))
            member.ack(more)
            shares[id(member)] += len(more)
            came += more
    assert sorted(runs_of(came)) == sorted(runs)
    assert all(delivery.event.version == 2 for delivery in came), "the first round ran once"
    assert not any(delivery.suspect for delivery in came), "nobody vanished"
    second.close()
    first.close()


@pytest.mark.parametrize("assignor", [Assignor.COOPERATIVE_STICKY, Assignor.RANGE])
def test_late_acks_commit_nothing_when_the_partition_is_anothers(
    open_streamer: OpenStreamer, raw: Raw, assignor: Assignor
) -> None:
    impatient: dict[str, Any] = {"hand_over": NOW, "assignor": assignor, "partitions": 2}
    one, two = open_streamer(**impatient), open_streamer(**impatient)
    runs = [f"run-{number}" for number in range(20)]
    send(one, *map(event, runs))
    first = one.new_receiver([TOPIC], NAME)
    in_hand = take(first, 20)
    second = two.new_receiver([TOPIC], NAME)
    again = take(second, 1)
    again += take(second, sum(_is_on(each, again[0]) for each in in_hand) - 1)
    theirs = set(runs_of(again))
    first.ack(in_hand)
    first.close()
    offsets = raw.committed(one._cluster, 2)
    [theirs_partition] = {_place(each) for each in again}
    [ours_partition] = {0, 1} - {theirs_partition}
    assert offsets[theirs_partition] == 0, "the first must not commit for the second's work"
    assert offsets[ours_partition] == 20 - len(theirs)
    second.ack(again)
    second.close()
    assert raw.committed(one._cluster, 2)[theirs_partition] == len(theirs)


def _place(delivery: Delivery[Event]) -> int:
    partition, _ = delivery.receipt  # type: ignore[misc]
    return int(partition.number)  # type: ignore[has-type]


def _is_on(delivery: Delivery[Event], other: Delivery[Event]) -> bool:
    return _place(delivery) == _place(other)


def test_latest_is_fixed_for_every_partition_when_members_come_together(
    open_streamer: OpenStreamer,
) -> None:
    one, two = open_streamer(), open_streamer()
    runs = [f"run-{number}" for number in range(12)]
    send(one, *map(event, runs))
    members = [each.new_receiver([TOPIC], NAME, from_latest=True) for each in (one, two)]
    send(one, *(event(run, version=2) for run in runs))
    came: list[Delivery[Event]] = []
    end = time.monotonic() + LONG.total_seconds()
    while len(set(runs_of(came))) < 12:
        assert time.monotonic() < end, f"{len(came)} of 12 came"
        for member in members:
            came += member.recv_many(100, timedelta(milliseconds=50))
    assert {delivery.event.version for delivery in came} == {2}
    for member in members:
        member.close()


def test_events_are_suspect_when_their_holder_did_not_resign(
    open_streamer: OpenStreamer, raw: Raw
) -> None:
    streamer = open_streamer(partitions=1)
    send(streamer, *(event(version=number) for number in range(1, 6)))
    # as a member leaves it that is killed with events 2 to 4, of which there are five, in its hands
    mark = TopicPartition(raw.topic, 0, 1, metadata="one-that-died 4")
    [future] = streamer._cluster.admin.alter_consumer_group_offsets(
        [ConsumerGroupTopicPartitions(raw.group, [mark])]
    ).values()
    future.result(60)
    with streamer.new_receiver([TOPIC], NAME) as receiver:
        came = take(receiver, 4)
        assert [each.event.version for each in came] == [2, 3, 4, 5]
        assert [each.suspect for each in came] == [True, True, True, False]
        receiver.ack(came[:1])
    with open_streamer().new_receiver([TOPIC], NAME) as receiver:
        came = take(receiver, 3)
        assert not any(each.suspect for each in came), "the one before left in order"


class AmidRebalance(Consumer):
    """No coordinator takes a resignation in the midst of a rebalance, which polling ends."""

    code = KafkaError.REBALANCE_IN_PROGRESS
    refused = 0
    waited = False

    def commit(self, *args: Any, **options: Any) -> Any:
        if not self.refused and not any(each.metadata for each in options["offsets"]):
            self.refused = 1
        if self.refused == 1:
            raise KafkaException(KafkaError(self.code))
        return super().commit(*args, **options)

    def poll(self, timeout: float = -1) -> Any:
        type(self).waited |= self.refused == 1
        self.refused *= 2
        return super().poll(timeout)

    def unsubscribe(self) -> None:
        self.refused *= 2  # from here on polling waits for no rebalance
        super().unsubscribe()


def test_nothing_is_suspect_when_its_holder_left_in_the_midst_of_a_rebalance(
    open_streamer: OpenStreamer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail when a resignation was tried once: a deploy cost attempts."""
    streamer = open_streamer(partitions=1)
    send(streamer, *(event(version=number) for number in range(1, 6)))
    with monkeypatch.context() as patched:
        patched.setattr("workflow_kafka.member.Consumer", AmidRebalance)
        with streamer.new_receiver([TOPIC], NAME) as receiver:
            receiver.ack(take(receiver, 1))
    with open_streamer().new_receiver([TOPIC], NAME) as receiver:
        came = take(receiver, 4)
    assert [(each.event.version, each.suspect) for each in came] == [
        (n, False) for n in range(2, 6)
    ]


def test_leaving_waits_for_nothing_but_a_rebalance(
    open_streamer: OpenStreamer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail when whatever refused was waited for: a broker that is away held up a stop."""

    class Away(AmidRebalance):
        code = KafkaError._TRANSPORT
        waited = False  # its own: another test's may have waited

    streamer = open_streamer(partitions=1)
    send(streamer, event())
    monkeypatch.setattr("workflow_kafka.member.Consumer", Away)
    with streamer.new_receiver([TOPIC], NAME) as receiver:
        take(receiver, 1)
    assert not Away.waited


# -- members -----------------------------------------------------------------------------------


def test_member_says_so_when_there_are_more_members_than_partitions(
    open_streamer: OpenStreamer, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = (open_streamer(partitions=1, hand_over=NOW) for _ in range(2))
    send(one, event())
    first = one.new_receiver([TOPIC], NAME)
    take(first, 1)
    second = two.new_receiver([TOPIC], NAME)
    eventually(lambda: "more members than" in caplog.text, "nobody was told")
    assert second.recv(NOW) is None
    second.close()
    first.close()


def test_partitions_are_paused_and_polled_on_when_the_window_is_full(
    open_streamer: OpenStreamer, caplog: pytest.LogCaptureFixture
) -> None:
    """For longer than max.poll.interval, which would cost a member that does not poll its place."""
    caplog.set_level(logging.DEBUG, "workflow_kafka")
    streamer = open_streamer(
        window=10,
        session_timeout=timedelta(seconds=6),
        consumer_properties={"max.poll.interval.ms": Secret("6000")},
    )
    send(streamer, *(event(f"run-{number}") for number in range(200)))
    with streamer.new_receiver([TOPIC], NAME) as receiver:
        came = take(receiver, 10)
        member = receiver._member  # type: ignore[attr-defined]
        eventually(lambda: member._paused, "the window is full")
        time.sleep(6.5)
        came += take(receiver, 190)
        assert len(set(runs_of(came))) == 200
        receiver.ack(came)
    assert "lost" not in caplog.text


def test_closing_ends_at_once_when_nobody_answers_any_more(
    open_streamer: OpenStreamer, kafka_behind: Proxied
) -> None:
    streamer = open_streamer(bootstrap_servers=[kafka_behind.url.bootstrap])
    send(streamer, event())
    receiver = streamer.new_receiver([TOPIC], NAME)
    receiver.ack(take(receiver, 1))
    kafka_behind.swallow()
    begin = time.monotonic()
    streamer.close()
    assert time.monotonic() - begin < 30
    with pytest.raises(ClosedError):
        receiver.recv(LONG)
    kafka_behind.mend()
    eventually(lambda: not polling(NAME), "what closing gave up ends when there are answers again")


def polling(name: str) -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.endswith(name)]


# -- forks -------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forked_child_sends_with_a_client_of_its_own(open_streamer: OpenStreamer) -> None:
    streamer = open_streamer()
    sender = streamer.new_sender()
    sender.send(event("parents"))
    receiver = streamer.new_receiver([TOPIC], NAME)
    take(receiver, 1)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            sender.send(event("childs"))
            try:
                receiver.recv(LONG)
            except ClosedError:
                code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert runs_of(take(receiver, 1)) == ["childs"]
    sender.send(event("parents again"))
    assert runs_of(take(receiver, 1)) == ["parents again"]
    receiver.close()
