"""Two engines of one cluster over each store in turn: in memory, and in one SQLite file.

The core's own tests know the memory adapters alone, and script them call by call. What is here says
what holds on any store, and where a race is wanted lets it happen within a body.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from workflow_core import Engine, RecordQuery
from workflow_core.discovery import Adapters
from workflow_core.memory import (
    MemoryConnectorSource,
    MemoryDatabase,
    MemoryEventStreamer,
    MemoryRecordStore,
    MemoryRoleScheduler,
    MemoryTimeoutStore,
)
from workflow_core.model import Record
from workflow_core.ports import AdapterContext, TimeoutStore
from workflow_core.testing import Driver, FakeClock
from workflow_sql import (
    Database,
    History,
    SqlEventStreamer,
    SqlRecordStore,
    SqlRoleScheduler,
    SqlTimeoutStore,
    Synchronous,
)


class Cluster:
    """Engines "first" and "second" over one store, driven on one thread by one clock.

    Attributes:
        payments: a foreign stream, bound to the name "payments" in both engines.
        timeouts: where the timers of both are.

    Args:
        file: of SQLite; None: in memory.
        keeps_data: whether the history is asked to keep the data of each version.
    """

    def __init__(self, file: Path | None, *, keeps_data: bool = False) -> None:
        self.clock = FakeClock()
        self._file = file
        self._keeps_data = keeps_data
        self._memory = MemoryDatabase(self.clock)
        self._memory.runs.history_data = keeps_data
        self.payments = MemoryConnectorSource(self._memory, "payments")
        self.timeouts: TimeoutStore
        self._opened: list[Adapters] = []
        self.engine = self._make("first")
        self.driver = Driver(self.engine, clock=self.clock)
        self.second = self.join("second")

    def _make(self, instance: str) -> Engine:
        context = AdapterContext(instance=instance, clock=self.clock)
        connectors = {"payments": MemoryConnectorSource(self._memory, "payments")}
        if self._file is None:
            adapters = Adapters(
                record_store=MemoryRecordStore(self._memory),
                event_streamer=MemoryEventStreamer(self._memory, instance=instance),
                role_scheduler=MemoryRoleScheduler(self._memory, instance=instance),
                timeout_store=MemoryTimeoutStore(self._memory),
                connectors=connectors,
                context=context,
            )
        else:
            # a handle of its own, as another process would have
            url = f"sqlite:///{self._file}"
            opened = partial(
                Database, url, clock=self.clock, synchronous=Synchronous.NORMAL
            )  # no test here pulls the plug
            database = context.shared(url, opened)
            adapters = Adapters(
                record_store=SqlRecordStore(
                    database, history=History.WITH_DATA if self._keeps_data else History.ON
                ),
                event_streamer=SqlEventStreamer(database, instance=instance),
                role_scheduler=SqlRoleScheduler(database, instance=instance),
                timeout_store=SqlTimeoutStore(database),
                connectors=connectors,
                context=context,
            )
        self._opened.append(adapters)
        assert adapters.timeout_store is not None
        self.timeouts = adapters.timeout_store
        return Engine(adapters, clock=self.clock, entropy=random.Random(instance))

    def join(self, instance: str) -> Engine:
        """One more engine, driven too."""
        return self.driver.add(self._make(instance))

    def kill_first(self) -> None:
        """As kill -9: it is driven no more and gives nothing back; its leases run out."""
        self.kill(self.engine, "first")
        self.driver.advance(timedelta(minutes=1))

    def kill(self, engine: Engine, instance: str) -> None:
        """Another as well, and no time passes."""
        self.driver.crash(engine)
        self._memory.vanish(instance)  # a file sees it by itself

    def close(self) -> None:
        """End all, and what those that were killed have left in this very process: their threads
        would be at work in all tests to come.
        """
        self.driver.close()
        for adapters in self._opened:
            adapters.close()

    def record(self, run_id: str) -> Record:
        """As it is now."""
        (record,) = self.engine.runs(RecordQuery(run_ids=[run_id])).items
        return record

    def foreign_ids(self, workflow: str) -> list[str]:
        """Those of all runs that were ever begun, sorted."""
        page = self.engine.runs(RecordQuery(workflow=workflow, limit=1000))
        return sorted(record.foreign_id for record in page.items)

    def since(self, start: datetime) -> timedelta:
        """What has passed on the clock."""
        return self.clock.now() - start


STORES = ["memory", "sqlite"]


@pytest.fixture(params=STORES)
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path / "workflow.db" if request.param == "sqlite" else None)
    yield cluster
    cluster.close()


@pytest.fixture(params=STORES)
def keeping(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster whose history keeps data."""
    file = tmp_path / "workflow.db" if request.param == "sqlite" else None
    cluster = Cluster(file, keeps_data=True)
    yield cluster
    cluster.close()


@pytest.fixture
def once() -> Callable[[Callable[[], object]], Callable[[], None]]:
    """Makes of an action one that happens the first time only."""

    def make(action: Callable[[], object]) -> Callable[[], None]:
        left = [action]

        def act() -> None:
            if left:
                left.pop()()

        return act

    return make
