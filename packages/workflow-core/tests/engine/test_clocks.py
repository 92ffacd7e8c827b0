"""Whose clock: stores stamp and compare by their own, so a worker's clock may be far off."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

import pytest
from workflow_core.definition import Retry, Run, Workflow
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

HOUR = timedelta(hours=1)


@pytest.mark.parametrize("ahead", [HOUR, -HOUR, timedelta(0)], ids=["ahead", "behind", "right"])
def test_worker_whose_clock_is_off_changes_nothing(cluster: Cluster, ahead: timedelta) -> None:
    """Seen to fail when the worker compared the next try, and the trigger its start, by its own."""
    start = cluster.clock.now()
    at: list[int] = []

    def note() -> None:
        at.append(round(cluster.since(start).total_seconds()))

    orders = Workflow("order processor", Order, Status, ends=(Status.SHIPPED,))

    @orders.step(Status.CREATED, retry=Retry(first=timedelta(minutes=2), jitter=False))
    def pay(run: OrderRun) -> Literal[Status.PAID]:
        note()
        if run.attempt < 3:
            raise ValueError("no")
        return Status.PAID

    @orders.step(Status.PAID, lag=timedelta(minutes=3))
    def ship(run: OrderRun) -> Literal[Status.SHIPPED]:
        note()
        assert run.entered_at == cluster.clock.now() - timedelta(minutes=3)
        return Status.SHIPPED

    member = cluster.join("off", clock_ahead=ahead)
    serving = cluster.driver.serve(orders, engine=member.engine)
    run_id = member.engine.trigger(orders, "o", Order(), start_at=start + timedelta(minutes=10))
    cluster.driver.advance(timedelta(minutes=30))
    assert at == [600, 720, 960, 1140]
    record = cluster.record(run_id)
    assert (record.state, record.last_error) == (RunState.COMPLETED, "")
    assert (record.created_at, record.updated_at) == (start, start + timedelta(minutes=19))
    assert max(serving.lag.lags().values()) < timedelta(seconds=1)


@pytest.mark.parametrize("ahead", [HOUR, -HOUR], ids=["ahead", "behind"])
def test_row_held_by_a_writer_whose_clock_is_off_is_free_in_time(
    outbox: Cluster, ahead: timedelta
) -> None:
    """The lease goes in as a delay and counts by the store's clock."""
    orders = Workflow("order processor", Order, Status, ends=(Status.SHIPPED,))
    orders.add_step(Status.CREATED, lambda run: Status.SHIPPED, to=(Status.SHIPPED,))
    writer = outbox.join("off", clock_ahead=ahead)
    outbox.driver.crash(writer.engine)
    run_id = writer.engine.trigger(orders, "o", Order())
    outbox.driver.serve(orders)
    outbox.driver.advance(timedelta(seconds=7))
    assert outbox.record(run_id).state is RunState.COMPLETED
