"""Repeats of timers: each call has a key of its own, and one that is made again has the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

import pytest
from workflow_core.definition import Repeat, Retry, Run, Workflow

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster

MINUTE = timedelta(minutes=1)
RETRY = Retry(first=MINUTE, maximum=MINUTE, jitter=False, pause_after=9)


class Status(IntEnum):
    WAITING = 1
    DONE = 2


@dataclass
class Data:
    reminders: int = 0


DataRun = Run[Data, Status]


class Desk:
    """A status with a step that repeats, a timer that reminds, and another beside them."""

    def __init__(self) -> None:
        self.keys: list[tuple[str, str]] = []
        self.meanwhile: Callable[[DataRun], None] = lambda run: None
        flow = self.flow = Workflow("desk", Data, Status, ends=(Status.DONE,), retry=RETRY)

        @flow.step(Status.WAITING)
        def look(run: DataRun) -> Literal[Status.DONE] | Repeat:
            self._note(run)
            return Repeat(after=MINUTE)

        @flow.timeout(Status.WAITING, after=10 * MINUTE)
        def remind(run: DataRun) -> Repeat:
            self._note(run)
            self.meanwhile(run)
            run.data.reminders += 1
            return Repeat(after=10 * MINUTE)

        @flow.timeout(Status.WAITING, after=10 * MINUTE)
        def remind_boss(run: DataRun) -> Repeat:
            self._note(run)
            return Repeat(after=10 * MINUTE)

    def _note(self, run: DataRun) -> None:
        self.keys.append((run.timer or "look", run.idempotency_key.partition("/")[2]))

    def of(self, name: str) -> list[str]:
        return [key for who, key in self.keys if who == name]


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture(params=["joined", "apart"])
def cluster(request: pytest.FixtureRequest, make_cluster: Callable[..., Cluster]) -> Cluster:
    return make_cluster(apart=request.param == "apart")


def begin(cluster: Cluster, desk: Desk) -> str:
    cluster.driver.serve(desk.flow)
    return cluster.engine.trigger(desk.flow, "one", Data())


def once(action: Callable[[], object]) -> Callable[[DataRun], None]:
    left = [action]
    return lambda run: None if not left else (left.pop()(), None)[1]


def fail() -> None:
    raise ConnectionError("no answer")


def test_each_repeat_of_a_timer_has_a_key_that_no_other_call_of_the_stay_has(
    cluster: Cluster, desk: Desk
) -> None:
    """Seen to fail with the record's number: it counts the step's repeats, and not the timer's."""
    begin(cluster, desk)
    cluster.driver.advance(35 * MINUTE)
    assert desk.of("remind") == ["1/0/remind", "1/1/remind", "1/2/remind"]
    assert desk.of("remind_boss") == ["1/0/remind_boss", "1/1/remind_boss", "1/2/remind_boss"]
    assert desk.of("look") == [f"1/{n}" for n in range(36)]
    assert len({key for _, key in desk.keys}) == len(desk.keys)


def test_retry_of_a_timer_has_its_key_though_the_step_has_repeated_meanwhile(
    cluster: Cluster, desk: Desk
) -> None:
    """Seen to fail with the record's number: the step repeats once a minute."""
    begin(cluster, desk)
    desk.meanwhile = once(fail)
    cluster.driver.advance(22 * MINUTE)
    assert desk.of("remind") == ["1/0/remind", "1/0/remind", "1/1/remind"]


def test_failed_repeat_is_tried_again_under_its_own_key(cluster: Cluster, desk: Desk) -> None:
    """Seen to fail with a repeat number that begins anew with each back-off."""
    begin(cluster, desk)
    cluster.driver.advance(15 * MINUTE)
    desk.meanwhile = once(fail)
    cluster.driver.advance(17 * MINUTE)
    assert desk.of("remind") == ["1/0/remind", "1/1/remind", "1/1/remind", "1/2/remind"]


def test_repeat_goes_on_counting_after_pause_and_resume(cluster: Cluster, desk: Desk) -> None:
    """Seen to fail with a number that parking sets to zero."""
    run_id = begin(cluster, desk)
    cluster.driver.advance(15 * MINUTE)
    cluster.engine.pause(run_id, reason="")
    cluster.driver.advance(15 * MINUTE)
    cluster.engine.resume(run_id, who="ann")
    cluster.driver.advance(MINUTE)
    assert desk.of("remind") == ["1/0/remind", "1/1/remind"]


def test_call_that_is_made_again_after_a_crash_has_the_key_of_the_first(
    cluster: Cluster, desk: Desk
) -> None:
    """The run's data was written, the timer's row was not: it is the same call once more."""
    begin(cluster, desk)
    cluster.driver.advance(9 * MINUTE)
    cluster.timeouts.script.fail("reschedule")
    cluster.driver.advance(MINUTE)
    assert desk.of("remind") == ["1/0/remind"]
    cluster.kill(cluster.engine, "first")
    second = cluster.join("second")
    cluster.driver.serve(desk.flow, engine=second.engine)
    cluster.driver.advance(5 * MINUTE)
    assert desk.of("remind") == ["1/0/remind", "1/0/remind"]
    cluster.driver.advance(10 * MINUTE)
    assert desk.of("remind")[2:] == ["1/1/remind"]


def test_repeat_that_lost_against_another_write_is_made_again_under_its_key(
    cluster: Cluster, desk: Desk
) -> None:
    run_id = begin(cluster, desk)

    def interfere() -> None:
        cluster.engine.pause(run_id, reason="")
        cluster.engine.resume(run_id, who="ann")

    desk.meanwhile = once(interfere)
    cluster.driver.advance(21 * MINUTE)
    assert desk.of("remind") == ["1/0/remind", "1/0/remind", "1/1/remind"]
