"""Steps that kill their process, that exceed their time, that have a pool, on either store."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

import pytest
from workflow_core import CancelReason, Retry, Run, RunState, Workflow

if TYPE_CHECKING:
    from tests.both_stores.conftest import Cluster

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


class Status(IntEnum):
    PLACED = 1
    SHIPPED = 2


@dataclass
class Order:
    takes: float = 0.0


OrderRun = Run[Order, Status]


class Shop:
    def __init__(self) -> None:
        self.begun: list[tuple[str, int]] = []
        self.last: OrderRun | None = None
        orders = self.orders = Workflow(
            "orders",
            Order,
            Status,
            ends=(Status.SHIPPED,),
            retry=Retry(first=SECOND, jitter=False, pause_after=2),
        )

        @orders.step(Status.PLACED, timeout=10 * MINUTE)
        async def ship(run: OrderRun) -> Literal[Status.SHIPPED]:
            self.begun.append((run.foreign_id, run.attempt))
            self.last = run
            await asyncio.sleep(run.data.takes)
            return Status.SHIPPED


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Shop:
    # what is acked is saved once a second of the real clock, and no test here takes so long
    monkeypatch.setattr("workflow_sql.events.receiver._SAVE_EVERY", 0)
    return Shop()


def test_run_whose_processes_die_is_counted_and_paused_and_its_neighbour_finishes(
    cluster: Cluster, shop: Shop
) -> None:
    """Seen to fail when suspects were run like all others: attempts stayed at none."""
    cluster.driver.serve(shop.orders)
    killer = cluster.second.trigger(shop.orders, "killer", Order(600))
    neighbour = cluster.second.trigger(shop.orders, "neighbour", Order(20))
    cluster.driver.advance(SECOND)
    cluster.kill(cluster.engine, "first")
    for number, attempts in enumerate((0, 1, 2, 2)):
        heir = cluster.join(f"heir {number}")
        cluster.driver.serve(shop.orders, engine=heir)
        cluster.driver.advance(MINUTE)
        cluster.driver.advance(MINUTE)
        view = cluster.second.view(shop.orders, killer)
        assert view.attempts == attempts
        assert ("ProcessDiedError" in view.last_error) == (attempts > 0)
        cluster.kill(heir, f"heir {number}")
    assert cluster.second.view(shop.orders, killer).state is RunState.PAUSED
    assert [attempt for name, attempt in shop.begun if name == "killer"] == [1, 1, 1, 2]
    done = cluster.second.view(shop.orders, neighbour)
    assert (done.status, done.attempts) == (Status.SHIPPED, 0)


def test_step_that_exceeds_its_time_has_failed_and_is_tried_again(
    cluster: Cluster, shop: Shop
) -> None:
    cluster.driver.serve(shop.orders)
    run_id = cluster.second.trigger(shop.orders, "slow", Order(3600))
    cluster.driver.advance(10 * MINUTE + SECOND / 2)
    view = cluster.second.view(shop.orders, run_id)
    assert (view.attempts, view.last_error.split(":")[0]) == (1, "StepTimeoutError")
    assert shop.last is not None
    assert shop.last.cancel_reason is CancelReason.TIMED_OUT
    cluster.driver.advance(11 * MINUTE)
    view = cluster.second.view(shop.orders, run_id)
    assert (view.state, view.attempts) == (RunState.PAUSED, 2)
    assert shop.begun == [("slow", 1), ("slow", 2)]


def test_pool_works_on_its_statuses_and_no_other_does(cluster: Cluster, shop: Shop) -> None:
    """Two lanes read a topic each. Seen to fail when every pool had all steps."""

    class Stage(IntEnum):
        CUT = 1
        RENDERED = 2
        SHOWN = 3

    films = Workflow("films", Order, Stage, ends=(Stage.SHOWN,))
    did: list[str] = []

    @films.step(Stage.CUT)
    def cut(run: Run[Order, Stage]) -> Literal[Stage.RENDERED]:
        did.append("cut")
        return Stage.RENDERED

    @films.step(Stage.RENDERED)
    def render(run: Run[Order, Stage]) -> Literal[Stage.SHOWN]:
        did.append("render")
        return Stage.SHOWN

    main = cluster.engine.serving(films, statuses=[Stage.CUT]).start()
    client = cluster.join("client")
    ids = [client.trigger(films, f"film {number}", Order()) for number in range(5)]
    cluster.driver.advance(MINUTE)
    assert did == ["cut"] * 5
    slow = cluster.second.serving(films, pool="slow", statuses=[Stage.RENDERED]).start()
    cluster.driver.advance(MINUTE)
    assert did == ["cut"] * 5 + ["render"] * 5
    assert {client.view(films, run_id).status for run_id in ids} == {Stage.SHOWN}
    assert not set(main.roles) & set(slow.roles)


def test_pools_that_share_a_status_commit_each_transition_once_and_are_told(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """Both run the step, as while a deploy moves it; the run goes on once. Then one lets it be.

    Seen to fail where pools are not compared.
    """
    orders = Workflow("orders", Order, Status, ends=(Status.SHIPPED,))
    begun: list[str] = []

    @orders.step(Status.PLACED)
    async def ship(run: OrderRun) -> Literal[Status.SHIPPED]:
        begun.append(run.foreign_id)
        await asyncio.sleep(1)
        return Status.SHIPPED

    cluster.driver.serve(orders)
    cluster.driver.advance(MINUTE)
    other = cluster.second.serving(orders, pool="slow", statuses=[Status.PLACED]).start()
    cluster.driver.advance(11 * MINUTE)
    told = "the pools 'main' and 'slow' both run the step at PLACED of 'orders'"
    for engine in (cluster.engine, cluster.second):
        health = engine.health()
        assert health.ready
        pools = [problem for problem in health.problems if "both run the step" in problem]
        assert len(pools) == 1, health.problems
    assert any(line.startswith(told) for line in caplog.messages)
    client = cluster.join("client")
    ids = [client.trigger(orders, f"order {number}", Order()) for number in range(5)]
    cluster.driver.advance(5 * SECOND)
    assert sorted(begun) == sorted([f"order {number}" for number in range(5)] * 2)
    for run_id in ids:
        versions = [entry.version for entry in client.history(run_id)]
        assert (client.view(orders, run_id).status, versions) == (Status.SHIPPED, [1, 2])
    other.stop()
    cluster.driver.advance(2 * MINUTE)
    assert not any("both run" in problem for problem in cluster.engine.health().problems)


def test_limit_of_a_step_holds_over_processes(cluster: Cluster) -> None:
    """Seen to fail when each process had a limit of its own."""
    films = Workflow("films", Order, Status, ends=(Status.SHIPPED,))
    running: list[str] = []
    most: list[int] = []

    @films.step(Status.PLACED, at_most=1)
    async def render(run: OrderRun) -> Literal[Status.SHIPPED]:
        running.append(run.foreign_id)
        most.append(len(running))
        await asyncio.sleep(1)
        running.remove(run.foreign_id)
        return Status.SHIPPED

    cluster.driver.serve(films)
    cluster.driver.serve(films, engine=cluster.second)
    cluster.driver.advance(MINUTE)
    client = cluster.join("client")
    ids = [client.trigger(films, f"film {number}", Order()) for number in range(12)]
    for _ in range(120):
        cluster.driver.advance(SECOND / 2)
    assert {client.view(films, run_id).status for run_id in ids} == {Status.SHIPPED}
    assert max(most) == 1
