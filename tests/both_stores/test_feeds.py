"""Connectors, schedules, hooks and dead letters: their failures and races, on each store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

import pytest
from workflow_core import (
    ConnectorEvent,
    DeadLetter,
    LetterKind,
    LetterState,
    Missed,
    Retry,
    Run,
    RunView,
    Trigger,
    Workflow,
)
from workflow_core.errors import RunStateError

if TYPE_CHECKING:
    from tests.both_stores.conftest import Cluster

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


class Status(IntEnum):
    CREATED = 1
    SHIPPED = 2


@dataclass
class Order:
    note: str = ""


Orders = Workflow[Order, Status]


class Service:
    """What bodies call; fails on the first `failures` calls."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.calls = 0
        self.told: list[str] = []

    def tell(self, what: str) -> None:
        self.calls += 1
        if self.calls <= self.failures:
            raise ConnectionError(f"nobody answers, {self.calls}")
        self.told.append(what)


def new_orders() -> Orders:
    orders = Workflow(
        "orders",
        Order,
        Status,
        ends=(Status.SHIPPED,),
        retry=Retry(first=SECOND, jitter=False, pause_after=3),
    )

    @orders.step(Status.CREATED)
    def ship(run: Run[Order, Status]) -> Literal[Status.SHIPPED]:
        return Status.SHIPPED

    return orders


def serve(cluster: Cluster, orders: Orders) -> None:
    for engine in (cluster.engine, cluster.second):
        cluster.driver.serve(orders, engine=engine)
    cluster.driver.run()


# -- connectors ------------------------------------------------------------------------------------


def fed(orders: Orders, service: Service, *, parallel: int = 1) -> Orders:
    @orders.connector("payments", parallel=parallel)
    def came(event: ConnectorEvent) -> Trigger[Order]:
        if event.value == b"poison":
            service.tell(event.key)
        return Trigger(event.key, Order())

    return orders


def test_poison_event_is_set_aside_and_holds_up_nobody(cluster: Cluster) -> None:
    orders = fed(new_orders(), Service(failures=99))
    serve(cluster, orders)
    cluster.payments.send("bad", b"poison", id="bad")
    for number in range(5):
        cluster.payments.send(f"order-{number}", b"")
    start = cluster.clock.now()
    cluster.driver.run()
    assert len(cluster.foreign_ids("orders")) == 5
    assert cluster.since(start) == timedelta(0)
    cluster.driver.settle()
    (letter,) = cluster.engine.dead_letters(orders, kinds=[LetterKind.CONNECTOR]).items
    assert (letter.event_id, letter.value, letter.attempts) == ("bad", b"poison", 3)


def test_event_that_comes_again_to_another_process_begins_no_second_run(cluster: Cluster) -> None:
    """The first has forgotten what it did, and its runs have ended: their keys alone tell."""
    orders = fed(new_orders(), Service(), parallel=5)
    serve(cluster, orders)

    def send() -> None:
        for number in range(20):
            cluster.payments.send(f"order-{number}", b"", id=f"event-{number}")

    send()
    cluster.driver.settle()
    cluster.kill_first()
    send()
    cluster.driver.settle()
    assert len(cluster.foreign_ids("orders")) == 20
    assert cluster.second.dead_letters(orders, states=list(LetterState)).items == []


def test_event_that_failed_is_tried_again_by_another_process(cluster: Cluster) -> None:
    """What failed is in the store: it outlives the process in which it did."""
    service = Service(failures=1)
    orders = fed(new_orders(), service)
    serve(cluster, orders)
    cluster.payments.send("order-1", b"poison")
    cluster.driver.run()
    assert (service.calls, cluster.foreign_ids("orders")) == (1, [])
    cluster.kill_first()
    assert (service.calls, cluster.foreign_ids("orders")) == (2, ["order-1"])


# -- schedules; the clock stands at 8:30 to begin with


def each_hour(orders: Orders, in_body: Callable[[], None] = lambda: None) -> Orders:
    @orders.schedule("hourly", every=HOUR, missed=Missed.RUN_ALL)
    def report(tick: datetime) -> Trigger[Order]:
        in_body()
        return Trigger(f"{tick:%H:%M}", Order())

    return orders


def test_failing_schedule_is_tried_again_and_loses_no_tick(cluster: Cluster) -> None:
    service = Service(failures=3)
    serve(cluster, each_hour(new_orders(), lambda: service.tell("tick")))
    cluster.driver.advance(30 * MINUTE)
    (schedule,) = cluster.engine.schedules("orders")
    assert (schedule.attempts, schedule.last_error) == (1, "ConnectionError: nobody answers, 1")
    cluster.driver.advance(MINUTE)
    assert cluster.foreign_ids("orders") == ["09:00"]
    assert service.calls == 4


def test_each_tick_begins_one_run_when_the_role_moves(cluster: Cluster) -> None:
    serve(cluster, each_hour(new_orders()))
    cluster.driver.advance(2 * HOUR)
    cluster.kill_first()
    cluster.driver.advance(2 * HOUR)
    assert cluster.foreign_ids("orders") == ["09:00", "10:00", "11:00", "12:00"]


def test_schedule_that_is_paused_within_its_tick_begins_nothing(cluster: Cluster) -> None:
    """The pause comes between the look at the schedule and its turn: the turn is lost."""

    def pause() -> None:
        if not cluster.second.schedules("orders")[0].is_paused:
            cluster.second.pause_schedule("orders", "hourly", reason="audit")

    serve(cluster, each_hour(new_orders(), pause))
    cluster.driver.advance(3 * HOUR)
    assert cluster.foreign_ids("orders") == []


# -- hooks -----------------------------------------------------------------------------------------


def with_hooks(orders: Orders, *services: Service, tries: int = 3) -> Orders:
    for number, service in enumerate(services):
        retry = Retry(first=SECOND, jitter=False, pause_after=tries)

        @orders.on_complete(name=f"hook {number}", retry=retry)
        def tell(run: RunView[Order, Status], service: Service = service) -> None:
            service.tell(run.foreign_id)

    return orders


def test_hook_that_fails_is_tried_again_by_itself(cluster: Cluster) -> None:
    good, bad = Service(), Service(failures=2)
    orders = with_hooks(new_orders(), good, bad)
    serve(cluster, orders)
    cluster.engine.trigger(orders, "order-1", Order())
    cluster.driver.settle()
    assert (good.calls, bad.calls, bad.told) == (1, 3, ["order-1"])
    assert cluster.engine.dead_letters(orders).items == []


def test_hook_is_told_by_another_process_when_the_first_died(cluster: Cluster) -> None:
    good, bad = Service(), Service(failures=1)
    orders = with_hooks(new_orders(), good, bad)
    serve(cluster, orders)
    for number in range(5):
        cluster.engine.trigger(orders, f"order-{number}", Order())
    cluster.driver.run()
    cluster.kill_first()
    names = [f"order-{number}" for number in range(5)]
    # what the dead one had been told and not yet said so is told again
    assert set(good.told) == set(bad.told) == set(names)


# -- dead letters ----------------------------------------------------------------------------------


def set_aside(cluster: Cluster, orders: Orders) -> DeadLetter:
    serve(cluster, orders)
    cluster.engine.trigger(orders, "order-1", Order())
    cluster.driver.settle()
    (letter,) = cluster.engine.dead_letters(orders).items
    return letter


def test_letter_that_fails_again_is_set_aside_again(cluster: Cluster) -> None:
    service = Service(failures=4)
    orders = with_hooks(new_orders(), service, tries=2)
    letter = set_aside(cluster, orders)
    assert (letter.attempts, letter.error) == (2, "ConnectionError: nobody answers, 2")
    cluster.engine.retry_dead_letter(letter)
    cluster.driver.settle()
    (letter,) = cluster.engine.dead_letters(orders).items
    assert (letter.attempts, letter.error) == (2, "ConnectionError: nobody answers, 4")
    cluster.second.retry_dead_letter(letter)
    cluster.driver.settle()
    assert service.told == ["order-1"]
    assert cluster.engine.dead_letters(orders).items == []


def test_letter_that_two_retry_at_once_is_handled_once(cluster: Cluster) -> None:
    service = Service(failures=1)
    orders = with_hooks(new_orders(), service, tries=1)
    letter = set_aside(cluster, orders)
    cluster.engine.retry_dead_letter(letter)
    cluster.second.retry_dead_letter(letter)
    cluster.driver.settle()
    assert service.told == ["order-1"]
    with pytest.raises(RunStateError, match="handled already"):
        cluster.second.discard_dead_letter(letter)


def test_letter_that_is_discarded_before_its_retry_is_tried_no_more(cluster: Cluster) -> None:
    service = Service(failures=1)
    orders = with_hooks(new_orders(), service, tries=1)
    letter = set_aside(cluster, orders)
    cluster.engine.retry_dead_letter(letter)
    cluster.second.discard_dead_letter(letter)
    cluster.driver.settle()
    assert (service.calls, service.told) == (1, [])
