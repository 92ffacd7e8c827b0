"""Ids that are not there: of transactions that are open, and of those that are gone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from workflow_core.model import Event
from workflow_reflex import ReflexEventStreamer
from workflow_reflex.log import Log
from workflow_reflex.sender import rows_of

NOW = timedelta(0)
Open = Callable[..., ReflexEventStreamer]


def receiver_of(streamer: ReflexEventStreamer, name: str = "steps", **options: Any) -> Any:
    return streamer.new_receiver(["orders-1"], name, **options)


def ids(deliveries: Any) -> list[str]:
    return [delivery.event.id for delivery in deliveries]


def written(home: Any, connection: Any, *events: Event) -> None:
    """In a transaction of somebody else's."""
    home.insert(connection, *(row[2] for row in rows_of(events)))


def rolled_back(home: Any, count: int) -> None:
    with home.engine.connect() as connection:
        home.insert(connection, *[b"{}"] * count)
        connection.rollback()


def told_of(look: Callable[..., bool], looked: threading.Event) -> Callable[..., bool]:
    """The same, and it says when it was done."""

    def spied(*where: int) -> bool:
        answer = look(*where)
        looked.set()
        return answer

    return spied


def log_of(streamer: ReflexEventStreamer) -> Log:
    return streamer._log


def test_event_waits_for_one_with_a_smaller_id_whose_transaction_is_open(
    home: Any, open_streamer: Open, make: Any, tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However old the hole is. Seen to fail with holes passed, and with every old one filled."""
    before, first, second = make.event(), make.event(), make.event()
    streamer = open_streamer(home)
    receiver = receiver_of(streamer)
    tools.send(streamer, before)
    assert ids(tools.received(receiver, 1)) == [before.id]
    looked = threading.Event()
    holes = log_of(streamer).holes
    monkeypatch.setattr(holes, "_fill", told_of(holes._fill, looked))
    with home.engine.begin() as connection:
        written(home, connection, first)
        tools.send(streamer, second)
        assert receiver.recv_many(9, NOW) == []
        for _ in range(3):  # it is old enough to be looked into, again and again
            looked.clear()
            assert looked.wait(60)
        assert receiver.recv_many(9, NOW) == []
    assert ids(tools.received(receiver, 2)) == [first.id, second.id]
    assert home.noops() == []


def test_hole_of_a_transaction_that_was_rolled_back_is_filled_for_all(
    home: Any, open_streamer: Open, make: Any, tools: Any
) -> None:
    """Seen to fail without filling: what came after was never received."""
    streamer = open_streamer(home)
    receiver = receiver_of(streamer)
    before, after = make.event(), make.event()
    tools.send(streamer, before)
    rolled_back(home, 1_500)
    tools.send(streamer, after)
    assert ids(tools.received(receiver, 2)) == [before.id, after.id], "noops are hidden"
    assert home.noops() == list(range(2, 1_502))
    assert home.ids() == list(range(1, 1_503)), "Go's readers find no hole either"


def test_filler_outlives_the_receiver_that_met_the_hole(
    home: Any, open_streamer: Open, make: Any, tools: Any
) -> None:
    """Go's ends with it, and all others wait for ever.

    Seen to fail with a thread that looks only while somebody waits.
    """
    streamer = open_streamer(home)
    receiver = receiver_of(streamer)
    tools.send(streamer, make.event())
    rolled_back(home, 1)
    after = make.event()
    tools.send(streamer, after)
    assert len(tools.received(receiver, 1)) == 1
    receiver.close()
    tools.wait_until(lambda: home.noops() == [2])
    assert after.id in ids(tools.received(receiver_of(streamer), 2))


def test_fillers_of_several_processes_agree(
    home: Any, open_streamer: Open, make: Any, tools: Any
) -> None:
    streamers = [open_streamer(home) for _ in range(3)]
    receivers = [receiver_of(each, f"steps-{at}") for at, each in enumerate(streamers)]
    tools.send(streamers[0], make.event())
    rolled_back(home, 700)
    after = make.event()
    tools.send(streamers[0], after)
    together: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda one=one: together.append(ids(tools.received(one, 2))))
        for one in receivers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [each[1:] for each in together] == [[after.id]] * 3
    assert home.ids() == list(range(1, 703))


def test_filler_finds_nothing_wrong_when_another_was_quicker(
    new_home: Callable[[str], Any], open_streamer: Open, make: Any, tools: Any
) -> None:
    """Seen to fail without "on conflict do nothing". MySQL's way looks again first."""
    home = new_home("postgres")
    streamers = [open_streamer(home) for _ in range(2)]
    tools.send(streamers[0], make.event())
    rolled_back(home, 3)
    tools.send(streamers[0], make.event())
    for streamer in streamers:  # each had seen the hole before the other filled it
        assert streamer._log.holes._fill(2, 4)
    assert home.ids() == [1, 2, 3, 4, 5]


def test_writer_gets_new_ids_when_its_own_were_filled_meanwhile(
    new_home: Callable[[str], Any], open_streamer: Open, make: Any, tools: Any
) -> None:
    """A process that slept between its id and its insert; MySQL takes no number twice on purpose.

    Seen to fail with the conflict passed on to the caller.
    """
    home = new_home("postgres")
    streamer = open_streamer(home)
    receiver = receiver_of(streamer)
    before, late = make.event(), make.event()
    tools.send(streamer, before)
    home.do("insert into EVENTS (id, foreign_id, timestamp, type) values (2, '0', now(), 0)")
    tools.send(streamer, late)
    assert ids(tools.received(receiver, 2)) == [before.id, late.id]


def test_rows_that_were_deleted_from_the_beginning_are_no_hole(
    home: Any, open_streamer: Open, make: Any, tools: Any
) -> None:
    """Seen to fail with them filled: the operator's deletion was undone by noops."""
    streamer = open_streamer(home)
    behind = receiver_of(streamer, "behind")
    tools.send(streamer, *(make.event() for _ in range(50)))
    assert len(tools.received(behind, 50)) == 50
    behind.close()  # nothing acked: its cursor is at the beginning
    last = make.event()
    tools.send(streamer, last)
    home.do("delete from EVENTS where id <= 50")
    other = open_streamer(home)
    for name in ("behind", "new"):
        assert ids(tools.received(receiver_of(other, name), 1)) == [last.id]
    assert home.ids() == [51]


def test_transaction_that_is_open_before_the_first_row_is_waited_for(
    home: Any, open_streamer: Open, make: Any, tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Go begins with the first row that it sees, and loses the event.

    Seen to fail with all before the first row passed.
    """
    first, second = make.event(), make.event()
    streamer = open_streamer(home)
    receiver = receiver_of(streamer)
    holes = log_of(streamer).holes
    looked = threading.Event()
    monkeypatch.setattr(holes, "_is_held", told_of(holes._is_held, looked))
    with home.engine.begin() as connection:
        written(home, connection, first)
        tools.send(streamer, second)
        assert receiver.recv_many(9, NOW) == []
        assert looked.wait(60)
        assert receiver.recv_many(9, NOW) == []
    assert ids(tools.received(receiver, 2)) == [first.id, second.id]


def test_latest_misses_no_transaction_that_is_open_at_the_construction(
    home: Any, open_streamer: Open, make: Any, tools: Any
) -> None:
    """Seen to fail with the greatest id for the end."""
    streamer = open_streamer(home)
    tools.send(streamer, make.event())
    mine, theirs = make.event(), make.event()
    with home.engine.begin() as connection:
        written(home, connection, mine)
        tools.send(streamer, theirs)
        receiver = receiver_of(streamer, from_latest=True)
    assert mine.id in ids(tools.received(receiver, 2))


def test_all_events_arrive_once_when_several_processes_write_and_roll_back(
    home: Any, open_streamer: Open, make: Any, tools: Any
) -> None:
    """Ids interleave, and a third of the transactions leaves holes."""
    receiver = receiver_of(open_streamer(home))
    batches = [[[make.event() for _ in range(7)] for _ in range(12)] for _ in range(4)]
    failures: list[BaseException] = []

    def write(mine: list[list[Event]]) -> None:
        try:
            for at, batch in enumerate(mine):
                with home.engine.connect() as connection:
                    written(home, connection, *batch)
                    if at % 3:
                        connection.commit()
                    else:
                        connection.rollback()
        except BaseException as failure:
            failures.append(failure)

    writers = [threading.Thread(target=write, args=(mine,)) for mine in batches]
    for writer in writers:
        writer.start()
    wanted = [
        [event.id for at, batch in enumerate(mine) if at % 3 for event in batch] for mine in batches
    ]
    got = ids(tools.received(receiver, sum(map(len, wanted))))
    for writer in writers:
        writer.join(60)
    assert failures == []
    assert sorted(got) == sorted(id for mine in wanted for id in mine)
    for mine in wanted:
        assert [id for id in got if id in set(mine)] == mine, "in order as each wrote them"
