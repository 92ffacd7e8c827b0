"""Pause, resume and cancel: in every state, against other writers, and as steps see them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING, Literal

import pytest
from workflow_core.definition import Repeat, Retry, Run, Workflow
from workflow_core.errors import (
    AdapterError,
    AdapterUnavailableError,
    RunEndedError,
    RunNotFoundError,
    RunStateError,
    VersionConflictError,
)
from workflow_core.model import PauseKind, RunState

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster


class Status(IntEnum):
    CREATED = 1
    PAID = 2
    SHIPPED = 3


@dataclass
class Order:
    notes: list[str] = field(default_factory=list)


OrderRun = Run[Order, Status]


def orders_with(
    body: Callable[[OrderRun], None], retry: Retry | None = None
) -> Workflow[Order, Status]:
    orders = Workflow("order processor", Order, Status, ends=(Status.SHIPPED,))

    @orders.step(Status.CREATED, retry=retry)
    def pay(run: OrderRun) -> Literal[Status.PAID]:
        body(run)
        return Status.PAID

    @orders.step(Status.PAID)
    def ship(run: OrderRun) -> Literal[Status.SHIPPED]:
        return Status.SHIPPED

    return orders


def all_verbs(cluster: Cluster, run_id: str) -> list[Callable[[], None]]:
    return [
        partial(cluster.engine.pause, run_id, reason="wait"),
        partial(cluster.engine.resume, run_id, who="ann"),
        partial(cluster.engine.cancel, run_id, reason="no more"),
    ]


@pytest.fixture
def orders() -> Workflow[Order, Status]:
    return orders_with(lambda run: None)


# -- in every state --------------------------------------------------------------------------------


def test_pause_holds_a_run_that_has_not_begun(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.engine.pause(run_id, reason="wait")
    cluster.driver.serve(orders)
    cluster.driver.advance(timedelta(hours=1))
    record = cluster.record(run_id)
    assert (record.state, record.pause_kind, record.reason, record.version) == (
        RunState.PAUSED,
        PauseKind.OPERATOR,
        "wait",
        2,
    )
    cluster.engine.resume(run_id, who="ann")
    cluster.driver.settle()
    assert cluster.record(run_id).state is RunState.COMPLETED


def test_paused_run_holds_its_foreign_id(cluster: Cluster, orders: Workflow[Order, Status]) -> None:
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.engine.pause(run_id, reason="wait")
    assert cluster.engine.live_run(orders, "order-1") == run_id


def test_pause_twice_is_once(cluster: Cluster, orders: Workflow[Order, Status]) -> None:
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.engine.pause(run_id, reason="first")
    cluster.engine.pause(run_id, reason="second")
    assert (cluster.record(run_id).version, cluster.record(run_id).reason) == (2, "first")


def test_pause_takes_over_an_automatic_pause(cluster: Cluster) -> None:
    def fail(run: OrderRun) -> None:
        raise ValueError("no")

    orders = orders_with(fail, Retry(pause_after=1))
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.driver.run()
    assert cluster.record(run_id).pause_kind is PauseKind.AUTOMATIC
    cluster.engine.pause(run_id, reason="by hand")
    assert cluster.record(run_id).pause_kind is PauseKind.OPERATOR


def test_cancel_ends_a_paused_run(cluster: Cluster, orders: Workflow[Order, Status]) -> None:
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.engine.pause(run_id, reason="wait")
    cluster.engine.cancel(run_id, reason="no more")
    record = cluster.record(run_id)
    assert (record.state, record.reason, record.pause_kind) == (
        RunState.CANCELLED,
        "no more",
        None,
    )


def test_cancel_ends_a_run_before_its_step(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.engine.cancel(run_id, reason="no more")
    cluster.driver.serve(orders)
    cluster.driver.advance(timedelta(hours=1))
    assert cluster.record(run_id).status == 1


@pytest.mark.parametrize("ended", ["completed", "cancelled"])
def test_ended_run_takes_no_verb(
    cluster: Cluster, orders: Workflow[Order, Status], ended: str
) -> None:
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    if ended == "cancelled":
        cluster.engine.cancel(run_id, reason="")
    cluster.driver.run()
    version = cluster.record(run_id).version
    for verb in all_verbs(cluster, run_id):
        with pytest.raises(RunEndedError, match=ended) as refused:
            verb()
        assert (refused.value.run_id, refused.value.workflow) == (run_id, "order processor")
    assert cluster.record(run_id).version == version


def test_running_run_cannot_be_resumed(cluster: Cluster, orders: Workflow[Order, Status]) -> None:
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    with pytest.raises(RunStateError, match="is not paused, it is initiated"):
        cluster.engine.resume(run_id, who="ann")


def test_unknown_run_is_told(cluster: Cluster) -> None:
    for verb in all_verbs(cluster, "nobody"):
        with pytest.raises(RunNotFoundError, match="nobody"):
            verb()


def test_client_without_a_streamer_steers_all_the_same(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    client = cluster.client().engine
    cluster.driver.serve(orders)
    run_id = client.trigger(orders, "order-1", Order())
    client.pause(run_id, reason="wait")
    cluster.driver.advance(timedelta(seconds=10))
    assert cluster.record(run_id).version == 2
    client.resume(run_id, who="ann")
    cluster.driver.settle()
    assert cluster.record(run_id).state is RunState.COMPLETED


# -- resume ----------------------------------------------------------------------------------------


def test_resume_counts_attempts_anew_and_is_visible(cluster: Cluster) -> None:
    seen: list[tuple[int, str]] = []

    def fail(run: OrderRun) -> None:
        seen.append((run.attempt, run.resumed.who if run.resumed else ""))
        raise ValueError("no")

    orders = orders_with(fail, Retry(pause_after=2))
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.driver.advance(timedelta(minutes=5))
    assert cluster.record(run_id).attempts == 2
    at = cluster.clock.now()
    cluster.engine.resume(run_id, who="ann", why="fixed the till")
    assert cluster.record(run_id).attempts == 0
    resumed = cluster.record(run_id).resumed
    assert resumed is not None
    assert (resumed.who, resumed.why, resumed.at) == ("ann", "fixed the till", at)
    cluster.driver.advance(timedelta(minutes=5))
    assert seen == [(1, ""), (2, ""), (1, "ann"), (2, "ann")]
    assert cluster.record(run_id).state is RunState.PAUSED


def test_resume_of_a_backing_off_run_does_not_wait(cluster: Cluster) -> None:
    calls: list[int] = []

    def fail_once(run: OrderRun) -> None:
        calls.append(run.attempt)
        if len(calls) == 1:
            raise ValueError("no")

    hour = timedelta(hours=1)
    orders = orders_with(fail_once, Retry(first=hour, maximum=hour, jitter=False))
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.driver.run()
    cluster.engine.pause(run_id, reason="")
    assert cluster.record(run_id).next_try_at is None
    cluster.engine.resume(run_id, who="ann")
    cluster.driver.advance(timedelta(seconds=10))
    assert cluster.record(run_id).state is RunState.COMPLETED
    cluster.driver.settle()  # the retry that was filed comes and is dropped
    assert calls == [1, 1]


def test_resumed_is_gone_at_the_next_status(cluster: Cluster) -> None:
    orders = orders_with(lambda run: None)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.engine.pause(run_id, reason="")
    cluster.engine.resume(run_id, who="ann")
    cluster.driver.serve(orders)
    cluster.driver.run()
    assert cluster.record(run_id).resumed is None


# -- against other writers -------------------------------------------------------------------------


def test_verb_that_loses_against_another_write_decides_again(cluster: Cluster) -> None:
    """Seen to fail with one try only: VersionConflictError for a mere retry write."""

    def fail(run: OrderRun) -> None:
        raise ValueError("no")

    orders = orders_with(fail, Retry(first=timedelta(hours=1), maximum=timedelta(hours=1)))
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    other = cluster.client().engine

    def meanwhile(call: str) -> None:
        if call == "lookup_primary":
            cluster.store.script.heal()
            other.pause(run_id, reason="the other")
            other.resume(run_id, who="the other")

    cluster.store.script.after = meanwhile
    cluster.engine.cancel(run_id, reason="mine")
    record = cluster.record(run_id)
    assert (record.state, record.reason, record.version) == (RunState.CANCELLED, "mine", 4)


def test_verb_gives_up_when_it_loses_for_ever(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    stale = cluster.record(run_id)
    cluster.engine.pause(run_id, reason="")
    cluster.engine.resume(run_id, who="ann")
    present = cluster.record(run_id)

    def read_stale(call: str) -> None:
        table = cluster.records.runs.rows
        table[run_id] = stale if call == "lookup_primary" else present

    def read_present(call: str) -> None:
        cluster.records.runs.rows[run_id] = present

    cluster.store.script.before, cluster.store.script.after = read_stale, read_present
    with pytest.raises(VersionConflictError):
        cluster.engine.cancel(run_id, reason="")
    assert cluster.store.script.calls["lookup_primary"] >= 5


def test_verb_whose_answer_was_lost_is_done_once(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    """Seen to fail with a write id per try: the resume was told that the run is not paused."""
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    for verb in all_verbs(cluster, run_id):
        version = cluster.record(run_id).version
        cluster.store.script.fail("commit", took_effect=True, times=2)
        verb()
        assert cluster.record(run_id).version == version + 1


def test_resume_whose_answer_was_lost_is_done_though_a_worker_moved_on(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    """Seen to fail: the caller was told that the run is not paused, it is completed."""
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.engine.pause(run_id, reason="")

    def after(call: str) -> None:
        if call == "commit":
            cluster.store.script.heal()
            cluster.driver.settle()
            raise AdapterUnavailableError("the answer is lost")

    cluster.store.script.after = after
    cluster.engine.resume(run_id, who="ann")
    cluster.store.script.heal()
    assert cluster.record(run_id).state is RunState.COMPLETED


@pytest.mark.parametrize("paused_for", [timedelta(minutes=10), timedelta(hours=2)])
def test_resume_keeps_what_is_left_until_the_start(
    cluster: Cluster, orders: Workflow[Order, Status], paused_for: timedelta
) -> None:
    """Seen to fail: a run paused before its start began as soon as it was resumed."""
    hour = timedelta(hours=1)
    cluster.driver.serve(orders)
    start_at = cluster.clock.now() + hour
    run_id = cluster.engine.trigger(orders, "order-1", Order(), start_at=start_at)
    cluster.driver.advance(hour / 2)
    cluster.engine.pause(run_id, reason="")
    assert cluster.record(run_id).next_try_at == start_at
    cluster.driver.advance(paused_for)
    cluster.engine.resume(run_id, who="ann")
    cluster.driver.run()
    if paused_for < hour / 2:
        assert cluster.record(run_id).next_try_at == start_at
        cluster.driver.settle()
    began = cluster.records.runs.history(run_id)[3].at
    assert began == max(start_at, start_at - hour / 2 + paused_for)


def test_resume_keeps_what_is_left_of_a_repeat(cluster: Cluster) -> None:
    orders = Workflow("order processor", Order, Status, ends=(Status.SHIPPED,))
    at: list[timedelta] = []
    start = cluster.clock.now()

    @orders.step(Status.CREATED)
    def pay(run: OrderRun) -> Literal[Status.SHIPPED] | Repeat:
        at.append(cluster.since(start))
        return Repeat(after=timedelta(hours=1)) if len(at) == 1 else Status.SHIPPED

    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.driver.run()
    cluster.engine.pause(run_id, reason="")
    cluster.engine.resume(run_id, who="ann")
    cluster.driver.settle()
    assert [round(each.total_seconds()) for each in at] == [0, 3600]


def test_verb_passes_on_that_the_store_is_away_or_refuses(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.store.script.fail()
    with pytest.raises(AdapterUnavailableError):
        cluster.engine.pause(run_id, reason="")
    cluster.store.script.heal()
    cluster.store.refuses = lambda record: True
    with pytest.raises(AdapterError, match="refuses"):
        cluster.engine.pause(run_id, reason="")
    cluster.store.refuses = lambda record: False


def test_pause_voids_the_work_in_hand_which_runs_again_after_resume(cluster: Cluster) -> None:
    """The answer of a step that ran meanwhile is lost, by its version."""
    calls: list[str] = []

    def pause_meanwhile(run: OrderRun) -> None:
        calls.append(run.idempotency_key)
        run.data.notes.append(f"call {len(calls)}")
        if len(calls) == 1:
            cluster.engine.pause(run.run_id, reason="stop")

    orders = orders_with(pause_meanwhile)
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.driver.settle()
    assert (cluster.record(run_id).state, cluster.record(run_id).version) == (RunState.PAUSED, 2)
    assert cluster.engine.view(orders, run_id).data.notes == []
    cluster.engine.resume(run_id, who="ann")
    cluster.driver.settle()
    assert cluster.engine.view(orders, run_id).data.notes == ["call 2"]
    assert len(set(calls)) == 1


def test_cancel_while_a_step_runs_stands(cluster: Cluster) -> None:
    """Seen to fail when the step's answer was stored whatever the version."""
    orders = orders_with(lambda run: cluster.engine.cancel(run.run_id, reason="no more"))
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.driver.settle()
    record = cluster.record(run_id)
    assert (record.state, record.status, record.version) == (RunState.CANCELLED, 1, 2)


@pytest.mark.parametrize("verb", ["pause", "cancel"])
def test_running_async_step_sees_within_a_second_that_it_is_not_wanted(
    cluster: Cluster, verb: str
) -> None:
    seen: list[float] = []
    orders = Workflow("order processor", Order, Status, ends=(Status.SHIPPED,))

    @orders.step(Status.CREATED)
    async def ship(run: OrderRun) -> Literal[Status.SHIPPED]:
        for tenth in range(600):
            if run.cancelled:
                seen.append(tenth / 10)
                break
            await asyncio.sleep(0.1)
        return Status.SHIPPED

    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.driver.advance(timedelta(seconds=5))
    if verb == "pause":
        cluster.engine.pause(run_id, reason="stop")
    else:
        cluster.engine.cancel(run_id, reason="stop")
    cluster.driver.advance(timedelta(seconds=3))
    (at,) = seen
    assert 5 <= at <= 6.2
    assert cluster.record(run_id).version == 2
