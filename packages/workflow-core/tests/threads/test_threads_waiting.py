"""Hundreds that wait, with threads and with asyncio, also for what another process does."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import pytest
from workflow_core import Workflow
from workflow_core.errors import NotReachedError, StoppedError

if TYPE_CHECKING:
    from tests.threads.conftest import Cluster

LIMIT = timedelta(seconds=60)
WAITERS = 300


class Status(IntEnum):
    WAITING = 1
    DONE = 2


@dataclass
class Data:
    number: int = 0


def test_threads_are_answered_when_hundreds_wait(
    cluster: Cluster, flow: Workflow[Any, Any]
) -> None:
    """Half of them for runs of another process; two for each run; some subscribe too late."""
    worker, client = cluster.engine(), cluster.engine()
    worker.serving(flow).start()
    run_ids = cluster.begin(worker, flow, WAITERS)
    done = flow.status(4)
    with ThreadPoolExecutor(2 * WAITERS) as pool:
        waits = [
            pool.submit(engine.wait_for, flow, run_id, done, LIMIT)
            for run_id in run_ids
            for engine in (worker, client)
        ]
        assert [wait.result().run_id for wait in waits] == [i for i in run_ids for _ in "ab"]


def test_coroutines_are_answered_without_threads_when_hundreds_wait(
    cluster: Cluster, flow: Workflow[Any, Any]
) -> None:
    """Seen to fail when each waited in a thread of the loop's executor."""
    worker, client = cluster.engine(), cluster.engine()
    run_ids = cluster.begin(client, flow, WAITERS)

    async def wait_for_all() -> list[str]:
        waits = [
            asyncio.create_task(client.aio.wait_for(flow, run_id, flow.status(4), LIMIT))
            for run_id in run_ids
        ]
        await asyncio.sleep(0)
        before = threading.active_count()
        assert before < 20
        worker.serving(flow).start()
        return [view.run_id for view in await asyncio.gather(*waits)]

    assert asyncio.run(wait_for_all()) == run_ids


def test_waiter_looks_for_what_others_do_while_this_process_is_busy(
    cluster: Cluster, flow: Workflow[Any, Any]
) -> None:
    """Seen to fail when news of its own writes kept the waiter from looking up the rest."""
    busy, other = cluster.engine(), cluster.engine()
    awaited = other.trigger(flow, "awaited", flow.data_type())
    unserved = Workflow("unserved", Data, Status, ends=(Status.DONE,), starts=(Status.WAITING,))
    unserved.add_step(Status.WAITING, lambda run: Status.DONE, to=[Status.DONE])
    own = [busy.trigger(unserved, f"own-{i}", Data()) for i in range(20)]
    idle_waits = [busy.expect(unserved, run_id, Status.DONE) for run_id in own]
    wait = busy.expect(flow, awaited, flow.status(4))
    enough = threading.Event()

    def keep_busy() -> None:
        while not enough.is_set():
            for run_id in own:
                busy.pause(run_id, reason="busy")
                busy.resume(run_id, who="test")

    writer = threading.Thread(target=keep_busy)
    writer.start()
    try:
        with other.serving(flow):
            assert wait.result(LIMIT.total_seconds()).run_id == awaited
    finally:
        enough.set()
        writer.join()
    for idle in idle_waits:
        idle.cancel()


def test_waits_end_when_the_engine_closes(cluster: Cluster, flow: Workflow[Any, Any]) -> None:
    engine = cluster.engine()
    run_ids = cluster.begin(engine, flow, 50)
    done = flow.status(4)
    with ThreadPoolExecutor(50) as pool:
        waits = [pool.submit(engine.wait_for, flow, run_id, done, LIMIT) for run_id in run_ids]
        expected = [engine.expect(flow, run_id, done) for run_id in run_ids]
        engine.close()
        for wait in [*waits, *expected]:
            with pytest.raises(StoppedError):
                wait.result()


def test_nothing_is_kept_of_waits_that_were_given_up(
    cluster: Cluster, flow: Workflow[Any, Any]
) -> None:
    """Else each would be looked up four times a second for as long as the process lives."""
    engine = cluster.engine()
    (run_id,) = cluster.begin(engine, flow, 1)
    short = timedelta(milliseconds=1)
    with pytest.raises(NotReachedError):
        engine.wait_for(flow, run_id, flow.status(4), short)
    with pytest.raises(NotReachedError):
        asyncio.run(engine.aio.wait_for(flow, run_id, flow.status(4), short))
    engine.expect(flow, run_id, flow.status(4)).cancel()
    assert not engine._waiter._asked
