"""At rest: nothing is asked of the store, and nothing spins."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from workflow_core import Workflow
from workflow_core.engine.process import ProcessThread
from workflow_core.memory import MemoryRecordStore

if TYPE_CHECKING:
    from tests.threads.conftest import Cluster

REST = 1.0  # seconds
FREE = {"calls", "capabilities", "database", "outbox_changed"}
"""What asks the service nothing."""


def asked(calls: Counter[str]) -> int:
    return sum(times for name, times in calls.items() if name not in FREE)


class CountingStore(MemoryRecordStore):
    """Counts what is called on it, from the moment that it is told to."""

    calls: Counter[str] | None = None

    def __getattribute__(self, name: str) -> Any:
        calls = super().__getattribute__("calls")
        if calls is not None and not name.startswith("_"):
            calls[name] += 1
        return super().__getattribute__(name)


@pytest.fixture
def polls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each process was polled."""
    polls: Counter[str] = Counter()
    succeeded = ProcessThread._succeeded

    def count(thread: ProcessThread, worked: bool) -> None:
        polls[thread.process.name] += 1
        succeeded(thread, worked)

    monkeypatch.setattr(ProcessThread, "_succeeded", count)
    return polls


def test_engine_asks_next_to_nothing_and_spins_nowhere_when_there_is_nothing_to_do(
    cluster: Cluster, flow: Workflow[Any, Any], polls: Counter[str]
) -> None:
    """Once each five seconds a relay looks, whatever it is told; and a wait ends each 0.25 s.

    Seen to fail when the relay asked at each poll, and when a claim did not wait.
    """
    engine = cluster.engine(store=CountingStore)
    store = cluster.stores[engine]
    assert isinstance(store, CountingStore)
    engine.serving(flow).start()
    cluster.wait_for_all(engine, flow, cluster.begin(engine, flow, 200))
    threading.Event().wait(0.5)  # let it come to rest
    polls.clear()
    store.calls = Counter()
    threading.Event().wait(REST)
    calls, store.calls = store.calls, None
    assert asked(calls) <= 2, calls
    assert max(polls.values()) <= 10, polls


def test_waiting_costs_four_questions_a_second_however_many_wait(
    joined: Cluster, flow: Workflow[Any, Any]
) -> None:
    engine = joined.engine(store=CountingStore)
    store = joined.stores[engine]
    assert isinstance(store, CountingStore)
    run_ids = joined.begin(engine, flow, 300)
    waits = [engine.expect(flow, run_id, flow.status(4)) for run_id in run_ids]
    threading.Event().wait(0.5)
    store.calls = Counter()
    threading.Event().wait(REST)
    calls, store.calls = store.calls, None
    assert 1 <= asked(calls) <= 6, calls
    for wait in waits:
        wait.cancel()
