"""Timers on their way into Redis and out of it again, on one server and on a cluster."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from workflow_core.errors import MoveError
from workflow_core.memory import MemoryDatabase, MemoryRecordStore, MemoryTimeoutStore
from workflow_core.model import Record, RunState, Timeout
from workflow_core.moving import Stores, switch_timers
from workflow_core.ports import TimeoutStore, Write
from workflow_core.testing import FakeClock
from workflow_redis_timeout import RedisTimeoutStore

if TYPE_CHECKING:
    from tests.conftest import OpenStore

HOUR = timedelta(hours=1)
RUNS = 700  # more than fit into one script


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def memory(clock: FakeClock) -> Stores:
    """Runs, each with a timer that has failed, one that is parked and one that has fired."""
    database = MemoryDatabase(clock)
    records, timeouts = MemoryRecordStore(database), MemoryTimeoutStore(database)
    for number in range(RUNS):
        run_id = f"run-{number:04}"
        record = Record(
            workflow="orders",
            foreign_id=run_id,
            run_id=run_id,
            status=2,
            state=RunState.RUNNING,
            version=1,
            entered_version=1,
            write_id=run_id,
            data=b"{}",
        )
        records.store(Write(record=record))
        failed, parked, fired = (timer(run_id, name) for name in ("failed", "parked", "fired"))
        timeouts.create_many([failed, parked, fired])
        timeouts.reschedule(failed.key, 2 * HOUR, attempts=3, error="no answer", repeat=2)
        timeouts.park(parked.key)
        timeouts.complete(fired.key)
    return Stores(records=records, timeouts=timeouts)


def timer(run_id: str, name: str) -> Timeout:
    return Timeout(
        key=f"{run_id}/1/{name}",
        workflow="orders",
        run_id=run_id,
        status=2,
        entered_version=1,
        name=name,
        delay=HOUR,
    )


@pytest.fixture(params=["redis", "redis_cluster"])
def open_redis(
    request: pytest.FixtureRequest, open_at: OpenStore, clock: FakeClock
) -> Callable[[str], RedisTimeoutStore]:
    space = request.getfixturevalue(f"{request.param}_space")
    url = str(space.url)
    if request.param == "redis_cluster":
        url = url.replace("redis:", "redis+cluster:", 1)
    return lambda name: open_at(url, f"{space.name}-{name}", clock=clock)


def open_timers(store: TimeoutStore | None) -> list[Timeout]:
    assert store is not None
    return list(store.list_timeouts("orders", limit=10_000).items)


def test_timers_are_where_they_were_when_they_have_been_in_redis(
    memory: Stores, clock: FakeClock, open_redis: Callable[[str], RedisTimeoutStore]
) -> None:
    """Seen to fail when Redis told no closed keys: those that had fired were armed again."""
    before = open_timers(memory.timeouts)
    in_redis = memory.replace(timeouts=open_redis("one"))
    moved = switch_timers(memory, in_redis)
    assert moved.timers == 2 * RUNS
    assert open_timers(in_redis.timeouts) == before
    clock.advance(HOUR / 2)
    back = memory.replace(timeouts=MemoryTimeoutStore(MemoryDatabase(clock)))
    assert switch_timers(in_redis, back).checksum == moved.checksum
    for stores in (in_redis, back):
        assert stores.timeouts is not None
        stores.timeouts.create_many([timer(f"run-{n:04}", "fired") for n in range(RUNS)])
        assert open_timers(stores.timeouts) == before


def test_timers_may_go_from_one_redis_to_another_and_not_twice(
    memory: Stores, open_redis: Callable[[str], RedisTimeoutStore]
) -> None:
    one, other = (memory.replace(timeouts=open_redis(name)) for name in ("one", "other"))
    switch_timers(memory, one)
    assert switch_timers(one, other).timers == 2 * RUNS
    with pytest.raises(MoveError, match="have left this timeout store"):
        switch_timers(one, other)
