"""A database over a fake clock, and events to put into it."""

from collections.abc import Callable
from datetime import timedelta
from itertools import count

import pytest
from workflow_core.memory import MemoryDatabase
from workflow_core.model import Event, Record, RunState
from workflow_core.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def database(clock: FakeClock) -> MemoryDatabase:
    return MemoryDatabase(clock)


@pytest.fixture
def patience() -> timedelta:
    """How long a thread may take before it counts as hung."""
    return timedelta(seconds=30)


@pytest.fixture
def make_record() -> Callable[[], Record]:
    numbers = count(1)

    def make() -> Record:
        number = next(numbers)
        return Record(
            workflow="orders",
            foreign_id=f"order-{number}",
            run_id=f"run-{number}",
            status=1,
            state=RunState.INITIATED,
            version=1,
            write_id=f"write-{number}",
            data=b"{}",
        )

    return make


@pytest.fixture
def make_event() -> Callable[[], Event]:
    numbers = count(1)

    def make() -> Event:
        number = next(numbers)
        return Event(
            id=f"event-{number}",
            topic="orders-1",
            workflow="orders",
            run_id=f"run-{number}",
            foreign_id=f"order-{number}",
            status=1,
            state=RunState.INITIATED,
            version=1,
        )

    return make
