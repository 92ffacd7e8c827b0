"""A limit of a step's bodies over all processes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

import pytest
from workflow_core.definition import Run, Workflow
from workflow_core.engine import Trigger
from workflow_core.errors import DefinitionError
from workflow_core.model import RunState

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster


class Status(IntEnum):
    CREATED = 1
    CHECKED = 2
    DONE = 3


@dataclass
class Order:
    takes: float = 1.0


OrderRun = Run[Order, Status]

SECOND = timedelta(seconds=1)


class Watch:
    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.by: set[int] = set()
        self.quick = 0


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def orders(watch: Watch) -> Workflow[Order, Status]:
    """The first step may run twice at once over all processes."""
    orders = Workflow("order processor", Order, Status, ends=(Status.DONE,))

    @orders.step(Status.CREATED, at_most=2)
    async def check(run: OrderRun) -> Literal[Status.CHECKED]:
        watch.running += 1
        watch.most = max(watch.most, watch.running)
        try:
            await asyncio.sleep(run.data.takes)
        finally:
            watch.running -= 1
        return Status.CHECKED

    @orders.step(Status.CHECKED)
    def quick(run: OrderRun) -> Literal[Status.DONE]:
        watch.quick += 1
        return Status.DONE

    return orders


def slots(cluster: Cluster) -> list[int]:
    """How many slots each engine has."""
    servings = [engine._serving for engine in cluster.driver._engines]
    return [
        sum("-slot-" in role for role in serving.roles)
        for serving in servings
        if serving is not None
    ]


def begin(cluster: Cluster, orders: Workflow[Order, Status], count: int) -> list[str]:
    client = cluster.client(f"client of {count}").engine
    triggers = [Trigger(f"{count}-{number}", Order()) for number in range(count)]
    return [str(answer) for answer in client.trigger_many(orders, triggers)]


def test_no_more_bodies_run_at_once_over_all_processes_than_may(
    cluster: Cluster, orders: Workflow[Order, Status], watch: Watch
) -> None:
    """Seen to fail when each process had a limit of its own: six ran at once."""
    cluster.driver.serve(orders)
    for name in ("second", "third"):
        cluster.driver.serve(orders, engine=cluster.join(name).engine)
    cluster.driver.advance(30 * SECOND)
    ids = begin(cluster, orders, 60)
    for _ in range(400):
        cluster.driver.advance(SECOND / 4)
        assert sum(slots(cluster)) <= 2
    assert watch.most == 2
    assert {cluster.record(run_id).state for run_id in ids} == {RunState.COMPLETED}


def test_slots_are_given_up_when_nothing_is_there_for_them(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    """Seen to fail when slots were kept like any role."""
    cluster.driver.serve(orders)
    cluster.driver.advance(SECOND)
    assert slots(cluster) == [0]
    begin(cluster, orders, 4)
    cluster.driver.run()
    assert slots(cluster) == [2]
    for _ in range(30):
        cluster.driver.advance(SECOND / 4)
    assert slots(cluster) == [0]


def test_processes_take_turns_when_there_are_fewer_slots_than_processes(
    joined: Cluster, watch: Watch
) -> None:
    """Each has shards of its own. Seen to fail when slots were kept while there was work."""
    orders = Workflow("order processor", Order, Status, ends=(Status.DONE,))

    @orders.step(Status.CREATED, at_most=1)
    async def check(run: OrderRun) -> Literal[Status.DONE]:
        await asyncio.sleep(run.data.takes)
        return Status.DONE

    joined.driver.serve(orders)
    joined.driver.serve(orders, engine=joined.join("second").engine)
    joined.driver.advance(30 * SECOND)
    begin(joined, orders, 200)
    had: set[int] = set()
    for _ in range(200):
        joined.driver.advance(SECOND / 4)
        had |= {at for at, count in enumerate(slots(joined)) if count}
    assert had == {0, 1}


def test_slot_of_a_long_body_is_kept_until_it_ends_and_given_up_then(
    joined: Cluster, orders: Workflow[Order, Status], watch: Watch
) -> None:
    """Seen to fail when its role was given up after its time, with the body still in it."""
    joined.driver.serve(orders)
    joined.driver.advance(SECOND)
    client = joined.client().engine
    client.trigger_many(orders, [Trigger(f"long {n}", Order(60)) for n in range(3)])
    joined.driver.run()
    for _ in range(50):
        joined.driver.advance(SECOND)
        assert (slots(joined), watch.running) == ([2], 2)
    joined.driver.advance(15 * SECOND)
    assert watch.running == 1
    assert watch.most == 2


def test_other_steps_do_not_wait_for_a_limited_one(
    cluster: Cluster, orders: Workflow[Order, Status], watch: Watch
) -> None:
    cluster.driver.serve(orders)
    cluster.driver.advance(SECOND)
    begin(cluster, orders, 30)
    client = cluster.client().engine
    done = client.trigger(orders, "quick", Order(), status=Status.CHECKED)
    cluster.driver.run()
    assert cluster.record(done).state is RunState.COMPLETED
    assert watch.running == 2


def test_slots_of_a_process_that_dies_are_free_after_its_lease(
    cluster: Cluster, orders: Workflow[Order, Status], watch: Watch
) -> None:
    cluster.driver.serve(orders)
    cluster.driver.advance(SECOND)
    begin(cluster, orders, 2)
    cluster.driver.run()
    assert slots(cluster) == [2]
    cluster.kill(cluster.engine, "first")
    second = cluster.join("second")
    cluster.driver.serve(orders, engine=second.engine)
    for _ in range(160):
        cluster.driver.advance(SECOND / 4)
    assert watch.quick == 2


def test_limit_is_one_or_more(orders: Workflow[Order, Status]) -> None:
    with pytest.raises(DefinitionError, match="at_most must be 1 or more, not 0"):
        orders.step(Status.CHECKED, at_most=0)
