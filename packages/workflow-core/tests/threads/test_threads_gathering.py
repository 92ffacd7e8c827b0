"""Commits of several threads that go together."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from workflow_core.engine.gathering import Gathering
from workflow_core.errors import AdapterUnavailableError, VersionConflictError
from workflow_core.model import Record, RunState
from workflow_core.ports import Outcome, Write

LIMIT = 60  # seconds


def write(run: str, version: int = 1) -> Write:
    return Write(
        record=Record(
            workflow="orders",
            foreign_id=run,
            run_id=run,
            status=1,
            state=RunState.INITIATED,
            version=version,
            write_id=f"{run}-{version}",
            data=b"{}",
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
        )
    )


class Disk:
    """Commits of which each waits until it is let go; tells what went together."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.began = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)
        self.fail: Callable[[Sequence[Write]], None] = lambda writes: None

    def commit(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        self.batches.append([each.record.run_id for each in writes])
        self.began.release()
        assert self.go_on.acquire(timeout=LIMIT)
        self.fail(writes)
        return [
            VersionConflictError(run_id=each.record.run_id, expected=0, found=7)
            if each.record.run_id.startswith("lost")
            else None
            for each in writes
        ]


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def gathering(disk: Disk) -> Gathering:
    return Gathering(disk.commit, patience=LIMIT)


def enter(
    pool: ThreadPoolExecutor, gathering: Gathering, *parties: Sequence[Write]
) -> list[Future[Sequence[Outcome]]]:
    """Each comes before the next."""
    futures = []
    for writes in parties:
        before = len(gathering._waiting)
        futures.append(pool.submit(gathering.commit, writes))
        while len(gathering._waiting) <= before:
            assert not futures[-1].done()
    return futures


def first(
    pool: ThreadPoolExecutor, gathering: Gathering, disk: Disk, run: str = "first"
) -> Future[Sequence[Outcome]]:
    """One whose commit is under way."""
    future = pool.submit(gathering.commit, [write(run)])
    assert disk.began.acquire(timeout=LIMIT)
    return future


def test_all_that_wait_go_together_when_a_commit_is_under_way(
    gathering: Gathering, disk: Disk
) -> None:
    """Seen to fail when each waited for a commit of its own."""
    with ThreadPoolExecutor(9) as pool:
        leader = first(pool, gathering, disk)
        others = enter(pool, gathering, *([write(f"run-{at}")] for at in range(8)))
        disk.go_on.release(2)
        assert list(leader.result(LIMIT)) == [None]
        assert [list(other.result(LIMIT)) for other in others] == [[None]] * 8
    assert disk.batches == [["first"], [f"run-{at}" for at in range(8)]]


def test_each_gets_its_own_outcomes_when_some_lose(gathering: Gathering, disk: Disk) -> None:
    """Seen to fail when outcomes were dealt out from the wrong place."""
    with ThreadPoolExecutor(4) as pool:
        first(pool, gathering, disk)
        parties = [
            [write("a"), write("lost-b"), write("c")],
            [write("lost-d")],
            [write("e"), write("f")],
        ]
        futures = enter(pool, gathering, *parties)
        disk.go_on.release(2)
        lost = [[outcome is not None for outcome in each.result(LIMIT)] for each in futures]
    assert lost == [[False, True, False], [True], [False, False]]


def test_two_writes_of_one_run_never_go_together(gathering: Gathering, disk: Disk) -> None:
    """Seen to fail without the look for it: a store refuses such a batch."""
    with ThreadPoolExecutor(4) as pool:
        first(pool, gathering, disk)
        futures = enter(pool, gathering, [write("a")], [write("a", 2)], [write("b")])
        disk.go_on.release(3)
        for future in futures:
            future.result(LIMIT)
    assert disk.batches == [["first"], ["a", "b"], ["a"]]


def test_each_commits_alone_when_a_commit_of_several_fails(
    gathering: Gathering, disk: Disk
) -> None:
    """Seen to fail when all were told the error of one."""

    def fail(writes: Sequence[Write]) -> None:
        if any(each.record.run_id == "stuck" for each in writes):
            raise AdapterUnavailableError("a lock was not to be had in time")

    disk.fail = fail
    with ThreadPoolExecutor(5) as pool:
        leader = first(pool, gathering, disk)
        futures = enter(pool, gathering, [write("a")], [write("stuck")], [write("b")])
        disk.go_on.release(5)
        leader.result(LIMIT)
        assert list(futures[0].result(LIMIT)) == list(futures[2].result(LIMIT)) == [None]
        with pytest.raises(AdapterUnavailableError):
            futures[1].result(LIMIT)
        again = pool.submit(gathering.commit, [write("stuck")])
        disk.go_on.release()
        with pytest.raises(AdapterUnavailableError):
            again.result(LIMIT)
    assert disk.batches[1] == ["a", "stuck", "b"]
    assert sorted(disk.batches[2:5]) == [["a"], ["b"], ["stuck"]]


def test_others_go_on_when_a_commit_is_stuck(disk: Disk) -> None:
    """Behind a row that somebody holds, say. Seen to fail when all waited for its end."""
    gathering = Gathering(disk.commit, patience=0.01)
    with ThreadPoolExecutor(6) as pool:
        stuck = first(pool, gathering, disk)
        others = [pool.submit(gathering.commit, [write(f"run-{at}")]) for at in range(4)]
        while sum(len(batch) for batch in disk.batches) < 5:
            assert disk.began.acquire(timeout=LIMIT)
        disk.go_on.release(5)
        for other in [stuck, *others]:
            assert list(other.result(LIMIT)) == [None]
    seen = [run_id for batch in disk.batches for run_id in batch]
    assert sorted(seen) == ["first", "run-0", "run-1", "run-2", "run-3"]


def test_others_are_told_and_go_on_when_the_leader_is_interrupted(
    gathering: Gathering, disk: Disk
) -> None:
    """Ctrl-C in the thread that commits. Seen to fail when nobody led after it."""

    def interrupt(writes: Sequence[Write]) -> None:
        if len(writes) == 2:
            raise KeyboardInterrupt

    disk.fail = interrupt
    with ThreadPoolExecutor(5) as pool:
        first(pool, gathering, disk)
        leader, follower = enter(pool, gathering, [write("a")], [write("b")])
        disk.go_on.release()
        assert disk.began.acquire(timeout=LIMIT)
        (late,) = enter(pool, gathering, [write("c")])
        disk.go_on.release(2)
        with pytest.raises(KeyboardInterrupt):
            leader.result(LIMIT)
        with pytest.raises(AdapterUnavailableError):
            follower.result(LIMIT)
        assert list(late.result(LIMIT)) == [None]


def test_a_forked_child_leads_though_somebody_led_in_the_parent(
    gathering: Gathering, disk: Disk
) -> None:
    """Seen to fail when the child waited for the parent's thread."""
    with ThreadPoolExecutor(1) as pool:
        first(pool, gathering, disk)
        disk.go_on.release(2)  # one of them for the child
        child = os.fork()
        if child == 0:
            signal.alarm(LIMIT)
            gathering.forked()
            fine = list(gathering.commit([write("child")])) == [None]
            os._exit(0 if fine else 1)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_every_write_is_committed_once_when_many_threads_race() -> None:
    """Seen to fail when a party could be called before it was settled."""
    seen: list[str] = []
    sizes: list[int] = []
    dice = random.Random(3)

    def commit(writes: Sequence[Write]) -> Sequence[Outcome]:
        sizes.append(len(writes))
        seen.extend(each.record.run_id for each in writes)
        threading.Event().wait(dice.random() * 0.002)
        return [None] * len(writes)

    gathering = Gathering(commit, patience=0.001)  # so that many lead side by side

    def work(lane: int) -> None:
        for number in range(100):
            many = [write(f"{lane}-{number}-{at}") for at in range(1 + number % 3)]
            assert list(gathering.commit(many)) == [None] * len(many)

    with ThreadPoolExecutor(16) as pool:
        for future in [pool.submit(work, lane) for lane in range(16)]:
            future.result(LIMIT)
    assert len(seen) == len(set(seen)) == 16 * (34 * 1 + 33 * 2 + 33 * 3)
    assert max(sizes) > 3
