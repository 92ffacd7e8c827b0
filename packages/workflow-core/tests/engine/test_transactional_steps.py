"""Steps whose writes commit with their transition, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal

import pytest
from workflow_core.definition import Repeat, Retry, Run, Workflow
from workflow_core.errors import (
    AdapterError,
    DefinitionError,
    RunEndedError,
    RunInProgressError,
    RunNotFoundError,
    ServingError,
    StoreBusyError,
)
from workflow_core.memory import MemoryRecordStore
from workflow_core.model import RunState
from workflow_core.ports import Capability

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster


class Status(IntEnum):
    CREATED = 1
    BOOKED = 2


@dataclass
class Order:
    total: int = 1


OrderRun = Run[Order, Status]
LONG = timedelta(minutes=10)


def ledger_with(
    body: Callable[[OrderRun], object],
    retry: Retry = Retry(pause_after=8),  # noqa: B008 - frozen
) -> Workflow[Order, Status]:
    """Orders with one step, in a transaction."""
    orders = Workflow("orders", Order, Status, ends=(Status.BOOKED,), retry=retry)

    @orders.step(Status.CREATED, transaction=True)
    def book(run: OrderRun) -> Literal[Status.BOOKED] | Repeat:
        answer = body(run)
        return answer if isinstance(answer, Repeat) else Status.BOOKED

    return orders


@pytest.fixture
def entries() -> Workflow[Order, Status]:
    """What the steps write: runs of another workflow, as memory keeps no other rows."""
    entries = Workflow("entries", Order, Status, ends=(Status.BOOKED,))

    @entries.step(Status.CREATED)
    def enter(run: OrderRun) -> Literal[Status.BOOKED]:
        return Status.BOOKED

    return entries


def written(cluster: Cluster) -> int:
    return sum(record.workflow == "entries" for record in cluster.records.runs.rows.values())


def test_what_a_step_writes_is_there_once_when_its_answer_commits(
    cluster: Cluster, entries: Workflow[Order, Status]
) -> None:
    """Seen to fail where the verb wrote in a transaction of its own: it waited for itself."""

    def body(run: OrderRun) -> None:
        cluster.engine.trigger(entries, run.foreign_id, Order())
        child = cluster.engine.live_run(entries, run.foreign_id)
        assert child not in cluster.records.runs.rows, "nobody else sees it yet"

    orders = ledger_with(body)
    with cluster.engine.serving(orders, entries):
        ids = [cluster.engine.trigger(orders, f"order-{n}", Order()) for n in range(3)]
        cluster.driver.settle()
    assert [cluster.record(run_id).state for run_id in ids] == [RunState.COMPLETED] * 3
    assert written(cluster) == 3
    ended = [r.state for r in cluster.records.runs.rows.values() if r.workflow == "entries"]
    assert ended == [RunState.COMPLETED] * 3, "its event was filed with it, and has been sent"


def test_nothing_of_a_step_is_left_when_its_body_fails(
    cluster: Cluster, entries: Workflow[Order, Status]
) -> None:
    """Seen to fail with the transaction committed before the answer was known."""

    def body(run: OrderRun) -> None:
        cluster.engine.trigger(entries, "entry", Order())
        if run.attempt < 3:
            raise ValueError("not yet")

    orders = ledger_with(body)
    with cluster.engine.serving(orders, entries):
        run_id = cluster.engine.trigger(orders, "order-1", Order())
        cluster.driver.run()
        assert written(cluster) == 0
        assert cluster.record(run_id).attempts == 1
        cluster.driver.advance(LONG)
    assert cluster.record(run_id).state is RunState.COMPLETED
    assert written(cluster) == 1


def test_step_commits_with_each_answer_when_it_repeats(
    cluster: Cluster, entries: Workflow[Order, Status]
) -> None:
    def body(run: OrderRun) -> object:
        cluster.engine.trigger(entries, f"entry-{run.repeat}", Order())
        return Repeat(after=timedelta(seconds=1)) if run.repeat < 2 else None

    orders = ledger_with(body)
    with cluster.engine.serving(orders, entries):
        cluster.engine.trigger(orders, "order-1", Order())
        cluster.driver.advance(LONG)
    assert written(cluster) == 3


def test_nothing_of_a_step_is_left_when_its_run_was_cancelled_meanwhile(
    cluster: Cluster, entries: Workflow[Order, Status]
) -> None:
    """Seen to fail with the loser's transaction committed."""
    client = cluster.client()

    def body(run: OrderRun) -> None:
        client.engine.cancel(run.run_id, reason="too late")
        cluster.engine.trigger(entries, "entry", Order())

    orders = ledger_with(body)
    with cluster.engine.serving(orders, entries):
        run_id = cluster.engine.trigger(orders, "order-1", Order())
        cluster.driver.settle()
    assert cluster.record(run_id).state is RunState.CANCELLED
    assert written(cluster) == 0


@pytest.mark.parametrize("took_effect", [True, False])
def test_step_is_committed_once_when_the_answer_to_its_commit_is_lost(
    cluster: Cluster, entries: Workflow[Order, Status], took_effect: bool
) -> None:
    executions = 0

    def body(run: OrderRun) -> None:
        nonlocal executions
        executions += 1
        if executions == 1:
            cluster.store.script.fail("commit", took_effect=took_effect, times=1)
        run.connection.check_open()
        if took_effect:
            cluster.engine.trigger(entries, "entry", Order())

    orders = ledger_with(body)
    with cluster.engine.serving(orders, entries):
        run_id = cluster.engine.trigger(orders, "order-1", Order())
        cluster.driver.advance(timedelta(seconds=5))
    record = cluster.record(run_id)
    assert (record.state, record.attempts, record.version) == (RunState.COMPLETED, 0, 2)
    assert written(cluster) == took_effect
    assert executions == (1 if took_effect else 2), "committed is committed; else it runs again"


def test_step_backs_off_when_its_transaction_is_lost_again_and_again(joined: Cluster) -> None:
    """Seen to fail without a limit: the body was executed without end, and no attempt counted."""
    executions = 0

    def body(run: OrderRun) -> None:
        nonlocal executions
        executions += 1
        run.connection.check_open()
        if run.attempt == 1:
            raise StoreBusyError("the test is in the way")

    orders = ledger_with(body)
    with joined.engine.serving(orders):
        run_id = joined.engine.trigger(orders, "order-1", Order())
        joined.driver.advance(LONG)
    assert joined.record(run_id).state is RunState.COMPLETED
    assert executions == 5, "three losses that cost nothing, a failed attempt, a success"


def test_step_backs_off_when_its_commits_get_no_answer_again_and_again(joined: Cluster) -> None:
    """Seen to fail without a limit: it was executed again at once, without end."""
    executions = 0

    def body(run: OrderRun) -> None:
        nonlocal executions
        executions += 1
        if executions == 1:
            joined.store.script.fail("commit", times=4)
        run.connection.check_open()

    orders = ledger_with(body)
    with joined.engine.serving(orders):
        run_id = joined.engine.trigger(orders, "order-1", Order())
        joined.driver.advance(LONG)
    record = joined.record(run_id)
    assert (record.state, record.version) == (RunState.COMPLETED, 3), "one attempt was counted"
    assert executions == 5


def test_step_fails_when_the_store_refuses_its_row(
    cluster: Cluster, entries: Workflow[Order, Status]
) -> None:
    def body(run: OrderRun) -> None:
        cluster.engine.trigger(entries, f"entry-{run.attempt}", Order())

    cluster.store.refuses = lambda record: record.workflow == "orders" and record.status == 2
    orders = ledger_with(body, Retry(pause_after=2))
    with cluster.engine.serving(orders, entries):
        run_id = cluster.engine.trigger(orders, "order-1", Order())
        cluster.driver.advance(LONG)
    assert cluster.record(run_id).state is RunState.PAUSED
    assert written(cluster) == 0


def test_step_fails_by_name_when_it_ends_its_own_transaction(joined: Cluster) -> None:
    def body(run: OrderRun) -> None:
        run.connection.rollback()

    orders = ledger_with(body, Retry(pause_after=1))
    with joined.engine.serving(orders):
        run_id = joined.engine.trigger(orders, "order-1", Order())
        joined.driver.advance(LONG)
    assert joined.record(run_id).state is RunState.PAUSED
    assert "this transaction has ended already" in joined.record(run_id).last_error


def test_run_in_progress_is_told_to_a_step_which_may_go_on(
    cluster: Cluster, entries: Workflow[Order, Status]
) -> None:
    def body(run: OrderRun) -> None:
        for _ in range(2):
            with suppress(RunInProgressError):
                cluster.engine.trigger(entries, "entry", Order())

    orders = ledger_with(body)
    with cluster.engine.serving(orders, entries):
        run_id = cluster.engine.trigger(orders, "order-1", Order())
        cluster.driver.settle()
    assert cluster.record(run_id).attempts == 0
    assert written(cluster) == 1


def test_verbs_in_a_step_see_what_it_has_written(
    cluster: Cluster, entries: Workflow[Order, Status]
) -> None:
    seen: list[Any] = []

    def body(run: OrderRun) -> None:
        engine = cluster.engine
        child = engine.trigger(entries, "entry", Order(), idempotency_key="one")
        assert engine.trigger(entries, "entry", Order(), idempotency_key="one") == child
        engine.pause(child, reason="wait")
        seen.append(engine.view(entries, child).state)
        engine.resume(child, who="step")
        engine.cancel(child, reason="changed my mind")
        seen.append(engine.view(entries, child).state)
        with suppress(RunEndedError):
            engine.pause(child, reason="again")
        with pytest.raises(RunNotFoundError):
            engine.live_run(entries, "entry")

    orders = ledger_with(body)
    with cluster.engine.serving(orders, entries):
        run_id = cluster.engine.trigger(orders, "order-1", Order())
        cluster.driver.settle()
    assert cluster.record(run_id).state is RunState.COMPLETED
    assert seen == [RunState.PAUSED, RunState.CANCELLED]


def test_waiting_in_an_open_step_is_refused(
    joined: Cluster, entries: Workflow[Order, Status]
) -> None:
    """Its own run would never be seen to begin."""

    def body(run: OrderRun) -> None:
        child = joined.engine.trigger(entries, "entry", Order())
        with pytest.raises(ServingError, match="its own transaction is open"):
            joined.engine.wait_for(entries, child, Status.BOOKED, timedelta(seconds=1))

    orders = ledger_with(body)
    with joined.engine.serving(orders, entries):
        run_id = joined.engine.trigger(orders, "order-1", Order())
        joined.driver.settle()
    assert joined.record(run_id).state is RunState.COMPLETED


def test_connection_is_of_no_use_when_its_step_has_ended(joined: Cluster) -> None:
    kept: list[OrderRun] = []
    orders = ledger_with(kept.append)
    with joined.engine.serving(orders):
        run_id = joined.engine.trigger(orders, "order-1", Order())
        joined.driver.settle()
    assert joined.record(run_id).state is RunState.COMPLETED
    with pytest.raises(AdapterError, match="has ended"):
        _ = kept[0].connection


def test_step_that_never_touches_its_connection_is_committed_with_others(joined: Cluster) -> None:
    """In a batch, as all others: a transaction of its own is begun when it is needed."""
    orders = ledger_with(lambda run: None)
    with joined.engine.serving(orders):
        for n in range(50):
            joined.engine.trigger(orders, f"order-{n}", Order())
        joined.store.script.calls.clear()
        joined.driver.settle()
    assert joined.store.script.calls["commit"] < 10


def test_long_transaction_is_worth_a_word(
    joined: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    def body(run: OrderRun) -> None:
        run.connection.check_open()
        joined.clock.advance(timedelta(seconds=6))

    orders = ledger_with(body)
    with joined.engine.serving(orders):
        joined.engine.trigger(orders, "order-1", Order())
        joined.driver.settle()
    assert "held its transaction open for 6 s" in caplog.text


# -- declared wrongly ------------------------------------------------------------------------------


def test_async_step_is_refused_a_transaction() -> None:
    orders = Workflow("orders", Order, Status, ends=(Status.BOOKED,))
    with pytest.raises(DefinitionError, match="for plain functions"):

        @orders.step(Status.CREATED, transaction=True)
        async def book(run: OrderRun) -> Literal[Status.BOOKED]:
            return Status.BOOKED


def test_run_has_no_connection_when_its_step_declares_none() -> None:
    run = OrderRun(data=Order(), status=Status.CREATED)
    with pytest.raises(DefinitionError, match="transaction=True"):
        _ = run.connection


def test_run_of_a_unit_test_has_the_connection_that_it_is_given() -> None:
    run = OrderRun(data=Order(), status=Status.CREATED, connect=lambda: "mine")
    assert run.connection == "mine"


@pytest.fixture
def without_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        MemoryRecordStore, "capabilities", property(lambda store: frozenset({Capability.CLAIMS}))
    )


@pytest.mark.usefixtures("without_transactions")
def test_serving_is_refused_when_the_store_lends_no_transaction(joined: Cluster) -> None:
    orders = ledger_with(lambda run: None)
    with pytest.raises(ServingError, match="wants a transaction"):
        joined.engine.serving(orders)
