"""What is remembered of closed timers goes with the run, whoever ends it and whatever dies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

import pytest
from workflow_core.definition import Run, Skip, Workflow
from workflow_core.engine.timers.leftovers import ClosedRounds
from workflow_core.engine.timers.poller import TimerPoller

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


class Status(IntEnum):
    WAITING = 1
    DONE = 2


@dataclass
class Data:
    note: str = ""


DataRun = Run[Data, Status]


class Desk:
    """A status with a timer that fires and is done, another far off, and a callback that ends."""

    def __init__(self) -> None:
        self.fired: list[str] = []
        flow = self.flow = Workflow("desk", Data, Status, ends=(Status.DONE,))

        @flow.timeout(Status.WAITING, after=MINUTE)
        def remind(run: DataRun) -> Skip:
            self.fired.append(run.run_id)
            return Skip()

        @flow.timeout(Status.WAITING, after=24 * HOUR)
        def give_up(run: DataRun) -> Literal[Status.DONE]:
            return Status.DONE

        @flow.callback(Status.WAITING)
        def done(run: DataRun, note: str) -> Literal[Status.DONE]:
            return Status.DONE

        self.done = done


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture(params=["joined", "apart"])
def cluster(request: pytest.FixtureRequest, make_cluster: Callable[..., Cluster]) -> Cluster:
    return make_cluster(apart=request.param == "apart")


def begin(cluster: Cluster, desk: Desk) -> str:
    """A run whose first timer has fired, and is remembered."""
    cluster.driver.serve(desk.flow)
    run_id = cluster.engine.trigger(desk.flow, "one", Data())
    cluster.driver.advance(2 * MINUTE)
    assert desk.fired == [run_id]
    return run_id


def kept(cluster: Cluster) -> Sequence[str]:
    return sorted(cluster.timers.timers._closed)


def test_closed_timers_are_forgotten_when_their_run_ended_in_a_process_that_died(
    cluster: Cluster, desk: Desk
) -> None:
    """Seen to fail without the rounds: what the dead one had in mind nobody knew."""
    run_id = begin(cluster, desk)
    cluster.engine.callback(desk.done, run_id, "")  # and its poller has not come to it yet
    cluster.kill(cluster.engine, "first")
    assert kept(cluster) == [f"{run_id}/1/give_up", f"{run_id}/1/remind"]
    cluster.driver.serve(desk.flow, engine=cluster.join("second").engine)
    cluster.driver.advance(HOUR)
    assert kept(cluster) == []


def test_closed_timers_are_forgotten_when_a_client_without_timeouts_ended_their_run(
    cluster: Cluster, desk: Desk
) -> None:
    """Seen to fail without the rounds; the open one goes when it is due, and then altogether."""
    run_id = begin(cluster, desk)
    cluster.client().engine.callback(desk.done, run_id, "")
    cluster.driver.advance(HOUR)
    assert (kept(cluster), cluster.timer_names()) == ([], [])


def test_open_timer_that_is_due_after_its_runs_end_is_forgotten_with_its_cancelling(
    cluster: Cluster, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail with cancelling alone, which leaves a closed key of a run that has ended."""
    monkeypatch.setattr(ClosedRounds, "_go_on", lambda rounds: False)
    cluster.driver.serve(desk.flow)
    run_id = cluster.engine.trigger(desk.flow, "one", Data())
    cluster.driver.run()
    cluster.client().engine.callback(desk.done, run_id, "")
    assert cluster.timer_names() == ["give_up", "remind"]
    cluster.driver.advance(2 * MINUTE)
    assert (desk.fired, kept(cluster), cluster.timer_names()) == ([], [], [])


def test_closed_timer_of_a_live_run_is_remembered_for_as_long_as_it_waits(
    cluster: Cluster, desk: Desk
) -> None:
    """Seen to fail with rounds that forget whatever is closed: the timer fired each ten minutes."""
    run_id = begin(cluster, desk)
    cluster.driver.advance(5 * HOUR)
    assert desk.fired == [run_id]
    assert kept(cluster) == [f"{run_id}/1/remind"]


def test_run_that_has_just_ended_is_left_to_the_process_that_ended_it(
    cluster: Cluster, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A late event of the stay may still be under way, and must find the key closed."""
    run_id = begin(cluster, desk)
    monkeypatch.setattr(TimerPoller, "ended", lambda poller, run_ids: None)
    cluster.engine.callback(desk.done, run_id, "")
    cluster.driver.serve(desk.flow, engine=cluster.join("second").engine)
    cluster.kill(cluster.engine, "first")
    cluster.driver.advance(2 * MINUTE)
    assert kept(cluster), "its first round came within the time"
    cluster.driver.advance(HOUR)
    assert kept(cluster) == []
