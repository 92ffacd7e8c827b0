"""Why a run does not move: a test for each cause, made as it comes about, with what to do next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import pytest
from workflow_core import Cause, EngineSettings, RunState, Why
from workflow_core.definition import Cancel, Pause, Repeat, Retry, Run, Skip, Workflow
from workflow_core.engine.timers.book import WorkflowTimers
from workflow_core.errors import AdapterUnavailableError, InputError, RunNotFoundError

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster

MINUTE = timedelta(minutes=1)


class Status(IntEnum):
    CREATED = 1
    WAITING = 2
    TIMED = 3
    LAGGING = 4
    DONE = 9


@dataclass
class Order:
    total: int = 0


OrderRun = Run[Order, Status]
Body = Callable[[OrderRun], Any]


def orders_with(
    body: Body = lambda run: Status.WAITING,
    *,
    after: timedelta | None = MINUTE,
    fires_at: Callable[[OrderRun, datetime], datetime | None] | None = None,
    fires: Body = lambda run: Status.DONE,
    concurrency: int = 10,
) -> Workflow[Order, Status]:
    orders = Workflow("orders", Order, Status, ends=[Status.DONE], starts=list(Status)[:4])
    all_of_them = list(Status)
    orders.add_step(
        Status.CREATED,
        body,
        to=all_of_them,
        retry=Retry(first=MINUTE, jitter=False, pause_after=2),
        concurrency=concurrency,
    )
    orders.add_callback(Status.WAITING, lambda run: Status.DONE, payload=None, to=[Status.DONE])

    def give_up(run: OrderRun) -> Any:
        return fires(run)

    more: dict[str, Any] = {"after": after} if fires_at is None else {"fires_at": fires_at}
    orders.add_timeout(Status.TIMED, give_up, to=all_of_them, name="give up", **more)
    orders.add_timeout(
        Status.CREATED, give_up, to=all_of_them, after=timedelta(days=1), name="too old"
    )
    orders.add_step(
        Status.LAGGING, lambda run: Status.DONE, to=[Status.DONE], lag=timedelta(hours=1)
    )
    return orders


def fails(run: OrderRun) -> Any:
    raise ConnectionError("the bank does not answer")


def unplugged(*asked: object, **more: object) -> Any:
    raise AdapterUnavailableError("the test pulls the plug")


def told(why: Why) -> str:
    """All of it, once it is known that each reason says what to do."""
    assert all(reason.detail and reason.todo for reason in why.reasons)
    return "\n".join(f"{reason.detail}. {reason.todo}" for reason in why.reasons)


# -- what the record says --------------------------------------------------------------------------


def test_why_says_that_a_run_has_ended(cluster: Cluster) -> None:
    orders = orders_with(lambda run: Cancel("out of stock"))
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.driver.run()
    why = cluster.engine.why(run_id)
    assert [reason.cause for reason in why.reasons] == [Cause.ENDED]
    assert "out of stock" in told(why)
    assert (why.status_name, why.state, why.version) == ("CREATED", RunState.CANCELLED, 2)


def test_why_names_the_live_run_of_an_ended_ones_foreign_id(cluster: Cluster) -> None:
    """Seen to fail when nobody looked for it."""
    orders = orders_with()
    old = cluster.engine.trigger(orders, "order-1", Order())
    cluster.engine.cancel(old, reason="wrong")
    new = cluster.engine.trigger(orders, "order-1", Order())
    why = cluster.engine.why(old)
    assert [reason.cause for reason in why.reasons] == [Cause.ENDED, Cause.SUPERSEDED]
    assert new in why.reasons[1].detail


def test_why_says_that_data_is_being_deleted(outbox: Cluster) -> None:
    orders = orders_with()
    client = outbox.client()
    run_id = client.engine.trigger(orders, "order-1", Order())
    client.engine.cancel(run_id, reason="wrong")
    record = outbox.record(run_id)
    outbox.records.runs.rows[run_id] = record.replace(state=RunState.REQUESTED_DATA_DELETED)
    assert client.engine.why(run_id).cause is Cause.DELETING


def test_why_says_that_an_operator_paused_it_and_why(cluster: Cluster) -> None:
    orders = orders_with()
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.engine.pause(run_id, reason="ann looks into it")
    why = cluster.engine.why(run_id)
    assert why.cause is Cause.PAUSED_BY_OPERATOR
    assert "ann looks into it" in told(why)
    assert "Resume" in told(why)


def test_why_says_that_its_step_paused_it_and_why(cluster: Cluster) -> None:
    orders = orders_with(lambda run: Pause("a person is to look"))
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.driver.run()
    why = cluster.engine.why(run_id)
    assert why.cause is Cause.PAUSED_BY_STEP
    assert "a person is to look" in told(why)


def test_why_says_when_a_failed_run_is_resumed_automatically(cluster: Cluster) -> None:
    """Seen to fail when the time counted from the entry and not from the pause."""
    orders = orders_with(fails)
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.driver.advance(2 * MINUTE)
    why = cluster.engine.why(run_id)
    assert why.cause is Cause.PAUSED_BY_FAILURES
    assert "ConnectionError: the bank does not answer" in told(why)
    paused_at = cluster.record(run_id).updated_at
    assert why.reasons[0].until == paused_at + timedelta(hours=1)
    cluster.driver.advance(timedelta(hours=1))
    assert cluster.record(run_id).auto_resumes == 1, "and so it was"


def test_why_says_that_nobody_is_there_to_resume_a_failed_run(cluster: Cluster) -> None:
    """Seen to fail when roles were asked for only where a step is due."""
    orders = orders_with(fails)
    serving = cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.driver.advance(2 * MINUTE)
    serving.stop()
    cluster.clock.advance(timedelta(hours=2))
    causes = [reason.cause for reason in cluster.engine.why(run_id).reasons]
    assert causes == [Cause.PAUSED_BY_FAILURES, Cause.NOT_SERVED]


def test_why_says_that_the_limit_of_automatic_resumes_is_reached(
    make_cluster: Callable[..., Cluster],
) -> None:
    """Seen to fail when the limit was not held against the settings."""
    cluster = make_cluster(settings=EngineSettings(auto_resumes=1))
    orders = orders_with(fails)
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.driver.advance(timedelta(hours=2))
    why = cluster.engine.why(run_id)
    assert why.cause is Cause.RESUMES_USED_UP
    assert why.reasons[0].until is None
    assert "1 times in a row, of at most 1" in told(why)


def test_why_says_after_which_error_and_until_when_it_backs_off(cluster: Cluster) -> None:
    orders = orders_with(fails)
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.driver.run()
    why = cluster.engine.why(run_id)
    assert [reason.cause for reason in why.reasons] == [Cause.BACKING_OFF, Cause.TIMER]
    assert "failed 1 times here, the last time with ConnectionError" in told(why)
    assert why.reasons[0].until == cluster.clock.now() + MINUTE


def test_why_says_when_it_is_repeated(cluster: Cluster) -> None:
    orders = orders_with(lambda run: Repeat(after=MINUTE))
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.driver.run()
    why = cluster.engine.why(run_id)
    assert why.cause is Cause.REPEATING
    assert why.reasons[0].until == cluster.clock.now() + MINUTE


def test_why_says_when_it_starts(cluster: Cluster) -> None:
    orders = orders_with()
    start = cluster.clock.now() + MINUTE
    run_id = cluster.engine.trigger(orders, "order-1", Order(), start_at=start)
    why = cluster.engine.why(run_id, orders)
    assert why.cause is Cause.STARTS_LATER
    assert why.reasons[0].until == start


def test_why_tells_a_steps_lag_from_a_start(cluster: Cluster) -> None:
    """Seen to fail when the definition's lag was not looked at."""
    orders = orders_with()
    run_id = cluster.engine.trigger(orders, "order-1", Order(), status=Status.LAGGING)
    why = cluster.engine.why(run_id, orders)
    assert why.cause is Cause.HELD_BACK
    assert "1:00:00" in told(why)


def test_why_says_that_a_resumed_run_waits_for_its_start(cluster: Cluster) -> None:
    orders = orders_with()
    start = cluster.clock.now() + MINUTE
    run_id = cluster.engine.trigger(orders, "order-1", Order(), start_at=start)
    cluster.engine.pause(run_id, reason="wait")
    cluster.engine.resume(run_id, who="ann")
    assert cluster.engine.why(run_id, orders).cause is Cause.DELAYED


# -- what the definition says ----------------------------------------------------------------------


def test_why_names_the_callback_that_it_waits_for(cluster: Cluster) -> None:
    orders = orders_with()
    run_id = cluster.engine.trigger(orders, "order-1", Order(), status=Status.WAITING)
    why = cluster.engine.why(run_id, orders)
    assert [reason.cause for reason in why.reasons] == [Cause.CALLBACK]
    assert "test_why.py:" in told(why), "where it is declared"


def test_why_names_the_callback_after_a_skip(cluster: Cluster) -> None:
    orders = orders_with(lambda run: Skip())
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.driver.run()
    why = cluster.engine.why(run_id)
    assert [reason.cause for reason in why.reasons] == [Cause.TIMER]


def test_why_says_which_timer_is_due_when(cluster: Cluster) -> None:
    """Seen to fail when timers of other runs were told too."""
    orders = orders_with()
    cluster.driver.serve(orders)
    cluster.engine.trigger(orders, "order-2", Order(), status=Status.TIMED)
    cluster.driver.advance(timedelta(seconds=10))
    run_id = cluster.engine.trigger(orders, "order-1", Order(), status=Status.TIMED)
    cluster.driver.run()
    why = cluster.engine.why(run_id)
    assert [reason.cause for reason in why.reasons] == [Cause.TIMER]
    assert "give up" in told(why)
    assert why.reasons[0].until == cluster.clock.now() + MINUTE


def test_why_tells_a_timers_failures(cluster: Cluster) -> None:
    orders = orders_with(fires=fails)
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order(), status=Status.TIMED)
    cluster.driver.advance(MINUTE)
    why = cluster.engine.why(run_id)
    assert why.cause is Cause.TIMER
    assert "failed 1 times, the last time with ConnectionError" in told(why)


def test_why_says_that_a_timer_is_overdue_and_nobody_fires_it(cluster: Cluster) -> None:
    """Seen to fail when the timers' role was not asked for."""
    orders = orders_with()
    serving = cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order(), status=Status.TIMED)
    cluster.driver.run()
    serving.stop()
    cluster.clock.advance(2 * MINUTE)
    why = cluster.engine.why(run_id)
    assert why.cause is Cause.TIMER_OVERDUE
    assert "no process holds the role" in told(why)


def test_why_says_that_an_overdue_timer_has_a_poller(cluster: Cluster) -> None:
    orders = orders_with()
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order(), status=Status.TIMED)
    cluster.driver.run()
    cluster.clock.advance(2 * MINUTE)
    why = cluster.engine.why(run_id)
    assert why.cause is Cause.TIMER_OVERDUE
    assert "no process holds" not in told(why)


def test_why_says_that_no_timer_is_open(cluster: Cluster) -> None:
    orders = orders_with(fires_at=lambda run, now: None)
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order(), status=Status.TIMED)
    cluster.driver.advance(MINUTE)
    why = cluster.engine.why(run_id)
    assert why.cause is Cause.NO_TIMER
    assert "give up" in told(why)


def test_why_does_not_tell_a_timer_whose_time_is_yet_to_be_asked(cluster: Cluster) -> None:
    """Seen to fail when a timer that stands for the question was told as due in a hundred years."""
    orders = orders_with(fires_at=lambda run, now: now + MINUTE)
    run_id = cluster.engine.trigger(orders, "order-1", Order(), status=Status.TIMED)
    record = cluster.record(run_id)
    timers = WorkflowTimers(orders).of_stay(record, cluster.clock.now())
    cluster.timeouts.create_many(timers)
    why = cluster.engine.why(run_id, orders)
    assert [reason.until for reason in why.reasons] == [cluster.clock.now()]


def test_why_says_that_the_code_does_not_know_the_status(cluster: Cluster) -> None:
    """Seen to fail when the status was looked up as the engine does, which raises."""

    class Newer(IntEnum):
        CREATED = 1
        REVIEW = 42
        DONE = 9

    newer = Workflow("orders", Order, Newer, ends=[Newer.DONE])
    newer.add_step(Newer.CREATED, lambda run: Newer.REVIEW, to=[Newer.REVIEW])
    newer.add_step(Newer.REVIEW, lambda run: Newer.DONE, to=[Newer.DONE])
    run_id = cluster.engine.trigger(newer, "order-1", Order(), status=Newer.REVIEW)
    why = cluster.engine.why(run_id, orders_with())
    assert why.cause is Cause.UNKNOWN_STATUS
    assert "42" in told(why)
    assert why.status_name == ""


def test_why_says_that_the_code_has_nothing_at_the_status(cluster: Cluster) -> None:
    run_id = cluster.engine.trigger(orders_with(), "order-1", Order(), status=Status.LAGGING)
    cluster.clock.advance(timedelta(hours=2))
    less = Workflow("orders", Order, Status, ends=[Status.DONE])
    less.add_step(Status.CREATED, lambda run: Status.DONE, to=[Status.DONE])
    why = cluster.engine.why(run_id, less)
    assert why.cause is Cause.NOTHING_THERE
    assert "LAGGING" in told(why)


def test_why_says_that_a_skipped_run_has_nothing_left(cluster: Cluster) -> None:
    orders = orders_with(lambda run: Skip())
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.driver.run()
    less = Workflow("orders", Order, Status, ends=[Status.DONE])
    less.add_step(Status.CREATED, lambda run: Status.DONE, to=[Status.DONE])
    why = cluster.engine.why(run_id, less)
    assert why.cause is Cause.NOTHING_THERE
    assert "Skip" in told(why)


def test_why_says_that_it_needs_the_definition(joined: Cluster) -> None:
    orders = orders_with()
    run_id = joined.engine.trigger(orders, "order-1", Order(), status=Status.WAITING)
    client = joined.client()
    joined.clock.advance(MINUTE)
    why = client.engine.why(run_id)
    assert why.cause is Cause.NOT_DEFINED
    assert any("callback" in each.lower() for each in why.not_asked)


# -- what cannot be answered -----------------------------------------------------------------------


def test_why_knows_no_run_of_the_engines_own(cluster: Cluster) -> None:
    """Seen to fail when reserved workflows were not left out."""
    with pytest.raises(RunNotFoundError, match="no run nonsense"):
        cluster.engine.why("nonsense")
    run_id = cluster.engine.trigger(orders_with(), "order-1", Order())
    cluster.records.runs.rows[run_id] = cluster.record(run_id).replace(workflow="_schedules")
    with pytest.raises(RunNotFoundError):
        cluster.engine.why(run_id)


def test_why_refuses_another_workflows_definition(cluster: Cluster) -> None:
    run_id = cluster.engine.trigger(orders_with(), "order-1", Order())
    other = Workflow("others", Order, Status, ends=[Status.DONE])
    with pytest.raises(InputError, match="is one of 'orders'"):
        cluster.engine.why(run_id, other)
