"""Hundreds that wait, with threads and with asyncio, also for what another process does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from workflow_core import Workflow
from workflow_core.engine.questions import reached
from workflow_core.engine.waiter import Question, Waiter
from workflow_core.errors import NotReachedError, StoppedError
from workflow_core.model import Record
from workflow_core.testing import FakeClock

if TYPE_CHECKING:
    from tests.threads.conftest import Cluster

LIMIT = timedelta(seconds=60)
WAITERS = 300


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
    joined: Cluster, flow: Workflow[Any, Any]
) -> None:
    worker, client = joined.engine(), joined.engine()
    run_ids = joined.begin(client, flow, WAITERS)
    others = threading.active_count()  # those of tests before may take a moment to end

    async def wait_for_all() -> list[str]:
        waits = [
            asyncio.create_task(client.aio.wait_for(flow, run_id, flow.status(4), LIMIT))
            for run_id in run_ids
        ]
        await asyncio.sleep(0)
        assert threading.active_count() < others + 20
        worker.serving(flow).start()
        return [view.run_id for view in await asyncio.gather(*waits)]

    assert asyncio.run(wait_for_all()) == run_ids


def test_waiter_looks_for_what_others_do_when_its_own_process_writes_without_pause(
    joined: Cluster, flow: Workflow[Any, Any]
) -> None:
    """Seen to fail when news of its own writes kept the waiter from looking up the rest."""
    engine, clock = joined.engine(), FakeClock()
    own, others = joined.begin(engine, flow, 2)
    waiter = Waiter(joined.stores[engine], clock, lambda process: None)
    asked = Question(
        lambda record: True, lambda r: r if r is not None and r.state.is_finished else None
    )
    ended = waiter.ask(others, asked)
    waiter.ask(own, Question(lambda record: True, lambda record: None))
    waiter.poll(timedelta(0))
    engine.cancel(others, reason="by somebody else")
    for _ in range(50):
        waiter.notice([joined.records.runs.rows[own]])
        waiter.poll(timedelta(0))
        clock.advance(timedelta(milliseconds=10))
    assert ended.done()


def test_waiter_looks_up_only_what_a_commit_settles(
    joined: Cluster, flow: Workflow[Any, Any]
) -> None:
    """Seen to fail when each commit of an awaited run was looked up."""
    engine, clock = joined.engine(), FakeClock()
    run_id, *_ = joined.begin(engine, flow, 1)
    store = joined.stores[engine]
    waiter = Waiter(store, clock, lambda process: None)
    waiter.ask(run_id, reached(flow, run_id, flow.status(4)))
    assert not waiter.poll(timedelta(0))
    asked: list[str] = []
    lookup_many = store.lookup_many

    def counted(run_ids: Sequence[str], **options: bool) -> Mapping[str, Record]:
        asked.extend(run_ids)
        return lookup_many(run_ids, **options)

    store.lookup_many = counted  # type: ignore[method-assign]
    waiter.notice([joined.records.runs.rows[run_id]])
    waiter.poll(timedelta(milliseconds=1))
    assert asked == []
    engine.cancel(run_id, reason="no more of it")
    asked.clear()
    waiter.notice([joined.records.runs.rows[run_id]])
    assert waiter.poll(timedelta(0))
    assert asked == [run_id]


def test_waiter_rests_the_longer_the_longer_looking_all_up_takes(
    joined: Cluster, flow: Workflow[Any, Any]
) -> None:
    """Seen to fail when all awaited runs were looked up each quarter of a second, however many."""
    engine, clock = joined.engine(), FakeClock()
    run_ids = joined.begin(engine, flow, 3)
    store = joined.stores[engine]
    waiter = Waiter(store, clock, lambda process: None)
    rounds = 0
    lookup_many = store.lookup_many

    def slow(run_ids: Sequence[str], **options: bool) -> Mapping[str, Record]:
        nonlocal rounds
        rounds += 1
        clock.advance(timedelta(seconds=1))
        return lookup_many(run_ids, **options)

    for run_id in run_ids:
        waiter.ask(run_id, reached(flow, run_id, flow.status(4)))
    store.lookup_many = slow  # type: ignore[method-assign]
    for _ in range(1000):
        waiter.poll(timedelta(microseconds=1))
        clock.advance(timedelta(milliseconds=100))
    assert 5 <= rounds <= 20, "a tenth of the time, and as they begin"


def test_waiter_looks_again_soon_when_a_look_took_minutes(
    joined: Cluster, flow: Workflow[Any, Any]
) -> None:
    """A store that stood still and went on. Seen to fail when the rest had no limit."""
    engine, clock = joined.engine(), FakeClock()
    [run_id] = joined.begin(engine, flow, 1)
    store = joined.stores[engine]
    waiter = Waiter(store, clock, lambda process: None)
    asked = waiter.ask(run_id, reached(flow, run_id, flow.status(4)))
    lookup_many = store.lookup_many

    def frozen(run_ids: Sequence[str], **options: bool) -> Mapping[str, Record]:
        clock.advance(timedelta(minutes=3))
        return lookup_many(run_ids, **options)

    store.lookup_many = frozen  # type: ignore[method-assign]
    waiter.poll(timedelta(0))  # the fresh one
    waiter.poll(timedelta(0))  # all of them
    store.lookup_many = lookup_many  # type: ignore[method-assign]
    engine.cancel(run_id, reason="by somebody else")
    clock.advance(timedelta(seconds=11))
    waiter.poll(timedelta(microseconds=1))
    assert asked.done()


def test_waits_end_when_the_engine_closes(joined: Cluster, flow: Workflow[Any, Any]) -> None:
    engine = joined.engine()
    run_ids = joined.begin(engine, flow, 50)
    done = flow.status(4)
    with ThreadPoolExecutor(50) as pool:
        waits = [pool.submit(engine.wait_for, flow, run_id, done, LIMIT) for run_id in run_ids]
        expected = [engine.expect(flow, run_id, done) for run_id in run_ids]
        engine.close()
        for wait in [*waits, *expected]:
            with pytest.raises(StoppedError):
                wait.result()


def test_nothing_is_kept_of_waits_that_were_given_up(
    joined: Cluster, flow: Workflow[Any, Any]
) -> None:
    """Else each would be looked up four times a second for as long as the process lives."""
    engine = joined.engine()
    (run_id,) = joined.begin(engine, flow, 1)
    short = timedelta(milliseconds=1)
    with pytest.raises(NotReachedError):
        engine.wait_for(flow, run_id, flow.status(4), short)
    with pytest.raises(NotReachedError):
        asyncio.run(engine.aio.wait_for(flow, run_id, flow.status(4), short))
    engine.expect(flow, run_id, flow.status(4)).cancel()
    assert not engine._waiter._asked
