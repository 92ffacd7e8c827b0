"""Who commits, the worker or the committer, and which workers work beside each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

import pytest
from workflow_core.definition import Run, Workflow
from workflow_core.engine import Trigger
from workflow_core.engine.lane import Chunk
from workflow_core.engine.serving import Serving
from workflow_core.engine.window import Window
from workflow_core.errors import AdapterError
from workflow_core.model import RunState

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster

NOW = timedelta(0)
SECOND = timedelta(seconds=1)


class Status(IntEnum):
    CREATED = 1
    PAID = 2
    SHIPPED = 3


@dataclass
class Order:
    pass


OrderRun = Run[Order, Status]
Serve = Callable[[Workflow[Order, Status]], Serving]


@pytest.fixture
def orders() -> Workflow[Order, Status]:
    flow = Workflow("orders", Order, Status, ends=(Status.SHIPPED,))

    @flow.step(Status.CREATED)
    def pay(run: OrderRun) -> Literal[Status.PAID]:
        return Status.PAID

    @flow.step(Status.PAID)
    def ship(run: OrderRun) -> Literal[Status.SHIPPED]:
        return Status.SHIPPED

    return flow


@pytest.fixture
def serve(joined: Cluster) -> Serve:
    """Serving, with its roles, and nothing received."""

    def serve_flow(flow: Workflow[Order, Status]) -> Serving:
        serving = joined.driver.serve(flow)
        joined.driver.run()
        return serving

    return serve_flow


def receive(serving: Serving) -> None:
    (reception,) = serving._receptions
    reception.poll(NOW)


def test_worker_commits_what_little_there_is(
    joined: Cluster, serve: Serve, orders: Workflow[Order, Status]
) -> None:
    """Seen to fail when it was left to the committer, which another thread had to be woken for."""
    serving = serve(orders)
    run_id = joined.engine.trigger(orders, "o", Order())
    receive(serving)
    (worker,) = serving._workers
    assert worker.poll(NOW)
    assert joined.record(run_id).status == Status.PAID
    assert not serving._committer.poll(NOW)
    assert not serving._window._chunks


def test_worker_goes_on_with_what_waits_and_leaves_the_commit(
    joined: Cluster, serve: Serve, orders: Workflow[Order, Status]
) -> None:
    """So that one thread waits for the store while another works. Seen to fail without looking."""
    serving = serve(orders)
    ids = joined.engine.trigger_many(orders, [Trigger(f"o{n}", Order()) for n in range(3)])
    receive(serving)
    (worker,) = serving._workers
    assert worker.poll(NOW)  # one, as nobody knows yet how long it takes
    assert {joined.record(str(run_id)).version for run_id in ids} == {1}
    assert serving._committer.poll(NOW)
    assert sorted(joined.record(str(run_id)).version for run_id in ids) == [1, 1, 2]


def test_many_outcomes_are_left_to_the_committer(
    joined: Cluster, serve: Serve, orders: Workflow[Order, Status]
) -> None:
    """Seen to fail with any number: a burst's batches were cut wherever the worker was."""
    serving = serve(orders)
    joined.engine.trigger(orders, "first", Order())
    joined.driver.run()
    ids = joined.engine.trigger_many(orders, [Trigger(f"o{n}", Order()) for n in range(9)])
    receive(serving)
    (worker,) = serving._workers
    assert worker.poll(NOW)
    assert {joined.record(str(run_id)).version for run_id in ids} == {1}
    assert serving._committer.poll(NOW)
    assert {joined.record(str(run_id)).version for run_id in ids} == {2}


def test_commit_of_a_worker_that_fails_is_the_committers(
    joined: Cluster, serve: Serve, orders: Workflow[Order, Status]
) -> None:
    """Seen to fail when the worker raised: it backed off, though it has nothing to do with it."""
    serving = serve(orders)
    run_id = joined.engine.trigger(orders, "o", Order())
    receive(serving)
    (worker,) = serving._workers
    joined.store.script.fail("commit", times=1)
    assert worker.poll(NOW)
    assert joined.record(run_id).version == 1
    assert not serving._window._chunks
    assert serving._committer.poll(NOW)
    assert joined.record(run_id).version == 2
    joined.driver.run()
    assert joined.record(run_id).state is RunState.COMPLETED


def test_others_are_asked_for_while_a_worker_waits_for_its_commit(
    joined: Cluster, serve: Serve, orders: Workflow[Order, Status]
) -> None:
    """Seen to fail when a worker in a commit was in no chunk: what came waited behind a lock."""
    serving = serve(orders)
    asked: list[int] = []
    serving._window.on_crowded = asked.append

    def hang(call: str) -> None:
        if call == "commit":
            joined.store.script.heal()
            joined.streamer.script.heal()
            joined.engine.trigger(orders, "another", Order())
            joined.driver.clock.advance(SECOND)
            receive(serving)

    joined.engine.trigger(orders, "o", Order())
    receive(serving)
    joined.store.script.after = hang
    (worker,) = serving._workers
    worker.poll(NOW)
    assert asked == [1]


# -- quick steps -----------------------------------------------------------------------------------


def take(window: Window) -> Chunk:
    chunk = window.claim(NOW)
    assert chunk is not None
    return chunk


@pytest.fixture
def busy(joined: Cluster, serve: Serve, orders: Workflow[Order, Status]) -> Serving:
    """Two chunks wait, of steps of which it is known that they are quick."""
    serving = serve(orders)
    (lane,) = serving._lanes
    lane.pace = {1: 0.0001, 2: 0.0001}
    joined.engine.trigger_many(orders, [Trigger(f"o{n}", Order()) for n in range(501)])
    for _ in range(3):
        receive(serving)
    return serving


def test_one_worker_at_a_time_is_busy_with_quick_steps(busy: Serving) -> None:
    """Seen to fail: two of them fought for Python's lock at each item, and did half as much."""
    window = busy._window
    first = take(window)
    assert window.claim(NOW) is None
    window.put_back(first.take_back())
    window.end_chunk(first)
    window.leave(first)
    take(window)


def test_another_worker_takes_over_when_a_quick_body_hangs(joined: Cluster, busy: Serving) -> None:
    """Seen to fail when its step's mean alone counted: all waited until it returned."""
    window = busy._window
    first = take(window)
    first.body_since = joined.clock.monotonic()
    joined.clock.advance(timedelta(milliseconds=60))
    take(window)


@pytest.mark.parametrize("pace", [None, 0.02])
def test_steps_that_wait_for_something_run_side_by_side(
    joined: Cluster, busy: Serving, pace: float | None
) -> None:
    """As do those of which nothing is known. Seen to fail when one chunk at a time was begun."""
    (lane,) = busy._lanes
    lane.pace = {} if pace is None else {1: pace, 2: pace}
    take(busy._window)
    take(busy._window)


def test_steps_with_a_transaction_run_side_by_side(joined: Cluster, serve: Serve) -> None:
    """Their commits take longer than their bodies. Seen to fail when they counted as quick."""
    flow = Workflow("orders", Order, Status, ends=(Status.SHIPPED,))
    flow.add_step(
        Status.CREATED, lambda run: Status.SHIPPED, to=(Status.SHIPPED,), transaction=True
    )
    serving = serve(flow)
    (lane,) = serving._lanes
    lane.pace = {1: 0.0001}
    joined.engine.trigger_many(flow, [Trigger(f"o{n}", Order()) for n in range(501)])
    for _ in range(3):
        receive(serving)
    take(serving._window)
    take(serving._window)


def test_step_that_waits_runs_beside_a_quick_one(joined: Cluster, busy: Serving) -> None:
    """Seen to fail when nothing was begun beside a quick chunk."""
    (lane,) = busy._lanes
    take(busy._window)
    lane.pace = {1: 0.0001, 2: 0.02}
    waiting = Trigger("slow", Order(), status=Status.PAID)
    joined.engine.trigger_many(lane.workflow, [waiting])
    receive(busy)
    assert take(busy._window).step.status == Status.PAID


def test_another_worker_takes_over_when_a_look_up_hangs(joined: Cluster, busy: Serving) -> None:
    """Seen to fail when only a body's age counted: quick steps waited for somebody's lock."""
    take(busy._window)
    joined.clock.advance(timedelta(milliseconds=60))
    take(busy._window)


def test_poll_that_fails_leaves_nothing_behind(joined: Cluster, serve: Serve) -> None:
    """Seen to fail: a chunk that nobody was at any more stood there for good."""
    flow = Workflow("orders", Order, Status, ends=(Status.SHIPPED,))
    flow.add_step(Status.CREATED, lambda run: Status.SHIPPED, to=(Status.SHIPPED,), concurrency=1)
    serving = serve(flow)
    client = joined.client().engine
    run_ids = [client.trigger(flow, f"o{n}", Order()) for n in range(3)]
    joined.store.script.fail("commit", "lookup_many")
    joined.driver.advance(5 * SECOND)
    assert not serving._window._chunks
    joined.store.script.heal()
    joined.driver.settle()
    assert not serving._window._chunks
    assert {joined.record(run_id).state for run_id in run_ids} == {RunState.COMPLETED}


def test_commit_is_left_where_a_step_of_one_at_a_time_has_more_to_begin(
    joined: Cluster, serve: Serve
) -> None:
    """Seen to fail when the chunk itself still counted as running: nothing seemed to wait."""
    flow = Workflow("orders", Order, Status, ends=(Status.SHIPPED,))
    flow.add_step(Status.CREATED, lambda run: Status.SHIPPED, to=(Status.SHIPPED,), concurrency=1)
    serving = serve(flow)
    ids = joined.engine.trigger_many(flow, [Trigger(f"o{n}", Order()) for n in range(2)])
    receive(serving)
    (worker,) = serving._workers
    worker.poll(NOW)
    assert {joined.record(str(run_id)).version for run_id in ids} == {1}


@pytest.mark.parametrize("error", [ValueError, AdapterError])
def test_worker_goes_on_whatever_its_commit_raises(
    joined: Cluster, serve: Serve, orders: Workflow[Order, Status], error: type[Exception]
) -> None:
    """The committer meets it too, and tells. Seen to fail: each worker in turn backed off."""
    serving = serve(orders)
    joined.engine.trigger(orders, "o", Order())
    receive(serving)

    def refuse(call: str) -> None:
        if call == "commit":
            raise error("no")

    joined.store.script.before = refuse
    (worker,) = serving._workers
    assert worker.poll(NOW)
    joined.store.script.heal()
    joined.driver.run()
