"""What is kept with a timer's row, on each store: how often it repeated, and that it is closed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

from workflow_core import Repeat, Run, Workflow

if TYPE_CHECKING:
    from tests.both_stores.conftest import Cluster

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


class Status(IntEnum):
    WAITING = 1
    DONE = 2


@dataclass
class Data:
    note: str = ""


def test_repeats_are_counted_over_a_crash_and_all_is_forgotten_after_the_end(
    cluster: Cluster,
) -> None:
    """Seen to fail without the rounds that look for closed timers of ended runs."""
    flow = Workflow("desk", Data, Status, ends=(Status.DONE,))
    keys: list[str] = []

    @flow.timeout(Status.WAITING, after=10 * MINUTE)
    def remind(run: Run[Data, Status]) -> Repeat:
        keys.append(run.idempotency_key)
        return Repeat(after=10 * MINUTE)

    @flow.callback(Status.WAITING)
    def done(run: Run[Data, Status], note: str) -> Literal[Status.DONE]:
        return Status.DONE

    cluster.driver.serve(flow)
    run_id = cluster.engine.trigger(flow, "one", Data())
    cluster.driver.advance(25 * MINUTE)
    cluster.kill_first()
    cluster.driver.serve(flow, engine=cluster.second)
    cluster.driver.advance(10 * MINUTE)
    assert keys == [f"{run_id}/1/{number}/remind" for number in range(3)]
    cluster.second.callback(done, run_id, "")  # and its poller has not come to it yet
    assert cluster.timeouts.closed_runs("desk").items == [run_id]
    cluster.kill(cluster.second, "second")
    third = cluster.join("third")
    cluster.driver.serve(flow, engine=third)
    cluster.driver.advance(HOUR)
    assert cluster.timeouts.closed_runs("desk").items == []
