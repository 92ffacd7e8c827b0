"""Events on servers, where ids become visible out of order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from datetime import timedelta
from typing import Any

import pytest
from workflow_core.model import Event
from workflow_core.ports import Delivery, Receiver
from workflow_sql import Database, SqlEventStreamer, SqlRecordStore
from workflow_sql.horizon import ServerHorizon
from workflow_sql.records.transaction import SqlTransaction

NOW = timedelta(0)
SOON = timedelta(seconds=60)
PATIENCE = 60.0


@pytest.fixture
def open_home(home: Any) -> Iterator[Callable[..., Database]]:
    """Each call is a handle of its own, as another process would have."""
    with ExitStack() as handles:
        yield lambda **settings: handles.enter_context(home.open(**settings))


@pytest.fixture
def one(open_home: Callable[..., Database]) -> Database:
    return open_home()


@pytest.fixture
def other(open_home: Callable[..., Database]) -> Database:
    return open_home()


def send(database: Database, *events: Event) -> None:
    assert not any(SqlEventStreamer(database, instance="s").new_sender().send_many(events, SOON))


def send_at_once(
    streamer: SqlEventStreamer, transaction: SqlTransaction, events: Sequence[Event]
) -> None:
    """So that they have their ids long before the commit, as a slow process's have."""
    assert transaction.connection is not None, "what is lent keeps nothing for the commit"
    streamer.send_within(transaction, events)


def receiver_on(database: Database) -> Receiver[Event]:
    return SqlEventStreamer(database, instance="r").new_receiver(["orders-1"], "steps")


def received(receiver: Receiver[Event], count: int) -> list[str]:
    """The ids of so many events, in order."""
    found: list[str] = []
    end = time.monotonic() + PATIENCE
    while len(found) < count and time.monotonic() < end:
        found += [each.event.id for each in receiver.recv_many(500, timedelta(seconds=1))]
    return found


def events_in(database: Database) -> int:
    with database.reading("counting") as cursor:
        cursor.execute(f"select count(*) from {database.tables.events.name}")
        return int(cursor.fetchone()[0])


def test_event_is_not_received_before_one_with_a_smaller_id_that_is_not_committed_yet(
    one: Database, other: Database, make: Any
) -> None:
    """Seen to fail with the greatest visible id for a horizon: the second event came first."""
    first, second = make.event(), make.event()
    receiver = receiver_on(other)
    store, streamer = SqlRecordStore(one), SqlEventStreamer(one, instance="i")
    with store.transaction() as transaction:
        send_at_once(streamer, transaction, [first])
        send(other, second)
        assert receiver.recv_many(9, NOW) == []
    assert received(receiver, 2) == [first.id, second.id]


def test_gap_stays_open_while_its_transaction_may_still_commit(
    one: Database, other: Database, make: Any
) -> None:
    """However old the gap is. Seen to fail with every old gap passed: the second came first."""
    first, second = make.event(), make.event()
    receiver = receiver_on(other)
    store, streamer = SqlRecordStore(one), SqlEventStreamer(one, instance="i")
    with store.transaction() as transaction:
        send_at_once(streamer, transaction, [first])
        send(other, second)
        end = time.monotonic() + PATIENCE
        while other.horizon.old_gap() is None and time.monotonic() < end:
            other.watch.refresh(anyway=True)
        for _ in range(3):
            other.watch.refresh(anyway=True)  # each of them tries to close it
        assert receiver.recv_many(9, NOW) == []
    assert received(receiver, 2) == [first.id, second.id]


def test_gap_is_closed_for_all_when_its_transaction_was_rolled_back(
    one: Database, other: Database, open_home: Callable[..., Database], make: Any
) -> None:
    """Seen to fail without closing: what came after was never received."""
    receiver = receiver_on(other)
    store, streamer = SqlRecordStore(one), SqlEventStreamer(one, instance="i")
    with suppress(ZeroDivisionError), store.transaction() as transaction:
        send_at_once(streamer, transaction, [make.event() for _ in range(1_500)])
        raise ZeroDivisionError
    last = make.event()
    send(one, last)
    assert received(receiver, 1) == [last.id]
    assert events_in(one) == 1_501, "each id has its row"
    assert received(receiver_on(open_home()), 1) == [last.id], "a new process finds no gap"


def test_writer_gets_new_ids_when_its_own_were_closed_meanwhile(
    one: Database, other: Database, make: Any
) -> None:
    """A process that slept between its id and its insert.

    Seen to fail with the conflict passed on to the caller, and with it skipped: the event was lost.
    """
    before, late = make.event(), make.event()
    send(one, before)
    with one.reading("looking") as cursor:
        cursor.execute(f"select max(id) from {one.tables.events.name}")
        taken = cursor.fetchone()[0] + 1
    names = [column.name for column in one.tables.events.columns if column.name != "id"]
    with one.writing("closing an id that is to come") as writing:
        writing.cursor.execute(
            f"insert into {one.tables.events.name} (id, {', '.join(names)})"
            f" select {taken}, {', '.join(names).replace('topic', repr('none'), 1)}"
            f" from {one.tables.events.name}"
        )
    receiver = receiver_on(other)
    send(one, late)
    assert received(receiver, 2) == [before.id, late.id]


def test_horizon_is_kept_ahead_of_what_is_trimmed(
    one: Database, other: Database, open_home: Callable[..., Database], make: Any
) -> None:
    """Seen to fail without keeping it: a new process would have begun at nothing."""
    receiver = receiver_on(one)
    streamer = SqlEventStreamer(one, instance="t", trim_after=NOW)
    sent = [make.event() for _ in range(300)]
    send(other, *sent)
    deliveries: list[Delivery[Event]] = []
    end = time.monotonic() + PATIENCE
    while len(deliveries) < 300 and time.monotonic() < end:
        deliveries += receiver.recv_many(500, timedelta(seconds=1))
    receiver.ack(deliveries)
    receiver.close()
    streamer.trim()
    assert events_in(one) == 0
    fresh = open_home()
    assert isinstance(fresh.horizon, ServerHorizon)
    fresh.watch.refresh(anyway=True)
    assert fresh.horizon.old_gap() is None
    assert fresh.watch.marks.events >= 300
    last = make.event()
    send(fresh, last)
    assert received(receiver_on(fresh), 1) == [last.id]


def test_all_events_arrive_once_when_several_processes_write_and_roll_back(
    open_home: Callable[..., Database], make: Any
) -> None:
    """Ids interleave, and a third of the transactions leaves gaps."""
    receiver = receiver_on(open_home())
    batches = [[[make.event() for _ in range(7)] for _ in range(15)] for _ in range(4)]
    failures: list[BaseException] = []

    def write(mine: list[list[Event]]) -> None:
        try:
            database = open_home()
            store, streamer = SqlRecordStore(database), SqlEventStreamer(database, instance="w")
            for at, batch in enumerate(mine):
                try:
                    with store.transaction() as transaction:
                        streamer.send_within(transaction, batch)
                        if at % 3 == 0:
                            raise ZeroDivisionError
                except ZeroDivisionError:
                    continue
        except BaseException as failure:
            failures.append(failure)

    writers = [threading.Thread(target=write, args=(mine,)) for mine in batches]
    for writer in writers:
        writer.start()
    wanted = [
        [event.id for at, batch in enumerate(mine) if at % 3 for event in batch] for mine in batches
    ]
    got = received(receiver, sum(map(len, wanted)))
    for writer in writers:
        writer.join(PATIENCE)
    assert failures == []
    assert sorted(got) == sorted(id for mine in wanted for id in mine)
    for mine in wanted:
        assert [id for id in got if id in set(mine)] == mine, "in order as each wrote them"
