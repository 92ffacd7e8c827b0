"""Runs are found by declared attributes of their data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any, Literal

import pytest
from workflow_core.definition import Callback, Run, Trigger, Workflow
from workflow_core.definition.search import Attributes, check_wanted
from workflow_core.errors import DefinitionError, InputError, NotSupportedError, PayloadError
from workflow_core.memory import MemoryRecordStore
from workflow_core.model import Between, RecordQuery, RunState

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster

NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)


class Status(IntEnum):
    CREATED = 1
    PAID = 2
    SHIPPED = 3


class Colour(StrEnum):
    RED = "red"


@dataclass
class Order:
    customer: str = "acme"
    total: int = 99
    note: Any = None


OrderRun = Run[Order, Status]
Orders = Workflow[Order, Status]


def orders_with(search: Any, body: Callable[[OrderRun], None] = lambda run: None) -> Orders:
    orders = Workflow("orders", Order, Status, ends=(Status.SHIPPED,), search=search)

    @orders.step(Status.CREATED)
    def pay(run: OrderRun) -> Literal[Status.PAID]:
        body(run)
        return Status.PAID

    @orders.callback(Status.PAID)
    def ship(run: OrderRun, customer: str) -> Literal[Status.SHIPPED]:
        run.data.customer = customer
        return Status.SHIPPED

    return orders


def callback_of(orders: Orders) -> Callback[Order, Status, str]:
    (step,) = orders.callbacks
    return Callback(orders, step)


def found(cluster: Cluster, **wanted: Any) -> list[str]:
    page = cluster.engine.runs(RecordQuery(workflow="orders", search=wanted))
    return [record.run_id for record in page.items]


def test_run_is_found_by_what_its_data_is_at_each_moment(cluster: Cluster) -> None:
    """Seen to fail with the attributes read at the trigger alone."""

    def body(run: OrderRun) -> None:
        run.data.total = 120

    orders = orders_with(["customer", "total"], body)
    with cluster.engine.serving(orders):
        run_id = cluster.engine.trigger(orders, "order-1", Order())
        other = cluster.engine.trigger(orders, "order-2", Order(customer="other"))
        assert found(cluster, total=99, customer="acme") == [run_id]
        cluster.driver.settle()
        assert found(cluster, total=99) == []
        assert found(cluster, total=Between(at_least=100), customer="acme") == [run_id]
        cluster.engine.callback(callback_of(orders), run_id, "other")
        assert found(cluster, customer="acme") == []
        assert set(found(cluster, customer="other")) == {run_id, other}
    counts = cluster.engine.counts(RecordQuery(workflow="orders", search={"customer": "other"}))
    assert sum(counts.values()) == 2


def test_failed_attempt_changes_nothing_that_is_found(cluster: Cluster) -> None:
    def body(run: OrderRun) -> None:
        run.data.customer = "changed"
        raise ValueError("not yet")

    orders = orders_with(["customer"], body)
    with cluster.engine.serving(orders):
        run_id = cluster.engine.trigger(orders, "order-1", Order())
        cluster.driver.run()
    assert cluster.record(run_id).attempts == 1
    assert found(cluster, customer="acme") == [run_id]
    assert found(cluster, customer="changed") == []


def test_nothing_is_written_for_search_when_nothing_of_it_changes(joined: Cluster) -> None:
    """Seen to fail with the attributes written with each version."""
    written: list[object] = []
    keep = joined.store.keep

    def watch(writes: Any, store_many: Any) -> Any:
        written.extend(write.search for write in writes)
        return keep(writes, store_many)

    joined.store.keep = watch  # type: ignore[method-assign]
    for search, wanted in ((["customer"], [{"customer": "acme"}, None]), ((), [None, None])):
        written.clear()
        orders = orders_with(search)
        with joined.engine.serving(orders):
            run_id = joined.engine.trigger(orders, "order-1", Order())
            joined.driver.settle()
        joined.engine.cancel(run_id, reason="done with it")
        assert written[:2] == wanted


def test_run_follows_a_changed_declaration_with_its_next_answer(cluster: Cluster) -> None:
    run_id = cluster.engine.trigger(orders_with(["customer"]), "order-1", Order())
    orders = orders_with({"size": lambda order: "big" if order.total > 50 else "small"})
    assert found(cluster, size="big") == []
    with cluster.engine.serving(orders):
        cluster.driver.settle()
    assert found(cluster, size="big") == [run_id]
    assert found(cluster, customer="acme") == [], "what is declared no more is not kept"
    undeclared = orders_with(())
    cluster.engine.callback(callback_of(undeclared), run_id, "acme")
    assert dict(cluster.record(run_id).search) == {}


def test_attribute_that_cannot_be_searched_for_is_refused_at_the_trigger(cluster: Cluster) -> None:
    orders = orders_with(["note"])
    triggers = [Trigger(f"order-{n}", Order(note=note)) for n, note in enumerate(["good", 1.5])]
    good, bad = cluster.engine.trigger_many(orders, triggers)
    assert found(cluster, note="good") == [good]
    assert isinstance(bad, PayloadError)
    assert "type float cannot be searched for" in str(bad)


def test_step_whose_data_cannot_be_searched_for_fails(cluster: Cluster) -> None:
    def body(run: OrderRun) -> None:
        run.data.note = "secret" * 100

    orders = orders_with(["note"], body)
    with cluster.engine.serving(orders):
        run_id = cluster.engine.trigger(orders, "order-1", Order())
        cluster.driver.run()
    error = cluster.record(run_id).last_error
    assert "a text of 600 characters cannot be searched for" in error
    assert "secret" not in error


def test_none_is_not_found_and_no_mistake(cluster: Cluster) -> None:
    run_id = cluster.engine.trigger(orders_with(["customer", "note"]), "order-1", Order())
    assert dict(cluster.record(run_id).search) == {"customer": "acme"}


def test_search_is_refused_when_the_store_cannot(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail without the check: a store that knows no search answers with all runs."""
    monkeypatch.setattr(MemoryRecordStore, "capabilities", property(lambda store: frozenset()))
    for ask in (cluster.engine.runs, cluster.engine.counts):
        with pytest.raises(NotSupportedError, match="cannot search by attributes"):
            ask(RecordQuery(workflow="orders", search={"customer": "acme"}))
    assert cluster.engine.runs(RecordQuery(search={})).items == []


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        ({"customer": 1.5}, "type float"),
        ({"Customer": "acme"}, "cannot name a search attribute"),
        ({"total": 2**63}, "more than 64 bits"),
        ({"due": NOON.replace(tzinfo=None)}, "naive"),
        ({"due": Between(at_least=1, below="a")}, "two types"),
        ({"due": Between()}, "without either end"),
        ({"name": "a\0b"}, "NUL"),
        ({"name": "\ud800"}, "surrogates"),
        ({"name": "a" * 256}, "256 characters"),
        ({"name": None}, "NoneType"),
    ],
)
def test_search_for_what_no_run_can_have_is_refused(
    cluster: Cluster, wanted: Any, problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        cluster.engine.runs(RecordQuery(workflow="orders", search=wanted))


def test_search_without_a_workflow_is_refused(cluster: Cluster) -> None:
    with pytest.raises(InputError, match="name the workflow"):
        cluster.engine.runs(RecordQuery(search={"customer": "acme"}))


def test_values_are_stored_alike_whatever_they_were_written_as() -> None:
    attributes = Attributes(
        "orders",
        Order,
        {
            "flag": lambda order: True,
            "colour": lambda order: Colour.RED,
            "status": lambda order: Status.PAID,
            "due": lambda order: NOON.astimezone(),
        },
    )
    found = attributes.of(Order())
    assert found == {"flag": 1, "colour": "red", "status": 2, "due": NOON}
    assert {type(value) for value in found.values()} == {int, str, datetime}
    assert check_wanted({"flag": False, "due": Between(below=NOON)}) == {
        "flag": 0,
        "due": Between(below=NOON),
    }


@pytest.mark.parametrize(
    ("search", "problem"),
    [
        (["costumer"], "Did you mean 'customer'"),
        (["absent"], "which is no field of Order"),
        ("customer", "list of names"),
        ({"Total": lambda order: 1}, "cannot name a search attribute"),
        ({"total": "total"}, "no function of the data"),
        ({f"a{n}": lambda order: 1 for n in range(17)}, "17 attributes, 16 are allowed"),
    ],
)
def test_declaration_of_what_cannot_be_is_refused(search: Any, problem: str) -> None:
    with pytest.raises(DefinitionError, match=problem):
        Workflow("orders", Order, Status, ends=(Status.SHIPPED,), search=search)


def test_function_that_raises_is_told_by_the_type_of_its_error(cluster: Cluster) -> None:
    orders = orders_with({"size": lambda order: {}[order.customer]})
    with pytest.raises(PayloadError, match="'size' cannot be read: KeyError") as refused:
        cluster.engine.trigger(orders, "order-1", Order(customer="secret"))
    assert "secret" not in str(refused.value)


def test_purge_takes_what_is_found_with_it(cluster: Cluster) -> None:
    orders = orders_with(["customer"])
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.engine.cancel(run_id, reason="no more")
    with cluster.engine.serving(orders):
        cluster.driver.advance(timedelta(minutes=1))
    assert cluster.engine.purge(orders, older_than=timedelta(0), states=[RunState.CANCELLED]) == 1
    assert found(cluster, customer="acme") == []
