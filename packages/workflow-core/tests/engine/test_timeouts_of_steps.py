"""Steps that may take only so long; and what a body learns of those who want it to end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

import pytest
from workflow_core.definition import CancelReason, Repeat, Retry, Run, Workflow
from workflow_core.errors import DefinitionError, StepTimeoutError
from workflow_core.model import RunState

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster


class Status(IntEnum):
    CREATED = 1
    PLAIN = 2
    DONE = 3
    REFUSED = 4


@dataclass
class Order:
    takes: float = 0.0


OrderRun = Run[Order, Status]

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
LIMIT = 10 * SECOND


class Log:
    def __init__(self) -> None:
        self.begun: list[tuple[str, int]] = []
        self.ended: list[str] = []
        self.runs: dict[str, OrderRun] = {}
        self.during: Callable[[OrderRun], None] = lambda run: None
        """What happens while a plain body runs."""


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def orders(log: Log) -> Workflow[Order, Status]:
    orders = Workflow(
        "order processor",
        Order,
        Status,
        ends=(Status.DONE,),
        starts=(Status.CREATED, Status.PLAIN),
        retry=Retry(first=SECOND, jitter=False, pause_after=3),
    )

    @orders.step(Status.CREATED, timeout=LIMIT, concurrency=2)
    async def work(run: OrderRun) -> Literal[Status.DONE] | Repeat:
        log.begun.append((run.foreign_id, run.attempt))
        log.runs[run.foreign_id] = run
        try:
            await asyncio.sleep(run.data.takes)
        finally:
            log.ended.append(run.foreign_id)
        return Status.DONE

    @orders.step(Status.PLAIN, timeout=LIMIT)
    def plain(run: OrderRun) -> Literal[Status.DONE]:
        log.begun.append((run.foreign_id, run.attempt))
        log.runs[run.foreign_id] = run
        log.during(run)
        log.ended.append(run.foreign_id)
        return Status.DONE

    return orders


# -- async bodies ----------------------------------------------------------------------------------


def test_async_body_that_exceeds_its_timeout_is_cancelled_and_tried_again(
    cluster: Cluster, orders: Workflow[Order, Status], log: Log
) -> None:
    """Seen to fail when its attempt failed and the body was left running: it ended much later."""
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "slow", Order(1000))
    cluster.driver.advance(LIMIT + timedelta(milliseconds=100))
    record = cluster.record(run_id)
    assert (record.attempts, log.ended) == (1, ["slow"])
    assert record.last_error.startswith("StepTimeoutError: work ran for more than its 0:00:10")
    assert log.runs["slow"].cancel_reason is CancelReason.TIMED_OUT
    cluster.driver.advance(MINUTE)
    assert log.begun == [("slow", 1), ("slow", 2), ("slow", 3)]
    assert cluster.record(run_id).state is RunState.PAUSED


def test_body_that_ends_in_time_knows_nothing_of_its_timeout(
    cluster: Cluster, orders: Workflow[Order, Status], log: Log
) -> None:
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "quick", Order(9.9))
    cluster.driver.settle()
    assert cluster.record(run_id).version == 2
    assert not log.runs["quick"].cancelled


def test_timeout_counts_from_the_body_and_not_from_the_queue(
    cluster: Cluster, orders: Workflow[Order, Status], log: Log
) -> None:
    """Seen to fail when it counted from the arrival of the event."""
    cluster.driver.serve(orders)
    runs = [cluster.engine.trigger(orders, f"o{n}", Order(8)) for n in range(6)]
    cluster.driver.settle()
    records = [cluster.record(run_id) for run_id in runs]
    assert {(record.state, record.version) for record in records} == {(RunState.COMPLETED, 2)}


def test_body_that_exceeds_its_timeout_before_its_first_turn_leaves_its_place(
    joined: Cluster, orders: Workflow[Order, Status], log: Log
) -> None:
    """As where another body blocks the loop. Seen to fail when nobody was told of its end."""
    serving = joined.driver.serve(orders)
    runs = [joined.engine.trigger(orders, f"o{n}", Order(1)) for n in range(4)]
    for _ in range(3):  # all but the loop
        for process in serving._processes():
            process.poll(timedelta(0))
    joined.clock.advance(LIMIT)
    serving._safety.poll(timedelta(0))
    joined.driver.advance(MINUTE)
    assert {joined.record(run_id).state for run_id in runs} == {RunState.COMPLETED}
    assert sum(attempt > 1 for _, attempt in log.begun) == 2


def test_timeout_never_is_a_policy_of_retrying(cluster: Cluster) -> None:
    orders = Workflow("order processor", Order, Status, ends=(Status.DONE, Status.REFUSED))
    policy = Retry(never=(StepTimeoutError,), then=Status.REFUSED)

    @orders.step(Status.CREATED, timeout=LIMIT, retry=policy)
    async def work(run: OrderRun) -> Literal[Status.DONE, Status.REFUSED]:
        await asyncio.sleep(1000)
        return Status.DONE

    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "slow", Order())
    cluster.driver.settle()
    assert cluster.record(run_id).status == Status.REFUSED


def test_body_that_will_not_be_cancelled_is_not_run_beside_itself(cluster: Cluster) -> None:
    """Seen to fail when the next attempt began while it was still there."""
    running: list[int] = []
    orders = Workflow("order processor", Order, Status, ends=(Status.DONE, Status.REFUSED))

    @orders.step(Status.CREATED, timeout=LIMIT, retry=Retry(first=SECOND, jitter=False))
    async def work(run: OrderRun) -> Literal[Status.DONE, Status.REFUSED]:
        running.append(run.attempt)
        assert len(running) == 1
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            await asyncio.sleep(60)  # cleans up at its leisure, and answers what nobody wants
        running.remove(run.attempt)
        return Status.REFUSED if run.attempt == 1 else Status.DONE

    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "slow", Order())
    cluster.driver.advance(LIMIT + 30 * SECOND)
    record = cluster.record(run_id)
    assert running == [1]
    assert record.attempts > 3
    assert "that was given up has run for" in record.last_error
    cluster.driver.advance(MINUTE)
    assert running != [1]
    assert cluster.record(run_id).status == Status.CREATED


# -- plain functions -------------------------------------------------------------------------------


def test_late_answer_of_a_plain_function_is_void(
    cluster: Cluster, orders: Workflow[Order, Status], log: Log
) -> None:
    """Seen to fail when its answer was handed to the committer all the same."""
    serving = cluster.driver.serve(orders)

    def take_long(run: OrderRun) -> None:
        if run.attempt == 1:
            cluster.clock.advance(LIMIT)
            serving._safety.poll(timedelta(0))
            assert run.cancel_reason is CancelReason.TIMED_OUT

    log.during = take_long
    run_id = cluster.engine.trigger(orders, "slow", Order(), status=Status.PLAIN)
    cluster.driver.run()
    record = cluster.record(run_id)
    assert (record.version, record.attempts, log.ended) == (2, 1, ["slow"])
    assert "is left to itself" in record.last_error
    cluster.driver.settle()
    assert log.begun == [("slow", 1), ("slow", 2)]
    assert cluster.record(run_id).version == 3


def test_timeout_of_a_long_step_deletes_its_safety_copy(cluster: Cluster) -> None:
    """Seen to fail when only an answer deleted it."""
    orders = Workflow("order processor", Order, Status, ends=(Status.DONE,))

    @orders.step(Status.CREATED, timeout=MINUTE, retry=Retry(pause_after=1))
    async def work(run: OrderRun) -> Literal[Status.DONE]:
        await asyncio.sleep(1000)
        return Status.DONE

    cluster.driver.serve(orders)
    cluster.engine.trigger(orders, "slow", Order())
    cluster.driver.advance(45 * SECOND)
    assert [row.version for row in cluster.rows()] == [1]
    cluster.driver.advance(30 * SECOND)
    assert [row.version for row in cluster.rows()] == [2]  # its automatic resume


def test_timed_out_attempt_is_kept_while_the_store_is_away(
    cluster: Cluster, orders: Workflow[Order, Status], log: Log
) -> None:
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "slow", Order(1000))
    cluster.driver.run()
    cluster.store.script.fail("commit")
    cluster.driver.advance(MINUTE)
    assert log.begun == [("slow", 1)]
    assert cluster.record(run_id).version == 1
    cluster.store.script.heal()
    cluster.driver.advance(SECOND)
    assert cluster.record(run_id).attempts == 1


# -- cancelled, stopping ---------------------------------------------------------------------------


def test_body_learns_that_its_run_moved_on_and_not_that_it_timed_out(
    cluster: Cluster, orders: Workflow[Order, Status], log: Log
) -> None:
    """Seen to fail when there was one reason for both."""
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "slow", Order(8))
    cluster.driver.advance(2 * SECOND)
    reasons = [log.runs["slow"].cancel_reason]
    cluster.engine.cancel(run_id, reason="enough")
    cluster.driver.advance(2 * SECOND)
    reasons.append(log.runs["slow"].cancel_reason)
    assert reasons == [None, CancelReason.MOVED_ON]
    cluster.driver.settle()
    assert cluster.record(run_id).state is RunState.CANCELLED


def test_body_learns_that_its_process_is_stopping(
    cluster: Cluster, orders: Workflow[Order, Status], log: Log
) -> None:
    """It is not cancelled: what it answers counts. Seen to fail when nobody told it."""
    serving = cluster.driver.serve(orders)
    told: list[tuple[bool, bool]] = []

    def look(run: OrderRun) -> None:
        told.append((run.stopping, run.cancelled))
        serving._window.close_entrance()
        told.append((run.stopping, run.cancelled))

    log.during = look
    run_id = cluster.engine.trigger(orders, "one", Order(), status=Status.PLAIN)
    cluster.driver.run()
    assert told == [(False, False), (True, False)]
    assert cluster.record(run_id).status == Status.DONE


@pytest.mark.parametrize("timeout", [timedelta(0), -SECOND])
def test_timeout_is_more_than_zero(timeout: timedelta) -> None:
    orders = Workflow("order processor", Order, Status, ends=(Status.DONE,))
    with pytest.raises(DefinitionError, match="timeout must be more than zero"):
        orders.step(Status.CREATED, timeout=timeout)
