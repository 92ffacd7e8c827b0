"""Cursors in Reflex's table: by name, forward only, past what is foreign, shared with Go."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event
from workflow_core.ports import Shards
from workflow_reflex import ReflexEventStreamer
from workflow_reflex.names import PARTS, cursor_id, part_of

NOW = timedelta(0)
SOON = timedelta(seconds=30)
Open = Callable[..., ReflexEventStreamer]


def receiver_of(streamer: ReflexEventStreamer, name: str = "steps", **options: Any) -> Any:
    return streamer.new_receiver(["orders-1"], name, **options)


def ids(deliveries: Any) -> list[str]:
    return [delivery.event.id for delivery in deliveries]


def cursors(home: Any) -> dict[str, int]:
    return dict(tuple(row) for row in home.ask("select id, last_event_id from CURSORS"))


@pytest.fixture
def statements() -> Any:
    """What is executed from now on, on whatever connection of SQLAlchemy's."""
    asked: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        asked.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    yield asked
    event.remove(Engine, "before_cursor_execute", note)


def test_cursor_never_goes_back_when_a_late_member_saves(
    any_home: Any, open_streamer: Open, make: Any, tools: Any
) -> None:
    """Seen to fail with the cursor set to whatever is saved."""
    one, other = open_streamer(any_home), open_streamer(any_home)
    slow, quick = receiver_of(one), receiver_of(other)
    run = make.id()
    sent = [make.event(run_id=run, version=n) for n in range(1, 11)]
    tools.send(one, *sent)
    late = tools.received(slow, 10)
    quick.ack(tools.received(quick, 10))
    quick.close()
    slow.ack(late[:1])
    slow.close()
    lane = cursor_id("steps", ("orders-1", part_of(run)))
    assert cursors(any_home)[lane] == 10
    tools.send(one, last := make.event())
    assert ids(tools.received(receiver_of(other), 1)) == [last.id]


def test_acks_are_written_together(
    any_home: Any, open_streamer: Open, make: Any, tools: Any, statements: list[str]
) -> None:
    """Seen to fail with a write for each ack."""
    streamer = open_streamer(any_home)
    receiver = receiver_of(streamer)
    tools.send(streamer, *(make.event() for _ in range(300)))
    deliveries = tools.received(receiver, 300)
    receiver.close()
    again = receiver_of(streamer)
    deliveries = tools.received(again, 300)
    statements.clear()
    for delivery in deliveries:
        again.ack([delivery])
    again.close()
    writes = [each for each in statements if each.startswith(("insert", "update", "delete"))]
    # the cursors and the receiver's own row, once or twice: on closing, and each second before
    assert len(writes) <= 6, writes
    assert max(cursors(any_home).values()) == 300


def test_what_was_acked_is_kept_within_a_second_though_nothing_is_closed(
    any_home: Any, open_streamer: Open, make: Any, tools: Any
) -> None:
    streamer = open_streamer(any_home)
    receiver = receiver_of(streamer)
    run = make.id()
    tools.send(streamer, make.event(run_id=run))
    receiver.ack(tools.received(receiver, 1))
    receiver.recv(timedelta(seconds=1.5))  # it is woken for that
    assert cursors(any_home)[cursor_id("steps", ("orders-1", part_of(run)))] == 1


def test_foreign_rows_are_passed_once(
    any_home: Any, open_streamer: Open, make: Any, tools: Any
) -> None:
    """Seen to fail with cursors that only acks move: they were read again by each that came."""
    streamer = open_streamer(any_home)
    with any_home.engine.begin() as connection:
        any_home.insert(
            connection,
            *[None, b"", b"\x08\x01\xff", b"not JSON", b'{"a": 1}', b'{"topic":"orders-1"}'] * 5,
        )
    tools.send(streamer, make.event(topic="orders-2"), mine := make.event())
    receiver = receiver_of(streamer)
    assert ids(tools.received(receiver, 1)) == [mine.id]
    tools.send(streamer, *(make.event(topic="others-1") for _ in range(20)))
    assert receiver.recv_many(9, NOW) == []
    receiver.close()
    lanes = {
        part: cursors(any_home)[cursor_id("steps", ("orders-1", part))] for part in range(PARTS)
    }
    held_up = lanes.pop(part_of(mine.run_id))
    assert set(lanes.values()) == {52}
    assert held_up == 31, "the one that is not acked comes again"


def test_cursors_pass_foreign_rows_without_being_closed(
    any_home: Any, open_streamer: Open, tools: Any
) -> None:
    """Seen to fail without: a crash had all of them read again."""
    receiver = receiver_of(open_streamer(any_home))
    with any_home.engine.begin() as connection:
        for _ in range(11):
            values = ", ".join(["('k', '2026-01-01 00:00:00', 7)"] * 1_000)
            connection.exec_driver_sql(
                f"insert into {any_home.events} (foreign_id, timestamp, type) values {values}"
            )

    def is_past() -> bool:
        assert receiver.recv_many(9, NOW) == []
        found = cursors(any_home)
        return all(done >= 10_000 for id, done in found.items() if "/open/" not in id)

    tools.wait_until(is_past)


def test_consumer_of_go_goes_on_where_it_was(
    any_home: Any, open_streamer: Open, make: Any, tools: Any
) -> None:
    """Seen to fail with its row left aside, and with the row left behind."""
    streamer = open_streamer(any_home)
    tools.send(streamer, *(make.event() for _ in range(5)))
    any_home.do(
        "insert into CURSORS (id, last_event_id, updated_at)"
        " values ('orders-1-consumer-1-of-1', 3, '2026-01-01 00:00:00')"
    )
    receiver = receiver_of(streamer, "orders-1-consumer-1-of-1")
    deliveries = tools.received(receiver, 2)
    assert [delivery.receipt for delivery in deliveries] == [4, 5]
    receiver.ack(deliveries)
    receiver.close()
    assert cursors(any_home)["orders-1-consumer-1-of-1"] == 5, "Go goes on there"


def test_cursor_of_go_stays_behind_what_is_not_done(
    any_home: Any, open_streamer: Open, make: Any, tools: Any
) -> None:
    streamer = open_streamer(any_home)
    receiver = receiver_of(streamer, "go")
    tools.send(streamer, *(make.event() for _ in range(40)))
    deliveries = tools.received(receiver, 40)
    receiver.ack(deliveries[:7] + deliveries[8:])
    receiver.close()
    assert cursors(any_home)["go"] == 7


def test_names_that_a_collation_takes_for_one_have_cursors_of_their_own(
    any_home: Any, open_streamer: Open, make: Any, tools: Any
) -> None:
    """Seen to fail, on a table as Go's users make it, without the digest in the ids: all but the
    first found no cursor of theirs, and read everything again."""
    if any_home.is_server and not any_home.is_postgres:
        any_home.do(
            "alter table CURSORS modify id varchar(255)"
            " character set utf8mb4 collate utf8mb4_unicode_ci not null"
        )
    streamer = open_streamer(any_home)
    tools.send(streamer, sent := make.event())
    names = ("steps", "Steps", "stéps", "steps ")
    for name in names:
        receiver = receiver_of(streamer, name)
        deliveries = tools.received(receiver, 1)
        assert ids(deliveries) == [sent.id], name
        receiver.ack(deliveries)
        receiver.close()
    for name in names:
        assert receiver_of(streamer, name).recv_many(9, NOW) == [], name


def test_work_of_a_process_that_vanished_is_suspect_and_of_one_that_was_closed_is_not(
    any_home: Any, open_streamer: Open, make: Any, tools: Any
) -> None:
    """Seen to fail without the row of an open receiver."""
    gone, heir = open_streamer(any_home), open_streamer(any_home)
    tools.send(gone, *(make.event() for _ in range(40)))
    vanished = receiver_of(gone)
    assert len(tools.received(vanished, 40)) == 40
    # nothing of it is closed, as where its process was killed
    first = receiver_of(heir, shards=Shards(count=2, held=frozenset({0})))
    second = receiver_of(heir, shards=Shards(count=2, held=frozenset({1})))
    found = [first.recv_many(40, SOON), second.recv_many(40, SOON)]
    assert sum(map(len, found)) == 40
    assert all(each.suspect for share in found for each in share), "whoever takes over which part"
    first.close()
    second.close()
    calm = tools.received(receiver_of(heir), 40)
    assert not any(each.suspect for each in calm)


def test_work_of_this_process_is_not_suspect_when_it_reads_other_parts(
    any_home: Any, open_streamer: Open, make: Any, tools: Any
) -> None:
    """As when shards move in a deploy. Seen to fail when each open receiver counted as vanished."""
    streamer = open_streamer(any_home)
    tools.send(streamer, *(make.event() for _ in range(40)))
    before = receiver_of(streamer, shards=Shards(count=2, held=frozenset({0})))
    in_hand = before.recv_many(40, SOON)
    assert in_hand
    after = tools.received(receiver_of(streamer), 40)
    assert not any(each.suspect for each in after)
    before.close()


def test_rows_of_receivers_go_with_them(
    any_home: Any, open_streamer: Open, make: Any, tools: Any
) -> None:
    streamer = open_streamer(any_home)
    receiver = receiver_of(streamer)
    assert sum("/open/" in id for id in cursors(any_home)) == 1
    receiver.close()
    assert sum("/open/" in id for id in cursors(any_home)) == 0


def test_stamp_of_a_cursor_tells_when_it_moved(
    any_home: Any, open_streamer: Open, make: Any, tools: Any
) -> None:
    streamer = open_streamer(any_home)
    receiver = receiver_of(streamer)
    tools.send(streamer, make.event(run_id="r"))
    receiver.ack(tools.received(receiver, 1))
    receiver.close()
    question = "select updated_at from CURSORS where id = :id"
    (moved,) = any_home.ask(question, id=cursor_id("steps", ("orders-1", part_of("r"))))
    again = receiver_of(streamer)
    again.recv(NOW)
    again.close()
    assert any_home.ask(question, id=cursor_id("steps", ("orders-1", part_of("r")))) == [moved]


def test_ids_fit_whatever_the_names() -> None:
    for consumer, topic in (("steps", "orders-1"), ("x" * 300, "y"), ("x", "y" * 300)):
        assert len(cursor_id(consumer, (topic, 15))) <= 255
    assert cursor_id("x" * 300, ("y", 0)) != cursor_id("x" * 301, ("y", 0))
    assert cursor_id("a/b", ("c", 0)) != cursor_id("a", ("b/c", 0))
    assert cursor_id("steps", ("orders-1", 3)).startswith("steps/orders-1/3/")
