"""Moving from one pair of stores to another, in memory: what comes over, and what is refused."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from workflow_core.errors import MoveError
from workflow_core.memory import MemoryDatabase, MemoryRecordStore, MemoryTimeoutStore
from workflow_core.model import Record, RecordQuery, RunState
from workflow_core.moving import Progress, Stores, copy, switch
from workflow_core.testing import FakeClock

if TYPE_CHECKING:
    from tests.moving.conftest import Fixture

HOUR = timedelta(hours=1)


class KilledError(Exception):
    """Ends a move in its midst."""


def test_all_of_a_run_comes_over_when_stores_are_switched(move: Fixture) -> None:
    """Seen to fail when the history is not adopted, and when `next_try_at` is stamped anew."""
    run = move.go_on(move.begin("a"), last_error="no answer", attempts=1, passed={2: 1, 1: 1})
    move.clock.advance(HOUR)
    switch(move.source, move.target)
    records = move.target.records
    assert records.lookup(run.run_id) == move.source.records.lookup(run.run_id)
    assert records.history(run.run_id) == move.source.records.history(run.run_id)
    found = records.list_records(RecordQuery(workflow="orders", search={"customer": "ada"}))
    assert [record.run_id for record in found.items] == [run.run_id]


def test_sides_are_counted_and_compared_at_the_end(move: Fixture) -> None:
    for name in "abc":
        run = move.go_on(move.begin(name))
        move.timer(run, "reminder")
        move.event(run)
    digest = switch(move.source, move.target)
    assert (digest.runs, digest.versions, digest.timers, digest.events) == (3, 6, 3, 3)


def test_timers_keep_time_tries_and_rest_when_moved(move: Fixture) -> None:
    """Seen to fail without rescheduling, and without parking."""
    run = move.begin("a")
    plain, failed, parked = (move.timer(run, name) for name in ("plain", "failed", "parked"))
    timeouts = move.timers
    timeouts.reschedule(failed.key, 2 * HOUR, attempts=3, error="no answer", repeat=2)
    timeouts.park(parked.key)
    copy(move.source, move.target)
    timeouts.reschedule(plain.key, 3 * HOUR, attempts=1, error="no answer")
    move.clock.advance(HOUR / 2)
    switch(move.source, move.target)
    assert plain.key in {t.key for t in move.timers_there.list_timeouts("orders").items}
    assert move.timers_there.list_timeouts("orders").items == timeouts.list_timeouts("orders").items


def test_closed_timers_are_not_armed_again_after_the_move(move: Fixture) -> None:
    """Seen to fail when closed timers stay behind, those closed before the copy or after it."""
    run = move.begin("a")
    before, between = move.timer(run, "before"), move.timer(run, "between")
    move.timers.complete(before.key)
    copy(move.source, move.target)
    move.timers.cancel(between.key)
    switch(move.source, move.target)
    move.timers_there.create_many([before, between])
    assert move.timers_there.list_timeouts("orders").items == []


def test_events_keep_what_is_left_of_their_delay_when_moved(move: Fixture) -> None:
    run = move.begin("a")
    due = move.event(run, held_for=HOUR)  # by a process that is no more
    later = move.event(run, delay=2 * HOUR)
    copy(move.source, move.target)
    move.clock.advance(HOUR / 2)
    switch(move.source, move.target)
    records = move.target.records
    assert [event.id for event in records.list_outbox_events(["orders"], limit=9)] == [due.id]
    move.clock.advance(HOUR * 1.5)
    assert [event.id for event in records.list_outbox_events(["orders"], limit=9)] == [
        due.id,
        later.id,
    ]


def test_foreign_id_may_pass_to_another_run_meanwhile(move: Fixture) -> None:
    """Seen to fail when a refused batch is not read again with the run that is in the way."""
    first = move.begin("a")
    move.clock.advance(HOUR)
    move.begin("b")  # there is a page after the first one's, and the new run is on the next
    begun: list[Record] = []

    def hand_over(progress: Progress) -> None:
        if progress.written == 1 and not begun:  # the first one was copied as it lived
            move.clock.advance(HOUR)
            move.go_on(first, state=RunState.COMPLETED)
            begun.append(move.begin("a"))

    copy(move.source, move.target, told=hand_over, batch=1)
    switch(move.source, move.target)
    assert move.target.records.latest("orders", "a").run_id == begun[0].run_id


def test_purged_run_goes_from_the_target_when_it_had_been_copied(move: Fixture) -> None:
    """Seen to fail without `drop_gone`."""
    gone = move.begin("a", state=RunState.COMPLETED)
    was_live = move.begin("b")
    copy(move.source, move.target)
    move.go_on(was_live, state=RunState.COMPLETED)
    move.source.records.purge(RecordQuery(run_ids=[gone.run_id, was_live.run_id]))
    again = move.begin("b")
    assert switch(move.source, move.target).runs == 1
    assert move.target.records.latest("orders", "b").run_id == again.run_id


def test_interrupted_move_goes_on_where_it_was(move: Fixture) -> None:
    """Seen to fail when what is the same is adopted again."""
    for number in range(10):
        move.begin(f"order-{number}")
    move.clock.advance(HOUR)

    def die(progress: Progress) -> None:
        if progress.seen >= 4:
            raise KilledError

    with pytest.raises(KilledError):
        copy(move.source, move.target, told=die, batch=2)
    told: list[Progress] = []
    switch(move.source, move.target, told=told.append)
    runs = [progress for progress in told if progress.stage == "runs"]
    assert [(progress.seen, progress.written) for progress in runs] == [(10, 6)]


def test_switch_fails_when_somebody_still_writes(move: Fixture) -> None:
    """Seen to fail when the sides are not compared."""
    run = move.begin("a")

    def write_on(progress: Progress) -> None:
        if progress.stage == "comparing the target":
            move.go_on(run)

    with pytest.raises(MoveError, match="source and target differ: 1 runs, 2 versions"):
        switch(move.source, move.target, told=write_on)
    assert switch(move.source, move.target).versions == 2, "another try goes well"


def test_target_is_refused_when_it_has_runs_of_its_own(move: Fixture) -> None:
    move.begin("a")
    with pytest.raises(MoveError, match="no move has brought there"):
        copy(move.target, move.source)


def test_target_is_refused_when_it_is_the_source(move: Fixture) -> None:
    for _ in range(2):
        with pytest.raises(MoveError, match="the same store"):
            copy(move.source, move.source)


def test_target_is_refused_when_another_source_was_begun(move: Fixture) -> None:
    copy(move.source, move.target)
    with pytest.raises(MoveError, match="moved from another store"):
        copy(move.side(), move.target)


def test_target_is_refused_once_the_switch_is_done(move: Fixture) -> None:
    """Seen to fail without the mark's completion: old runs were copied over newer ones."""
    switch(move.source, move.target)
    for call in (copy, switch):
        with pytest.raises(MoveError, match="this move was completed"):
            call(move.source, move.target)


def test_clocks_that_differ_are_refused(move: Fixture) -> None:
    late = FakeClock()
    late.advance(HOUR)
    database = MemoryDatabase(late)
    other = Stores(records=MemoryRecordStore(database), timeouts=MemoryTimeoutStore(database))
    with pytest.raises(MoveError, match="the clocks of the two stores differ by 1:00:00"):
        copy(move.source, other)
