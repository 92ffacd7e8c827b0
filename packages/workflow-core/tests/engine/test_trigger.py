"""How runs begin: durable, once per key, one live run per foreign id."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

import pytest
from workflow_core.definition import Run, Workflow
from workflow_core.engine import Trigger
from workflow_core.errors import (
    AdapterError,
    AdapterUnavailableError,
    InputError,
    PayloadError,
    PayloadTooLargeError,
    RunInProgressError,
    RunNotFoundError,
    UnknownStatusError,
)
from workflow_core.model import RunState

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster


class Status(IntEnum):
    CREATED = 1
    PAID = 2
    SHIPPED = 3
    UNUSED = 9


class Other(IntEnum):
    PAID = 2


@dataclass
class Order:
    total: int = 0
    note: str = ""


OrderRun = Run[Order, Status]


@pytest.fixture
def orders() -> Workflow[Order, Status]:
    orders = Workflow("order processor", Order, Status, ends=(Status.SHIPPED,), max_data_bytes=1000)

    @orders.step(Status.CREATED)
    def pay(run: OrderRun) -> Literal[Status.PAID]:
        return Status.PAID

    @orders.step(Status.PAID)
    async def ship(run: OrderRun) -> Literal[Status.SHIPPED]:
        return Status.SHIPPED

    return orders


def test_trigger_is_durable_and_driven_on_return(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    """Seen to fail when the trigger wrote the record without its event."""
    run_id = cluster.engine.trigger(orders, "order-1", Order(total=3))
    record = cluster.record(run_id)
    assert (record.state, record.version, record.status) == (RunState.INITIATED, 1, 1)
    assert (record.foreign_id, record.data) == ("order-1", b'{"total":3,"note":""}')
    cluster.kill(cluster.engine, "first")  # before anything was published
    second = cluster.join("second")
    cluster.driver.serve(orders, engine=second.engine)
    cluster.driver.advance(timedelta(seconds=30))
    assert cluster.record(run_id).state is RunState.COMPLETED


def test_fifty_triggers_at_once_make_one_run(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    """Seen to fail when the store looked for a live run before, and not within, its write."""
    begun: list[str] = []
    refused: list[RunInProgressError] = []
    together = threading.Barrier(50)

    def trigger() -> None:
        together.wait()
        try:
            begun.append(cluster.engine.trigger(orders, "order-1", Order()))
        except RunInProgressError as error:
            refused.append(error)

    threads = [threading.Thread(target=trigger) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (run_id,) = begun
    assert len(refused) == 49
    assert {error.live_run_id for error in refused} == {run_id}
    assert list(cluster.records.runs.rows) == [run_id]


def test_run_in_progress_tells_what_to_do(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    with pytest.raises(RunInProgressError) as refused:
        cluster.engine.trigger(orders, "order-1", Order())
    error = refused.value
    assert (error.live_run_id, error.foreign_id, error.workflow) == (
        run_id,
        "order-1",
        "order processor",
    )
    assert "cancel" in error.hint
    assert cluster.engine.live_run(orders, "order-1") == run_id


def test_foreign_id_is_free_when_its_run_has_ended(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    cluster.driver.serve(orders)
    first = cluster.engine.trigger(orders, "order-1", Order())
    cluster.driver.run()
    with pytest.raises(RunNotFoundError, match="has ended"):
        cluster.engine.live_run(orders, "order-1")
    second = cluster.engine.trigger(orders, "order-1", Order())
    assert first != second
    assert cluster.engine.live_run(orders, "order-1") == second


def test_foreign_ids_of_two_workflows_do_not_meet(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    others = Workflow("other", Order, Status, ends=(Status.SHIPPED,))
    others.add_step(Status.CREATED, lambda run: Status.SHIPPED, to=(Status.SHIPPED,))
    assert cluster.engine.trigger(orders, "1", Order()) != cluster.engine.trigger(
        others, "1", Order()
    )


# -- idempotency keys ------------------------------------------------------------------------------


def test_same_key_answers_the_same_run_while_it_lives(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    first = cluster.engine.trigger(orders, "order-1", Order(1), idempotency_key="k")
    assert cluster.engine.trigger(orders, "order-1", Order(2), idempotency_key="k") == first
    assert len(cluster.records.runs.rows) == 1
    assert cluster.engine.view(orders, first).data.total == 1


def test_same_key_answers_the_same_run_when_it_has_ended(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    """Seen to fail when keys were ignored: a second run began."""
    cluster.driver.serve(orders)
    first = cluster.engine.trigger(orders, "order-1", Order(), idempotency_key="k")
    cluster.driver.run()
    assert cluster.record(first).state is RunState.COMPLETED
    assert cluster.engine.trigger(orders, "order-1", Order(), idempotency_key="k") == first
    assert cluster.run_ids == [first]


def test_same_key_answers_its_run_though_another_lives_on_the_foreign_id(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    cluster.driver.serve(orders)
    first = cluster.engine.trigger(orders, "order-1", Order(), idempotency_key="k")
    cluster.driver.run()
    other = cluster.engine.trigger(orders, "order-1", Order())
    assert cluster.engine.trigger(orders, "order-1", Order(), idempotency_key="k") == first
    with pytest.raises(RunInProgressError) as refused:
        cluster.engine.trigger(orders, "order-1", Order(), idempotency_key="new")
    assert refused.value.live_run_id == other


def test_key_is_the_workflows_own(cluster: Cluster, orders: Workflow[Order, Status]) -> None:
    others = Workflow("other", Order, Status, ends=(Status.SHIPPED,))
    others.add_step(Status.CREATED, lambda run: Status.SHIPPED, to=(Status.SHIPPED,))
    first = cluster.engine.trigger(orders, "1", Order(), idempotency_key="k")
    assert cluster.engine.trigger(others, "1", Order(), idempotency_key="k") != first


def test_key_twice_in_a_batch_begins_one_run(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    twice = Trigger("order-1", Order(), idempotency_key="k")
    first, second = cluster.engine.trigger_many(orders, [twice, twice])
    assert first == second
    assert list(cluster.records.runs.rows) == [first]


# -- when the answer is lost -----------------------------------------------------------------------


@pytest.mark.parametrize("key", [None, "k"])
def test_lost_answer_makes_one_run_and_no_false_conflict(
    cluster: Cluster, orders: Workflow[Order, Status], key: str | None
) -> None:
    """Seen to fail when neither write id nor run id told that the first try took effect."""
    cluster.driver.serve(orders)
    cluster.store.script.fail("commit", took_effect=True, times=2)
    run_id = cluster.engine.trigger(orders, "order-1", Order(), idempotency_key=key)
    assert list(cluster.records.runs.rows) == [run_id]
    cluster.driver.settle()
    assert cluster.record(run_id).state is RunState.COMPLETED


def test_store_that_never_answers_is_told_after_a_few_tries(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    cluster.store.script.fail("commit")
    with pytest.raises(AdapterUnavailableError):
        cluster.engine.trigger(orders, "order-1", Order())
    assert cluster.store.script.calls["commit"] == 4
    assert not cluster.records.runs.rows


def test_row_that_the_store_refuses_is_told(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    cluster.store.refuses = lambda record: record.foreign_id == "bad"
    answers = cluster.engine.trigger_many(
        orders, [Trigger("good", Order()), Trigger("bad", Order()), Trigger("fine", Order())]
    )
    assert isinstance(answers[1], AdapterError)
    assert set(cluster.records.runs.rows) == {answers[0], answers[2]}


# -- what is given ---------------------------------------------------------------------------------


def test_run_begins_at_the_given_status(cluster: Cluster, orders: Workflow[Order, Status]) -> None:
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order(), status=Status.PAID)
    cluster.driver.run()
    assert cluster.record(run_id).passed == {2: 1}


def test_headers_travel_with_every_event(cluster: Cluster, orders: Workflow[Order, Status]) -> None:
    cluster.driver.serve(orders)
    cluster.engine.trigger(orders, "order-1", Order(), headers={"trace": "abc"})
    cluster.driver.run()
    assert len(cluster.streamer.sent) == 3
    assert [event.headers for event in cluster.streamer.sent] == [{"trace": "abc"}] * 3


def test_start_at_delays_the_run(cluster: Cluster, orders: Workflow[Order, Status]) -> None:
    cluster.driver.serve(orders)
    start = cluster.clock.now()
    run_id = cluster.engine.trigger(orders, "order-1", Order(), start_at=start + timedelta(hours=3))
    cluster.driver.advance(timedelta(hours=2, minutes=59))
    assert cluster.record(run_id).state is RunState.INITIATED
    cluster.driver.advance(timedelta(minutes=2))
    assert cluster.record(run_id).state is RunState.COMPLETED
    assert cluster.record(run_id).updated_at - start < timedelta(hours=3, seconds=5)


def test_start_in_the_past_begins_at_once(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(
        orders, "order-1", Order(), start_at=cluster.clock.now() - timedelta(days=1)
    )
    cluster.driver.run()
    assert cluster.record(run_id).state is RunState.COMPLETED


BAD: list[tuple[str, Callable[[], Trigger[Order]], type[InputError], str]] = [
    ("empty foreign id", lambda: Trigger("", Order()), InputError, "1 to 255"),
    ("long foreign id", lambda: Trigger("x" * 256, Order()), InputError, "has 256"),
    ("NUL in foreign id", lambda: Trigger("a\0b", Order()), InputError, "NUL"),
    ("surrogate in foreign id", lambda: Trigger("a\ud800", Order()), InputError, "surrogates"),
    ("number as foreign id", lambda: Trigger(7, Order()), InputError, "a text"),  # type: ignore[arg-type]
    ("foreign data", lambda: Trigger("o", {"total": 1}), PayloadError, "Order"),  # type: ignore[arg-type]
    ("wrong field", lambda: Trigger("o", Order("x")), PayloadError, "Order"),  # type: ignore[arg-type]
    ("large data", lambda: Trigger("o", Order(note="x" * 1000)), PayloadTooLargeError, "1000"),
    ("foreign status", lambda: Trigger("o", Order(), Other.PAID), UnknownStatusError, "Other.PAID"),
    ("status number", lambda: Trigger("o", Order(), 2), UnknownStatusError, "Status.PAID"),  # type: ignore[arg-type]
    ("end", lambda: Trigger("o", Order(), Status.SHIPPED), UnknownStatusError, "ends it"),
    ("unused status", lambda: Trigger("o", Order(), Status.UNUSED), UnknownStatusError, "UNUSED"),
    ("empty key", lambda: Trigger("o", Order(), idempotency_key=""), InputError, "key"),
    ("NUL in key", lambda: Trigger("o", Order(), idempotency_key="\0"), InputError, "key"),
    ("half a key", lambda: Trigger("o", Order(), idempotency_key="\ud800"), InputError, "key"),
    ("number as key", lambda: Trigger("o", Order(), idempotency_key=7), InputError, "key"),  # type: ignore[arg-type]
    ("naive start", lambda: Trigger("o", Order(), start_at=datetime(2026, 1, 1)), InputError, "aware"),  # noqa: DTZ001, E501
    ("number in headers", lambda: Trigger("o", Order(), headers={"a": 1}), InputError, "headers"),  # type: ignore[dict-item]
    ("NUL in headers", lambda: Trigger("o", Order(), headers={"a": "\0"}), InputError, "headers"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "error", "told"), [pytest.param(*case, id=name) for name, *case in BAD]
)
def test_bad_input_is_refused_by_name_and_harms_no_other(
    joined: Cluster,
    orders: Workflow[Order, Status],
    make: Callable[[], Trigger[Order]],
    error: type[InputError],
    told: str,
) -> None:
    """Seen to fail when texts and statuses were taken as they came, and each check left out."""
    answers = joined.engine.trigger_many(
        orders, [Trigger("one", Order()), make(), Trigger("two", Order())]
    )
    refused = answers[1]
    assert type(refused) is error
    assert told in str(refused)
    assert set(joined.records.runs.rows) == {answers[0], answers[2]}


def test_bad_input_is_raised_by_trigger(joined: Cluster, orders: Workflow[Order, Status]) -> None:
    with pytest.raises(InputError, match="NUL") as refused:
        joined.engine.trigger(orders, "a\0b", Order())
    assert isinstance(refused.value, ValueError)


# -- many ------------------------------------------------------------------------------------------


def test_many_answer_in_order_whatever_became_of_each(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    live = cluster.engine.trigger(orders, "live", Order())
    keyed = cluster.engine.trigger(orders, "keyed", Order(), idempotency_key="k")
    answers = cluster.engine.trigger_many(
        orders,
        [
            Trigger("a", Order()),
            Trigger("live", Order()),
            Trigger("", Order()),
            Trigger("keyed", Order(), idempotency_key="k"),
            Trigger("a", Order()),
            Trigger("b", Order()),
        ],
    )
    first, in_progress, bad, again, same, last = answers
    assert isinstance(first, str)
    assert isinstance(in_progress, RunInProgressError)
    assert in_progress.live_run_id == live
    assert isinstance(bad, InputError)
    assert again == keyed
    assert isinstance(same, RunInProgressError)
    assert same.live_run_id == first
    assert isinstance(last, str)
    assert set(cluster.records.runs.rows) == {live, keyed, first, last}


def test_many_take_few_calls(cluster: Cluster, orders: Workflow[Order, Status]) -> None:
    """Seen to fail when each run in progress was looked up by itself."""
    triggers = [Trigger(f"order-{n}", Order(), idempotency_key=f"k{n}") for n in range(1200)]
    cluster.engine.trigger_many(orders, triggers)
    assert cluster.store.script.calls["commit"] == 3
    others = [Trigger(f"order-{n}", Order()) for n in range(1200)]
    cluster.store.script.calls.clear()
    answers = cluster.engine.trigger_many(orders, others)
    assert all(isinstance(answer, RunInProgressError) for answer in answers)
    assert sum(cluster.store.script.calls.values()) == 6


def test_none_at_all_is_no_work(cluster: Cluster, orders: Workflow[Order, Status]) -> None:
    assert cluster.engine.trigger_many(orders, []) == []
    assert not cluster.store.script.calls
