"""Waiting for runs: never misses, never hangs, costs one look-up however many wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal

import pytest
from workflow_core.definition import Cancel, Retry, Run, Workflow
from workflow_core.engine import Trigger
from workflow_core.errors import (
    DecodeError,
    InputError,
    NotReachedError,
    RunEndedError,
    RunNotFoundError,
    StoppedError,
    UnknownStatusError,
    WouldWaitForeverError,
)
from workflow_core.model import RecordQuery, RunState

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster


class Status(IntEnum):
    CREATED = 1
    PAID = 2
    SHIPPED = 3
    REFUSED = 4


class Other(IntEnum):
    PAID = 2


@dataclass
class Order:
    total: int = 0
    child: str = ""


OrderRun = Run[Order, Status]

SECOND = timedelta(seconds=1)


@pytest.fixture
def orders() -> Workflow[Order, Status]:
    """Refused below zero, cancelled at zero; being paid takes ten seconds."""
    orders = Workflow("order processor", Order, Status, ends=(Status.SHIPPED, Status.REFUSED))

    @orders.step(Status.CREATED)
    def check(run: OrderRun) -> Literal[Status.PAID, Status.REFUSED] | Cancel:
        if run.data.total == 0:
            return Cancel("nothing ordered")
        return Status.PAID if run.data.total > 0 else Status.REFUSED

    @orders.step(Status.PAID)
    async def ship(run: OrderRun) -> Literal[Status.SHIPPED]:
        await asyncio.sleep(10)
        return Status.SHIPPED

    return orders


# -- what is answered ------------------------------------------------------------------------------


def test_wait_ends_when_the_status_is_reached(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    """Seen to fail when the waiter read once and then only listened to this process's commits."""
    cluster.driver.serve(orders)
    waiting = cluster.client().engine  # somebody else does the work
    start = cluster.clock.now()
    run_id = waiting.trigger(orders, "order-1", Order(total=1))
    seen = waiting.wait_for(orders, run_id, Status.SHIPPED, timedelta(seconds=30))
    assert (seen.status, seen.state, seen.run_id) == (Status.SHIPPED, RunState.COMPLETED, run_id)
    assert timedelta(seconds=10) <= cluster.since(start) < timedelta(seconds=12)


@pytest.mark.parametrize("status", [Status.CREATED, Status.PAID, Status.SHIPPED])
def test_wait_ends_at_once_when_the_status_is_passed(
    cluster: Cluster, orders: Workflow[Order, Status], status: Status
) -> None:
    """Seen to fail when only the present status counted."""
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order(total=1))
    cluster.driver.settle()
    before = cluster.clock.now()
    seen = cluster.engine.wait_for(orders, run_id, status, SECOND)
    assert seen.status is Status.SHIPPED
    assert cluster.clock.now() == before


@pytest.mark.parametrize(("total", "at"), [(-1, "REFUSED, completed"), (0, "CREATED, cancelled")])
def test_wait_is_over_at_once_when_the_run_ended_elsewhere(
    cluster: Cluster, orders: Workflow[Order, Status], total: int, at: str
) -> None:
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order(total=total))
    before = cluster.clock.now()
    with pytest.raises(RunEndedError, match=f"ended at {at}, and never was at PAID") as ended:
        cluster.engine.wait_for(orders, run_id, Status.PAID, timedelta(hours=1))
    assert ended.value.run_id == run_id
    assert cluster.clock.now() == before


def test_wait_goes_on_while_the_run_is_paused(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order(total=1))
    cluster.engine.pause(run_id, reason="wait")
    future = cluster.engine.expect(orders, run_id, Status.SHIPPED)
    cluster.driver.advance(timedelta(minutes=1))
    assert not future.done()
    cluster.engine.resume(run_id, who="ann")
    cluster.driver.advance(timedelta(minutes=1))
    assert future.result(0).status is Status.SHIPPED


def test_wait_tells_where_the_run_is_when_time_is_up(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order(total=1))
    start = cluster.clock.now()
    with pytest.raises(TimeoutError) as over:
        cluster.engine.wait_for(orders, run_id, Status.SHIPPED, timedelta(seconds=3))
    assert isinstance(over.value, NotReachedError)
    assert f"{run_id} has not reached SHIPPED within 3 s, it is at PAID, running" in str(over.value)
    assert cluster.since(start) == timedelta(seconds=3)
    cluster.driver.settle()  # the run goes on
    assert cluster.record(run_id).state is RunState.COMPLETED


def test_wait_for_nobody_is_over_at_once(cluster: Cluster, orders: Workflow[Order, Status]) -> None:
    with pytest.raises(RunNotFoundError, match="has no run nobody"):
        cluster.engine.wait_for(orders, "nobody", Status.PAID, timedelta(hours=1))


def test_wait_for_another_workflows_run_says_whose_it_is(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    others = Workflow("other", Order, Status, ends=(Status.SHIPPED,))
    others.add_step(Status.CREATED, lambda run: Status.SHIPPED, to=(Status.SHIPPED,))
    run_id = cluster.engine.trigger(others, "order-1", Order(total=1))
    with pytest.raises(RunNotFoundError, match="It is a run of 'other'"):
        cluster.engine.wait_for(orders, run_id, Status.PAID, SECOND)


def test_wait_for_a_foreign_status_is_refused(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    run_id = cluster.engine.trigger(orders, "order-1", Order(total=1))
    with pytest.raises(UnknownStatusError, match=r"Other\.PAID"):
        cluster.engine.wait_for(orders, run_id, Other.PAID, SECOND)  # type: ignore[misc]


def test_wait_tells_that_the_data_cannot_be_read(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    run_id = cluster.engine.trigger(orders, "order-1", Order(total=1))
    table = cluster.records.runs.rows
    table[run_id] = table[run_id].replace(data=b"[]")
    with pytest.raises(DecodeError) as unreadable:
        cluster.engine.wait_for(orders, run_id, Status.PAID, SECOND)
    assert unreadable.value.run_id == run_id


def test_wait_that_can_never_end_is_told(cluster: Cluster, orders: Workflow[Order, Status]) -> None:
    run_id = cluster.engine.trigger(orders, "order-1", Order(total=1))  # nobody serves
    if not cluster.joined:
        cluster.driver.settle()
    with pytest.raises(WouldWaitForeverError, match="nothing is due"):
        cluster.engine.wait_for(orders, run_id, Status.PAID, timedelta(days=1))


@pytest.mark.parametrize(("total", "state"), [(-1, RunState.COMPLETED), (0, RunState.CANCELLED)])
def test_wait_until_ended_takes_every_end(
    cluster: Cluster, orders: Workflow[Order, Status], total: int, state: RunState
) -> None:
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order(total=total))
    assert cluster.engine.wait_until_ended(orders, run_id, SECOND).state is state


def test_wait_until_ended_tells_where_the_run_is_when_time_is_up(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order(total=1))
    with pytest.raises(NotReachedError, match="has not ended within 1 s, it is at PAID"):
        cluster.engine.wait_until_ended(orders, run_id, SECOND)
    with pytest.raises(RunNotFoundError):
        cluster.engine.wait_until_ended(orders, "nobody", SECOND)


# -- what it costs ---------------------------------------------------------------------------------


def test_many_waits_share_one_look_up(cluster: Cluster, orders: Workflow[Order, Status]) -> None:
    """Seen to fail when each wait asked for itself."""
    answers = cluster.engine.trigger_many(
        orders, [Trigger(f"order-{n}", Order(total=1)) for n in range(900)]
    )
    run_ids = [str(answer) for answer in answers]
    waits = [cluster.engine.expect(orders, i, Status.SHIPPED) for i in run_ids + run_ids]
    cluster.store.script.calls.clear()
    cluster.driver.run()
    assert cluster.store.script.calls["lookup_many"] <= 3  # one per round of the driver
    assert not any(future.done() for future in waits)
    cluster.driver.serve(orders)
    cluster.driver.settle()
    assert all(future.result(0).status is Status.SHIPPED for future in waits)


def test_wait_that_was_given_up_costs_nothing_more(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    """Seen to fail when a cancelled future was kept and looked up for ever."""
    run_id = cluster.engine.trigger(orders, "order-1", Order(total=1))
    future = cluster.engine.expect(orders, run_id, Status.SHIPPED)
    cluster.driver.run()
    assert future.cancel()
    cluster.store.script.calls.clear()
    cluster.driver.run()
    assert not cluster.store.script.calls["lookup_many"]


def test_wait_outlives_a_store_that_is_away(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order(total=1))
    future = cluster.engine.expect(orders, run_id, Status.SHIPPED)
    cluster.store.script.fail()
    cluster.driver.advance(timedelta(minutes=1))
    assert not future.done()
    assert cluster.driver.failures
    cluster.store.script.heal()
    cluster.driver.settle()
    assert future.result(0).status is Status.SHIPPED


def test_wait_ends_when_the_engine_closes(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    """Seen to fail when close left the futures as they were: they hung for ever."""
    run_id = cluster.engine.trigger(orders, "order-1", Order(total=1))
    future = cluster.engine.expect(orders, run_id, Status.SHIPPED)
    cluster.engine.close()
    with pytest.raises(StoppedError):
        future.result(0)


# -- within steps ----------------------------------------------------------------------------------


def parents_of(orders: Workflow[Order, Status], cluster: Cluster) -> Workflow[Order, Status]:
    parents = Workflow("parent", Order, Status, ends=(Status.SHIPPED,), retry=Retry(pause_after=1))

    @parents.step(Status.CREATED)
    async def begin(run: OrderRun) -> Literal[Status.PAID]:
        aio = cluster.engine.aio
        run.data.child = await aio.trigger(
            orders, run.foreign_id, Order(total=1), idempotency_key=run.idempotency_key
        )
        return Status.PAID

    @parents.step(Status.PAID)
    async def await_child(run: OrderRun) -> Literal[Status.SHIPPED]:
        seen = await cluster.engine.aio.wait_for(
            orders, run.data.child, Status.SHIPPED, timedelta(seconds=30)
        )
        run.data.total = seen.data.total
        return Status.SHIPPED

    return parents


def test_async_step_waits_for_another_run(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    parents = parents_of(orders, cluster)
    cluster.driver.serve(orders, parents)
    run_ids = [cluster.engine.trigger(parents, f"order-{n}", Order()) for n in range(5)]
    cluster.driver.settle()
    for run_id in run_ids:
        seen = cluster.engine.view(parents, run_id)
        assert (seen.status, seen.data.total) == (Status.SHIPPED, 1)


def test_async_wait_is_over_in_time_and_forgotten(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    """Seen to fail when the given-up wait stayed: the waiter looked it up for ever."""
    parents = Workflow("parent", Order, Status, ends=(Status.SHIPPED,), retry=Retry(pause_after=1))

    @parents.step(Status.CREATED)
    async def await_child(run: OrderRun) -> Literal[Status.SHIPPED]:
        await cluster.engine.aio.wait_for(orders, run.data.child, Status.PAID, SECOND * 5)
        return Status.SHIPPED

    child = cluster.engine.trigger(orders, "order-1", Order(total=1))  # nobody serves it
    cluster.driver.serve(parents)
    start = cluster.clock.now()
    run_id = cluster.engine.trigger(parents, "order-1", Order(child=child))
    cluster.driver.advance(timedelta(minutes=5))
    record = cluster.record(run_id)
    assert record.state is RunState.PAUSED
    assert record.last_error.startswith(f"NotReachedError: run {child} has not reached PAID")
    assert timedelta(seconds=5) <= record.updated_at - start < timedelta(seconds=6)
    cluster.store.script.calls.clear()
    cluster.driver.run()
    assert not cluster.store.script.calls["lookup_many"]


def test_async_wait_that_is_cancelled_is_forgotten(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    """Seen to fail when only a wait that timed out was given up."""
    parents = Workflow("parent", Order, Status, ends=(Status.SHIPPED,))

    @parents.step(Status.CREATED)
    async def await_child(run: OrderRun) -> Literal[Status.SHIPPED]:
        wait = cluster.engine.aio.wait_for(orders, run.data.child, Status.PAID, timedelta(hours=1))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wait, 3)
        return Status.SHIPPED

    child = cluster.engine.trigger(orders, "order-1", Order(total=1))
    cluster.driver.serve(parents)
    run_id = cluster.engine.trigger(parents, "order-1", Order(child=child))
    cluster.driver.settle()
    assert cluster.record(run_id).state is RunState.COMPLETED
    cluster.store.script.calls.clear()
    cluster.driver.run()
    assert not cluster.store.script.calls["lookup_many"]


def test_blocking_wait_in_an_async_step_is_told(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    parents = Workflow("parent", Order, Status, ends=(Status.SHIPPED,), retry=Retry(pause_after=1))

    @parents.step(Status.CREATED)
    async def await_child(run: OrderRun) -> Literal[Status.SHIPPED]:
        cluster.engine.wait_for(orders, run.data.child, Status.PAID, SECOND)
        return Status.SHIPPED

    child = cluster.engine.trigger(orders, "order-1", Order(total=1))
    cluster.driver.serve(parents)
    run_id = cluster.engine.trigger(parents, "order-1", Order(child=child))
    cluster.driver.run()
    assert cluster.record(run_id).last_error.startswith("WouldWaitForeverError")
    assert "engine.aio" in cluster.record(run_id).last_error


def test_blocking_wait_in_a_plain_step_drives_on(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    parents = Workflow("parent", Order, Status, ends=(Status.SHIPPED,), retry=Retry(pause_after=1))

    @parents.step(Status.CREATED)
    def await_child(run: OrderRun) -> Literal[Status.SHIPPED]:
        child = cluster.engine.trigger(orders, run.foreign_id, Order(total=1))
        cluster.engine.wait_for(orders, child, Status.SHIPPED, timedelta(minutes=1))
        return Status.SHIPPED

    cluster.driver.serve(orders, parents)
    run_id = cluster.engine.trigger(parents, "order-1", Order())
    cluster.driver.settle()
    assert cluster.record(run_id).state is RunState.COMPLETED


# -- the same verbs for asyncio --------------------------------------------------------------------


def test_aio_has_the_verbs(cluster: Cluster, orders: Workflow[Order, Status]) -> None:
    told: list[object] = []
    users = Workflow("user", Order, Status, ends=(Status.SHIPPED,), retry=Retry(pause_after=1))

    @users.step(Status.CREATED)
    async def use(run: OrderRun) -> Literal[Status.SHIPPED]:
        aio = cluster.engine.aio
        run_id = await aio.trigger(orders, "order-1", Order(total=1), status=Status.PAID)
        told.append(await aio.live_run(orders, "order-1") == run_id)
        await aio.pause(run_id, reason="wait")
        told.append((await aio.view(orders, run_id)).state)
        await aio.resume(run_id, who="ann")
        await aio.cancel(run_id, reason="no more")
        told.append((await aio.view(orders, run_id)).state)
        answers = await aio.trigger_many(orders, [Trigger("order-2", Order(total=1))])
        told.append(len(answers))
        with pytest.raises(RunNotFoundError):
            await aio.view(orders, "nobody")
        with pytest.raises(RunNotFoundError):
            await aio.wait_for(orders, "nobody", Status.PAID, SECOND)
        return Status.SHIPPED

    cluster.driver.serve(users)
    run_id = cluster.engine.trigger(users, "user-1", Order())
    cluster.driver.run()
    assert cluster.record(run_id).last_error == ""
    assert told == [True, RunState.PAUSED, RunState.CANCELLED, 1]


def test_aio_reads_and_waits_for_the_end_too(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    told: list[object] = []
    parents = Workflow("parent", Order, Status, ends=(Status.SHIPPED,))

    @parents.step(Status.CREATED)
    async def ask(run: OrderRun) -> Literal[Status.SHIPPED]:
        aio = cluster.engine.aio
        run_id = await aio.trigger(orders, "order-1", Order(total=-1))
        ended = await aio.wait_until_ended(orders, run_id, SECOND * 5)
        told.append(ended.status)
        query = RecordQuery(workflow=orders.name)
        told.append([record.run_id for record in (await aio.runs(query)).items] == [run_id])
        told.append(sum((await aio.counts(query)).values()))
        told.append([entry.version for entry in await aio.history(run_id)])
        return Status.SHIPPED

    cluster.driver.serve(orders, parents)
    cluster.engine.trigger(parents, "parent", Order())
    cluster.driver.settle()
    assert told == [Status.REFUSED, True, 1, [1, 2]]


# -- what a caller gets wrong ----------------------------------------------------------------------


def test_bare_number_is_no_timeout(cluster: Cluster, orders: Workflow[Order, Status]) -> None:
    run_id = cluster.engine.trigger(orders, "order-1", Order(total=1))
    seconds: Any = 2
    waits: list[Callable[[], object]] = [
        lambda: cluster.engine.wait_for(orders, run_id, Status.SHIPPED, timeout=seconds),
        lambda: cluster.engine.wait_until_ended(orders, run_id, timeout=seconds),
    ]
    for wait in waits:
        with pytest.raises(InputError, match=r"timedelta\(seconds=2\)"):
            wait()


def test_name_is_no_workflow(cluster: Cluster) -> None:
    name: Any = "order processor"
    calls: list[Callable[[], object]] = [
        lambda: cluster.engine.trigger(name, "order-1", Order()),
        lambda: cluster.engine.view(name, "a run"),
        lambda: cluster.engine.serving(name),
    ]
    for call in calls:
        with pytest.raises(InputError, match="type str"):
            call()


def test_wait_that_is_over_asks_whether_anybody_serves(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    run_id = cluster.engine.trigger(orders, "order-1", Order(total=1))
    error = cluster.engine.not_reached(orders, run_id, Status.SHIPPED, SECOND)
    assert "does a process serve" in str(error)
    cluster.driver.serve(orders)
    cluster.driver.run()
    error = cluster.engine.not_reached(orders, run_id, Status.SHIPPED, SECOND)
    assert "does a process serve" not in str(error)


def test_driver_tells_of_steps_that_wait_for_something_outside(cluster: Cluster) -> None:
    orders = Workflow("order processor", Order, Status, ends=(Status.SHIPPED,))

    @orders.step(Status.CREATED)
    async def ask(run: OrderRun) -> Literal[Status.SHIPPED]:
        await asyncio.get_running_loop().create_future()  # as a thread's answer would be awaited
        return Status.SHIPPED

    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    with pytest.raises(WouldWaitForeverError, match="1 async steps wait for something"):
        cluster.engine.wait_for(orders, run_id, Status.SHIPPED, SECOND)
