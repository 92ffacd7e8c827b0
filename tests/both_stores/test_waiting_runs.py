"""Timeouts, callbacks and automatic resume: their failures and races, on each store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

import pytest
from workflow_core import Retry, Run, Workflow
from workflow_core.errors import NotAtStatusError
from workflow_core.model import PauseKind, RunState

if TYPE_CHECKING:
    from tests.both_stores.conftest import Cluster

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
RETRY = Retry(first=MINUTE, maximum=MINUTE, jitter=False, pause_after=3)


class Status(IntEnum):
    WAITING = 1
    PAID = 2
    GIVEN_UP = 3


@dataclass
class Order:
    notes: list[str] = field(default_factory=list)


OrderRun = Run[Order, Status]
Once = Callable[[Callable[[], object]], Callable[[], None]]


def nothing() -> None:
    """What happens within a body unless a test says otherwise."""


class Shop:
    """Runs that wait for a payment, for an hour; `in_timer` and `in_callback` run in the bodies."""

    def __init__(self) -> None:
        self.fired = 0
        self.in_timer: Callable[[], None] = nothing
        self.in_callback: Callable[[], None] = nothing
        orders = self.orders = Workflow(
            "orders", Order, Status, ends=(Status.PAID, Status.GIVEN_UP), retry=RETRY
        )

        @orders.timeout(Status.WAITING, after=HOUR)
        def give_up(run: OrderRun) -> Literal[Status.GIVEN_UP]:
            self.fired += 1
            self.in_timer()
            return Status.GIVEN_UP

        @orders.callback(Status.WAITING)
        def pay(run: OrderRun, receipt: str) -> Literal[Status.PAID]:
            self.in_callback()
            run.data.notes.append(receipt)
            return Status.PAID

        self.pay = pay

    def begin(self, cluster: Cluster) -> str:
        """A run that waits, with both engines at work."""
        for engine in (cluster.engine, cluster.second):
            cluster.driver.serve(self.orders, engine=engine)
        run_id = cluster.engine.trigger(self.orders, "order-1", Order())
        cluster.driver.run()
        return run_id


@pytest.fixture
def shop() -> Shop:
    return Shop()


def fail() -> None:
    raise ConnectionError("no answer")


# -- timeouts --------------------------------------------------------------------------------------


def test_failing_timer_is_tried_again_and_then_pauses_its_run(cluster: Cluster, shop: Shop) -> None:
    shop.in_timer = fail
    run_id = shop.begin(cluster)
    before = cluster.record(run_id)
    cluster.driver.advance(HOUR)
    assert (shop.fired, cluster.record(run_id)) == (1, before), "the record is left alone"
    cluster.driver.advance(MINUTE)
    assert shop.fired == 2
    cluster.driver.advance(MINUTE)
    record = cluster.record(run_id)
    assert (record.state, record.pause_kind) == (RunState.PAUSED, PauseKind.AUTOMATIC)
    assert shop.fired == 3


def test_timer_mended_in_time_goes_on(cluster: Cluster, shop: Shop, once: Once) -> None:
    shop.in_timer = once(fail)
    run_id = shop.begin(cluster)
    cluster.driver.advance(HOUR + MINUTE)
    assert (shop.fired, cluster.record(run_id).status) == (2, Status.GIVEN_UP)


def test_callback_within_the_timer_wins(cluster: Cluster, shop: Shop, once: Once) -> None:
    run_id = shop.begin(cluster)
    shop.in_timer = once(lambda: cluster.second.callback(shop.pay, run_id, "in time"))
    cluster.driver.advance(2 * HOUR)
    view = cluster.engine.view(shop.orders, run_id)
    assert (view.status, view.data.notes, shop.fired) == (Status.PAID, ["in time"], 1)


def test_timer_within_the_callback_wins(cluster: Cluster, shop: Shop, once: Once) -> None:
    run_id = shop.begin(cluster)
    shop.in_callback = once(lambda: cluster.driver.advance(2 * HOUR))
    with pytest.raises(NotAtStatusError, match="GIVEN_UP"):
        cluster.second.callback(shop.pay, run_id, "too late")
    view = cluster.engine.view(shop.orders, run_id)
    assert (view.status, view.data.notes) == (Status.GIVEN_UP, [])


# -- callbacks -------------------------------------------------------------------------------------


def test_failing_callback_changes_nothing(cluster: Cluster, shop: Shop, once: Once) -> None:
    run_id = shop.begin(cluster)
    before = cluster.record(run_id)
    shop.in_callback = once(fail)
    with pytest.raises(ConnectionError):
        cluster.engine.callback(shop.pay, run_id, "lost")
    assert cluster.record(run_id) == before
    cluster.engine.callback(shop.pay, run_id, "receipt")
    assert cluster.engine.view(shop.orders, run_id).data.notes == ["receipt"]


def test_of_two_callbacks_at_once_one_wins(cluster: Cluster, shop: Shop, once: Once) -> None:
    run_id = shop.begin(cluster)
    shop.in_callback = once(lambda: cluster.second.callback(shop.pay, run_id, "rival"))
    with pytest.raises(NotAtStatusError, match="it is at PAID"):
        cluster.engine.callback(shop.pay, run_id, "loser")
    assert cluster.engine.view(shop.orders, run_id).data.notes == ["rival"]
    cluster.driver.advance(2 * HOUR)
    assert shop.fired == 0, "the timer was cancelled with the status"


# -- automatic resume ------------------------------------------------------------------------------


def paused_run(cluster: Cluster, shop: Shop) -> str:
    """Its timer failed for good, so that it is resumed after an hour."""
    shop.in_timer = fail
    run_id = shop.begin(cluster)
    cluster.driver.advance(HOUR + 2 * MINUTE)
    assert cluster.record(run_id).state is RunState.PAUSED
    return run_id


def test_failed_run_is_resumed_and_counted(cluster: Cluster, shop: Shop) -> None:
    run_id = paused_run(cluster, shop)
    cluster.driver.advance(HOUR + 10 * MINUTE)
    record = cluster.record(run_id)
    assert (record.state, record.auto_resumes, shop.fired) == (RunState.PAUSED, 1, 6)
    shop.in_timer = nothing
    cluster.driver.advance(HOUR)
    assert cluster.record(run_id).status == Status.GIVEN_UP


def test_person_who_resumes_first_leaves_the_event_nothing(cluster: Cluster, shop: Shop) -> None:
    run_id = paused_run(cluster, shop)
    cluster.second.resume(run_id, who="ann")
    cluster.second.pause(run_id, reason="under audit")
    shop.in_timer = nothing
    cluster.driver.advance(3 * HOUR)
    record = cluster.record(run_id)
    assert (record.state, record.reason) == (RunState.PAUSED, "under audit")
