"""The event log: what it keeps, for whom, and for how long."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from workflow_core.errors import ClosedError, InputError
from workflow_core.memory import MemoryDatabase, MemoryEventStreamer
from workflow_core.memory.event_log import PARTITIONS, partition_of
from workflow_core.model import Event
from workflow_core.ports import EventSender, Receiver, Shards
from workflow_core.testing import FakeClock

TOPIC = "orders-1"
ZERO = timedelta(0)
WEEK = timedelta(days=7)
MakeEvent = Callable[[], Event]


@pytest.fixture(autouse=True)
def trims_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """What holds for thousands of events is shown with hundreds."""
    monkeypatch.setattr("workflow_core.memory.event_log._TRIM_EVERY", 50)


@pytest.fixture
def streamer(database: MemoryDatabase) -> MemoryEventStreamer:
    return MemoryEventStreamer(database, instance="one")


@pytest.fixture
def sender(streamer: MemoryEventStreamer) -> EventSender:
    return streamer.new_sender()


def send(sender: EventSender, make: MakeEvent, count: int) -> list[str]:
    events = [make() for _ in range(count)]
    sender.send_many(events, ZERO)
    return [event.id for event in events]


def drain(receiver: Receiver[Event], *, ack: bool = True) -> list[str]:
    ids: list[str] = []
    while deliveries := receiver.recv_many(500, ZERO):
        if ack:
            receiver.ack(deliveries)
        ids += [delivery.event.id for delivery in deliveries]
    return ids


def test_partition_is_the_same_for_ever_when_computed_anywhere() -> None:
    """FNV-1a's own published values; Python's ``hash`` would differ in each process."""
    published = {"": 0x811C9DC5, "a": 0xE40C292C, "foobar": 0xBF9CF968}
    assert {text: partition_of(text) for text in published} == {
        text: digest % PARTITIONS for text, digest in published.items()
    }


def test_receiver_is_refused_when_there_are_more_shards_than_partitions(
    streamer: MemoryEventStreamer,
) -> None:
    streamer.new_receiver([TOPIC], "steps", shards=Shards(count=16, held=frozenset({15})))
    with pytest.raises(InputError, match="17 shards"):
        streamer.new_receiver([TOPIC], "steps", shards=Shards(count=17, held=frozenset({0})))


def test_log_stays_small_when_all_names_ack(
    database: MemoryDatabase,
    streamer: MemoryEventStreamer,
    sender: EventSender,
    make_event: MakeEvent,
) -> None:
    """Seen to fail without any trimming: the log then keeps all 5,000."""
    receivers = [streamer.new_receiver([TOPIC], name) for name in ("steps", "hooks")]
    largest = 0
    for _ in range(20):
        send(sender, make_event, 250)
        for receiver in receivers:
            assert len(drain(receiver)) == 250
        largest = max(largest, database.log.size())
    assert largest < PARTITIONS * 150


def test_log_keeps_everything_when_a_name_is_behind(
    database: MemoryDatabase,
    streamer: MemoryEventStreamer,
    sender: EventSender,
    make_event: MakeEvent,
) -> None:
    """Seen to fail with ``max`` for ``min`` in ``trim``, and without the trimming in ``ack``."""
    quick = streamer.new_receiver([TOPIC], "steps")
    slow = streamer.new_receiver([TOPIC], "hooks")
    ids: list[str] = []
    for _ in range(10):
        ids += send(sender, make_event, 250)
        drain(quick)
    assert sorted(drain(slow)) == sorted(ids)
    assert database.log.size() < PARTITIONS * 51, "and lets go once it has come"


def test_name_keeps_its_cursor_when_it_is_away_for_less_than_a_week(
    streamer: MemoryEventStreamer, sender: EventSender, make_event: MakeEvent, clock: FakeClock
) -> None:
    streamer.new_receiver([TOPIC], "steps").close()
    reader = streamer.new_receiver([TOPIC], "hooks")
    ids = send(sender, make_event, 500)
    clock.advance(WEEK)
    ids += send(sender, make_event, 2_000)
    drain(reader)
    assert sorted(drain(streamer.new_receiver([TOPIC], "steps"))) == sorted(ids)


def test_name_is_forgotten_when_it_is_away_for_over_a_week(
    database: MemoryDatabase,
    streamer: MemoryEventStreamer,
    sender: EventSender,
    make_event: MakeEvent,
    clock: FakeClock,
) -> None:
    """Seen to fail without ``_drop_idle_consumers``: a removed consumer pins the log for ever."""
    streamer.new_receiver([TOPIC], "removed").close()
    reader = streamer.new_receiver([TOPIC], "hooks")
    send(sender, make_event, 2_000)
    drain(reader)
    assert database.log.size() == 2_000, "kept for the name that may come back"
    clock.advance(WEEK + timedelta(seconds=1))
    for _ in range(2):
        send(sender, make_event, 2_000)
        drain(reader)
    assert database.log.size() < PARTITIONS * 150


def test_name_is_remembered_when_its_receiver_is_open_for_over_a_week(
    streamer: MemoryEventStreamer, sender: EventSender, make_event: MakeEvent, clock: FakeClock
) -> None:
    """Open and quiet is not away. Seen to fail when only the time of opening counts."""
    reader = streamer.new_receiver([TOPIC], "steps")
    ids = send(sender, make_event, 500)
    clock.advance(2 * WEEK)
    ids += send(sender, make_event, 2_000)
    assert sorted(drain(reader)) == sorted(ids)


def test_topic_is_trimmed_by_age_when_no_name_reads_it(
    database: MemoryDatabase, sender: EventSender, make_event: MakeEvent, clock: FakeClock
) -> None:
    for _ in range(4):
        send(sender, make_event, 1_000)
        clock.advance(timedelta(minutes=61))
    assert database.log.size() < 2_050, "seen to fail without the trimming by age: 4,000"


def test_topic_is_trimmed_by_number_when_no_name_reads_it_and_time_stands_still(
    database: MemoryDatabase,
    sender: EventSender,
    make_event: MakeEvent,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workflow_core.memory.event_log._UNREAD_MOST", 100)  # to be quick
    send(sender, make_event, 4_000)
    assert database.log.size() < PARTITIONS * (100 + 60)


def test_acked_events_beyond_a_gap_stay_away_when_the_receiver_is_reopened(
    streamer: MemoryEventStreamer, sender: EventSender, make_event: MakeEvent
) -> None:
    """More than the port asks for: a broker's offset would fall back to the gap."""
    same_run = [make_event().replace(run_id="run") for _ in range(5)]
    sender.send_many(same_run, ZERO)
    first = streamer.new_receiver([TOPIC], "steps")
    deliveries = first.recv_many(5, ZERO)
    first.ack([deliveries[0], deliveries[2], deliveries[4]])
    first.close()
    again = drain(streamer.new_receiver([TOPIC], "steps"))
    assert again == [same_run[1].id, same_run[3].id]


# -- an instance that vanishes -------------------------------------------------------------------


def test_events_in_hand_come_again_as_suspect_when_their_holder_vanishes(
    database: MemoryDatabase,
    streamer: MemoryEventStreamer,
    sender: EventSender,
    make_event: MakeEvent,
) -> None:
    """Seen to fail when ``vanish`` only closes the readers."""
    ids = send(sender, make_event, 6)
    doomed = streamer.new_receiver([TOPIC], "steps")
    in_hand = doomed.recv_many(4, ZERO)
    doomed.ack(in_hand[:1])
    database.vanish("one")
    with pytest.raises(ClosedError):
        doomed.recv(ZERO)
    doomed.close()
    other = MemoryEventStreamer(database, instance="two").new_receiver([TOPIC], "steps")
    came = other.recv_many(10, ZERO)
    suspects = {delivery.event.id for delivery in came if delivery.suspect}
    assert {delivery.event.id for delivery in came} == set(ids) - {in_hand[0].event.id}
    assert suspects == {delivery.event.id for delivery in in_hand[1:]}
    other.ack(came)
    other.close()
    assert drain(MemoryEventStreamer(database, instance="two").new_receiver([TOPIC], "steps")) == []


def test_nothing_is_suspect_when_a_receiver_resigned(
    streamer: MemoryEventStreamer, sender: EventSender, make_event: MakeEvent
) -> None:
    send(sender, make_event, 3)
    first = streamer.new_receiver([TOPIC], "steps")
    assert len(first.recv_many(3, ZERO)) == 3
    first.close()
    again = streamer.new_receiver([TOPIC], "steps").recv_many(3, ZERO)
    assert [delivery.suspect for delivery in again] == [False] * 3
