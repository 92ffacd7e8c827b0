"""Stopping: in the middle of a burst, twice, from elsewhere, before the start, over and over."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal

import pytest
from workflow_core import Run, Workflow
from workflow_core.engine.process import ProcessThread
from workflow_core.errors import ServingError, StoppedError

if TYPE_CHECKING:
    from tests.threads.conftest import Cluster, Tally

NOW = timedelta(0)


class Status(IntEnum):
    SLOW = 1
    DONE = 2


@dataclass
class Data:
    number: int = 0


def test_deploys_cost_no_attempt_when_they_come_in_the_middle_of_a_burst(
    cluster: Cluster, tally: Tally, flow: Workflow[Any, Any]
) -> None:
    """Each version is committed once, and executed once: a stop finishes what it has begun.

    Seen to fail when a stop acked what it dropped (runs never ended), and when it did not wait for
    the bodies in hand (they ran again).
    """
    client = cluster.engine()
    run_ids = cluster.begin(client, flow, 2000)
    for deploy in range(1, 6):
        engine = cluster.engine()
        serving = engine.serving(flow).start()
        enough = deploy * 900
        tally.wait_until(lambda: len(tally.executions) >= enough)  # noqa: B023 - called at once
        assert serving.stop() == []
        engine.close()
    last = cluster.engine()
    last.serving(flow).start()
    cluster.wait_for_all(client, flow, run_ids)
    assert tally.repeated == {}
    cluster.check_histories(run_ids, versions=4)


def test_stop_leaves_no_thread_behind_when_it_comes_in_the_middle_of_a_burst(
    joined: Cluster, tally: Tally, flow: Workflow[Any, Any]
) -> None:
    before = set(threading.enumerate())
    engine = joined.engine()
    engine.serving(flow).start()
    joined.begin(engine, flow, 1000)
    tally.wait_until(lambda: len(tally.executions) > 300)
    engine.close()
    assert set(threading.enumerate()) - before == set()


def test_stop_answers_all_alike_when_many_threads_stop_at_once(
    joined: Cluster, tally: Tally, gate: threading.Event
) -> None:
    flow = Workflow("slow", Data, Status, ends=(Status.DONE,))

    @flow.step(Status.SLOW, concurrency=1)
    def slow(run: Run[Data, Status]) -> Literal[Status.DONE]:
        with tally.running_body(run):
            gate.wait()
            return Status.DONE

    engine = joined.engine()
    serving = engine.serving(flow).start()
    joined.begin(engine, flow, 3)
    tally.wait_until(lambda: tally.running == 1)
    answers: list[object] = []
    stoppers = [
        threading.Thread(target=lambda: answers.append(serving.stop(timedelta(milliseconds=100))))
        for _ in range(10)
    ]
    for stopper in stoppers:
        stopper.start()
    for stopper in stoppers:
        stopper.join()
    assert len(answers) == 10
    assert all(answer == answers[0] and answer for answer in answers)


def test_stop_is_harmless_when_nothing_was_started(
    joined: Cluster, flow: Workflow[Any, Any]
) -> None:
    """And a start after it is refused: seen to fail when it ran threads on a closed window."""
    engine = joined.engine()
    serving = engine.serving(flow)
    assert serving.stop() == []
    assert serving.stop() == []
    with pytest.raises(StoppedError):
        serving.start()
    assert engine.processes() == []


def test_engine_serves_again_when_it_was_stopped(
    joined: Cluster, tally: Tally, flow: Workflow[Any, Any]
) -> None:
    engine = joined.engine()
    with engine.serving(flow):
        with pytest.raises(ServingError):
            engine.serving(flow)
        first = joined.begin(engine, flow, 100)
        joined.wait_for_all(engine, flow, first)
    second = joined.begin(engine, flow, 100)
    with engine.serving(flow):
        joined.wait_for_all(engine, flow, second)
    assert tally.repeated == {}


@pytest.mark.parametrize("grace", [timedelta(seconds=60), NOW])
def test_stop_waits_for_async_bodies_only_within_its_grace(
    cluster: Cluster, tally: Tally, grace: timedelta
) -> None:
    flow = Workflow("slow", Data, Status, ends=(Status.DONE,))
    gate = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    @flow.step(Status.SLOW)
    async def slow(run: Run[Data, Status]) -> Literal[Status.DONE]:
        loops.append(asyncio.get_running_loop())
        with tally.running_body(run):
            if len(loops) == 1:
                await gate.wait()
            return Status.DONE

    first = cluster.engine()
    serving = first.serving(flow).start()
    (run_id,) = cluster.begin(first, flow, 1)
    tally.wait_until(lambda: tally.running == 1)
    if grace:
        threading.Timer(0.05, loops[0].call_soon_threadsafe, [gate.set]).start()
    assert serving.stop(grace) == ([] if grace else [f"slow: step slow of run {run_id}"])
    second = cluster.engine()
    second.serving(flow).start()
    cluster.wait_for_all(second, flow, [run_id])
    cluster.check_histories([run_id], versions=2)
    assert tally.executions[run_id, 1] == (1 if grace else 2)


def test_stop_polls_no_faster_than_idling_when_a_body_keeps_it_waiting(
    joined: Cluster, tally: Tally, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail, by tens of thousands of polls, when claims did not wait after the entrance."""
    polls: list[str] = []
    succeeded = ProcessThread._succeeded

    def count(thread: ProcessThread, worked: bool) -> None:
        polls.append(thread.process.name)
        succeeded(thread, worked)

    flow = Workflow("slow", Data, Status, ends=(Status.DONE,))

    @flow.step(Status.SLOW, concurrency=4)
    def slow(run: Run[Data, Status]) -> Literal[Status.DONE]:
        with tally.running_body(run):
            (gate if run.foreign_id == "id-0" else others).wait()
            return Status.DONE

    others = threading.Event()
    engine = joined.engine()
    serving = engine.serving(flow).start()
    run_ids = joined.begin(engine, flow, 3)
    tally.wait_until(lambda: tally.running == 3)  # so there are three workers
    others.set()
    joined.wait_for_all(engine, flow, run_ids[1:])
    monkeypatch.setattr(ProcessThread, "_succeeded", count)
    assert len(serving.stop(timedelta(milliseconds=500))) == 1
    assert len(polls) < 200
