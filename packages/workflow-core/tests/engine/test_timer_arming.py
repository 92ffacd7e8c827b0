"""How timers get armed: with the write, from events, round by round, and as their runs say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

import pytest
from workflow_core.definition import Retry, Run, Trigger, Workflow
from workflow_core.engine.timers.book import MARK
from workflow_core.model import RunState
from workflow_core.testing import FakeClock

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


class Status(IntEnum):
    STARTED = 1
    EMAIL_SET = 2
    REMINDED = 3
    COMPLETED = 4


@dataclass
class User:
    country: str = "GB"
    email: str = ""
    uid: str = ""


UserRun = Run[User, Status]


def waiting(*timers: tuple[str, timedelta]) -> Workflow[User, Status]:
    """A status with these timers, which lead to the end."""
    flow = Workflow("users", User, Status, ends=(Status.COMPLETED,))
    for name, after in timers:
        flow.add_timeout(
            Status.STARTED,
            lambda run: Status.COMPLETED,
            to=(Status.COMPLETED,),
            after=after,
            name=name,
        )
    return flow


@pytest.fixture(params=["joined", "outbox", "apart", "apart-outbox"])
def cluster(request: pytest.FixtureRequest, make_cluster: Callable[..., Cluster]) -> Cluster:
    return make_cluster(joined="outbox" not in request.param, apart="apart" in request.param)


# -- with the write --------------------------------------------------------------------------------


@pytest.mark.parametrize("streams", ["joined", "outbox"])
def test_timer_is_armed_in_the_transaction_that_enters_where_the_stores_are_one(
    make_cluster: Callable[..., Cluster], streams: str
) -> None:
    cluster = make_cluster(joined=streams == "joined")
    flow = waiting(("soon", MINUTE))
    cluster.driver.serve(flow)
    cluster.driver.run()
    run_id = cluster.engine.trigger(flow, "ann", User())
    assert cluster.timer_names() == ["soon"], "before anybody has received anything"
    cluster.driver.run()
    assert cluster.timeouts.script.calls["create"] == 0, "and nobody armed it again"
    sent = [event for event in cluster.streamer.sent if event.run_id == run_id]
    assert [event.headers[MARK] for event in sent] == ["soon"]


def test_trigger_that_loses_arms_nothing(cluster: Cluster) -> None:
    flow = waiting(("soon", MINUTE))
    cluster.driver.serve(flow)
    answers = cluster.engine.trigger_many(flow, [Trigger("ann", User()), Trigger("ann", User())])
    cluster.driver.run()
    assert isinstance(answers[0], str)
    assert cluster.timer_names() == ["soon"]


def test_timers_of_a_delayed_run_count_from_its_start(cluster: Cluster) -> None:
    flow = waiting(("soon", MINUTE))
    cluster.driver.serve(flow)
    start_at = cluster.clock.now() + HOUR
    run_id = cluster.engine.trigger(flow, "ann", User(), start_at=start_at)
    cluster.driver.advance(HOUR + MINUTE - SECOND)
    assert cluster.record(run_id).state is RunState.INITIATED
    cluster.driver.advance(SECOND)
    assert cluster.record(run_id).entered_at == start_at + MINUTE


# -- from events -----------------------------------------------------------------------------------


def test_run_that_a_client_without_a_timeout_store_began_has_timers(cluster: Cluster) -> None:
    flow = waiting(("soon", MINUTE))
    cluster.driver.serve(flow)
    run_id = cluster.client().engine.trigger(flow, "ann", User())
    cluster.driver.advance(MINUTE)
    assert cluster.record(run_id).state is RunState.COMPLETED


def test_older_code_that_knows_fewer_timers_leaves_the_others_to_newer(cluster: Cluster) -> None:
    """Seen to fail with a mark that names no timers: the new one waited for the next round."""
    old, new = waiting(("late", HOUR)), waiting(("late", HOUR), ("soon", MINUTE))
    cluster.driver.serve(new)
    cluster.driver.run()
    run_id = cluster.join("old").engine.trigger(old, "ann", User())
    cluster.driver.advance(MINUTE)
    assert cluster.record(run_id).state is RunState.COMPLETED


def test_timer_that_this_code_does_not_know_is_left_to_others(cluster: Cluster) -> None:
    old, new = waiting(("late", HOUR)), waiting(("late", HOUR), ("soon", MINUTE))
    cluster.driver.serve(old)
    cluster.driver.run()
    run_id = cluster.join("new").engine.trigger(new, "ann", User())
    cluster.driver.advance(2 * MINUTE)
    if "soon" in cluster.timer_names():  # armed with the write
        assert cluster.record(run_id).state is RunState.INITIATED
    cluster.driver.advance(HOUR)
    assert cluster.record(run_id).state is RunState.COMPLETED, "its other timer fires"


def test_timeout_store_that_does_not_answer_holds_up_what_needs_it_and_nothing_else(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(apart=True)
    flow = Workflow("users", User, Status, ends=(Status.COMPLETED,))
    seen: list[Status] = []

    @flow.step(Status.STARTED)
    def start(run: UserRun) -> Literal[Status.EMAIL_SET]:
        seen.append(run.status)
        return Status.EMAIL_SET

    @flow.step(Status.EMAIL_SET)
    def end(run: UserRun) -> Literal[Status.COMPLETED]:
        seen.append(run.status)
        return Status.COMPLETED

    @flow.timeout(Status.EMAIL_SET, after=HOUR)
    def late(run: UserRun) -> Literal[Status.COMPLETED]:
        return Status.COMPLETED

    cluster.driver.serve(flow)
    cluster.timeouts.script.fail("create")
    cluster.engine.trigger(flow, "ann", User())
    cluster.driver.run()
    cluster.engine.trigger(flow, "bob", User())
    cluster.driver.run()
    assert seen == [Status.STARTED] * 2
    cluster.timeouts.script.heal()
    cluster.driver.run()
    assert seen == [Status.STARTED] * 2 + [Status.EMAIL_SET] * 2


def test_event_is_not_acked_before_its_timers_are_armed(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(apart=True)
    flow = waiting(("soon", MINUTE))
    cluster.driver.serve(flow)
    cluster.timeouts.script.fail("create")
    run_id = cluster.engine.trigger(flow, "ann", User())
    cluster.driver.run()
    assert cluster.streamer.acked == []
    cluster.kill(cluster.engine, "first")
    cluster.join("second").engine.serving(flow).start()
    cluster.driver.advance(2 * MINUTE)
    assert cluster.record(run_id).state is RunState.COMPLETED


# -- round by round --------------------------------------------------------------------------------


def test_timer_added_where_runs_already_wait_is_armed_at_the_start(cluster: Cluster) -> None:
    """Thousands of them, some for longer than the timer's time: those fire at once."""
    before = waiting(("late", 1000 * HOUR))
    cluster.driver.serve(before)
    cluster.engine.trigger_many(before, [Trigger(f"old-{n}", User()) for n in range(1200)])
    cluster.driver.advance(2 * HOUR)
    cluster.engine.trigger_many(before, [Trigger(f"new-{n}", User()) for n in range(1200)])
    cluster.driver.run()
    after = waiting(("late", 1000 * HOUR), ("hourly", HOUR))
    cluster.kill(cluster.engine, "first")
    cluster.join("second").engine.serving(after).start()
    cluster.driver.advance(MINUTE)
    runs = [cluster.record(run_id) for run_id in cluster.run_ids]
    ended = [run for run in runs if run.state is RunState.COMPLETED]
    assert {run.foreign_id[:3] for run in ended} == {"old"}
    assert len(ended) == 1200
    cluster.driver.advance(HOUR)
    assert {cluster.record(r).state for r in cluster.run_ids} == {RunState.COMPLETED}


def test_timers_that_a_store_forgot_are_armed_again(make_cluster: Callable[..., Cluster]) -> None:
    """As after a fail-over of a store that loses what it took last."""
    cluster = make_cluster(apart=True)
    flow = waiting(("soon", HOUR))
    cluster.driver.serve(flow)
    run_id = cluster.engine.trigger(flow, "ann", User())
    cluster.driver.run()
    entered_at = cluster.record(run_id).entered_at
    cluster.timers.timers.forget(run_id)
    cluster.driver.advance(HOUR)
    assert cluster.record(run_id).entered_at == entered_at + HOUR, "counted from the entry"


# -- as the run says -------------------------------------------------------------------------------


def asked(
    when: Callable[[UserRun, datetime], datetime | None],
) -> Workflow[User, Status]:
    flow = Workflow("users", User, Status, ends=(Status.COMPLETED,))
    retry = Retry(first=MINUTE, maximum=MINUTE, jitter=False, pause_after=3)
    flow.add_timeout(
        Status.STARTED,
        lambda run: Status.COMPLETED,
        to=(Status.COMPLETED,),
        fires_at=when,
        name="asked",
        retry=retry,
    )
    return flow


def test_what_asking_takes_makes_no_timer_late(cluster: Cluster) -> None:
    """Seen to fail where the delay was counted from before the calls beside it."""

    def when(run: UserRun, now: datetime) -> datetime | None:
        cluster.clock.advance(timedelta(milliseconds=10))  # so all are asked in one batch
        return at

    at = cluster.clock.now() + HOUR
    flow = asked(when)
    cluster.driver.serve(flow)
    for name in ("ann", "bea", "cid"):
        cluster.engine.trigger(flow, name, User())
    cluster.driver.run()
    timers = cluster.timeouts.list_timeouts("users").items
    assert [timeout.due_at for timeout in timers] == [at] * 3


def test_time_is_asked_once_with_the_entry(cluster: Cluster) -> None:
    """Asked at each look a time that counts from now would never come."""
    calls: list[tuple[datetime, datetime]] = []

    def when(run: UserRun, now: datetime) -> datetime | None:
        calls.append((now, run.entered_at))
        return cluster.clock.now() + HOUR

    flow = asked(when)
    cluster.driver.serve(flow)
    start = cluster.clock.now()
    run_id = cluster.engine.trigger(flow, "ann", User())
    cluster.driver.advance(MINUTE)
    assert cluster.timer_names() == ["asked"]
    cluster.engine.pause(run_id, reason="")
    cluster.engine.resume(run_id, who="ann")
    cluster.driver.advance(HOUR)
    assert calls == [(start, start)]
    assert cluster.record(run_id).state is RunState.COMPLETED


def test_planned_timer_of_a_paused_run_waits_and_is_not_lost(cluster: Cluster) -> None:
    """Seen to fail when a resume un-parked the question alone: the timer never fired."""
    flow = asked(lambda run, now: now + MINUTE)
    cluster.driver.serve(flow)
    run_id = cluster.engine.trigger(flow, "ann", User())
    cluster.driver.run()
    cluster.engine.pause(run_id, reason="")
    cluster.driver.advance(HOUR)
    cluster.engine.resume(run_id, who="ann")
    cluster.driver.run()
    assert cluster.record(run_id).state is RunState.COMPLETED


def test_question_of_a_run_that_was_paused_at_once_is_asked_after_the_resume(
    cluster: Cluster,
) -> None:
    flow = asked(lambda run, now: now + HOUR)
    run_id = cluster.engine.trigger(flow, "ann", User())
    cluster.engine.pause(run_id, reason="")
    start = cluster.clock.now()
    cluster.driver.serve(flow)
    cluster.driver.advance(MINUTE)
    cluster.engine.resume(run_id, who="ann")
    cluster.driver.run()
    assert cluster.record(run_id).state is RunState.RUNNING
    cluster.driver.advance(HOUR)
    assert cluster.record(run_id).entered_at == start + HOUR


@pytest.mark.parametrize("answer", ["raises", "naive", "text"])
def test_question_without_a_good_answer_is_a_failed_attempt(cluster: Cluster, answer: str) -> None:
    def when(run: UserRun, now: datetime) -> datetime | None:
        if answer == "raises":
            raise ConnectionError("no calendar")
        return now.replace(tzinfo=None) if answer == "naive" else "noon"  # type: ignore[return-value]

    flow = asked(when)
    cluster.driver.serve(flow)
    run_id = cluster.engine.trigger(flow, "ann", User())
    cluster.driver.run()
    timeouts = cluster.timeouts.list_timeouts("users").items
    assert max(timeout.attempts for timeout in timeouts) == 1
    cluster.driver.advance(5 * MINUTE)
    record = cluster.record(run_id)
    assert record.state is RunState.PAUSED
    assert record.reason.startswith("timer asked failed 3 times")


@pytest.mark.parametrize("past", [timedelta(0), HOUR])
def test_time_that_has_passed_is_now(cluster: Cluster, past: timedelta) -> None:
    flow = asked(lambda run, now: now - past)
    cluster.driver.serve(flow)
    run_id = cluster.engine.trigger(flow, "ann", User())
    cluster.driver.run()
    assert cluster.record(run_id).state is RunState.COMPLETED


def test_poller_at_rest_asks_about_once_a_second(cluster: Cluster) -> None:
    """And nothing else: idle is cheap."""
    flow = waiting(("late", 24 * HOUR))
    cluster.driver.serve(flow)
    cluster.engine.trigger(flow, "ann", User())
    cluster.driver.run()
    poller = next(p for p in cluster.engine._core.crew.processes if p.name == "timers")
    assert isinstance(cluster.clock, FakeClock)
    cluster.timeouts.script.calls.clear()
    for _ in range(600):
        cluster.clock.advance(SECOND / 10)
        poller.poll(timedelta(0))
    assert cluster.timeouts.script.calls["next_due"] <= 61
    assert cluster.timeouts.script.calls["list_valid"] == 0
