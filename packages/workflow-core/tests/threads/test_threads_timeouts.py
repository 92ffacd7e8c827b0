"""Bodies that exceed their step's timeout, on real threads: nobody can end those."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

from workflow_core import Retry, Run, Workflow

if TYPE_CHECKING:
    from tests.threads.conftest import Cluster


class Status(IntEnum):
    FIRST = 1
    DONE = 2


@dataclass
class Data:
    number: int = 0


LIMIT = timedelta(seconds=60)  # only a hang takes that long
SOON = timedelta(milliseconds=50)


def make(name: str) -> Workflow[Data, Status]:
    retry = Retry(first=SOON, maximum=SOON)
    return Workflow(name, Data, Status, ends=(Status.DONE,), retry=retry, concurrency=2)


def test_function_that_hangs_is_not_begun_beside_itself_and_holds_up_no_other_run(
    cluster: Cluster, gate: threading.Event
) -> None:
    """Seen to fail when its next attempt began while the one before was still in its thread."""
    flow = make("hanging")
    inside: list[int] = []
    most: list[int] = []
    late: list[bool] = []

    @flow.step(Status.FIRST, timeout=SOON)
    def hang(run: Run[Data, Status]) -> Literal[Status.DONE]:
        if run.data.number:
            return Status.DONE
        inside.append(run.attempt)
        most.append(len(inside))
        gate.wait()
        late.append(run.cancelled)
        inside.remove(run.attempt)
        return Status.DONE

    engine = cluster.engine()
    with engine.serving(flow):
        slow = engine.trigger(flow, "slow", Data())
        quick = engine.trigger(flow, "quick", Data(1))
        engine.wait_for(flow, quick, Status.DONE, LIMIT)
        for _ in range(6000):
            if engine.view(flow, slow).attempts >= 3:  # counted, and not begun
                break
            threading.Event().wait(0.01)
        view = engine.view(flow, slow)
        assert view.attempts >= 3
        assert view.last_error.startswith("StepTimeoutError")
        gate.set()
        engine.wait_for(flow, slow, Status.DONE, LIMIT)
    assert late[0]
    assert max(most) == 1


def test_coroutine_that_exceeds_its_time_is_cancelled(cluster: Cluster) -> None:
    """Seen to fail when its attempt failed and nobody cancelled it."""
    flow = make("sleeping")
    ended = threading.Event()

    @flow.step(Status.FIRST, timeout=SOON)
    async def sleep(run: Run[Data, Status]) -> Literal[Status.DONE]:
        if run.attempt > 1:
            return Status.DONE
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()
        return Status.DONE

    engine = cluster.engine()
    with engine.serving(flow):
        run_id = engine.trigger(flow, "slow", Data())
        engine.wait_for(flow, run_id, Status.DONE, LIMIT)
    assert ended.is_set()


def test_stop_does_not_wait_for_a_function_that_was_given_up(
    joined: Cluster, gate: threading.Event
) -> None:
    """It holds nothing any more: nothing is abandoned."""
    flow = make("hanging")

    @flow.step(Status.FIRST, timeout=SOON, retry=Retry(pause_after=1))
    def hang(run: Run[Data, Status]) -> Literal[Status.DONE]:
        gate.wait()
        return Status.DONE

    engine = joined.engine()
    serving = engine.serving(flow).start()
    run_id = engine.trigger(flow, "slow", Data())
    for _ in range(6000):
        if engine.view(flow, run_id).attempts:
            break
        serving.wait(timedelta(milliseconds=10))
    assert serving.stop() == []
