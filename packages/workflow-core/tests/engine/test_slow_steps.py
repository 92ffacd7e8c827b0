"""Steps that take long: they hold up neither neighbours nor cursors, and survive their process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

import pytest
from workflow_core.definition import Run, Workflow
from workflow_core.engine import EngineSettings, Trigger
from workflow_core.model import EventKind, RunState

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster


class Status(IntEnum):
    CREATED = 1
    PAID = 2
    SHIPPED = 3


@dataclass
class Order:
    takes: float = 60


OrderRun = Run[Order, Status]

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


class Watch:
    """How often the step began and ended, and how many were running at once."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.most = 0

    @property
    def running(self) -> int:
        return len(self.begun) - len(self.ended)


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def orders(watch: Watch) -> Workflow[Order, Status]:
    """A step that takes as long as the order says, and a quick one after it."""
    return make_orders(watch)


def make_orders(watch: Watch, concurrency: int = 10) -> Workflow[Order, Status]:
    orders = Workflow("order processor", Order, Status, ends=(Status.SHIPPED,))

    @orders.step(Status.CREATED, concurrency=concurrency)
    async def pay(run: OrderRun) -> Literal[Status.PAID]:
        watch.begun.append(run.foreign_id)
        watch.most = max(watch.most, watch.running)
        await asyncio.sleep(run.data.takes)
        watch.ended.append(run.foreign_id)
        return Status.PAID

    @orders.step(Status.PAID)
    def ship(run: OrderRun) -> Literal[Status.SHIPPED]:
        return Status.SHIPPED

    return orders


def test_slow_run_holds_up_no_neighbour(cluster: Cluster, orders: Workflow[Order, Status]) -> None:
    cluster.driver.serve(orders)
    slow = cluster.engine.trigger(orders, "slow", Order(takes=60))
    quick = cluster.engine.trigger_many(
        orders, [Trigger(f"order-{n}", Order(takes=1)) for n in range(100)]
    )
    cluster.driver.advance(timedelta(seconds=15))  # 9 at once, a second each
    assert {cluster.record(str(i)).state for i in quick} == {RunState.COMPLETED}
    assert cluster.record(slow).state is RunState.INITIATED
    cluster.driver.settle()
    assert cluster.record(slow).state is RunState.COMPLETED


def test_running_bodies_keep_to_the_concurrency(cluster: Cluster, watch: Watch) -> None:
    """Seen to fail when chunks took all that waited."""
    orders = make_orders(watch, concurrency=7)
    cluster.driver.serve(orders)
    start = cluster.clock.now()
    cluster.engine.trigger_many(orders, [Trigger(f"o-{n}", Order(takes=10)) for n in range(21)])
    cluster.driver.advance(SECOND)
    assert watch.running == 7
    cluster.driver.settle()
    assert (watch.most, len(watch.ended)) == (7, 21)
    assert cluster.since(start) < timedelta(seconds=32)


def test_slow_run_gets_a_safety_copy_and_is_acked(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    """Seen to fail when the copy was made and the event kept: the cursor stood still."""
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "slow", Order(takes=200))
    cluster.driver.advance(timedelta(seconds=29))
    assert cluster.rows() == []
    assert cluster.streamer.acked == []
    cluster.driver.advance(timedelta(seconds=3))
    (copy,) = cluster.rows()
    assert (copy.run_id, copy.version, copy.kind) == (run_id, 1, EventKind.NUDGE)
    assert [event.run_id for event in cluster.streamer.acked] == [run_id]


def test_safety_copy_is_renewed_and_deleted_after_the_commit(
    cluster: Cluster, orders: Workflow[Order, Status], watch: Watch
) -> None:
    """Seen to fail when the copy was never renewed: it came due after a minute."""
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "slow", Order(takes=600))
    cluster.driver.advance(timedelta(seconds=595))
    assert len(cluster.rows()) == 1
    due = cluster.store.next_outbox_due(["order processor"])
    assert due is not None
    assert due > timedelta(seconds=35)
    cluster.driver.advance(timedelta(seconds=10))
    assert cluster.record(run_id).state is RunState.COMPLETED
    assert cluster.rows() == []
    cluster.driver.settle()
    assert watch.begun == ["slow"]


def test_safety_copy_is_renewed_late_when_the_store_was_away(
    cluster: Cluster, orders: Workflow[Order, Status], watch: Watch
) -> None:
    cluster.driver.serve(orders)
    cluster.engine.trigger(orders, "slow", Order(takes=300))
    cluster.driver.advance(timedelta(seconds=35))
    cluster.store.script.fail("delay_outbox_events")
    cluster.driver.advance(timedelta(seconds=25))
    cluster.store.script.heal()
    cluster.driver.settle()
    assert watch.begun == ["slow"]


def test_slow_run_survives_its_process(
    cluster: Cluster, orders: Workflow[Order, Status], watch: Watch
) -> None:
    """Its event is acked: only the copy drives it. Seen to fail when no copy was filed."""
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "slow", Order(takes=100))
    cluster.driver.advance(timedelta(seconds=40))
    assert cluster.streamer.acked
    cluster.kill(cluster.engine, "first")
    second = cluster.join("second")
    cluster.driver.serve(orders, engine=second.engine)
    cluster.driver.advance(timedelta(seconds=55))
    assert watch.begun == ["slow"]  # nobody knows yet that the first is gone
    cluster.driver.advance(timedelta(seconds=110))
    assert watch.begun == ["slow", "slow"]
    assert cluster.record(run_id).state is RunState.COMPLETED
    assert cluster.record(run_id).version == 4  # its second attempt was counted ahead


def test_slow_run_that_a_stop_abandons_is_taken_up_at_once(
    cluster: Cluster, orders: Workflow[Order, Status], watch: Watch
) -> None:
    """Seen to fail when only the safety copy drove it: it began a minute later."""
    serving = cluster.driver.serve(orders)
    cluster.engine.trigger(orders, "slow", Order(takes=100))
    cluster.driver.advance(timedelta(seconds=40))
    second = cluster.join("second")
    assert serving.stop() != []
    cluster.driver.serve(orders, engine=second.engine)
    cluster.driver.advance(SECOND)
    assert watch.begun == ["slow", "slow"]


def test_quick_run_survives_its_process(
    cluster: Cluster, orders: Workflow[Order, Status], watch: Watch
) -> None:
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "slow", Order(takes=20))
    cluster.driver.advance(timedelta(seconds=5))
    cluster.kill(cluster.engine, "first")
    second = cluster.join("second")
    cluster.driver.serve(orders, engine=second.engine)
    cluster.driver.advance(timedelta(seconds=40))
    assert watch.begun == ["slow", "slow"]
    assert cluster.record(run_id).version == 4  # its second attempt was counted ahead


def test_stop_abandons_a_slow_step_by_name_and_it_runs_again(
    cluster: Cluster,
    orders: Workflow[Order, Status],
    watch: Watch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A deploy costs no attempt. Seen to fail when an abandoned step was stored as failed."""
    serving = cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "slow", Order(takes=20))
    cluster.driver.advance(timedelta(seconds=5))
    left = serving.stop()
    assert left == [f"order processor: step pay of run {run_id}"]
    assert left[0] in caplog.text
    second = cluster.join("second")
    cluster.driver.serve(orders, engine=second.engine)
    cluster.driver.settle()
    record = cluster.record(run_id)
    assert (record.state, record.version, record.attempts) == (RunState.COMPLETED, 3, 0)
    assert watch.begun == ["slow", "slow"]


def test_stop_finishes_what_has_been_done(
    cluster: Cluster, orders: Workflow[Order, Status], watch: Watch
) -> None:
    """Seen to fail when the stop left out the work that waited for its commit: it ran again."""
    serving = cluster.driver.serve(orders)
    client = cluster.client().engine
    cluster.store.script.fail("commit")
    run_ids = [client.trigger(orders, f"o-{n}", Order(takes=0)) for n in range(3)]
    cluster.driver.advance(timedelta(seconds=5))
    assert len(watch.ended) == 3
    assert {cluster.record(run_id).version for run_id in run_ids} == {1}
    cluster.store.script.heal()
    assert serving.stop() == []
    assert {cluster.record(run_id).version for run_id in run_ids} == {2}
    second = cluster.join("second")
    cluster.driver.serve(orders, engine=second.engine)
    cluster.driver.settle()
    assert {cluster.record(run_id).version for run_id in run_ids} == {3}
    assert len(watch.begun) == 3


def test_event_that_comes_twice_runs_once(
    cluster: Cluster, orders: Workflow[Order, Status], watch: Watch
) -> None:
    """While the step runs and after it. Seen to fail when the window took each for itself."""
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "slow", Order(takes=20))
    cluster.driver.advance(SECOND)
    (event,) = cluster.streamer.sent
    sender = cluster.streamer.new_sender()
    sender.send_many([event, event], SECOND)
    cluster.driver.advance(timedelta(seconds=30))
    sender.send_many([event], SECOND)
    cluster.driver.settle()
    assert watch.begun == ["slow"]
    assert cluster.record(run_id).version == 3
    assert len([each for each in cluster.streamer.acked if each.id == event.id]) == 4


def test_strangers_events_are_acked_and_left_alone(
    cluster: Cluster, orders: Workflow[Order, Status], watch: Watch
) -> None:
    cluster.driver.serve(orders)
    cluster.driver.run()
    run_id = cluster.engine.trigger(orders, "o", Order(takes=0))
    cluster.driver.run()
    event = cluster.streamer.sent[0]
    strange = [
        event.replace(id="1", target="another consumer"),
        event.replace(id="2", workflow="order_processor"),
        event.replace(id="3", status=3),
    ]
    cluster.streamer.new_sender().send_many(strange, SECOND)
    cluster.driver.run()
    assert watch.begun == ["o"]
    assert {each.id for each in cluster.streamer.acked} >= {"1", "2", "3"}
    assert cluster.record(run_id).version == 3


def test_look_up_that_grew_old_is_done_again(cluster: Cluster) -> None:
    """Cancelled while a neighbour ran. Seen to fail when a chunk trusted its look-up for good."""
    called: list[str] = []
    orders = Workflow("order processor", Order, Status, ends=(Status.SHIPPED,))

    @orders.step(Status.CREATED)
    def pay(run: OrderRun) -> Literal[Status.SHIPPED]:
        called.append(run.foreign_id)
        if run.foreign_id != "quick":
            cluster.clock.advance(timedelta(seconds=0.1))
            for run_id in others:
                if run_id != run.run_id:
                    client.cancel(run_id, reason="sold out")
        return Status.SHIPPED

    others: list[str] = []
    client = cluster.client().engine
    cluster.driver.serve(orders)
    cluster.engine.trigger(orders, "quick", Order())
    cluster.driver.run()  # from now on bodies are thought quick, and many are looked up at once
    answers = cluster.engine.trigger_many(orders, [Trigger(f"o{n}", Order()) for n in range(20)])
    others += [str(answer) for answer in answers]
    cluster.driver.settle()
    assert len(called) == 2
    states = [cluster.record(run_id).state for run_id in others]
    assert states.count(RunState.CANCELLED) == 19


def test_look_up_that_is_fresh_serves_many(cluster: Cluster) -> None:
    orders = Workflow("order processor", Order, Status, ends=(Status.SHIPPED,))
    orders.add_step(Status.CREATED, lambda run: Status.SHIPPED, to=(Status.SHIPPED,))
    cluster.driver.serve(orders)
    cluster.engine.trigger(orders, "quick", Order())
    cluster.driver.run()
    cluster.store.script.calls.clear()
    client = cluster.client().engine
    client.trigger_many(orders, [Trigger(f"o{n}", Order()) for n in range(100)])
    cluster.driver.run()
    assert cluster.store.script.calls["lookup_many"] == 1


# -- lag -------------------------------------------------------------------------------------------


def test_lag_tells_how_late_events_are_taken_up(
    cluster: Cluster, orders: Workflow[Order, Status], caplog: pytest.LogCaptureFixture
) -> None:
    run_id = cluster.engine.trigger(orders, "late", Order(takes=0))
    cluster.driver.run()
    cluster.driver.advance(timedelta(hours=1))  # nobody serves
    serving = cluster.driver.serve(orders)
    with caplog.at_level(logging.WARNING, "workflow_core.engine"):
        cluster.driver.run()
    assert serving.lag.lags()["order processor", 1] == timedelta(hours=1)
    assert "step pay: events are taken up 1:00:00 late" in caplog.text
    assert serving.lag.alerts() == {("order processor", 1)}
    assert cluster.record(run_id).state is RunState.COMPLETED


def test_lag_alert_is_told_once_a_minute_and_ends(
    make_cluster: Callable[..., Cluster], caplog: pytest.LogCaptureFixture
) -> None:
    cluster = make_cluster(settings=EngineSettings())
    orders = Workflow("order processor", Order, Status, ends=(Status.SHIPPED,))

    @orders.step(Status.CREATED, lag_alert=MINUTE, concurrency=1)
    async def pay(run: OrderRun) -> Literal[Status.SHIPPED]:
        await asyncio.sleep(run.data.takes)
        return Status.SHIPPED

    cluster.engine.trigger_many(orders, [Trigger(f"o-{n}", Order(takes=10)) for n in range(30)])
    cluster.driver.advance(timedelta(minutes=2))
    serving = cluster.driver.serve(orders)
    cluster.driver.settle()
    warned = [record for record in caplog.records if "more than the alert" in record.getMessage()]
    assert len(warned) == 5  # in five minutes of work
    assert serving.lag.alerts() == {("order processor", 1)}
    cluster.engine.trigger(orders, "on time", Order(takes=0))
    cluster.driver.settle()
    assert serving.lag.alerts() == frozenset()


def test_meant_delays_are_no_lag(
    cluster: Cluster, orders: Workflow[Order, Status], caplog: pytest.LogCaptureFixture
) -> None:
    serving = cluster.driver.serve(orders)
    cluster.engine.trigger(
        orders, "later", Order(takes=0), start_at=cluster.clock.now() + timedelta(days=2)
    )
    cluster.driver.advance(timedelta(days=2, minutes=1))
    assert serving.lag.lags()["order processor", 1] < SECOND
    assert not [record for record in caplog.records if "late" in record.getMessage()]


def test_backlog_of_a_slow_step_lets_the_others_of_its_workflow_pass(cluster: Cluster) -> None:
    """Seen to fail when a full lane keeps all that it received: 23 minutes instead of seconds."""
    done: list[str] = []
    orders = Workflow(
        "order processor",
        Order,
        Status,
        ends=(Status.SHIPPED,),
        starts=(Status.CREATED, Status.PAID),
    )

    @orders.step(Status.CREATED, concurrency=10)
    async def pay(run: OrderRun) -> Literal[Status.SHIPPED]:
        await asyncio.sleep(60)
        return Status.SHIPPED

    @orders.step(Status.PAID)
    def ship(run: OrderRun) -> Literal[Status.SHIPPED]:
        done.append(run.foreign_id)
        return Status.SHIPPED

    driver = cluster.driver
    driver.serve(orders)
    cluster.engine.trigger_many(
        orders, [Trigger(f"slow {n}", Order(), status=Status.CREATED) for n in range(3000)]
    )
    driver.advance(5 * SECOND)
    cluster.engine.trigger_many(
        orders, [Trigger(f"quick {n}", Order(), status=Status.PAID) for n in range(100)]
    )
    driver.advance(5 * SECOND)
    assert len(done) == 100


def test_stall_puts_quick_work_off_by_little(cluster: Cluster, watch: Watch) -> None:
    """One body that is held up for a second, by a pause of the machine perhaps, before 2,500.

    Seen to fail when each of them was reckoned to take as long: the last came after ten minutes.
    """
    orders = make_orders(watch, concurrency=1)
    driver = cluster.driver
    driver.serve(orders)
    start = cluster.clock.now()
    cluster.engine.trigger(orders, "held up", Order(takes=2))
    driver.advance(SECOND / 10)
    run_ids = cluster.engine.trigger_many(
        orders, [Trigger(f"quick {n}", Order(takes=0)) for n in range(2500)]
    )
    driver.settle()
    assert {cluster.record(str(it)).state for it in run_ids} == {RunState.COMPLETED}
    assert cluster.since(start) < MINUTE
