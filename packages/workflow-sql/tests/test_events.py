from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from workflow_core.errors import AdapterError
from workflow_core.model import Event
from workflow_core.ports import Delivery, Receiver, Shards
from workflow_core.testing import FakeClock
from workflow_sql import Database, SqlEventStreamer
from workflow_sql.dialects.sqlite_connections import SqliteConnections
from workflow_sql.events import receiver as receiver_module

ZERO = timedelta(0)
SOON = timedelta(seconds=30)
HOUR = timedelta(hours=1)
TOPIC = "orders-1"


@pytest.fixture
def streamer(database: Database) -> SqlEventStreamer:
    return SqlEventStreamer(database, instance="one")


def ids(deliveries: Sequence[Delivery[Event]]) -> list[str]:
    return [delivery.event.id for delivery in deliveries]


def send(streamer: SqlEventStreamer, events: Sequence[Event]) -> list[str]:
    assert not any(streamer.new_sender().send_many(events, SOON))
    return [event.id for event in events]


def rows(database: Database, sql: str) -> list[Any]:
    with database.reading("looking") as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


def drain(receiver: Receiver[Event]) -> list[Delivery[Event]]:
    found: list[Delivery[Event]] = []
    while batch := receiver.recv_many(7, ZERO):
        found += batch
    return found


# -- trimming ----------------------------------------------------------------------------------


def test_event_ids_go_on_when_all_rows_were_trimmed(
    streamer: SqlEventStreamer, database: Database, clock: FakeClock, make: Any
) -> None:
    """Seen to fail without AUTOINCREMENT: ids below every cursor, so nothing came any more."""
    receiver = streamer.new_receiver([TOPIC], "steps")
    send(streamer, [make.event() for _ in range(5)])
    receiver.ack(drain(receiver))
    receiver.close()
    clock.advance(2 * HOUR)
    assert streamer.trim() == 5
    assert rows(database, "select count(*) from workflow_events") == [(0,)]
    sent = send(streamer, [make.event()])
    again = streamer.new_receiver([TOPIC], "steps")
    assert ids(drain(again)) == sent


def test_trimming_keeps_what_is_young_and_what_a_consumer_has_not_acked(
    streamer: SqlEventStreamer, clock: FakeClock, make: Any
) -> None:
    """Seen to fail with the greatest cursor in place of the least, and with no look at the age."""
    quick = streamer.new_receiver([TOPIC], "quick")
    slow = streamer.new_receiver([TOPIC], "slow")
    run = make.record()
    send(streamer, [make.event(run) for _ in range(4)])
    quick.ack(drain(quick))
    got = drain(slow)
    slow.ack(got[:1])
    slow.ack(got[2:])
    for receiver in (quick, slow):
        receiver.close()
    assert streamer.trim() == 0, "all is young"
    clock.advance(2 * HOUR)
    send(streamer, [make.event(run)])
    assert streamer.trim() == 1, "up to the first that is not acked"
    again = streamer.new_receiver([TOPIC], "slow")
    assert len(drain(again)) == 2, "the one not acked, and the young one"


def test_trimming_goes_by_age_alone_when_nobody_reads_the_topic(
    streamer: SqlEventStreamer, clock: FakeClock, make: Any
) -> None:
    send(streamer, [make.event(topic="unread") for _ in range(3)])
    clock.advance(2 * HOUR)
    send(streamer, [make.event(topic="unread")])
    assert streamer.trim() == 3


def test_trimming_ignores_a_consumer_when_it_was_not_seen_for_a_week(
    streamer: SqlEventStreamer, clock: FakeClock, make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    streamer.new_receiver([TOPIC], "old name").close()
    send(streamer, [make.event()])
    clock.advance(timedelta(days=6))
    assert streamer.trim() == 0
    clock.advance(timedelta(days=2))
    with caplog.at_level(logging.WARNING):
        assert streamer.trim() == 1
    assert "'old name'" in caplog.text


def test_receivers_trim_when_a_minute_has_passed(
    streamer: SqlEventStreamer, database: Database, clock: FakeClock, make: Any
) -> None:
    receiver = streamer.new_receiver([TOPIC], "steps")
    send(streamer, [make.event() for _ in range(3)])
    receiver.ack(drain(receiver))
    receiver.close()
    clock.advance(2 * HOUR)
    receiver = streamer.new_receiver([TOPIC], "steps")
    for _ in range(3):
        receiver.recv_many(1, ZERO)
    assert rows(database, "select count(*) from workflow_events") == [(0,)]


# -- cursors -----------------------------------------------------------------------------------


def test_acks_in_any_order_stay_done_when_the_next_receiver_opens(
    streamer: SqlEventStreamer, make: Any
) -> None:
    """One run, so one lane: a cursor alone could not tell. Seen to fail without ``acked``."""
    run = make.record()
    sent = send(streamer, [make.event(run) for _ in range(6)])
    receiver = streamer.new_receiver([TOPIC], "steps")
    got = drain(receiver)
    receiver.ack([got[4]])
    receiver.ack([got[1], got[2]])
    receiver.close()
    second = streamer.new_receiver([TOPIC], "steps")
    got = drain(second)
    assert ids(got) == [sent[0], sent[3], sent[5]]
    second.ack(got[:1])
    second.close()
    third = streamer.new_receiver([TOPIC], "steps")
    assert ids(drain(third)) == [sent[3], sent[5]]


def test_late_ack_takes_nothing_back_when_another_has_come_further(
    streamer: SqlEventStreamer, make: Any
) -> None:
    """Seen to fail without the comparison of cursors in the statement that saves them."""
    run = make.record()
    send(streamer, [make.event(run) for _ in range(4)])
    frozen = streamer.new_receiver([TOPIC], "steps")
    held = drain(frozen)
    heir = streamer.new_receiver([TOPIC], "steps")
    heir.ack(drain(heir))
    heir.close()
    frozen.ack(held[:1])
    frozen.close()
    assert drain(streamer.new_receiver([TOPIC], "steps")) == []


def test_number_of_shards_may_change_and_nothing_is_lost_or_skipped(
    streamer: SqlEventStreamer, make: Any
) -> None:
    sent = send(streamer, [make.event() for _ in range(60)])
    seen: list[str] = []
    for count in (1, 3, 16, 2):
        for index in range(count):
            part = Shards(count=count, held=frozenset({index}))
            receiver = streamer.new_receiver([TOPIC], "steps", shards=part)
            got = drain(receiver)
            receiver.ack(got[:2])
            seen += ids(got[:2])
            receiver.close()
    last = streamer.new_receiver([TOPIC], "steps")
    seen += ids(drain(last))
    assert sorted(seen) == sorted(sent)


def test_sparse_topic_is_found_when_it_lies_behind_many_others(
    streamer: SqlEventStreamer, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver_module, "_SPAN", 4)
    others = [make.event(topic="others") for _ in range(300)]
    mine = [make.event() for _ in range(2)]
    send(streamer, [mine[0], *others[:150], mine[1], *others[150:]])
    receiver = streamer.new_receiver([TOPIC], "steps")
    assert ids(drain(receiver)) == [event.id for event in mine]
    later = send(streamer, [make.event()])
    assert ids(drain(receiver)) == later


# -- suspects ----------------------------------------------------------------------------------


def test_events_are_suspect_when_their_holder_vanished(
    streamer: SqlEventStreamer, open_database: Callable[..., Database], make: Any
) -> None:
    """Seen to fail with the receiver's row deleted, or never written."""
    send(streamer, [make.event() for _ in range(3)])
    vanished = streamer.new_receiver([TOPIC], "steps")
    vanished.ack(drain(vanished)[:1])
    other = SqlEventStreamer(open_database(), instance="two")
    heir = other.new_receiver([TOPIC], "steps")
    got = drain(heir)
    assert got
    assert all(delivery.suspect for delivery in got)
    heir.close()
    calm = other.new_receiver([TOPIC], "steps")
    assert not any(delivery.suspect for delivery in drain(calm)), "the heir resigned"


def test_events_are_not_suspect_when_their_own_process_reads_other_lanes(
    streamer: SqlEventStreamer, make: Any
) -> None:
    """As when shards move in a deploy. Seen to fail when each open receiver counted as vanished:
    what was in hand had attempts counted against it.
    """
    send(streamer, [make.event() for _ in range(9)])
    half = streamer.new_receiver([TOPIC], "steps", shards=Shards(count=2, held=frozenset({0})))
    in_hand = drain(half)
    whole = streamer.new_receiver([TOPIC], "steps")
    got = drain(whole)
    assert in_hand
    assert {*ids(in_hand)} < {*ids(got)}
    assert not any(delivery.suspect for delivery in got)
    half.close()


def test_suspicion_covers_all_that_was_handed_out_and_ends_soon_after(
    streamer: SqlEventStreamer,
    open_database: Callable[..., Database],
    make: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Seen to fail without the note of how far a receiver may hand out."""
    monkeypatch.setattr(receiver_module, "_AHEAD", 10)
    vanished = streamer.new_receiver([TOPIC], "steps")
    send(streamer, [make.event() for _ in range(100)])
    handed_out = ids(vanished.recv_many(50, ZERO))
    heir = SqlEventStreamer(open_database(), instance="two").new_receiver([TOPIC], "steps")
    suspects = ids([delivery for delivery in drain(heir) if delivery.suspect])
    assert suspects[: len(handed_out)] == handed_out


def test_events_that_came_after_their_holder_vanished_are_not_suspect(
    streamer: SqlEventStreamer, open_database: Callable[..., Database], make: Any
) -> None:
    """Seen to fail when all was suspect that it might have handed out, had it lived on."""
    vanished = streamer.new_receiver([TOPIC], "steps")
    send(streamer, [make.event() for _ in range(3)])
    drain(vanished)
    heir = SqlEventStreamer(open_database(), instance="two").new_receiver([TOPIC], "steps")
    send(streamer, [make.event() for _ in range(3)])
    assert [delivery.suspect for delivery in drain(heir)] == [True] * 3 + [False] * 3


# -- resting and waking ------------------------------------------------------------------------


def test_blocked_receiver_asks_nothing_when_nothing_happens(
    statements: list[Any], streamer: SqlEventStreamer, make: Any
) -> None:
    """Seen to fail with the marks read in each round of the wait."""
    receiver = streamer.new_receiver([TOPIC], "steps")
    receiver.recv_many(10, ZERO)
    statements.clear()
    for _ in range(3):
        assert receiver.recv_many(10, timedelta(milliseconds=60)) == []
    assert statements == []


def test_blocked_receiver_wakes_when_another_handle_commits(
    streamer: SqlEventStreamer,
    open_database: Callable[..., Database],
    make: Any,
    woken: Callable[..., Any],
) -> None:
    """Another handle has connections of its own, as another process has.

    Seen to fail without the look at the pulse.
    """
    receiver = streamer.new_receiver([TOPIC], "steps")
    other = SqlEventStreamer(open_database(), instance="two")
    event = make.event()

    def send_once_it_waits() -> None:
        while not streamer.database.watch._waiting:
            threading.Event().wait(0.001)
        send(other, [event])

    sending = threading.Thread(target=send_once_it_waits, daemon=True)
    sending.start()
    assert ids(woken(lambda: receiver.recv_many(10, timedelta(minutes=10)))) == [event.id]
    sending.join()


def test_commit_of_another_handle_is_seen_at_once_when_asked_without_waiting(
    streamer: SqlEventStreamer, open_database: Callable[..., Database], make: Any
) -> None:
    receiver = streamer.new_receiver([TOPIC], "steps")
    assert receiver.recv_many(10, ZERO) == []
    sent = send(SqlEventStreamer(open_database(), instance="two"), [make.event()])
    assert ids(receiver.recv_many(10, ZERO)) == sent


def test_refused_event_is_found_when_it_is_in_a_batch(
    streamer: SqlEventStreamer, make: Any
) -> None:
    events = [make.event() for _ in range(5)]
    bad = make.event(foreign_id="\ud800")
    outcomes = streamer.new_sender().send_many([*events[:3], bad, *events[3:]], SOON)
    assert [isinstance(outcome, AdapterError) for outcome in outcomes] == [
        *[False] * 3,
        True,
        *[False] * 2,
    ]
    receiver = streamer.new_receiver([TOPIC], "steps")
    assert ids(drain(receiver)) == [event.id for event in events]


def test_lag_is_the_age_of_the_oldest_that_is_not_acked(
    streamer: SqlEventStreamer, clock: FakeClock, make: Any
) -> None:
    receiver = streamer.new_receiver([TOPIC], "steps")
    assert streamer.lag([TOPIC], "steps") == ZERO
    send(streamer, [make.event()])
    clock.advance(HOUR)
    send(streamer, [make.event()])
    clock.advance(HOUR)
    assert streamer.lag([TOPIC], "steps") == 2 * HOUR
    assert streamer.lag([TOPIC], "never opened") == 2 * HOUR
    got = drain(receiver)
    receiver.ack(got[:1])
    assert streamer.lag([TOPIC], "steps") == HOUR
    receiver.ack(got[1:])
    assert streamer.lag([TOPIC], "steps") == ZERO


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing to test without fork")
def test_forked_child_uses_connections_of_its_own(
    streamer: SqlEventStreamer, open_database: Callable[..., Database], make: Any
) -> None:
    """Seen to fail with the parent's connections used on: the writer's lock seemed one's own."""
    impatient = open_database(lock_timeout=timedelta(milliseconds=30))
    receiver = streamer.new_receiver([TOPIC], "steps")
    event = make.event()
    with impatient.writing("holding the writer's lock over the fork"):
        child = os.fork()
        if not child:
            try:
                with impatient.writing("writing in the child"):
                    os._exit(1)
            except AdapterError as error:  # the file's lock is the parent's, whatever comes
                os._exit(0 if "forked" in str(error) else 3)
            finally:
                os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    child = os.fork()
    if not child:
        try:
            streamer.new_sender().send(event)
            os._exit(0)
        except BaseException:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert ids(receiver.recv_many(9, SOON)) == [event.id]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing to test without fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_fork_waits_for_a_writer_of_another_thread(database: Database) -> None:
    """Seen to fail when it did not: the child found the file locked, by nobody, for good."""
    connections = database._connections
    assert isinstance(connections, SqliteConnections)
    writes, has_forked = threading.Event(), threading.Event()

    def write() -> None:
        with database.writing("writing when it forks"):
            writes.set()
            while not connections._quiet._holds and not has_forked.wait(0.001):
                pass  # until the fork waits for us, or has not

    writer = threading.Thread(target=write)
    writer.start()
    writes.wait()
    child = os.fork()
    if not child:
        try:
            with database.writing("writing in the child"):
                os._exit(0)
        finally:
            os._exit(2)
    has_forked.set()
    writer.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
