"""Automatic resume: of runs that failed, after a while, so many times in a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

import pytest
from workflow_core.definition import Pause, Retry, Run, Workflow
from workflow_core.engine import EngineSettings
from workflow_core.errors import ConfigurationError
from workflow_core.model import PauseKind, RunState

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


class Status(IntEnum):
    ASKED = 1
    WAITING = 2
    DONE = 3


@dataclass
class Data:
    note: str = ""


DataRun = Run[Data, Status]


class Till:
    """A step, and a timer at a status without one; both fail until they are repaired."""

    def __init__(self) -> None:
        self.is_broken = True
        self.tries: list[str] = []
        retry = Retry(first=MINUTE, maximum=MINUTE, jitter=False, pause_after=2)
        flow = self.flow = Workflow("till", Data, Status, ends=(Status.DONE,), retry=retry)

        @flow.step(Status.ASKED)
        def ask(run: DataRun) -> Literal[Status.WAITING] | Pause:
            if run.data.note == "pause":
                return Pause("by hand")
            self.work(run)
            return Status.WAITING

        @flow.timeout(Status.WAITING, after=MINUTE)
        def end(run: DataRun) -> Literal[Status.DONE]:
            self.work(run)
            return Status.DONE

    def work(self, run: DataRun) -> None:
        self.tries.append(run.resumed.why if run.resumed else "")
        if self.is_broken:
            raise ConnectionError("broken")


@pytest.fixture
def till() -> Till:
    return Till()


def failed_run(cluster: Cluster, till: Till) -> str:
    cluster.driver.serve(till.flow)
    run_id = cluster.engine.trigger(till.flow, "one", Data())
    cluster.driver.advance(MINUTE)
    record = cluster.record(run_id)
    assert (record.state, record.pause_kind) == (RunState.PAUSED, PauseKind.AUTOMATIC)
    return run_id


def test_failed_run_is_resumed_after_an_hour(cluster: Cluster, till: Till) -> None:
    run_id = failed_run(cluster, till)
    cluster.driver.advance(HOUR - MINUTE)
    assert len(till.tries) == 2
    till.is_broken = False
    cluster.driver.advance(MINUTE)
    record = cluster.record(run_id)
    assert (record.status, record.auto_resumes) == (Status.WAITING, 0), "the count begins anew"
    assert till.tries[2] == "automatic resume 1 of at most 10 in a row"


def test_timer_that_failed_is_resumed_too(cluster: Cluster, till: Till) -> None:
    """Its status has no step: the lane listens to it all the same."""
    till.is_broken = False
    cluster.driver.serve(till.flow)
    run_id = cluster.engine.trigger(till.flow, "one", Data())
    cluster.driver.run()
    till.is_broken = True
    cluster.driver.advance(2 * MINUTE)
    assert cluster.record(run_id).pause_kind is PauseKind.AUTOMATIC
    till.is_broken = False
    cluster.driver.advance(HOUR)
    assert cluster.record(run_id).status == Status.DONE


def test_resumes_in_a_row_are_counted_and_end(
    make_cluster: Callable[..., Cluster], till: Till
) -> None:
    settings = EngineSettings(auto_resumes=3, auto_resume_after=10 * MINUTE)
    cluster = make_cluster(settings=settings)
    run_id = failed_run(cluster, till)
    cluster.driver.advance(24 * HOUR)
    record = cluster.record(run_id)
    assert (record.state, record.auto_resumes) == (RunState.PAUSED, 3)
    assert len(till.tries) == 8
    cluster.engine.resume(run_id, who="ann")
    assert cluster.record(run_id).auto_resumes == 0, "a person's resume begins the count anew"


def test_automatic_resume_can_be_off(make_cluster: Callable[..., Cluster], till: Till) -> None:
    cluster = make_cluster(settings=EngineSettings(auto_resumes=0))
    run_id = failed_run(cluster, till)
    cluster.driver.settle()
    assert cluster.record(run_id).state is RunState.PAUSED
    assert not cluster.rows()


@pytest.mark.parametrize("by", ["operator", "step", "taken over"])
def test_run_paused_by_hand_stays_paused(cluster: Cluster, till: Till, by: str) -> None:
    """Also where an operator takes an automatic pause over."""
    if by == "taken over":
        run_id = failed_run(cluster, till)
    else:
        note = "pause" if by == "step" else ""
        run_id = cluster.engine.trigger(till.flow, "one", Data(note))
    if by != "step":
        cluster.engine.pause(run_id, reason="mine")
    cluster.driver.settle() if by == "taken over" else cluster.driver.serve(till.flow)
    cluster.driver.advance(5 * HOUR)
    record = cluster.record(run_id)
    assert record.state is RunState.PAUSED
    assert record.pause_kind is (PauseKind.STEP if by == "step" else PauseKind.OPERATOR)


def test_run_that_a_person_resumed_is_left_alone_by_the_old_event(
    cluster: Cluster, till: Till
) -> None:
    run_id = failed_run(cluster, till)
    cluster.driver.advance(30 * MINUTE)
    cluster.engine.resume(run_id, who="ann")
    cluster.driver.advance(2 * MINUTE)
    assert cluster.record(run_id).state is RunState.PAUSED, "it failed again"
    version = cluster.record(run_id).version
    cluster.driver.advance(40 * MINUTE)
    assert cluster.record(run_id).version == version, "an hour counts from the later pause"


def test_lost_event_of_a_resume_is_filed_again(cluster: Cluster, till: Till) -> None:
    run_id = failed_run(cluster, till)
    cluster.store.delete_outbox_events([row.id for row in cluster.rows()])
    till.is_broken = False
    cluster.driver.advance(HOUR + 16 * MINUTE)
    assert cluster.record(run_id).status == Status.DONE


def test_store_that_does_not_answer_is_asked_again(cluster: Cluster, till: Till) -> None:
    run_id = failed_run(cluster, till)
    till.is_broken = False
    cluster.store.script.fail("commit", times=5)
    cluster.driver.advance(HOUR)
    cluster.store.script.heal()
    cluster.driver.advance(MINUTE / 2)
    assert cluster.record(run_id).status == Status.WAITING


def test_settings_are_held_to_their_limits() -> None:
    with pytest.raises(ConfigurationError, match=r"auto_resume_after: .*\n.*auto_resumes: "):
        EngineSettings(auto_resume_after=timedelta(0), auto_resumes=-1)
