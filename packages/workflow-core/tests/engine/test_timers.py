"""Timers: armed once per stay, cancelled on leaving, fired once, never lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

import pytest
from workflow_core.definition import (
    Cancel,
    Pause,
    Repeat,
    Retry,
    Run,
    Skip,
    Trigger,
    Workflow,
)
from workflow_core.discovery import Adapters
from workflow_core.engine import Engine
from workflow_core.errors import NotAtStatusError, ServingError
from workflow_core.memory import MemoryRoleScheduler
from workflow_core.model import PauseKind, RunState
from workflow_core.ports import AdapterContext

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


class Status(IntEnum):
    WAITING = 1
    CALLED = 2
    DONE = 3
    GIVEN_UP = 4


@dataclass
class Data:
    notes: list[str] = field(default_factory=list)
    at: float | None = None


DataRun = Run[Data, Status]
Answer = Literal[Status.DONE, Status.GIVEN_UP, Status.WAITING] | Skip | Repeat | Pause | Cancel


class Desk:
    """A workflow that waits; what its timers do is in `late` and `soon`."""

    def __init__(self, *, retry: Retry | None = None) -> None:
        self.fired: list[tuple[str, str, datetime]] = []
        self.late: Callable[[DataRun], Answer] = lambda run: Status.GIVEN_UP
        self.soon: Callable[[DataRun], Answer] = lambda run: Skip()
        flow = self.flow = Workflow("desk", Data, Status, ends=(Status.DONE, Status.GIVEN_UP))

        @flow.timeout(Status.WAITING, after=HOUR, retry=retry)
        def late(run: DataRun) -> Answer:
            self.fired.append(("late", run.run_id, run.entered_at))
            return self.late(run)

        @flow.timeout(Status.WAITING, after=MINUTE, name="soon")
        def remind(run: DataRun) -> Answer:
            self.fired.append(("soon", run.run_id, run.entered_at))
            return self.soon(run)

        @flow.callback(Status.WAITING)
        def call(run: DataRun, note: str) -> Literal[Status.CALLED, Status.WAITING]:
            run.data.notes.append(note)
            return Status.WAITING if note == "again" else Status.CALLED

        @flow.step(Status.CALLED)
        def answer(run: DataRun) -> Literal[Status.DONE, Status.WAITING]:
            return Status.WAITING if "back" in run.data.notes else Status.DONE

        self.call = call

    @property
    def names(self) -> list[str]:
        """The timers that fired, in order."""
        return [name for name, _, _ in self.fired]


@pytest.fixture(params=["joined", "outbox", "apart", "apart-outbox"])
def cluster(request: pytest.FixtureRequest, make_cluster: Callable[..., Cluster]) -> Cluster:
    return make_cluster(joined="outbox" not in request.param, apart="apart" in request.param)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def begin(cluster: Cluster, desk: Desk, foreign_id: str = "one") -> str:
    """A run that waits, with its timers armed."""
    cluster.driver.serve(desk.flow)
    run_id = cluster.engine.trigger(desk.flow, foreign_id, Data())
    cluster.driver.run()
    assert cluster.timer_names() == ["late", "soon"]
    return run_id


# -- firing ----------------------------------------------------------------------------------------


def test_each_timer_of_a_status_fires_once_at_its_time(cluster: Cluster, desk: Desk) -> None:
    run_id = begin(cluster, desk)
    start = cluster.clock.now()
    cluster.driver.advance(MINUTE - SECOND)
    assert desk.fired == []
    cluster.driver.advance(SECOND)
    assert desk.fired == [("soon", run_id, start)]
    cluster.driver.advance(HOUR)
    assert desk.names == ["soon", "late"]
    record = cluster.record(run_id)
    assert (record.status, record.state) == (Status.GIVEN_UP, RunState.COMPLETED)
    assert record.entered_at - start == HOUR
    assert cluster.timer_names() == []


def test_timer_counts_from_the_entry_into_the_status(cluster: Cluster, desk: Desk) -> None:
    """A retry, a repeat, a pause or a resume change nothing about it."""
    run_id = begin(cluster, desk)
    cluster.driver.advance(10 * MINUTE)
    cluster.engine.pause(run_id, reason="")
    cluster.driver.advance(10 * MINUTE)
    cluster.engine.resume(run_id, who="ann")
    cluster.driver.advance(39 * MINUTE)
    assert desk.names == ["soon"]
    cluster.driver.advance(MINUTE)
    assert desk.names == ["soon", "late"]


def test_leaving_cancels_and_a_later_visit_has_timers_of_its_own(
    cluster: Cluster, desk: Desk
) -> None:
    run_id = begin(cluster, desk)
    cluster.driver.advance(MINUTE / 2)
    cluster.engine.callback(desk.call, run_id, "back")
    cluster.driver.run()
    record = cluster.record(run_id)
    assert (record.status, record.entered_version) == (Status.WAITING, 3)
    assert cluster.timer_names() == ["late", "soon"], "of the new stay alone"
    cluster.driver.advance(MINUTE / 2)
    assert desk.fired == [], "the timer of the first stay is cancelled"
    cluster.driver.advance(MINUTE / 2)
    assert desk.fired == [("soon", run_id, record.entered_at)]


def test_entering_the_same_status_again_is_a_new_stay(cluster: Cluster, desk: Desk) -> None:
    run_id = begin(cluster, desk)
    cluster.driver.advance(MINUTE / 2)
    cluster.engine.callback(desk.call, run_id, "again")
    cluster.driver.advance(MINUTE / 2)
    assert desk.fired == []
    cluster.driver.advance(MINUTE / 2)
    assert desk.names == ["soon"]


@pytest.mark.parametrize("end", ["cancelled", "completed"])
def test_ended_runs_have_no_timers(cluster: Cluster, desk: Desk, end: str) -> None:
    run_id = begin(cluster, desk)
    if end == "cancelled":
        cluster.engine.cancel(run_id, reason="no more")
    else:
        cluster.engine.callback(desk.call, run_id, "done")
    cluster.driver.advance(2 * HOUR)
    assert desk.fired == []
    assert cluster.timer_names() == []
    assert not cluster.timers.timers._closed, "and nothing is remembered of them"


def test_timer_that_a_client_left_behind_is_cancelled_when_due(
    cluster: Cluster, desk: Desk
) -> None:
    """A client without a timeout store cannot cancel it; it finds its run elsewhere."""
    run_id = begin(cluster, desk)
    cluster.client().engine.cancel(run_id, reason="")
    assert cluster.timer_names() == ["late", "soon"]
    cluster.driver.advance(2 * HOUR)
    assert desk.fired == []
    assert cluster.timer_names() == []


def test_of_two_timers_due_at_once_one_moves_the_run_on(cluster: Cluster, desk: Desk) -> None:
    desk.soon = lambda run: Status.DONE
    run_id = begin(cluster, desk)
    cluster.clock.advance(2 * HOUR)
    cluster.driver.run()
    assert desk.names == ["soon"], "the earlier one"
    assert cluster.record(run_id).status == Status.DONE


def test_all_that_are_due_are_called_before_the_first_is_committed(
    cluster: Cluster, desk: Desk
) -> None:
    """A thousand due at once do not wait for each other's commits. Seen to fail at 500 a look."""
    statuses: list[int] = []
    first: list[str] = []

    def look(run: DataRun) -> Answer:
        first.append(run.run_id)
        statuses.append(cluster.record(first[0]).status)
        return Status.GIVEN_UP

    desk.late = look
    cluster.driver.serve(desk.flow)
    cluster.engine.trigger_many(desk.flow, [Trigger(str(n), Data()) for n in range(600)])
    cluster.driver.run()
    cluster.driver.advance(HOUR)
    assert statuses == [Status.WAITING] * 600


def test_what_becomes_due_while_others_are_called_is_called_with_them(
    cluster: Cluster, desk: Desk
) -> None:
    """Seen to fail when each look at what is due ended with a commit."""
    statuses: list[int] = []

    def look(run: DataRun) -> Answer:
        statuses.append(cluster.record(first).status)
        cluster.clock.advance(timedelta(milliseconds=10))
        return Status.GIVEN_UP

    desk.late = look
    cluster.driver.serve(desk.flow)
    first = cluster.engine.trigger(desk.flow, "first", Data())
    cluster.driver.run()
    cluster.clock.advance(timedelta(milliseconds=5))
    cluster.engine.trigger(desk.flow, "second", Data())
    cluster.driver.run()
    cluster.driver.advance(HOUR)
    assert statuses == [Status.WAITING] * 2


def test_async_functions_fire_side_by_side(cluster: Cluster) -> None:
    flow = Workflow("naps", Data, Status, ends=(Status.DONE,))

    @flow.timeout(Status.WAITING, after=MINUTE)
    async def nap(run: DataRun) -> Literal[Status.DONE]:
        await asyncio.sleep(10)
        run.data.notes.append("slept")
        return Status.DONE

    cluster.driver.serve(flow)
    run_ids = [cluster.engine.trigger(flow, str(n), Data()) for n in range(10)]
    cluster.driver.advance(MINUTE + 11 * SECOND)
    for run_id in run_ids:
        assert cluster.engine.view(flow, run_id).data.notes == ["slept"]


def test_more_due_than_may_run_take_their_turns(
    cluster: Cluster, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail when they all stayed due: more than are looked at at once hid all others."""
    monkeypatch.setattr("workflow_core.engine.timers.poller._BATCH", 5)
    flow = Workflow("naps", Data, Status, ends=(Status.DONE,), concurrency=2)
    running: list[int] = [0, 0]

    @flow.timeout(Status.WAITING, after=MINUTE)
    async def nap(run: DataRun) -> Literal[Status.DONE]:
        running[0] += 1
        running[1] = max(running)
        await asyncio.sleep(10)
        running[0] -= 1
        return Status.DONE

    cluster.driver.serve(flow, desk.flow)
    for number in range(20):
        cluster.engine.trigger(flow, str(number), Data())
    cluster.engine.trigger(desk.flow, "one", Data())
    cluster.driver.advance(MINUTE + 4 * SECOND)
    assert desk.names == ["soon"]
    cluster.driver.advance(5 * MINUTE)
    states = {r.state for r in cluster.records.runs.rows.values() if r.workflow == "naps"}
    assert states == {RunState.COMPLETED}
    assert running == [0, 2]


# -- what a timer answers --------------------------------------------------------------------------


def test_skip_completes_the_timer_and_leaves_the_run(cluster: Cluster, desk: Desk) -> None:
    run_id = begin(cluster, desk)
    before = cluster.record(run_id)
    cluster.driver.advance(MINUTE)
    assert cluster.record(run_id) == before
    assert cluster.timer_names() == ["late"]
    cluster.driver.advance(MINUTE)
    assert desk.names == ["soon"]


def test_repeat_arms_the_timer_again_and_saves_the_data(cluster: Cluster, desk: Desk) -> None:
    def remind(run: DataRun) -> Answer:
        run.data.notes.append(f"reminder {len(run.data.notes) + 1}")
        return Repeat(after=10 * MINUTE) if len(run.data.notes) < 3 else Skip()

    desk.soon = remind
    run_id = begin(cluster, desk)
    cluster.driver.advance(HOUR - SECOND)
    assert cluster.engine.view(desk.flow, run_id).data.notes == ["reminder 1", "reminder 2"]
    assert desk.names == ["soon"] * 3
    record = cluster.record(run_id)
    assert (record.entered_version, record.repeat, record.attempts) == (1, 0, 0)


def test_pause_by_a_timer_is_by_hand_and_the_timer_fires_again_after_it(
    cluster: Cluster, desk: Desk
) -> None:
    def ask(run: DataRun) -> Answer:
        return Pause("look at it") if run.resumed is None else Status.DONE

    desk.soon = ask
    run_id = begin(cluster, desk)
    cluster.driver.advance(MINUTE)
    record = cluster.record(run_id)
    assert (record.state, record.pause_kind) == (RunState.PAUSED, PauseKind.STEP)
    cluster.engine.resume(run_id, who="ann")
    cluster.driver.run()
    assert cluster.record(run_id).status == Status.DONE


def test_cancel_by_a_timer_ends_the_run(cluster: Cluster, desk: Desk) -> None:
    desk.soon = lambda run: Cancel("too late")
    run_id = begin(cluster, desk)
    cluster.driver.advance(MINUTE)
    record = cluster.record(run_id)
    assert (record.state, record.reason) == (RunState.CANCELLED, "too late")
    assert cluster.timer_names() == []


# -- failing ---------------------------------------------------------------------------------------


def failing(run: DataRun) -> Answer:
    raise ConnectionError("no answer")


def test_failed_timer_is_tried_again_and_the_record_left_alone(cluster: Cluster) -> None:
    """Seen to fail with the write of a failed step: its step would lose its compare-and-swap."""
    desk = Desk(retry=Retry(first=MINUTE, maximum=HOUR, jitter=False, pause_after=3))
    desk.late = failing
    run_id = begin(cluster, desk)
    before = cluster.record(run_id)
    cluster.driver.advance(HOUR)
    assert cluster.record(run_id) == before
    (timeout,) = cluster.timeouts.list_timeouts("desk").items
    assert (timeout.attempts, timeout.error) == (1, "ConnectionError: no answer")
    assert timeout.due_at == cluster.clock.now() + MINUTE
    desk.late = lambda run: Status.DONE
    cluster.driver.advance(MINUTE)
    assert cluster.record(run_id).status == Status.DONE


def test_timer_that_fails_for_good_pauses_its_run(cluster: Cluster) -> None:
    desk = Desk(retry=Retry(first=MINUTE, maximum=MINUTE, pause_after=3))
    desk.late = failing
    run_id = begin(cluster, desk)
    cluster.driver.advance(HOUR + 10 * MINUTE)
    record = cluster.record(run_id)
    assert (record.state, record.pause_kind) == (RunState.PAUSED, PauseKind.AUTOMATIC)
    assert record.reason.startswith("timer late failed 3 times, the last time with Connection")
    assert desk.names.count("late") == 3
    cluster.engine.resume(run_id, who="ann")
    cluster.driver.run()
    assert desk.names.count("late") == 4
    assert cluster.record(run_id).state is RunState.RUNNING, "its attempts are counted anew"
    cluster.driver.advance(10 * MINUTE)
    assert desk.names.count("late") == 6
    assert cluster.record(run_id).state is RunState.PAUSED


def test_timer_that_fails_for_good_goes_where_its_retry_says(cluster: Cluster) -> None:
    desk = Desk(retry=Retry(never=(ConnectionError,), then=Status.DONE))
    desk.late = failing
    run_id = begin(cluster, desk)
    cluster.driver.advance(HOUR)
    record = cluster.record(run_id)
    assert (record.status, record.last_error) == (Status.DONE, "ConnectionError: no answer")


def test_undeclared_answers_and_unfit_data_are_failed_attempts(cluster: Cluster) -> None:
    desk = Desk(retry=Retry(first=MINUTE, maximum=MINUTE, jitter=False, pause_after=9))
    desk.late = lambda run: Status.CALLED  # type: ignore[assignment,return-value]
    run_id = begin(cluster, desk)
    cluster.driver.advance(HOUR)
    (timeout,) = cluster.timeouts.list_timeouts("desk").items
    assert "timer late" in timeout.error
    assert "answered Status.CALLED" in timeout.error

    def spoil(run: DataRun) -> Answer:
        run.data.notes = [7]  # type: ignore[list-item]
        return Status.DONE

    desk.late = spoil
    cluster.driver.advance(MINUTE)
    (timeout,) = cluster.timeouts.list_timeouts("desk").items
    assert (timeout.attempts, timeout.error[:12]) == (2, "PayloadError")
    assert cluster.record(run_id).version == 1


def test_row_that_the_store_refuses_for_good_is_a_failed_attempt(cluster: Cluster) -> None:
    desk = Desk(retry=Retry(first=MINUTE, maximum=MINUTE, jitter=False, pause_after=9))
    run_id = begin(cluster, desk)
    cluster.store.refuses = lambda record: record.status == Status.GIVEN_UP
    cluster.driver.advance(HOUR)
    (timeout,) = cluster.timeouts.list_timeouts("desk").items
    assert (timeout.attempts, timeout.error) == (1, "AdapterError: the test refuses this row")
    cluster.store.refuses = lambda record: False
    cluster.driver.advance(MINUTE)
    assert cluster.record(run_id).status == Status.GIVEN_UP


def test_failing_and_paused_timers_starve_nobody(cluster: Cluster, desk: Desk) -> None:
    """More of them than are looked at at once, all due before the one that can fire."""
    broken = Desk(retry=Retry(first=HOUR, maximum=HOUR))
    broken.flow.name = "broken"
    broken.late = failing
    cluster.driver.serve(broken.flow, desk.flow)
    paused = [cluster.engine.trigger(broken.flow, f"p{n}", Data()) for n in range(510)]
    for run_id in paused:
        cluster.engine.pause(run_id, reason="")
    for number in range(510):
        cluster.engine.trigger(broken.flow, f"f{number}", Data())
    cluster.driver.run()
    last = cluster.engine.trigger(desk.flow, "last", Data())
    cluster.clock.advance(HOUR)
    cluster.driver.run()
    assert cluster.record(last).status == Status.GIVEN_UP
    assert broken.names.count("late") == 510
    asked = cluster.timeouts.script.calls["list_valid"]
    cluster.driver.run()
    assert cluster.timeouts.script.calls["list_valid"] == asked, "nothing spins"


# -- pause and resume ------------------------------------------------------------------------------


def test_paused_runs_timer_waits_for_the_resume(cluster: Cluster, desk: Desk) -> None:
    run_id = begin(cluster, desk)
    cluster.engine.pause(run_id, reason="")
    cluster.driver.advance(2 * HOUR)
    assert desk.fired == []
    assert all(timeout.parked for timeout in cluster.timeouts.list_timeouts("desk").items)
    cluster.client().engine.resume(run_id, who="a client without a timeout store")
    cluster.driver.run()
    assert cluster.record(run_id).status == Status.GIVEN_UP
    assert desk.names == ["soon", "late"]


def test_parked_timers_of_a_run_cancelled_elsewhere_are_forgotten(
    cluster: Cluster, desk: Desk
) -> None:
    """They are never due, so nobody would find them. Seen to fail without the rounds."""
    run_id = begin(cluster, desk)
    cluster.engine.pause(run_id, reason="")
    cluster.driver.advance(2 * HOUR)
    cluster.client().engine.cancel(run_id, reason="by a client without a timeout store")
    cluster.driver.advance(HOUR)
    assert cluster.timeouts.list_timeouts("desk").items == []


def test_resume_between_look_and_parking_parks_nothing(cluster: Cluster, desk: Desk) -> None:
    """Seen to fail without the second look: the timer stayed parked, and its run stuck."""
    run_id = begin(cluster, desk)
    cluster.engine.pause(run_id, reason="")
    client = cluster.client().engine

    def meanwhile(call: str) -> None:
        if call == "park":
            cluster.timeouts.script.heal()
            client.resume(run_id, who="ann")

    cluster.timeouts.script.before = meanwhile
    cluster.clock.advance(HOUR)
    poller = next(p for p in cluster.engine._core.crew.processes if p.name == "timers")
    cluster.streamer.script.fail("recv_many")  # the event of the resume takes its time
    poller.poll(timedelta(0))
    while poller.poll(timedelta(0)):
        pass
    cluster.streamer.script.heal()
    assert desk.names == ["soon", "late"]
    assert cluster.record(run_id).status == Status.GIVEN_UP


# -- a timer against others ------------------------------------------------------------------------


def test_timer_that_comes_first_leaves_the_callback_the_run_gone_on(
    cluster: Cluster, desk: Desk
) -> None:
    run_id = begin(cluster, desk)
    cluster.driver.advance(HOUR)
    with pytest.raises(NotAtStatusError, match="GIVEN_UP"):
        cluster.engine.callback(desk.call, run_id, "late")


def test_callback_that_comes_while_the_timer_fires_wins(cluster: Cluster, desk: Desk) -> None:
    run_id = begin(cluster, desk)

    def late(run: DataRun) -> Answer:
        cluster.engine.callback(desk.call, run_id, "in time")
        return Status.GIVEN_UP

    desk.late = late
    cluster.driver.advance(2 * HOUR)
    view = cluster.engine.view(desk.flow, run_id)
    assert (view.status, view.data.notes) == (Status.DONE, ["in time"])
    assert desk.names.count("late") == 1


def test_timer_that_loses_against_a_mere_retry_fires_again_at_once(
    cluster: Cluster, desk: Desk
) -> None:
    run_id = begin(cluster, desk)

    def late(run: DataRun) -> Answer:
        if desk.names.count("late") == 1:
            cluster.engine.pause(run_id, reason="")
            cluster.engine.resume(run_id, who="ann")
        return Status.GIVEN_UP

    desk.late = late
    cluster.driver.advance(HOUR)
    assert desk.names.count("late") == 2
    assert cluster.record(run_id).entered_at == cluster.clock.now()


class Patient:
    """A status with a step that fails, or skips, or takes long, and a timer."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        flow = self.flow = Workflow("patient", Data, Status, ends=(Status.DONE, Status.GIVEN_UP))

        @flow.step(Status.WAITING, retry=Retry(first=HOUR, maximum=HOUR, jitter=False))
        async def work(run: DataRun) -> Literal[Status.DONE] | Skip:
            self.keys.append(run.idempotency_key)
            if "skip" in run.data.notes:
                return Skip()
            if "slow" in run.data.notes:
                await asyncio.sleep(HOUR.total_seconds())
                return Status.DONE
            raise ConnectionError("no answer")

        @flow.timeout(Status.WAITING, after=10 * MINUTE)
        def stop(run: DataRun) -> Literal[Status.GIVEN_UP] | Repeat:
            self.keys.append(run.idempotency_key)
            if "note" in run.data.notes:
                return Status.GIVEN_UP
            run.data.notes.append("note")
            return Repeat(after=10 * MINUTE)


@pytest.mark.parametrize("kind", ["fail", "skip", "slow"])
def test_timer_moves_on_a_run_whose_step_fails_or_skipped_or_takes_long(
    cluster: Cluster, kind: str
) -> None:
    patient = Patient()
    cluster.driver.serve(patient.flow)
    run_id = cluster.engine.trigger(patient.flow, "one", Data([kind]))
    cluster.driver.advance(20 * MINUTE)
    assert cluster.record(run_id).status == Status.GIVEN_UP
    cluster.driver.advance(2 * HOUR)
    assert cluster.record(run_id).status == Status.GIVEN_UP, "the step's late answer is void"


def test_keys_of_a_step_and_a_timer_of_one_stay_differ_and_are_kept(cluster: Cluster) -> None:
    """Seen to fail with one key per stay: an API would take one's call for the other's."""
    patient = Patient()
    cluster.driver.serve(patient.flow)
    run_id = cluster.engine.trigger(patient.flow, "one", Data())
    cluster.driver.advance(10 * MINUTE)
    due = cluster.record(run_id).next_try_at
    assert due is not None, "the timer's Repeat leaves the step its back-off"
    assert patient.keys == [f"{run_id}/1/0", f"{run_id}/1/0/stop"]


# -- whom it is for --------------------------------------------------------------------------------


def test_workflow_with_timers_is_not_served_without_a_timeout_store(
    cluster: Cluster, desk: Desk
) -> None:
    adapters = Adapters(
        record_store=cluster.store,
        event_streamer=cluster.streamer,
        role_scheduler=MemoryRoleScheduler(cluster.records, instance="bare"),
        context=AdapterContext(instance="bare", clock=cluster.clock),
    )
    with pytest.raises(ServingError, match="'desk' has timers, and this engine has no timeout_st"):
        Engine(adapters, clock=cluster.clock).serving(desk.flow)
