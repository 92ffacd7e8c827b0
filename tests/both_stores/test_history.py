"""What the history tells of each version of a run, field by field, on either store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

import pytest
from workflow_core import Retry, Run, RunState, Workflow
from workflow_core.model import HistoryEntry

if TYPE_CHECKING:
    from tests.both_stores.conftest import Cluster

SECOND = timedelta(seconds=1)


class Status(IntEnum):
    ORDERED = 1
    AWAITING_PAYMENT = 2
    SHIPPED = 3


@dataclass
class Order:
    total: int
    receipt: str = ""


orders = Workflow(
    "orders",
    Order,
    Status,
    ends=(Status.SHIPPED,),
    retry=Retry(first=SECOND, jitter=False, pause_after=3),
)


@orders.step(Status.ORDERED)
def check(run: Run[Order, Status]) -> Literal[Status.AWAITING_PAYMENT]:
    run.data.total += 1
    if run.attempt < 3:
        raise ValueError(f"no answer to call {run.attempt}")
    return Status.AWAITING_PAYMENT


@orders.callback(Status.AWAITING_PAYMENT)
def paid(run: Run[Order, Status], receipt: str) -> Literal[Status.SHIPPED]:
    run.data.receipt = receipt
    return Status.SHIPPED


def take_through(cluster: Cluster) -> str:
    """Two failed attempts, a success, a pause, a resume and a payment, at times of their own."""
    cluster.driver.serve(orders)
    engine, driver = cluster.engine, cluster.driver
    run_id = engine.trigger(orders, "order-1", Order(100))
    driver.advance(10 * SECOND)
    engine.pause(run_id, who="ada", reason="looks odd")
    driver.advance(10 * SECOND)
    engine.resume(run_id, who="bob", why="it is not")
    driver.advance(10 * SECOND)
    engine.callback(paid, run_id, "receipt 7")
    driver.run()
    return run_id


def test_history_tells_each_version_with_all_its_fields(cluster: Cluster) -> None:
    """Seen to fail with `at` stamped anew when it is read, and with a field left out."""
    began = cluster.clock.now()
    run_id = take_through(cluster)
    entries = cluster.engine.history(run_id)
    assert [entry.version for entry in entries] == list(range(1, 8))
    assert {entry.run_id for entry in entries} == {run_id}
    assert [(entry.status, entry.state, entry.attempts) for entry in entries] == [
        (Status.ORDERED, RunState.INITIATED, 0),
        (Status.ORDERED, RunState.INITIATED, 1),
        (Status.ORDERED, RunState.INITIATED, 2),
        (Status.AWAITING_PAYMENT, RunState.RUNNING, 0),
        (Status.AWAITING_PAYMENT, RunState.PAUSED, 0),
        (Status.AWAITING_PAYMENT, RunState.RUNNING, 0),
        (Status.SHIPPED, RunState.COMPLETED, 0),
    ]
    assert [entry.reason for entry in entries] == [
        *[""] * 4,
        "paused by ada: looks odd",
        "resumed by bob: it is not",
        "",
    ]
    assert [entry.error.splitlines()[:1] for entry in entries] == [
        [],
        ["ValueError: no answer to call 1"],
        ["ValueError: no answer to call 2"],
        *[[]] * 4,
    ]
    times = [cluster.since(began) - cluster.since(entry.at) for entry in entries]
    whole = [round(time / SECOND) for time in times]
    assert whole == [0, 0, 1, 3, 10, 20, 30], "as the back-off, and those who acted, had it"
    assert {entry.data for entry in entries} == {None}, "data is kept on request only"


def test_history_keeps_the_data_of_each_success_where_it_is_asked_to(keeping: Cluster) -> None:
    """A failed attempt changes none. Seen to fail where the request was forgotten."""
    run_id = take_through(keeping)

    def told(entries: list[HistoryEntry]) -> Iterator[Order | None]:
        for entry in entries:
            yield None if entry.data is None else orders.decode(entry.data)

    ordered, checked = Order(100), Order(101)
    assert list(told(list(keeping.engine.history(run_id)))) == [
        ordered,
        None,
        None,
        *[checked] * 3,
        Order(101, "receipt 7"),
    ]


def test_history_is_told_by_any_process_and_after_a_restart(cluster: Cluster) -> None:
    run_id = take_through(cluster)
    entries = list(cluster.engine.history(run_id))
    assert list(cluster.second.history(run_id)) == entries
    assert list(cluster.join("third").history(run_id)) == entries


@pytest.mark.parametrize("verb", ["pause", "cancel"])
def test_write_that_lost_to_an_operator_is_in_no_history(cluster: Cluster, verb: str) -> None:
    """An operator acts in the midst of a body, whose answer is then void."""
    shops = Workflow("shops", Order, Status, ends=(Status.SHIPPED,))

    @shops.step(Status.ORDERED)
    def act(run: Run[Order, Status]) -> Literal[Status.SHIPPED]:
        if cluster.record(run.run_id).state is RunState.INITIATED:
            getattr(cluster.second, verb)(run.run_id, who="eve", reason="wait")
        return Status.SHIPPED

    cluster.driver.serve(shops)
    run_id = cluster.engine.trigger(shops, "shop-1", Order(1))
    cluster.driver.run()
    entries = cluster.engine.history(run_id)
    after = RunState.PAUSED if verb == "pause" else RunState.CANCELLED
    assert [(entry.version, entry.state) for entry in entries] == [
        (1, RunState.INITIATED),
        (2, after),
    ]
