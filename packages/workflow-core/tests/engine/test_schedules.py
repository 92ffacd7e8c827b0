"""Schedules in an engine: each tick once, whatever was missed, paused, changed or killed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo

import pytest
from workflow_core.definition import Missed, Run, Trigger, Workflow
from workflow_core.engine.schedule_state import record_id
from workflow_core.engine.schedule_turn import Turn
from workflow_core.engine.schedules import Scheduler
from workflow_core.errors import AdapterUnavailableError
from workflow_core.model import RecordQuery, RunState, names
from workflow_core.ports import Capability

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster

HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
DAY = timedelta(days=1)


class Status(IntEnum):
    BEGUN = 1
    WAITING = 2
    DONE = 3


@dataclass
class Report:
    tick: str = ""


Body = Callable[[datetime], Trigger[Report] | None]
Flow = Workflow[Report, Status]


def each(tick: datetime) -> Trigger[Report]:
    """A run of its own for each tick."""
    return Trigger(f"report {tick.isoformat()}", Report(tick.isoformat()))


def one(tick: datetime) -> Trigger[Report]:
    """The same foreign id each time."""
    return Trigger("report", Report(tick.isoformat()))


def flow(body: Body = each, *, keeps_waiting: bool = False, **options: Any) -> Flow:
    """Reports each hour, unless told otherwise."""
    made = Workflow("reports", Report, Status, ends=(Status.DONE,))

    @made.step(Status.BEGUN)
    def begin(run: Run[Report, Status]) -> Literal[Status.WAITING, Status.DONE]:
        return Status.WAITING if keeps_waiting else Status.DONE

    @made.callback(Status.WAITING)
    def finish(run: Run[Report, Status]) -> Literal[Status.DONE]:
        return Status.DONE

    options = options or {"every": HOUR}
    made.schedule("hourly", **options)(body)
    return made


def ticks(cluster: Cluster) -> list[str]:
    """Those of all runs that were ever begun and not purged, as times of the day."""
    runs = [r for r in cluster.records.runs.rows.values() if r.workflow == "reports"]
    return sorted(f"{datetime.fromisoformat(r.headers['tick']):%H:%M}" for r in runs)


def take_over(cluster: Cluster) -> None:
    """The leases of the dead have ended, and others have their roles."""
    cluster.clock.advance(MINUTE)
    cluster.driver.run()


def state(cluster: Cluster) -> Any:
    (view,) = cluster.engine.schedules()
    return view


# -- the ordinary course; the clock stands at 8:30 to begin with


def test_each_tick_begins_one_run_at_its_time(cluster: Cluster) -> None:
    given: list[datetime] = []
    at: list[datetime] = []

    def body(tick: datetime) -> Trigger[Report]:
        given.append(tick)
        at.append(cluster.clock.now())
        return each(tick)

    cluster.driver.serve(flow(body))
    cluster.driver.advance(3 * HOUR)
    assert given == at == [datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in (9, 10, 11)]
    assert ticks(cluster) == ["09:00", "10:00", "11:00"]
    runs = cluster.engine.runs(RecordQuery(workflow="reports")).items
    assert {run.state for run in runs} == {RunState.COMPLETED}
    assert runs[0].headers["schedule"] == "hourly"


def test_function_is_given_the_tick_in_the_zone_of_the_schedule(joined: Cluster) -> None:
    given: list[datetime] = []
    body: Body = lambda tick: given.append(tick)  # noqa: E731 - answers None
    joined.driver.serve(flow(body, cron="0 12 * * *", tz="Asia/Tokyo"))
    joined.driver.advance(DAY)
    assert given[0].tzinfo == ZoneInfo("Asia/Tokyo")
    assert (given[0].hour, given[0].utcoffset()) == (12, timedelta(hours=9))


def test_nothing_before_the_first_serving_is_made_up_for(cluster: Cluster) -> None:
    cluster.driver.serve(flow(cron="@hourly", missed=Missed.RUN_ALL))
    cluster.driver.run()
    assert ticks(cluster) == []
    assert state(cluster).next_tick == datetime(2026, 1, 1, 9, tzinfo=UTC)


def test_function_that_answers_none_begins_no_run(cluster: Cluster) -> None:
    """The filter."""
    cluster.driver.serve(flow(lambda tick: each(tick) if tick.hour % 2 else None))
    cluster.driver.advance(4 * HOUR)
    assert ticks(cluster) == ["09:00", "11:00"]
    assert state(cluster).note == "its function answered None"
    assert state(cluster).last_tick == datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_trigger_of_a_schedule_may_say_where_and_when_the_run_begins(cluster: Cluster) -> None:
    def body(tick: datetime) -> Trigger[Report]:
        return Trigger(
            "late",
            Report(),
            status=Status.WAITING,
            start_at=tick + MINUTE,
            headers={"trace": "7"},
        )

    cluster.driver.serve(flow(body))
    cluster.driver.advance(HOUR)
    (run,) = cluster.engine.runs(RecordQuery(workflow="reports")).items
    assert run.status == Status.WAITING
    assert run.headers["trace"] == "7"


def test_tick_is_skipped_and_told_while_the_run_before_is_live(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    reports = flow(one, keeps_waiting=True)
    cluster.driver.serve(reports)
    cluster.driver.advance(2 * HOUR)
    assert ticks(cluster) == ["09:00"]
    live = cluster.engine.live_run(reports, "report")
    note = f"run {live} of the same foreign id was still in progress"
    assert state(cluster).note == note
    assert state(cluster).last_run_id == ""
    assert note in caplog.text
    cluster.engine.cancel(live, reason="enough")
    cluster.driver.advance(HOUR)
    assert ticks(cluster) == ["09:00", "11:00"]


def test_two_schedules_for_one_foreign_id_begin_one_run(cluster: Cluster) -> None:
    reports = flow(one, keeps_waiting=True)
    reports.schedule("also hourly", cron="0 * * * *")(one)
    cluster.driver.serve(reports)
    cluster.driver.advance(HOUR)
    assert ticks(cluster) == ["09:00"]
    notes = sorted(view.note for view in cluster.engine.schedules(reports))
    assert notes[0] == ""
    assert "still in progress" in notes[1]


# -- missed ticks


def outage(cluster: Cluster, lasts: timedelta, *, after: timedelta = HOUR, **options: Any) -> None:
    """All processes are gone for as long, in the middle of their work."""
    first = cluster.join("dies")
    cluster.driver.serve(flow(**options), engine=first.engine)
    cluster.driver.advance(after)
    cluster.kill(first.engine, "dies")
    cluster.clock.advance(lasts)
    cluster.driver.serve(flow(**options))
    cluster.driver.run()


def test_skip_leaves_out_what_was_missed(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    outage(cluster, 3 * HOUR, every=HOUR, missed=Missed.SKIP)
    assert ticks(cluster) == ["09:00"]
    assert state(cluster).note == "missed: nobody was there at its time"
    assert "schedule 'hourly' of workflow 'reports', skip: 3 ticks missed" in caplog.text
    cluster.driver.advance(HOUR)
    assert ticks(cluster) == ["09:00", "13:00"]


def test_skip_still_runs_the_tick_of_the_last_minute(cluster: Cluster) -> None:
    """A deploy costs no tick."""
    outage(cluster, 2 * HOUR + 30 * MINUTE + 59 * SECOND, every=HOUR, missed=Missed.SKIP)
    assert ticks(cluster) == ["09:00", "12:00"]


def test_run_once_makes_up_for_the_latest(cluster: Cluster) -> None:
    outage(cluster, 3 * HOUR, every=HOUR, missed=Missed.RUN_ONCE)
    assert ticks(cluster) == ["09:00", "12:00"]


def test_run_all_makes_up_for_each_in_order(cluster: Cluster) -> None:
    asked: list[datetime] = []

    def body(tick: datetime) -> Trigger[Report]:
        asked.append(tick)
        return each(tick)

    outage(cluster, 3 * HOUR, body=body, every=HOUR, missed=Missed.RUN_ALL)
    assert ticks(cluster) == ["09:00", "10:00", "11:00", "12:00"]
    assert asked == sorted(asked)


def test_run_all_makes_up_for_the_latest_hundred(
    joined: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """An outage of a year at a tick a second is no flood, and takes no year to reckon."""
    outage(joined, 365 * DAY, after=SECOND, every=SECOND, missed=Missed.RUN_ALL)
    joined.driver.run()
    made_up = [
        r for r in joined.records.runs.rows.values() if r.headers.get("tick", "") > "2026-02"
    ]
    assert len(made_up) == 100
    newest = max(run.headers["tick"] for run in made_up)
    assert datetime.fromisoformat(newest) == joined.clock.now()
    assert "run all: all but the latest 100 ticks missed" in caplog.text


def test_failing_function_is_tried_again_with_back_off_and_holds_up_no_other(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[datetime] = []

    def body(tick: datetime) -> Trigger[Report]:
        tries.append(cluster.clock.now())
        if len(tries) < 4:
            raise ValueError("no database")
        return each(tick)

    reports = flow(body)
    others: list[datetime] = []
    reports.schedule("other", cron="0 * * * *")(lambda tick: others.append(tick))
    cluster.driver.serve(reports)
    cluster.driver.advance(30 * MINUTE)
    assert len(others) == 1
    failing = cluster.engine.schedules("reports")[0]
    assert (failing.attempts, failing.last_error) == (1, "ValueError: no database")
    assert failing.next_try_at is not None
    cluster.driver.advance(MINUTE)
    waits = [(later - earlier) / SECOND for earlier, later in pairwise(tries)]
    assert [0.4 < waits[0] < 1.1, 0.9 < waits[1] < 2.1, 1.9 < waits[2] < 4.1] == [True] * 3
    assert ticks(cluster) == ["09:00"]
    assert cluster.engine.schedules("reports")[0].attempts == 0
    assert "failed at tick 2026-01-01 09:00:00+00:00 on attempt 1" in caplog.text


def test_back_off_and_count_outlive_a_restart(cluster: Cluster) -> None:
    def body(tick: datetime) -> Trigger[Report]:
        raise ValueError("no")

    first = cluster.join("dies")
    cluster.driver.serve(flow(body), engine=first.engine)
    cluster.driver.advance(HOUR)
    attempts = state(cluster).attempts
    assert attempts >= 5
    cluster.kill(first.engine, "dies")
    cluster.driver.serve(flow(body))
    cluster.driver.advance(20 * MINUTE)
    assert attempts < state(cluster).attempts <= attempts + 12


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("report", "answers a Trigger or None, not a str"),
        (Trigger("x", Report(), idempotency_key="k"), "leave idempotency_key= out"),
        (Trigger("", Report()), "1 to 255 characters"),
        (Trigger("x", "no report"), "PayloadError"),
        (Trigger("x", Report(), status=Status.DONE), "UnknownStatusError"),
    ],
)
def test_wrong_answer_is_a_failed_attempt(joined: Cluster, answer: Any, says: str) -> None:
    joined.driver.serve(flow(lambda tick: answer))
    joined.driver.advance(30 * MINUTE)
    assert says in state(joined).last_error
    assert ticks(joined) == []


def test_run_that_the_store_refuses_is_a_failed_attempt(cluster: Cluster) -> None:
    cluster.store.refuses = lambda record: record.workflow == "reports"
    cluster.driver.serve(flow())
    cluster.driver.advance(30 * MINUTE + 10 * SECOND)
    assert state(cluster).attempts > 1
    cluster.store.refuses = lambda record: False
    cluster.driver.advance(20 * MINUTE)
    assert ticks(cluster) == ["09:00"]
    assert state(cluster).attempts == 0


# -- several processes


def test_each_tick_begins_one_run_when_the_role_moves(cluster: Cluster) -> None:
    """Seen to fail where a new holder begins from now, and where it begins from its own memory."""
    cluster.driver.serve(flow())
    members = [cluster.join(name) for name in ("second", "third")]
    for member in members:
        cluster.driver.serve(flow(), engine=member.engine)
    cluster.driver.advance(2 * HOUR)
    cluster.engine.close()  # in order
    cluster.driver.advance(HOUR)
    cluster.kill(members[0].engine, "second")
    cluster.driver.advance(2 * HOUR)
    assert ticks(cluster) == ["09:00", "10:00", "11:00", "12:00", "13:00"]


@pytest.fixture(params=["with transactions", "without"])
def any_cluster(
    request: pytest.FixtureRequest, outbox: Cluster, monkeypatch: pytest.MonkeyPatch
) -> Cluster:
    if request.param == "without":
        capabilities = outbox.store.capabilities - {Capability.TRANSACTIONS}
        monkeypatch.setattr(type(outbox.store), "capabilities", capabilities)
    return outbox


@pytest.mark.parametrize("dies_at", range(1, 5))
@pytest.mark.parametrize("took_effect", [False, True])
def test_tick_begins_one_run_when_its_process_dies_at_any_write(
    any_cluster: Cluster, dies_at: int, took_effect: bool
) -> None:
    """Between the run and its tick too. Seen to fail with the tick settled first."""
    cluster = any_cluster
    dying = cluster.join("dying")
    cluster.driver.serve(flow(), engine=dying.engine)
    cluster.driver.advance(29 * MINUTE)
    writes = iter(range(1, 100))

    def die(call: str) -> None:
        if call == "commit" and next(writes) >= dies_at:
            raise AdapterUnavailableError("and is not heard of again")

    if took_effect:
        dying.store.script.after = die
    else:
        dying.store.script.before = die
    cluster.driver.advance(MINUTE)
    cluster.kill(dying.engine, "dying")
    cluster.driver.serve(flow())
    take_over(cluster)
    cluster.driver.advance(HOUR)
    assert ticks(cluster) == ["09:00", "10:00"]


def test_holder_that_was_frozen_begins_no_run_of_a_settled_tick(cluster: Cluster) -> None:
    """It read, froze, lost its role, and writes after all, when even the run has been purged.

    Seen to fail with the run written first.
    """
    frozen = cluster.join("frozen")
    reports = flow()
    cluster.driver.serve(reports, engine=frozen.engine)
    cluster.driver.advance(29 * MINUTE)
    process = next(p for p in frozen.engine._core.crew.processes if isinstance(p, Scheduler))
    thawed: list[Callable[[], None]] = []
    write = process._write

    def freeze(turns: Sequence[Turn]) -> None:
        thawed.append(lambda: write(turns))
        raise AdapterUnavailableError("frozen")

    process._write = freeze  # type: ignore[method-assign]
    cluster.driver.advance(MINUTE)
    assert thawed
    cluster.kill(frozen.engine, "frozen")
    cluster.driver.serve(flow())
    take_over(cluster)
    cluster.driver.advance(HOUR)
    assert ticks(cluster) == ["09:00", "10:00"]
    assert cluster.engine.purge(reports, older_than=timedelta(0)) == 2
    thawed[0]()
    assert ticks(cluster) == []


def test_tick_is_not_run_again_after_its_run_was_purged(cluster: Cluster) -> None:
    reports = flow(missed=Missed.RUN_ALL, every=HOUR)
    serving = cluster.driver.serve(reports)
    cluster.driver.advance(2 * HOUR)
    assert cluster.engine.purge(reports, older_than=timedelta(0)) == 2
    serving.stop()
    cluster.driver.serve(reports)
    cluster.driver.run()
    assert ticks(cluster) == []
    assert len(cluster.engine.schedules()) == 1


def test_process_whose_clock_is_off_by_an_hour_changes_nothing(cluster: Cluster) -> None:
    """Seen to fail with the process's own clock."""
    ahead = cluster.join("ahead", clock_ahead=HOUR)
    cluster.driver.serve(flow(), engine=ahead.engine)
    cluster.driver.advance(30 * MINUTE - SECOND)
    assert ticks(cluster) == []
    cluster.driver.advance(SECOND)
    assert ticks(cluster) == ["09:00"]


def test_nobody_is_asked_between_ticks(joined: Cluster) -> None:
    """But for the store's time, once a minute."""
    joined.driver.serve(flow(cron="0 0 * * *"))
    joined.driver.advance(MINUTE)
    process = next(p for p in joined.engine._core.crew.processes if isinstance(p, Scheduler))
    joined.store.script.calls.clear()
    for _ in range(600):
        process.poll(timedelta(0))
        joined.clock.advance(SECOND)
    assert dict(joined.store.script.calls) == {"now": pytest.approx(10, abs=1)}


def test_workflow_without_schedules_has_no_process_and_no_role(joined: Cluster) -> None:
    made = Workflow("plain", Report, Status, ends=(Status.DONE,))

    @made.step(Status.BEGUN)
    def do(run: Run[Report, Status]) -> Literal[Status.DONE]:
        return Status.DONE

    serving = joined.driver.serve(made)
    joined.driver.run()
    assert not any(process.name == "schedules" for process in joined.engine.processes())
    assert names.schedules_role("plain") not in serving.roles


def test_thousand_schedules_share_one_process_role_and_transaction(joined: Cluster) -> None:
    """No question and no transaction per schedule."""
    made = flow()
    for number in range(999):
        made.schedule(f"schedule {number}", cron="0 * * * *")(
            lambda tick, number=number: Trigger(f"{number} {tick}", Report())  # type: ignore[misc]
        )
    joined.driver.serve(made)
    joined.driver.advance(29 * MINUTE)
    joined.store.script.calls.clear()
    process = next(p for p in joined.engine._core.crew.processes if isinstance(p, Scheduler))
    joined.clock.advance(MINUTE)
    while process.poll(timedelta(0)):
        pass
    calls = joined.store.script.calls
    assert len(ticks(joined)) == 1000
    assert calls["lookup_primary"] == 2
    assert calls["commit"] == 4


def test_many_failures_of_the_store_cost_no_tick(any_cluster: Cluster) -> None:
    cluster = any_cluster
    cluster.driver.serve(flow())
    cluster.driver.advance(29 * MINUTE)
    cluster.store.script.fail()
    cluster.driver.advance(2 * MINUTE)
    cluster.store.script.heal()
    cluster.driver.advance(HOUR)
    assert ticks(cluster) == ["09:00", "10:00"]


# -- deploys


def test_changed_schedule_counts_from_the_deploy(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """Ticks that the new expression would have had before are owed to nobody."""
    caplog.set_level(logging.INFO, "workflow_core.engine")
    serving = cluster.driver.serve(flow(cron="0 9 * * *", missed=Missed.RUN_ALL))
    cluster.driver.advance(4 * HOUR)
    serving.stop()
    cluster.driver.serve(flow(cron="0 * * * *", missed=Missed.RUN_ALL))
    cluster.driver.run()
    assert ticks(cluster) == ["09:00"]
    assert "changed from cron 0 9 * * * in UTC to cron 0 * * * * in UTC" in caplog.text
    cluster.driver.advance(HOUR)
    assert ticks(cluster) == ["09:00", "13:00"]


def test_removed_schedule_begins_nothing_and_is_still_listed(cluster: Cluster) -> None:
    serving = cluster.driver.serve(flow())
    cluster.driver.advance(HOUR)
    serving.stop()
    without = Workflow("reports", Report, Status, ends=(Status.DONE,))

    @without.step(Status.BEGUN)
    def do(run: Run[Report, Status]) -> Literal[Status.DONE]:
        return Status.DONE

    cluster.driver.serve(without)
    cluster.driver.advance(3 * HOUR)
    assert ticks(cluster) == ["09:00"]
    assert [view.name for view in cluster.engine.schedules()] == ["hourly"]


def test_schedule_that_was_away_for_a_while_is_late_like_any_other(cluster: Cluster) -> None:
    outage(cluster, 30 * DAY, every=HOUR, missed=Missed.RUN_ONCE)
    assert len(ticks(cluster)) == 2


def test_record_that_cannot_be_read_stands_still_alone(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a deploy that was taken back."""
    reports = flow()
    others: list[datetime] = []
    reports.schedule("other", cron="0 * * * *")(lambda tick: others.append(tick))
    cluster.driver.serve(reports)
    cluster.driver.run()
    run_id = record_id("reports", "hourly")
    good = cluster.record(run_id)
    with cluster.records.lock:
        cluster.records.runs.rows[run_id] = good.replace(data=b'{"from": "the future"}')
    cluster.driver.advance(HOUR)
    assert len(others) == 1
    assert "stands still: the record of schedule reports/hourly cannot be read" in caplog.text
    with cluster.records.lock:
        cluster.records.runs.rows[run_id] = good
    cluster.driver.advance(2 * MINUTE)
    assert ticks(cluster) == ["09:00"]


# -- the store's clock jumps


def test_clock_that_is_put_back_repeats_no_tick(cluster: Cluster) -> None:
    cluster.driver.serve(flow())
    cluster.driver.advance(HOUR)
    cluster.clock._passed -= 45 * MINUTE
    cluster.driver.advance(HOUR)
    assert ticks(cluster) == ["09:00"]
    cluster.driver.advance(HOUR)
    assert ticks(cluster) == ["09:00", "10:00"]


def test_clock_that_was_far_ahead_is_forgiven_by_a_pause_and_a_resume(cluster: Cluster) -> None:
    reports = flow()
    cluster.driver.serve(reports)
    cluster.clock.advance(400 * DAY)
    cluster.driver.run()
    cluster.clock._passed -= 399 * DAY
    begun = len(ticks(cluster))
    cluster.engine.pause_schedule(reports, "hourly", reason="the clock was wrong")
    cluster.engine.resume_schedule(reports, "hourly", who="ada")
    cluster.driver.advance(HOUR)
    # the tick's key is known already: it begins no second run, and goes on from there
    assert len(ticks(cluster)) == begun
    assert state(cluster).next_tick - cluster.clock.now() < HOUR


def test_timer_of_the_first_status_is_armed(cluster: Cluster) -> None:
    made = Workflow("reports", Report, Status, ends=(Status.DONE,), starts=(Status.WAITING,))

    @made.timeout(Status.WAITING, after=10 * MINUTE)
    def give_up(run: Run[Report, Status]) -> Literal[Status.DONE]:
        return Status.DONE

    made.schedule("hourly", every=HOUR)(each)
    cluster.driver.serve(made)
    cluster.driver.advance(41 * MINUTE)
    (run,) = cluster.engine.runs(RecordQuery(workflow="reports")).items
    assert run.state is RunState.COMPLETED
