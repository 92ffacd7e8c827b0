"""How many bodies run at once, and whom a body holds up that never ends."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

import pytest
from workflow_core import Run, RunState, Workflow
from workflow_core.engine import EngineSettings

if TYPE_CHECKING:
    from tests.threads.conftest import Cluster, Tally

LIMIT = timedelta(seconds=60)


class Status(IntEnum):
    HELD = 1
    FREE = 2
    DONE = 3


@dataclass
class Data:
    number: int = 0


DataRun = Run[Data, Status]


def holding(tally: Tally, gate: threading.Event, concurrency: int) -> Workflow[Data, Status]:
    """A step that waits at the gate, and one that does not."""
    flow = Workflow("holding", Data, Status, ends=(Status.DONE,), starts=(Status.HELD, Status.FREE))

    @flow.step(Status.HELD, concurrency=concurrency)
    def held(run: DataRun) -> Literal[Status.DONE]:
        with tally.running_body(run):
            gate.wait()
            return Status.DONE

    @flow.step(Status.FREE, concurrency=1)
    def free(run: DataRun) -> Literal[Status.DONE]:
        return Status.DONE

    return flow


@pytest.mark.parametrize(("concurrency", "runs"), [(1, 60), (7, 60), (7, 2500), (20, 2500)])
def test_sync_bodies_run_side_by_side_up_to_their_concurrency(
    joined: Cluster, tally: Tally, gate: threading.Event, concurrency: int, runs: int
) -> None:
    """2500 runs are more than a lane takes in hand, so that nothing more is received.

    Seen to fail when no worker was added (never above 1), and when a step's running bodies were
    not counted (above the limit).
    """
    flow = holding(tally, gate, concurrency)
    engine = joined.engine()
    engine.serving(flow).start()
    run_ids = joined.begin(engine, flow, runs)
    tally.wait_until(lambda: tally.running == concurrency)
    gate.set()
    joined.wait_for_all(engine, flow, run_ids)
    assert tally.most == concurrency
    assert tally.repeated == {}


def test_async_bodies_run_side_by_side_up_to_their_concurrency(
    joined: Cluster, tally: Tally
) -> None:
    flow = Workflow("asynchronous", Data, Status, ends=(Status.DONE,), starts=(Status.HELD,))
    full = asyncio.Event()

    @flow.step(Status.HELD, concurrency=200)
    async def held(run: DataRun) -> Literal[Status.DONE]:
        with tally.running_body(run):
            if tally.running == 200:
                full.set()
            await full.wait()
            return Status.DONE

    engine = joined.engine()
    engine.serving(flow).start()
    run_ids = joined.begin(engine, flow, 1000)
    joined.wait_for_all(engine, flow, run_ids)
    assert tally.most == 200
    assert tally.repeated == {}


def test_threads_stay_within_their_limit_when_more_bodies_may_run(
    joined: Cluster, tally: Tally, gate: threading.Event
) -> None:
    flow = holding(tally, gate, 20)
    engine = joined.engine(EngineSettings(max_threads=3))
    engine.serving(flow).start()
    run_ids = joined.begin(engine, flow, 40)
    tally.wait_until(lambda: tally.running == 3)
    gate.set()
    joined.wait_for_all(engine, flow, run_ids)
    assert tally.most == 3


def test_neighbours_go_on_when_a_body_never_ends(
    joined: Cluster, tally: Tally, gate: threading.Event
) -> None:
    """Runs of the same step and of others; seen to fail without the ease of what a body blocks."""
    flow = Workflow("stuck", Data, Status, ends=(Status.DONE,), starts=(Status.HELD, Status.FREE))

    @flow.step(Status.HELD, concurrency=2)
    def held(run: DataRun) -> Literal[Status.DONE]:
        with tally.running_body(run):
            if run.foreign_id == "id-0":
                gate.wait()
            return Status.DONE

    @flow.step(Status.FREE, concurrency=1)
    def free(run: DataRun) -> Literal[Status.DONE]:
        return Status.DONE

    engine = joined.engine()
    engine.serving(flow).start()
    (stuck,) = joined.begin(engine, flow, 1)
    others = joined.begin(engine, flow, 300)
    tally.wait_until(lambda: (stuck, 1) in tally.executions)
    others += [engine.trigger(flow, f"free-{i}", Data(), status=Status.FREE) for i in range(50)]
    joined.wait_for_all(engine, flow, others)
    assert engine.view(flow, stuck).status is Status.HELD


def test_run_comes_again_when_a_stop_abandons_its_body(
    cluster: Cluster, tally: Tally, gate: threading.Event
) -> None:
    """No attempt is counted, and another member executes it at once."""
    flow = holding(tally, gate, 1)
    first = cluster.engine()
    serving = first.serving(flow).start()
    (held,) = run_ids = cluster.begin(first, flow, 1)
    tally.wait_until(lambda: tally.running == 1)
    assert serving.stop(timedelta(milliseconds=50)) == [f"holding: step held of run {held}"]
    second = cluster.engine()
    second.serving(flow).start()
    tally.wait_until(lambda: tally.running == 2)
    gate.set()
    cluster.wait_for_all(second, flow, run_ids)
    assert tally.repeated == {(held, 1): 2}
    cluster.check_histories(run_ids, versions=2)
    assert second.view(flow, held).state is RunState.COMPLETED


@pytest.mark.parametrize("transaction", [False, True])
def test_answer_of_an_abandoned_body_is_void(
    cluster: Cluster, tally: Tally, gate: threading.Event, transaction: bool
) -> None:
    """Its run is another member's by then. Seen to fail when the worker committed it."""
    flow = Workflow("late", Data, Status, ends=(Status.DONE,))
    workers: list[threading.Thread] = []

    @flow.step(Status.HELD, concurrency=1, transaction=transaction)
    def held(run: DataRun) -> Literal[Status.DONE]:
        workers.append(threading.current_thread())
        with tally.running_body(run):
            gate.wait()
            return Status.DONE

    engine = cluster.engine()
    serving = engine.serving(flow).start()
    (run_id,) = cluster.begin(engine, flow, 1)
    tally.wait_until(lambda: tally.running == 1)
    assert serving.stop(timedelta(0)) == [f"late: step held of run {run_id}"]
    gate.set()
    workers[0].join(LIMIT.total_seconds())
    assert not workers[0].is_alive()
    view = engine.view(flow, run_id)
    assert (view.status, view.version) == (Status.HELD, 1)
