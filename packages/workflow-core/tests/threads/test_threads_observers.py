"""An observer that never returns holds up nobody, from the first run to the close."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import Literal

import pytest
from workflow_core import Run, Workflow
from workflow_core.engine import Engine
from workflow_core.model import Observation, WorkDone
from workflow_core.ports import Observer

LIMIT = timedelta(seconds=60)


class Status(IntEnum):
    FIRST = 1
    DONE = 2


@dataclass
class Data:
    number: int = 0


@pytest.fixture
def flow() -> Workflow[Data, Status]:
    flow = Workflow("observed", Data, Status, ends=(Status.DONE,))

    @flow.step(Status.FIRST)
    def first(run: Run[Data, Status]) -> Literal[Status.DONE]:
        return Status.DONE

    return flow


class Hanging(Observer):
    def __init__(self) -> None:
        self.is_called = threading.Event()
        self.let_go = threading.Event()

    def notice(self, observations: Sequence[Observation]) -> None:
        self.is_called.set()
        self.let_go.wait()


def test_a_hanging_observer_holds_up_no_run_and_no_close(
    flow: Workflow[Data, Status], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail when what happens was told on the thread on which it happens."""
    monkeypatch.setattr("workflow_core.engine.engine._THREAD_GRACE", LIMIT / 600)
    observer = Hanging()
    try:
        with Engine.in_memory(observers=[observer]) as engine, engine.serving(flow):
            run_id = engine.trigger(flow, "one", Data())
            assert observer.is_called.wait(LIMIT.total_seconds())
            engine.wait_for(flow, run_id, Status.DONE, LIMIT)
            telling = [p for p in engine.processes() if p.name == "observer Hanging"]
            assert [p.doing for p in telling] == ["notice()"]  # so that it is not called stuck
    finally:
        observer.let_go.set()


class Counting(Observer):
    def __init__(self) -> None:
        self.told: list[Observation] = []

    def notice(self, observations: Sequence[Observation]) -> None:
        self.told += observations


def test_all_that_has_happened_is_told_by_the_close(flow: Workflow[Data, Status]) -> None:
    observer = Counting()
    with Engine.in_memory(observers=[observer]) as engine, engine.serving(flow):
        run_ids = [engine.trigger(flow, str(number), Data()) for number in range(100)]
        for run_id in run_ids:
            engine.wait_for(flow, run_id, Status.DONE, LIMIT)
    done = [told for told in observer.told if isinstance(told, WorkDone)]
    assert len(done) == 100
