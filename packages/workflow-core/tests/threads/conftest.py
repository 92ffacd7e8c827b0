"""Engines with real threads over memory: what several processes over one database would be.

Nothing here sleeps or measures: tests wait for what shall happen, with limits that only a hang
reaches.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import Any, Literal

import pytest
from workflow_core import Run, Workflow
from workflow_core.discovery import Adapters
from workflow_core.engine import Engine, EngineSettings, Trigger
from workflow_core.memory import (
    MemoryDatabase,
    MemoryEventStreamer,
    MemoryRecordStore,
    MemoryRoleScheduler,
)
from workflow_core.ports import AdapterContext

LIMIT = timedelta(seconds=60)


class Status(IntEnum):
    FIRST = 1
    SECOND = 2
    THIRD = 3
    DONE = 4


@dataclass
class Data:
    number: int = 0


class Tally:
    """Counts the executions of each (run, version), and the bodies that run at once."""

    def __init__(self) -> None:
        self.executions: Counter[tuple[str, int]] = Counter()
        self.running = 0
        self.most = 0
        self._changed = threading.Condition()

    @contextmanager
    def running_body(self, run: Run[Any, Any]) -> Iterator[None]:
        with self._changed:
            self.executions[run.run_id, run.version] += 1
            self.running += 1
            self.most = max(self.most, self.running)
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self.running -= 1
                self._changed.notify_all()

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Wait for something that this tally can tell."""
        with self._changed:
            assert self._changed.wait_for(holds, LIMIT.total_seconds()), "it never came to that"

    @property
    def repeated(self) -> dict[tuple[str, int], int]:
        """What was executed more than once."""
        return {key: times for key, times in self.executions.items() if times > 1}


def chain(tally: Tally) -> Workflow[Data, Status]:
    flow = Workflow("chain", Data, Status, ends=(Status.DONE,))

    @flow.step(Status.FIRST)
    def first(run: Run[Data, Status]) -> Literal[Status.SECOND]:
        with tally.running_body(run):
            return Status.SECOND

    @flow.step(Status.SECOND)
    def second(run: Run[Data, Status]) -> Literal[Status.THIRD]:
        with tally.running_body(run):
            run.data.number += 1
            return Status.THIRD

    @flow.step(Status.THIRD)
    async def third(run: Run[Data, Status]) -> Literal[Status.DONE]:
        with tally.running_body(run):
            return Status.DONE

    return flow


class Cluster:
    """Engines over one set of databases; joined: store and streamer are one installation."""

    def __init__(self, *, joined: bool) -> None:
        self.records = MemoryDatabase()
        self.stream = self.records if joined else MemoryDatabase()
        self.stores: dict[Engine, MemoryRecordStore] = {}
        self._count = 0
        self._numbers = itertools.count()

    def engine(
        self,
        settings: EngineSettings | None = None,
        store: type[MemoryRecordStore] = MemoryRecordStore,
    ) -> Engine:
        """One more process."""
        self._count += 1
        instance = f"member-{self._count}"
        records = store(self.records)
        adapters = Adapters(
            record_store=records,
            event_streamer=MemoryEventStreamer(self.stream, instance=instance),
            role_scheduler=MemoryRoleScheduler(self.records, instance=instance),
            context=AdapterContext(instance=instance),
        )
        engine = Engine(adapters, settings=settings)
        self.stores[engine] = records
        return engine

    def begin(self, engine: Engine, flow: Workflow[Any, Any], count: int) -> list[str]:
        """So many runs with empty data, numbered from 0 over all calls."""
        numbers = itertools.islice(self._numbers, count)
        triggers = [Trigger(f"id-{number}", flow.data_type()) for number in numbers]
        answers = engine.trigger_many(flow, triggers)
        return [answer for answer in answers if isinstance(answer, str)]

    def wait_for_all(
        self,
        engine: Engine,
        flow: Workflow[Any, Any],
        run_ids: Sequence[str],
    ) -> None:
        """Until each run is at the workflow's end."""
        (end,) = flow.ends
        status = flow.status(end)
        for future in [engine.expect(flow, run_id, status) for run_id in run_ids]:
            future.result(LIMIT.total_seconds())

    def check_histories(self, run_ids: Sequence[str], *, versions: int) -> None:
        """Each version was committed once, and none of them was a failed attempt."""
        store = MemoryRecordStore(self.records)
        for run_id in run_ids:
            history = store.history(run_id)
            assert [entry.version for entry in history] == list(range(1, versions + 1))
            assert not any(entry.attempts for entry in history)

    def close(self) -> None:
        """Close all engines, side by side: each takes a moment."""
        closing = [threading.Thread(target=engine.close) for engine in self.stores]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()


@pytest.fixture(params=["joined", "outbox"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    cluster = Cluster(joined=request.param == "joined")
    yield cluster
    cluster.close()


@pytest.fixture
def joined() -> Iterator[Cluster]:
    """Where it makes no difference how events leave."""
    cluster = Cluster(joined=True)
    yield cluster
    cluster.close()


@pytest.fixture
def tally() -> Tally:
    return Tally()


@pytest.fixture
def flow(tally: Tally) -> Workflow[Data, Status]:
    """Three trivial steps, counted by `tally`."""
    return chain(tally)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What bodies wait at; opened at the end, so that no thread outlives its test."""
    gate = threading.Event()
    yield gate
    gate.set()
