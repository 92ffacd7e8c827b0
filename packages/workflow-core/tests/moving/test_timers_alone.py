"""Timers that go to another timeout store while the records stay, and what is looked at before."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from workflow_core.errors import MoveError
from workflow_core.memory import MemoryDatabase, MemoryRoleScheduler, MemoryTimeoutStore
from workflow_core.model import Record, RecordQuery, RunState, Timeout, names
from workflow_core.moving import Progress, Stores, copy, plan, served, switch, switch_timers

if TYPE_CHECKING:
    from tests.moving.conftest import Fixture

HOUR = timedelta(hours=1)


@pytest.fixture
def there(move: Fixture) -> Stores:
    """The same records, and a timeout store of its own."""
    return move.source.replace(timeouts=MemoryTimeoutStore(MemoryDatabase(move.clock)))


def open_timers(stores: Stores) -> list[Timeout]:
    assert stores.timeouts is not None
    return list(stores.timeouts.list_timeouts("orders").items)


def waits(move: Fixture, foreign_id: str, **changes: object) -> Record:
    return move.begin(foreign_id, entered_version=1, **changes)


def test_timers_are_where_they_were_when_they_have_another_store(
    move: Fixture, there: Stores
) -> None:
    """Seen to fail without parking, and when closed ones stay behind."""
    assert there.timeouts is not None
    run = waits(move, "a")
    failed, parked, fired = (move.timer(run, name) for name in ("failed", "parked", "fired"))
    move.timers.reschedule(failed.key, 2 * HOUR, attempts=3, error="no answer", repeat=2)
    move.timers.park(parked.key)
    move.timers.complete(fired.key)
    before = open_timers(move.source)
    digest = switch_timers(move.source, there)
    assert (digest.runs, digest.timers) == (0, 2)
    there.timeouts.create_many([fired, failed])
    assert open_timers(there) == before


def test_only_the_present_stay_counts_for_what_is_closed(move: Fixture, there: Stores) -> None:
    """Seen to fail when all that was remembered came over."""
    assert there.timeouts is not None
    run = waits(move, "a")
    left = move.timer(run, "left")
    move.timers.cancel(left.key)
    move.go_on(run, entered_version=2, status=2)
    switch_timers(move.source, there)
    assert list(there.timeouts.closed_keys([run.run_id])) == []


def test_timers_may_go_back_and_forth(move: Fixture, there: Stores) -> None:
    """Seen to fail when the mark of having been left stayed on a store moved back to."""
    assert there.timeouts is not None
    run = waits(move, "a")
    first = move.timer(run, "first")
    switch_timers(move.source, there)
    there.timeouts.complete(first.key)
    second = move.timer(run, "second")
    move.timers.forget([run.run_id])
    there.timeouts.create(second)
    switch_timers(there, move.source)
    assert [timeout.name for timeout in open_timers(move.source)] == ["second"]
    switch_timers(move.source, there)


def test_store_that_timers_have_left_is_refused(move: Fixture, there: Stores) -> None:
    """Seen to fail without the mark: what was armed since was cancelled."""
    run = waits(move, "a")
    switch_timers(move.source, there)
    assert there.timeouts is not None
    there.timeouts.create(move.timer(run, "since"))
    for again, target in ((switch_timers, there), (copy, move.target)):
        with pytest.raises(MoveError, match="have left this timeout store"):
            again(move.source, target)
    assert len(open_timers(there)) == 1


def test_timers_of_other_runs_are_refused(move: Fixture, there: Stores) -> None:
    """Seen to fail when the runs were not looked up: they were cancelled."""
    assert there.timeouts is not None
    waits(move, "a")
    stranger = Timeout(
        key="run-9/1/theirs",
        workflow="orders",
        run_id="run-9",
        status=1,
        entered_version=1,
        name="theirs",
        delay=HOUR,
    )
    there.timeouts.create(stranger)
    with pytest.raises(MoveError, match="a timer of run run-9, which is no run of this move"):
        switch_timers(move.source, there)
    assert [timeout.key for timeout in open_timers(there)] == [stranger.key]


def test_other_records_and_the_same_timers_are_refused(move: Fixture, there: Stores) -> None:
    waits(move, "a")
    with pytest.raises(MoveError, match="not the same record store"):
        switch_timers(move.source, move.target)
    with pytest.raises(MoveError, match="the same timeout store"):
        switch_timers(move.source, move.source)
    with pytest.raises(MoveError, match="has no timeout store"):
        switch_timers(move.source, there.replace(timeouts=None))
    assert move.timers.list_timeouts("_move").items == [], "the probe is gone"


def test_switch_of_timers_fails_when_somebody_serves(move: Fixture, there: Stores) -> None:
    """Seen to fail when the two sides were not compared."""
    run = waits(move, "a")
    move.timer(run, "one")

    def arm_another(told: Progress) -> None:
        if told.stage == "timers":
            move.timer(run, "two")

    with pytest.raises(MoveError, match="source and target differ"):
        switch_timers(move.source, there, told=arm_another)
    assert switch_timers(move.source, there).timers == 2


# -- without timers, and before anything is written ------------------------------------------------


def test_stores_without_timers_are_moved(move: Fixture) -> None:
    move.begin("a")
    source, target = (side.replace(timeouts=None) for side in (move.source, move.target))
    copy(source, target)
    assert switch(source, target).runs == 1


def test_target_without_a_timeout_store_is_refused_when_there_are_timers(move: Fixture) -> None:
    """Seen to fail when timers were left out in silence."""
    target = move.target.replace(timeouts=None)
    run = waits(move, "a")
    move.timer(run, "reminder")
    with pytest.raises(MoveError, match="'orders' has timers, and the target has no timeout store"):
        copy(move.source, target)


def test_plan_counts_and_writes_nothing(move: Fixture) -> None:
    """Seen to fail when the marks were made."""
    run = waits(move, "a")
    move.begin("b", state=RunState.COMPLETED)
    move.timer(run, "reminder")
    move.event(run)
    found = plan(move.source, move.target)
    assert (found.runs, found.timers, found.events, list(found.stays_behind)) == (2, 1, 1, [])
    for side in (move.source, move.target):
        assert "_move" not in {name for name, _, _ in side.records.count_records(RecordQuery())}


def test_plan_is_refused_as_the_move_would_be(move: Fixture) -> None:
    move.begin("a")
    with pytest.raises(MoveError, match="no move has brought there"):
        plan(move.target, move.source)


def test_who_serves_is_told(move: Fixture) -> None:
    """Seen to fail when the timers' role was not asked for."""
    move.begin("a")
    with MemoryRoleScheduler(MemoryDatabase(move.clock), instance="ann") as roles:
        assert served(move.source.records, roles) == []
        lease = roles.try_acquire(names.timers_role("orders"))
        assert lease is not None
        assert served(move.source.records, roles) == ["orders-timers is held by ann"]
