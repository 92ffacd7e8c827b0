"""Two pairs of stores in memory, on one clock."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest
from workflow_core.memory import MemoryDatabase, MemoryRecordStore, MemoryTimeoutStore
from workflow_core.model import Event, OutboxEvent, Record, RunState, Timeout, uuid7
from workflow_core.moving import Stores
from workflow_core.ports import TimeoutStore, Write
from workflow_core.testing import FakeClock

HOUR = timedelta(hours=1)


class Fixture:
    """Two sides on one clock, and what to put on them."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.source = self.side()
        self.target = self.side()
        self._random = random.Random(3)

    @property
    def timers(self) -> TimeoutStore:
        assert self.source.timeouts is not None
        return self.source.timeouts

    @property
    def timers_there(self) -> TimeoutStore:
        assert self.target.timeouts is not None
        return self.target.timeouts

    def side(self) -> Stores:
        database = MemoryDatabase(self.clock)
        return Stores(records=MemoryRecordStore(database), timeouts=MemoryTimeoutStore(database))

    def id(self) -> str:
        return uuid7(self.clock.now(), self._random)

    def begin(self, foreign_id: str, **changes: Any) -> Record:
        record = Record(
            workflow="orders",
            foreign_id=foreign_id,
            run_id=self.id(),
            status=1,
            state=RunState.INITIATED,
            version=1,
            write_id=self.id(),
            data=b"{}",
        ).replace(**changes)
        self.source.records.store(Write(record=record, search={"customer": "ada"}))
        return record

    def go_on(self, record: Record, **changes: Any) -> Record:
        after = record.replace(version=record.version + 1, write_id=self.id())
        after = after.replace(**({"state": RunState.RUNNING} | changes))
        self.source.records.store(Write(record=after, retry_in=HOUR))
        return after

    def timer(self, record: Record, name: str) -> Timeout:
        timeout = Timeout(
            key=f"{record.run_id}/1/{name}",
            workflow=record.workflow,
            run_id=record.run_id,
            status=1,
            entered_version=1,
            name=name,
            delay=HOUR,
        )
        self.timers.create(timeout)
        return timeout

    def event(self, record: Record, **changes: Any) -> OutboxEvent:
        event = Event(
            id=self.id(),
            topic="orders-1",
            workflow=record.workflow,
            run_id=record.run_id,
            foreign_id=record.foreign_id,
            status=record.status,
            state=record.state,
            version=record.version,
        )
        filed = OutboxEvent(event=event, **changes)
        self.source.records.add_outbox_events([filed])
        return filed


@pytest.fixture
def move() -> Fixture:
    return Fixture()
