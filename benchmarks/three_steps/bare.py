"""The floor in memory: the memory adapters in a bare loop, without the engine.

A transition is a look-up, a compare-and-swap write and an event in the stream, which is received
and acked: what the engine asks of its adapters, and none of what it does itself.
"""

import json
import time
from collections.abc import Sequence
from datetime import timedelta

from workflow_core.memory import MemoryDatabase, MemoryEventStreamer, MemoryRecordStore
from workflow_core.model import Event, Record, RunState
from workflow_core.ports import SystemClock, Write

from three_steps.flow import STEPS

_NOW = timedelta(0)


def floor(runs: int, batch: int) -> float:
    """Runs per second from the first insert to the last transition, so many to a transaction."""
    database = MemoryDatabase(SystemClock())
    store = MemoryRecordStore(database)
    streamer = MemoryEventStreamer(database, instance="floor")
    topics = [_topic(status) for status in range(1, STEPS + 1)]
    with streamer, streamer.new_receiver(topics, "floor") as receiver:
        begin = time.perf_counter()
        for start in range(0, runs, batch):
            _write(store, streamer, [_new(n) for n in range(start, min(runs, start + batch))])
        moved = 0
        while moved < runs * STEPS:
            deliveries = receiver.recv_many(batch, _NOW)
            found = store.lookup_many([each.event.run_id for each in deliveries])
            _write(store, streamer, [_next(record) for record in found.values()])
            receiver.ack(deliveries)
            moved += len(deliveries)
        return runs / (time.perf_counter() - begin)


def _write(
    store: MemoryRecordStore, streamer: MemoryEventStreamer, records: Sequence[Record]
) -> None:
    with store.transaction() as transaction:
        transaction.store_many([Write(record=record) for record in records])
        streamer.send_within(transaction, [_event(record) for record in records])


def _new(number: int) -> Record:
    return Record(
        workflow="floor",
        foreign_id=f"order {number}",
        run_id=f"{number:036}",
        status=1,
        state=RunState.INITIATED,
        version=1,
        write_id=f"{number}-1",
        data=json.dumps({"total": 1, "note": ""}).encode(),
    )


def _next(record: Record) -> Record:
    data = json.loads(record.data)
    data["note"] = "moved"
    version = record.version + 1
    return record.replace(
        status=record.status + 1,
        state=RunState.COMPLETED if version > STEPS else RunState.RUNNING,
        version=version,
        entered_version=version,
        write_id=f"{record.run_id}-{version}",
        data=json.dumps(data).encode(),
        passed={**record.passed, record.status: record.entered_version},
    )


def _event(record: Record) -> Event:
    return Event(
        id=record.write_id,
        topic=_topic(record.status),
        workflow=record.workflow,
        run_id=record.run_id,
        foreign_id=record.foreign_id,
        status=record.status,
        state=record.state,
        version=record.version,
    )


def _topic(status: int) -> str:
    return f"floor-{status}"
