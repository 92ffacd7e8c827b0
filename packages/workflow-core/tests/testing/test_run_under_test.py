"""What a user's test says about a run, and how it fails."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any, Literal

import pytest
from workflow_core import Retry, Run, RunState, Skip, Workflow
from workflow_core.errors import PayloadError
from workflow_core.testing import Driver, RunUnderTest

pytest_plugins = ["workflow_core.testing.fixtures"]

HOUR = timedelta(hours=1)


class Status(IntEnum):
    CREATED = 1
    AWAITING_PAYMENT = 2
    PAID = 3
    SHIPPED = 4
    REFUSED = 5


@dataclass
class Order:
    total: int
    receipt: str = ""


OrderRun = Run[Order, Status]

orders = Workflow("orders", Order, Status, ends=(Status.SHIPPED, Status.REFUSED))


@orders.step(Status.CREATED, retry=Retry(pause_after=2))
def check(run: OrderRun) -> Literal[Status.AWAITING_PAYMENT, Status.REFUSED]:
    if run.data.total < 0:
        raise ValueError("less than nothing")
    return Status.AWAITING_PAYMENT if run.data.total else Status.REFUSED


@orders.callback(Status.AWAITING_PAYMENT)
def paid(run: OrderRun, receipt: str) -> Literal[Status.PAID]:
    run.data.receipt = receipt
    return Status.PAID


@orders.callback(Status.AWAITING_PAYMENT)
def withdrawn(run: OrderRun) -> Literal[Status.REFUSED]:
    return Status.REFUSED


@orders.timeout(Status.AWAITING_PAYMENT, after=5 * HOUR)
def give_up(run: OrderRun) -> Literal[Status.REFUSED]:
    return Status.REFUSED


def at_one_hour(run: OrderRun, entered_at: datetime) -> datetime | None:
    return entered_at + run.data.total * HOUR if run.data.total < 10 else None


@orders.timeout(Status.AWAITING_PAYMENT, fires_at=at_one_hour)
def remind(run: OrderRun) -> Literal[Status.REFUSED] | Skip:
    return Skip()


@orders.step(Status.PAID)
def ship(run: OrderRun) -> Literal[Status.SHIPPED]:
    return Status.SHIPPED


@pytest.fixture(autouse=True)
def served(driver: Driver) -> None:
    driver.serve(orders)


def test_order_is_shipped_when_it_is_paid(driver: Driver) -> None:
    run = driver.begin(orders, "order-1", Order(total=99))
    run.is_at(Status.AWAITING_PAYMENT, Order(total=99))
    run.call(paid, "receipt-7")
    run.is_at(Status.SHIPPED, Order(total=99, receipt="receipt-7"))
    run.reaches(Status.PAID)  # it has passed it


def test_order_is_refused_when_nobody_pays(driver: Driver) -> None:
    start = driver.clock.now()
    run = driver.begin(orders, "order-1", Order(total=99))
    assert run.times_out().status is Status.REFUSED
    assert driver.clock.now() - start == 5 * HOUR


def test_timer_that_is_due_first_fires_unless_one_is_named(driver: Driver) -> None:
    start = driver.clock.now()
    run = driver.begin(orders, "order-1", Order(total=1))
    assert run.times_out().status is Status.AWAITING_PAYMENT
    assert driver.clock.now() - start == HOUR
    assert run.times_out("give_up").status is Status.REFUSED
    assert driver.clock.now() - start == 5 * HOUR


def test_clock_moves_to_what_is_due_when_a_status_is_waited_for(driver: Driver) -> None:
    run = driver.begin(orders, "order-1", Order(total=99))
    run.reaches(Status.REFUSED)
    assert run.view.state is RunState.COMPLETED


def test_run_may_begin_elsewhere(driver: Driver) -> None:
    run = driver.begin(orders, "order-1", Order(total=99), status=Status.PAID)
    run.is_at(Status.SHIPPED)


def test_callback_without_payload_is_called_alone(driver: Driver) -> None:
    run = driver.begin(orders, "order-1", Order(total=99))
    assert run.call(withdrawn).status is Status.REFUSED


def fails(says: str) -> Any:
    return pytest.raises(AssertionError, match=says)


def test_status_that_will_never_come_is_told_with_where_the_run_stands(driver: Driver) -> None:
    """Seen to fail with the engine's own errors let through: of a run that ended, of one stuck."""
    run = driver.begin(orders, "order-1", Order(total=0))
    with fails(r"SHIPPED is not reached: run \S+ is at REFUSED, completed"):
        run.reaches(Status.SHIPPED)
    stuck = driver.begin(orders, "order-2", Order(total=-1))
    with fails("PAID is not reached: .* is at CREATED, paused; .*ValueError: less than nothing"):
        stuck.reaches(Status.PAID)


def test_callback_that_can_never_be_called_is_told(driver: Driver) -> None:
    run = driver.begin(orders, "order-1", Order(total=0))
    with fails("AWAITING_PAYMENT is not reached"):
        run.call(paid, "receipt")


def test_wrong_payload_is_the_callers_mistake(driver: Driver) -> None:
    run = driver.begin(orders, "order-1", Order(total=1))
    call: Any = run.call
    with pytest.raises(PayloadError):
        call(paid, 7)


def test_timer_that_does_not_wait_is_told(driver: Driver) -> None:
    run = driver.begin(orders, "order-1", Order(total=0))
    with fails("no timer waits for it: .* REFUSED"):
        run.times_out()
    other = driver.begin(orders, "order-2", Order(total=99))
    with fails("no timer 'remind' waits for it"):
        other.times_out("remind")


def test_wrong_status_and_wrong_data_are_told(driver: Driver) -> None:
    run = driver.begin(orders, "order-1", Order(total=3))
    with fails("it is not at PAID: .* AWAITING_PAYMENT, running"):
        run.is_at(Status.PAID)
    with fails("its data is Order.total=3, .* not Order.total=4"):
        run.is_at(Status.AWAITING_PAYMENT, Order(total=4))


def test_each_test_has_a_driver_of_its_own(driver: Driver) -> None:
    assert isinstance(driver.begin(orders, "order-1", Order(total=3)), RunUnderTest)
