"""What only the process knows that works on a run: its step runs, or waits for its turn."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import Literal

import pytest
from workflow_core import Cause, Engine
from workflow_core.definition import Run, Workflow

LONG = timedelta(seconds=30)


class Status(IntEnum):
    CREATED = 1
    DONE = 2


@dataclass
class Order:
    total: int = 0


class Held:
    """An engine that serves one step, which holds until it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.let_go = threading.Event()
        self.orders = Workflow("orders", Order, Status, ends=[Status.DONE])

        @self.orders.step(Status.CREATED, concurrency=1)
        def hold(run: Run[Order, Status]) -> Literal[Status.DONE]:
            self.begun.release()
            self.let_go.wait(LONG.total_seconds())
            return Status.DONE

        self.engine = Engine.in_memory()
        self.engine.serving(self.orders).start()

    def trigger(self, foreign_id: str) -> str:
        return self.engine.trigger(self.orders, foreign_id, Order())


@pytest.fixture
def held() -> Iterator[Held]:
    made = Held()
    yield made
    made.let_go.set()
    made.engine.close()


def test_why_says_that_its_step_runs_here(held: Held) -> None:
    """Seen to fail when the window was not asked."""
    run_id = held.trigger("order-1")
    assert held.begun.acquire(timeout=30)
    why = held.engine.why(run_id)
    assert [reason.cause for reason in why.reasons] == [Cause.AT_WORK]


def test_why_says_that_an_older_execution_of_it_still_runs(held: Held) -> None:
    """Seen to fail when a run of another version was not looked for."""
    run_id = held.trigger("order-1")
    assert held.begun.acquire(timeout=30)
    held.engine.retry_now(run_id, who="ann")
    why = held.engine.why(run_id)
    assert why.cause is Cause.BEHIND_ITSELF
    assert "version 1" in why.reasons[0].detail
    assert "version 2" in why.reasons[0].detail


def test_why_says_that_a_limit_is_reached(held: Held) -> None:
    """Seen to fail when the step's free bodies were not counted."""
    held.trigger("order-1")
    assert held.begun.acquire(timeout=30)
    run_id = held.trigger("order-2")
    why = held.engine.why(run_id)
    while why.cause is not Cause.LIMIT_REACHED:  # until it is received; the suite's time ends it
        why = held.engine.why(run_id)
    assert why.cause is Cause.LIMIT_REACHED
    assert "1 bodies of step hold" in why.reasons[0].detail


def test_why_is_there_for_asyncio_code_too(held: Held) -> None:
    run_id = held.trigger("order-1")
    assert asyncio.run(held.engine.aio.why(run_id)).run_id == run_id
