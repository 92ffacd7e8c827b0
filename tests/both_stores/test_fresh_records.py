"""What the engine keeps of its own commits is, to the microsecond, what a look-up would tell."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal

import pytest
from workflow_core import Pause, Repeat, Retry, Run, Trigger, Workflow
from workflow_core.engine.fresh import FreshRecords
from workflow_core.model import Record
from workflow_core.ports import Write

if TYPE_CHECKING:
    from tests.both_stores.conftest import Cluster

SECOND = timedelta(seconds=1)


class Status(IntEnum):
    BEGUN = 1
    LATE = 2
    DONE = 3


@dataclass
class Order:
    number: int


OrderRun = Run[Order, Status]


def make_flow() -> Workflow[Order, Status]:
    again = Retry(first=SECOND, maximum=SECOND)
    flow = Workflow("orders", Order, Status, ends=(Status.DONE,), retry=again, search=["number"])

    @flow.step(Status.BEGUN)
    def begin(run: OrderRun) -> Literal[Status.LATE] | Pause | Repeat:
        if run.attempt == 1 and run.data.number % 3 == 0:
            raise ConnectionError("not at first")
        if run.data.number == 4 and run.resumed is None:
            return Pause("look at it")
        if run.data.number == 5 and run.repeat == 0:
            return Repeat()
        run.data.number += 100
        return Status.LATE

    @flow.timeout(Status.LATE, after=10 * SECOND)
    def expire(run: OrderRun) -> Literal[Status.DONE]:
        return Status.DONE

    @flow.step(Status.LATE)
    def finish(run: OrderRun) -> Literal[Status.DONE] | Repeat:
        return Status.DONE if run.repeat else Repeat()

    return flow


def test_records_kept_are_as_a_look_up_tells_them(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail by each stamp that was left as the write had it."""
    flow = make_flow()
    kept: list[int] = []
    keep = FreshRecords.keep

    def keep_and_compare(fresh: FreshRecords, stored: Any, at: Any) -> None:
        keep(fresh, stored, at)
        store = cluster.engine._core.store
        writes: list[Write] = list(stored)
        found, _ = fresh.of({write.record.run_id: write.record.version for write in writes})
        for run_id, record in found.items():
            assert comparable(record) == comparable(store.lookup(run_id))
            kept.append(record.version)

    monkeypatch.setattr(FreshRecords, "keep", keep_and_compare)
    cluster.driver.serve(flow)
    ids = cluster.engine.trigger_many(
        flow, [Trigger(f"o{n}", Order(n), headers={"from": "here"}) for n in range(9)]
    )
    cluster.driver.advance(5 * SECOND)
    paused = str(ids[4])
    cluster.engine.resume(paused, who="me", why="go on")
    cluster.driver.settle()
    assert cluster.record(paused).status == Status.DONE
    assert not cluster.driver.failures
    assert len(kept) > 20
    assert set(kept) >= {1, 2, 3, 4}


def comparable(record: Record) -> Record:
    """Mappings of whatever type."""
    return record.replace(
        passed=dict(record.passed), headers=dict(record.headers), search=dict(record.search)
    )
