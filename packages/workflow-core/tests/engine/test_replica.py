"""Look-ups answered by a replica that lags behind: never a reason to believe a run is gone."""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

import pytest
from workflow_core.definition import Run, Workflow
from workflow_core.engine.transition import Identity, status_event
from workflow_core.model import RunState

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster


class Status(IntEnum):
    CREATED = 1
    PAID = 2
    SHIPPED = 3


@dataclass
class Order:
    total: int = 0


OrderRun = Run[Order, Status]


@pytest.fixture(autouse=True)
def _asks_for_each_run(cluster: Cluster) -> None:
    cluster.store.tells_stamps = False


def an_order_workflow() -> Workflow[Order, Status]:
    orders = Workflow("order processor", Order, Status, ends=(Status.SHIPPED,))

    @orders.step(Status.CREATED)
    def pay(run: OrderRun) -> Literal[Status.PAID]:
        return Status.PAID

    @orders.step(Status.PAID)
    def ship(run: OrderRun) -> Literal[Status.SHIPPED]:
        return Status.SHIPPED

    return orders


def test_event_is_worked_on_when_the_replica_has_no_run_yet(cluster: Cluster) -> None:
    """Seen to fail when only the replica was asked: the run never left CREATED."""
    orders = an_order_workflow()
    cluster.store.replica = {}
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.driver.run()
    assert cluster.record(run_id).state is RunState.COMPLETED
    # one question to the primary for each of the two looks, however long the replica lags
    assert cluster.store.script.calls["lookup_primary"] == 2


def test_event_is_worked_on_when_the_replica_has_an_older_version(cluster: Cluster) -> None:
    orders = an_order_workflow()
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.store.replica = {run_id: cluster.record(run_id)}
    cluster.driver.serve(orders)
    cluster.driver.run()
    assert cluster.record(run_id).state is RunState.COMPLETED
    assert cluster.store.script.calls["lookup_primary"] == 1


def test_event_is_kept_for_half_a_minute_when_the_primary_lacks_its_version(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """A fail-over lost the last commits. Seen to fail with a limit of zero seconds."""
    orders = an_order_workflow()
    cluster.driver.serve(orders)
    cluster.driver.run()
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    lost = cluster.records.runs.rows.pop(run_id)
    cluster.driver.advance(timedelta(seconds=29))
    assert not caplog.records
    cluster.driver.advance(timedelta(seconds=2))
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert run_id in caplog.text
    assert "no such run" in caplog.text
    assert [event.run_id for event in cluster.streamer.acked] == [run_id]
    # the run turns up again, from a backup: the reconciler finds it
    cluster.records.runs.rows[run_id] = lost
    cluster.driver.advance(timedelta(minutes=20))
    assert cluster.record(run_id).state is RunState.COMPLETED


def test_event_is_worked_on_when_its_version_arrives_late(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    orders = an_order_workflow()
    cluster.driver.serve(orders)
    cluster.driver.run()
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    late = cluster.records.runs.rows.pop(run_id)
    cluster.driver.advance(timedelta(seconds=10))
    cluster.records.runs.rows[run_id] = late
    cluster.driver.advance(timedelta(seconds=1))
    assert cluster.record(run_id).state is RunState.COMPLETED
    assert not caplog.records


def test_run_goes_on_at_once_when_the_store_was_set_back_under_an_event_in_hand(
    cluster: Cluster,
) -> None:
    """The older event drives it. Seen to fail: it stood behind the other for half a minute."""
    orders = an_order_workflow()
    before = type(cluster)(joined=cluster.joined)
    run_id = before.engine.trigger(orders, "order-1", Order(), idempotency_key="1")
    ahead = status_event(
        before.record(run_id).replace(version=7, status=2),
        Identity(cluster.clock, random.Random(1)),
    )
    before.close()
    cluster.driver.serve(orders)
    cluster.driver.run()
    cluster.streamer.new_sender().send(ahead.event)
    cluster.driver.run()
    assert cluster.engine.trigger(orders, "order-1", Order(), idempotency_key="1") == run_id
    cluster.driver.advance(timedelta(seconds=1))
    assert cluster.record(run_id).state is RunState.COMPLETED


def test_waiting_does_not_end_when_the_replica_has_no_run_yet(cluster: Cluster) -> None:
    """Seen to fail when the waiter believed the replica: RunNotFoundError."""
    orders = an_order_workflow()
    cluster.store.replica = {}
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    seen = cluster.engine.wait_for(orders, run_id, Status.SHIPPED, timedelta(seconds=5))
    assert seen.state is RunState.COMPLETED


def test_running_step_is_not_told_to_stop_when_the_replica_lacks_its_run(cluster: Cluster) -> None:
    """Seen to fail when a run missing on the replica counted as gone."""
    told: list[bool] = []
    orders = Workflow("order processor", Order, Status, ends=(Status.SHIPPED,))

    @orders.step(Status.CREATED)
    async def ship(run: OrderRun) -> Literal[Status.SHIPPED]:
        await asyncio.sleep(5)
        told.append(run.cancelled)
        return Status.SHIPPED

    cluster.store.replica = {}
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.driver.advance(timedelta(seconds=6))
    assert told == [False]
    assert cluster.record(run_id).state is RunState.COMPLETED
