"""Verbs in a caller's own transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import pytest
from workflow_core.definition import Callback, Run, Trigger, Workflow
from workflow_core.errors import (
    InputError,
    NotSupportedError,
    RunEndedError,
    RunInProgressError,
    RunNotFoundError,
    StoreBusyError,
)
from workflow_core.memory import MemoryConnection, MemoryRecordStore
from workflow_core.model import RunState

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster

T = TypeVar("T")


class Status(IntEnum):
    CREATED = 1
    BOOKED = 2


@dataclass
class Order:
    total: int = 1


Orders = Workflow[Order, Status]


@pytest.fixture
def orders() -> Orders:
    orders = Workflow("orders", Order, Status, ends=(Status.BOOKED,))

    @orders.step(Status.CREATED)
    def book(run: Run[Order, Status]) -> Literal[Status.BOOKED]:
        return Status.BOOKED

    return orders


def test_run_begins_when_the_callers_transaction_commits(cluster: Cluster, orders: Orders) -> None:
    """Seen to fail with the events sent from within: holes in the stream, or runs that are not."""
    engine = cluster.engine
    with engine.serving(orders):
        with cluster.records.begin() as connection:
            run_id = engine.trigger(orders, "order-1", Order(), connection=connection)
            assert engine.view(orders, run_id, connection=connection).version == 1
            assert engine.live_run(orders, "order-1", connection=connection) == run_id
            assert run_id not in cluster.records.runs.rows
            assert cluster.streamer.sent == []
        assert cluster.streamer.sent == [], "its event is an outbox row, whatever the streamer"
        assert [event.run_id for event in cluster.rows()] == [run_id]
        cluster.driver.advance(timedelta(seconds=10))
    assert cluster.record(run_id).state is RunState.COMPLETED


def test_run_never_was_when_the_callers_transaction_rolls_back(
    cluster: Cluster, orders: Orders
) -> None:
    connection = cluster.records.begin()
    run_id = cluster.engine.trigger(orders, "order-1", Order(), connection=connection)
    connection.rollback()
    assert run_id not in cluster.records.runs.rows
    assert cluster.rows() == []
    cluster.engine.trigger(orders, "order-1", Order())


def test_verbs_never_happened_when_the_callers_transaction_rolls_back(
    cluster: Cluster, orders: Orders
) -> None:
    engine = cluster.engine
    run_id = engine.trigger(orders, "order-1", Order())
    before = cluster.record(run_id)
    connection = cluster.records.begin()
    engine.pause(run_id, reason="wait", connection=connection)
    engine.resume(run_id, who="ann", connection=connection)
    engine.cancel(run_id, reason="no more", connection=connection)
    assert engine.view(orders, run_id, connection=connection).state is RunState.CANCELLED
    with pytest.raises(RunEndedError):
        engine.pause(run_id, reason="again", connection=connection)
    with pytest.raises(RunNotFoundError):
        engine.live_run(orders, "order-1", connection=connection)
    connection.rollback()
    assert cluster.record(run_id) == before


def test_all_of_many_begin_when_the_callers_transaction_commits(
    cluster: Cluster, orders: Orders
) -> None:
    triggers = [Trigger(f"order-{n % 3}", Order()) for n in range(4)]
    with cluster.records.begin() as connection:
        *ids, last = cluster.engine.trigger_many(orders, triggers, connection=connection)
    assert isinstance(last, RunInProgressError)
    assert last.live_run_id == ids[0]
    assert set(cluster.records.runs.rows) == set(ids)


def test_run_in_progress_leaves_the_callers_transaction_as_it_is(
    cluster: Cluster, orders: Orders
) -> None:
    live = cluster.engine.trigger(orders, "order-1", Order())
    with cluster.records.begin() as connection:
        with pytest.raises(RunInProgressError) as refused:
            cluster.engine.trigger(orders, "order-1", Order(), connection=connection)
        other = cluster.engine.trigger(orders, "order-2", Order(), connection=connection)
    assert refused.value.live_run_id == live
    assert other in cluster.records.runs.rows


def test_same_key_answers_the_same_run_when_it_is_asked_twice(
    cluster: Cluster, orders: Orders
) -> None:
    with cluster.records.begin() as connection:
        ids = {
            cluster.engine.trigger(
                orders, "order-1", Order(), idempotency_key="one", connection=connection
            )
            for _ in range(2)
        }
    assert len(ids) == 1


def test_start_is_delayed_in_the_callers_transaction_too(cluster: Cluster, orders: Orders) -> None:
    with cluster.engine.serving(orders):
        with cluster.records.begin() as connection:
            run_id = cluster.engine.trigger(
                orders,
                "order-1",
                Order(),
                start_at=cluster.clock.now() + timedelta(hours=1),
                connection=connection,
            )
        cluster.driver.advance(timedelta(minutes=59))
        assert cluster.record(run_id).version == 1
        cluster.driver.advance(timedelta(minutes=2))
        assert cluster.record(run_id).state is RunState.COMPLETED


def test_what_is_no_connection_is_refused(cluster: Cluster, orders: Orders) -> None:
    with pytest.raises(InputError, match="no connection"):
        cluster.engine.trigger(orders, "order-1", Order(), connection="sqlite://")


def test_store_without_transactions_refuses_them_by_name(
    cluster: Cluster, orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryRecordStore, "capabilities", property(lambda store: frozenset()))
    with (
        cluster.records.begin() as connection,
        pytest.raises(NotSupportedError, match="no transactions that one could join"),
    ):
        cluster.engine.trigger(orders, "order-1", Order(), connection=connection)


def test_caller_is_told_to_retry_when_another_wrote_first(
    cluster: Cluster, orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that cannot lock: the transaction saw an older version than is stored by now."""
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    old = cluster.record(run_id)
    cluster.engine.pause(run_id, reason="first")
    monkeypatch.setattr(MemoryConnection, "lookup_many", lambda self, ids: {run_id: old})
    with (
        cluster.records.begin() as connection,
        pytest.raises(StoreBusyError, match="Roll the transaction back and retry it"),
    ):
        cluster.engine.cancel(run_id, reason="second", connection=connection)


# -- asyncio ---------------------------------------------------------------------------------------


class AsyncConnection:
    """As SQLAlchemy's: it lends the connection beneath it to a function."""

    def __init__(self, beneath: MemoryConnection) -> None:
        self._beneath = beneath

    async def run_sync(self, call: Callable[[Any], T]) -> T:
        return call(self._beneath)


@pytest.fixture
def open_connection(cluster: Cluster) -> Iterator[MemoryConnection]:
    with cluster.records.begin() as connection:
        yield connection


def test_async_verbs_write_in_the_callers_transaction(
    cluster: Cluster, orders: Orders, open_connection: MemoryConnection
) -> None:
    async def verbs() -> str:
        aio, mine = cluster.engine.aio, AsyncConnection(open_connection)
        run_id = await aio.trigger(orders, "order-1", Order(), connection=mine)
        assert await aio.trigger_many(orders, [], connection=mine) == []
        assert await aio.live_run(orders, "order-1", connection=mine) == run_id
        await aio.pause(run_id, reason="wait", connection=mine)
        await aio.resume(run_id, who="ann", connection=mine)
        await aio.cancel(run_id, reason="no more", connection=mine)
        return (await aio.view(orders, run_id, connection=mine)).state.name

    assert asyncio.run(verbs()) == "CANCELLED"
    assert cluster.records.runs.rows == {}


def test_async_verb_refuses_a_connection_that_is_not_async(
    cluster: Cluster, orders: Orders, open_connection: MemoryConnection
) -> None:
    async def verb() -> None:
        with pytest.raises(InputError, match="for asyncio code"):
            await cluster.engine.aio.trigger(orders, "order-1", Order(), connection=open_connection)

    asyncio.run(verb())


# -- callbacks -------------------------------------------------------------------------------------


class Step(IntEnum):
    WAITING = 1
    PAID = 2


@pytest.fixture
def called() -> list[Any]:
    """What callbacks have seen as ``run.connection``."""
    return []


@pytest.fixture
def paying(cluster: Cluster, orders: Orders, called: list[Any]) -> Callback[Order, Step, None]:
    flow = Workflow("payments", Order, Step, ends=(Step.PAID,))

    @flow.callback(Step.WAITING)
    def paid(run: Run[Order, Step]) -> Literal[Step.PAID]:
        called.append(run.connection)
        cluster.engine.trigger(orders, run.foreign_id, Order())
        return Step.PAID

    return paid


def test_callback_and_what_its_body_does_commit_with_the_callers_transaction(
    cluster: Cluster, paying: Callback[Order, Step, None], called: list[Any]
) -> None:
    """Seen to fail where the verb in the body wrote by itself: it waited for the caller."""
    run_id = cluster.engine.trigger(paying.workflow, "order-1", Order())
    connection = cluster.records.begin()
    cluster.engine.callback(paying, run_id, connection=connection)
    connection.rollback()
    assert cluster.record(run_id).version == 1
    assert set(cluster.records.runs.rows) == {run_id}
    with cluster.records.begin() as second:
        cluster.engine.callback(paying, run_id, connection=second)
    assert called == [connection, second]
    assert cluster.record(run_id).state is RunState.COMPLETED
    assert len(cluster.records.runs.rows) == 2


def test_callback_in_a_transaction_is_no_place_to_wait(
    cluster: Cluster, paying: Callback[Order, Step, None], open_connection: MemoryConnection
) -> None:
    run_id = cluster.engine.trigger(paying.workflow, "order-1", Order(), connection=open_connection)
    with pytest.raises(InputError, match="cannot wait"):
        cluster.engine.callback(
            paying, run_id, wait=timedelta(seconds=1), connection=open_connection
        )


def test_async_callback_writes_in_the_callers_transaction(
    cluster: Cluster, paying: Callback[Order, Step, None], open_connection: MemoryConnection
) -> None:
    async def verbs() -> None:
        aio, mine = cluster.engine.aio, AsyncConnection(open_connection)
        run_id = await aio.trigger(paying.workflow, "order-1", Order(), connection=mine)
        await aio.callback(paying, run_id, connection=mine)
        assert (await aio.view(paying.workflow, run_id, connection=mine)).status is Step.PAID

    asyncio.run(verbs())
    assert cluster.records.runs.rows == {}
