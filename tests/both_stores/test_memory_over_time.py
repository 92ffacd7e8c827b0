"""A process that goes on for months: nothing is kept of runs that are gone.

Counted is what is in the containers that objects and modules of ours have, after some runs and
after as many again. What is kept for a while, up to a number or an age, has that made small here.
"""

from __future__ import annotations

import gc
import logging
import sys
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal

import pytest
from workflow_core import ConnectorEvent, Repeat, Retry, Run, RunView, Trigger, Workflow

if TYPE_CHECKING:
    from tests.both_stores.conftest import Cluster

SECOND = timedelta(seconds=1)
LONG_AFTER = timedelta(hours=2)  # by then nothing is kept that is kept for a while
RUNS = 60  # a part; as many again begin by events of a stream
PARTS = 2  # between two counts: each kind of run is there thirty times or more
FEW = 20  # entries more that are no leak, such as an event or two in each partition
CONTAINERS = (dict, list, set, deque, OrderedDict)


class Status(IntEnum):
    BEGUN = 1
    WAITING = 2
    LATE = 3
    DONE = 4


@dataclass
class Order:
    number: int


OrderRun = Run[Order, Status]


class Shop:
    """Orders that take every way there is, a few each time."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._begun = 0
        again = Retry(first=SECOND, maximum=SECOND)
        flow = Workflow("orders", Order, Status, ends=(Status.DONE,), retry=again)
        self._flow = flow

        @flow.step(Status.BEGUN)
        def begin(run: OrderRun) -> Literal[Status.WAITING]:
            if run.attempt == 1 and run.data.number % 2:
                raise ConnectionError("not at first")
            run.data.number += 1
            return Status.WAITING

        @flow.timeout(Status.WAITING, after=10 * SECOND)
        def expire(run: OrderRun) -> Literal[Status.LATE]:
            return Status.LATE

        @flow.callback(Status.WAITING)
        def answered(run: OrderRun) -> Literal[Status.LATE]:
            return Status.LATE

        self._answered = answered

        @flow.step(Status.LATE, at_most=2)
        async def finish(run: OrderRun) -> Literal[Status.DONE] | Repeat:
            return Status.DONE if run.repeat else Repeat()

        @flow.on_complete()
        def tell(run: RunView[Order, Status]) -> None:
            pass

        @flow.connector("payments", decode=bytes.decode)
        def pay(event: ConnectorEvent, text: str) -> Trigger[Order]:
            return Trigger(event.key, Order(int(text)))

        for engine in (cluster.engine, cluster.second):
            cluster.driver.serve(flow, engine=engine)

    def do_a_part(self) -> None:
        """Some runs begin, go their ways, end, and are purged."""
        engine, other, driver = self._cluster.engine, self._cluster.second, self._cluster.driver
        numbers = range(self._begun, self._begun + RUNS)
        self._begun += RUNS
        run_ids = [
            engine.trigger(
                self._flow,
                f"order {number}",
                Order(number),
                idempotency_key=f"key {number}" if number % 3 else None,
            )
            for number in numbers
        ]
        waits = [engine.expect(self._flow, run_id, Status.DONE) for run_id in run_ids]
        for number in numbers:
            self._cluster.payments.send(f"payment {number}", str(number).encode())
        driver.advance(3 * SECOND)
        for number, run_id in zip(numbers, run_ids, strict=True):
            if number % 3 == 0:
                other.callback(self._answered, run_id)
            if number % 4 == 0:
                engine.pause(run_id, reason="a look")
                other.resume(run_id, who="somebody")
            if number % 4 == 1:
                engine.cancel(run_id, reason="not wanted")
        driver.advance(15 * SECOND)
        assert all(wait.done() for wait in waits)
        for run_id in run_ids[::4]:
            engine.delete_data(self._flow, run_id, who="somebody")
        self._cluster.clock.advance(LONG_AFTER)
        driver.run()
        assert engine.purge(self._flow, older_than=timedelta(0)) == 2 * RUNS


@pytest.fixture
def short_memories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workflow_core.engine.intake._REMEMBERED", 10)  # what comes doubled
    monkeypatch.setattr("workflow_core.engine.presence._RENEWED_AFTER", 3)  # beats
    monkeypatch.setattr("workflow_core.memory.event_log._TRIM_EVERY", 1)


@pytest.fixture
def quiet() -> Iterator[None]:
    """What is logged is kept by pytest, with all that errors have seen."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("short_memories", "quiet")
def test_nothing_is_kept_of_runs_that_are_gone(cluster: Cluster) -> None:
    """Seen to fail with a worker that notes each run, and for keys in order that come and go."""
    shop = Shop(cluster)
    counts = []
    for _ in range(3):
        for _ in range(PARTS):
            shop.do_a_part()
        counts.append(count_entries())
    _, before, after = counts  # by the first all has been loaded that is loaded once
    more = {name: count - before[name] for name, count in after.items()}
    assert {name: count for name, count in more.items() if count > FEW} == {}


def count_entries() -> Counter[str]:
    """How much is in containers of ours, by the class or module and the name of the attribute."""
    gc.collect()
    counts: Counter[str] = Counter()
    for owner in gc.get_objects():
        kind = type(owner)
        if not is_ours(getattr(kind, "__module__", "")):
            continue
        for name, value in attributes_of(owner):
            counts[f"{kind.__module__}.{kind.__qualname__}.{name}"] += entries(value)
    for module in [m for name, m in sys.modules.items() if is_ours(name)]:
        for name, value in vars(module).items():
            counts[f"{module.__name__}.{name}"] += entries(value)
    return counts


def is_ours(module: object) -> bool:
    return isinstance(module, str) and module.startswith("workflow_")


def attributes_of(owner: Any) -> Iterator[tuple[str, object]]:
    yield from getattr(owner, "__dict__", {}).items()
    for kind in type(owner).__mro__:
        slots: Any = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(owner, name):
                yield name, getattr(owner, name)


def entries(value: object) -> int:
    """In it, and in the containers in it."""
    if not isinstance(value, CONTAINERS):
        return 0
    within: Any = value.values() if isinstance(value, dict) else value
    return len(value) + sum(entries(each) for each in list(within))
