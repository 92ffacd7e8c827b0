"""What was committed here a moment ago is not looked up; and it is what a look-up would tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

import pytest
from workflow_core.definition import Run, Workflow
from workflow_core.engine.fresh import FreshRecords
from workflow_core.errors import AdapterUnavailableError
from workflow_core.model import Record, RunState
from workflow_core.ports import Write
from workflow_core.testing import FakeClock

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster

SECOND = timedelta(seconds=1)


class Status(IntEnum):
    CREATED = 1
    PAID = 2
    SHIPPED = 3


@dataclass
class Order:
    note: str = ""


OrderRun = Run[Order, Status]


@pytest.fixture
def calls() -> list[str]:
    return []


@pytest.fixture
def orders(calls: list[str]) -> Workflow[Order, Status]:
    flow = Workflow("orders", Order, Status, ends=(Status.SHIPPED,))

    @flow.step(Status.CREATED)
    def pay(run: OrderRun) -> Literal[Status.PAID]:
        calls.append("pay")
        return Status.PAID

    @flow.step(Status.PAID)
    def ship(run: OrderRun) -> Literal[Status.SHIPPED]:
        calls.append("ship")
        return Status.SHIPPED

    return flow


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def fresh(clock: FakeClock) -> FreshRecords:
    return FreshRecords(clock)


@pytest.fixture
def make(clock: FakeClock) -> Callable[..., Write]:
    def make_write(version: int, *, retry_in: timedelta | None = None, data: bytes = b"") -> Write:
        record = Record(
            workflow="orders",
            foreign_id="o",
            run_id="r",
            status=version,
            state=RunState.RUNNING,
            version=version,
            write_id=f"w{version}",
            data=data,
            created_at=clock.now(),
        )
        return Write(record=record, retry_in=retry_in)

    return make_write


def version_known(fresh: FreshRecords, wanted: int = 1) -> int | None:
    found, _ = fresh.of({"r": wanted})
    return found["r"].version if found else None


# -- by itself -------------------------------------------------------------------------------------


def test_record_is_known_for_a_moment(
    fresh: FreshRecords, clock: FakeClock, make: Callable[..., Write]
) -> None:
    """Half the time that may pass between a look-up and the step. Seen to fail without a limit."""
    fresh.keep([make(2)], clock.now())
    begin = clock.monotonic()
    clock.advance(timedelta(milliseconds=20))
    found, since = fresh.of({"r": 2, "another": 1})
    assert (list(found), since) == (["r"], begin)
    clock.advance(timedelta(milliseconds=6))
    assert version_known(fresh, 2) is None


def test_older_version_is_forgotten_with_the_next_commit(
    fresh: FreshRecords, clock: FakeClock, make: Callable[..., Write]
) -> None:
    """Seen to fail when what may not be kept left what it replaces: a doubled event ran again."""
    for later in (
        make(3, retry_in=SECOND),
        make(3, data=b"x" * 10_000),
        make(3).replace(record=make(3).record.replace(write_id="unsure")),
    ):
        fresh.doubt([later] if later.record.write_id == "unsure" else [])
        fresh.keep([make(2)], clock.now())
        assert version_known(fresh) == 2
        fresh.keep([later], clock.now())
        assert version_known(fresh) is None
    fresh.keep([make(2)], clock.now())
    fresh.forget([make(3)])
    assert version_known(fresh) is None


def test_event_of_a_later_version_is_asked_for(
    fresh: FreshRecords, clock: FakeClock, make: Callable[..., Write]
) -> None:
    fresh.keep([make(2)], clock.now())
    assert version_known(fresh, 3) is None


def test_older_version_that_is_told_late_is_not_kept(
    fresh: FreshRecords, clock: FakeClock, make: Callable[..., Write]
) -> None:
    """Two threads have committed. Seen to fail when the last to tell had its way."""
    fresh.keep([make(3)], clock.now())
    fresh.keep([make(2)], clock.now())
    assert version_known(fresh) == 3


def test_few_are_kept_however_many_are_committed(
    fresh: FreshRecords, clock: FakeClock, make: Callable[..., Write]
) -> None:
    """Seen to fail when only time made room: a bulk of a million kept them all."""
    for start in range(0, 50_000, 500):
        fresh.keep(
            [
                make(2).replace(record=make(2).record.replace(run_id=f"r{start + number}"))
                for number in range(500)
            ],
            clock.now(),
        )
    assert len(fresh._young) + len(fresh._old) < 3_500


def test_nothing_of_before_is_kept_after_a_pause(
    fresh: FreshRecords, clock: FakeClock, make: Callable[..., Write]
) -> None:
    """Nobody would be told of it. Seen to fail when the commit after it kept what was before it."""
    fresh.keep([make(2).replace(record=make(2).record.replace(run_id="before"))], clock.now())
    clock.advance(SECOND)
    fresh.keep([make(2)], clock.now())
    assert [*fresh._young, *fresh._old] == ["r"]


def test_doubts_are_few_however_many_commits_fail(
    fresh: FreshRecords, make: Callable[..., Write]
) -> None:
    for number in range(12_000):
        fresh.doubt([make(2).replace(record=make(2).record.replace(write_id=f"w{number}"))])
    assert len(fresh._unsure) == 10_000


# -- within an engine ------------------------------------------------------------------------------


def test_trigger_of_a_process_that_serves_is_not_looked_up(
    joined: Cluster, orders: Workflow[Order, Status], calls: list[str]
) -> None:
    """Seen to fail when each run was asked for."""
    joined.driver.serve(orders)
    joined.driver.advance(SECOND)
    joined.store.script.calls.clear()
    joined.engine.trigger(orders, "o", Order())
    joined.driver.run()
    assert calls == ["pay", "ship"]
    assert joined.store.script.calls["lookup_many"] == 0


def test_what_was_committed_before_its_shard_was_read_is_looked_up(
    joined: Cluster, orders: Workflow[Order, Status], calls: list[str]
) -> None:
    """Who held the shard before may have gone on with it. Seen to fail: a doubled event ran again
    what another process had done."""
    run_id = joined.engine.trigger(orders, "o", Order())
    joined.client().engine.pause(run_id, reason="wait")
    joined.driver.serve(orders)
    joined.driver.run()
    assert calls == []


def test_run_that_was_paused_here_is_not_worked_on(
    joined: Cluster, orders: Workflow[Order, Status], calls: list[str]
) -> None:
    run_id = joined.engine.trigger(orders, "o", Order())
    joined.engine.pause(run_id, reason="wait")
    joined.driver.serve(orders)
    joined.driver.run()
    assert calls == []


def test_run_that_was_paused_elsewhere_loses_nothing_but_the_bodys_work(
    joined: Cluster, orders: Workflow[Order, Status], calls: list[str]
) -> None:
    """As when it is paused between a look-up and the step: the compare-and-swap tells."""
    joined.driver.serve(orders)
    joined.driver.advance(SECOND)
    run_id = joined.engine.trigger(orders, "o", Order())
    joined.client().engine.pause(run_id, reason="wait")
    joined.driver.run()
    assert calls == ["pay"]
    assert joined.record(run_id).state is RunState.PAUSED
    assert joined.record(run_id).status == Status.CREATED


def test_commit_whose_answer_was_lost_is_looked_up(joined: Cluster) -> None:
    """It may have been stored with the first try's stamps. Seen to fail when the second's were."""
    seen: list[object] = []
    flow = Workflow("orders", Order, Status, ends=(Status.SHIPPED,))

    @flow.step(Status.CREATED)
    def pay(run: OrderRun) -> Literal[Status.PAID]:
        return Status.PAID

    @flow.step(Status.PAID)
    def ship(run: OrderRun) -> Literal[Status.SHIPPED]:
        seen.append(run.entered_at)
        return Status.SHIPPED

    joined.driver.serve(flow)
    joined.driver.run()
    stored: list[object] = []

    def lose_once(call: str) -> None:
        paid = [row for row in joined.records.runs.rows.values() if row.status == Status.PAID]
        if call == "commit" and paid:
            joined.store.script.heal()
            stored.append(paid[0].entered_at)
            joined.clock.advance(SECOND)
            raise AdapterUnavailableError("the answer is lost")

    joined.engine.trigger(flow, "o", Order())
    joined.store.script.after = lose_once
    joined.driver.run()
    assert seen == stored


def test_forked_child_does_not_wait_for_a_lock_of_its_parent(fresh: FreshRecords) -> None:
    fresh._lock.acquire()
    fresh.forked()
    fresh.forget([])
