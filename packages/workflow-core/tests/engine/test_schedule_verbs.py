"""The verbs on schedules: list, pause, resume."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal

import pytest
from workflow_core.definition import Missed, Run, Trigger, Workflow
from workflow_core.engine.schedule_state import record_id
from workflow_core.errors import InputError, RunNotFoundError, RunStateError, StoppedError

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster

HOUR = timedelta(hours=1)


class Status(IntEnum):
    BEGUN = 1
    DONE = 2


@dataclass
class Report:
    tick: str = ""


def each(tick: datetime) -> Trigger[Report]:
    return Trigger(f"report {tick.isoformat()}", Report(tick.isoformat()))


def flow(
    body: Callable[[datetime], Trigger[Report] | None] = each, **options: Any
) -> Workflow[Report, Status]:
    """Reports each hour, unless told otherwise."""
    made = Workflow("reports", Report, Status, ends=(Status.DONE,))

    @made.step(Status.BEGUN)
    def begin(run: Run[Report, Status]) -> Literal[Status.DONE]:
        return Status.DONE

    made.schedule("hourly", **(options or {"every": HOUR}))(body)
    return made


def ticks(cluster: Cluster) -> list[str]:
    """Those of all runs, as times of the day; the clock stands at 8:30 to begin with."""
    runs = [r for r in cluster.records.runs.rows.values() if r.workflow == "reports"]
    return sorted(f"{datetime.fromisoformat(r.headers['tick']):%H:%M}" for r in runs)


def state(cluster: Cluster) -> Any:
    (view,) = cluster.engine.schedules()
    return view


def test_paused_schedule_begins_nothing_in_any_process_and_over_restarts(cluster: Cluster) -> None:
    reports = flow(missed=Missed.RUN_ALL, every=HOUR)
    serving = cluster.driver.serve(reports)
    cluster.driver.advance(HOUR)
    paused = cluster.client().engine.pause_schedule(reports, "hourly", reason="month's end")
    assert (paused.is_paused, paused.reason) == (True, "month's end")
    cluster.driver.advance(HOUR)
    serving.stop()
    cluster.driver.serve(reports)
    cluster.driver.advance(HOUR)
    assert ticks(cluster) == ["09:00"]
    assert state(cluster).next_tick is None


def test_resumed_schedule_goes_on_with_the_next_tick(cluster: Cluster) -> None:
    """What was due during the pause is not made up for, whatever `missed` says."""
    reports = flow(missed=Missed.RUN_ALL, every=HOUR)
    cluster.driver.serve(reports)
    cluster.engine.pause_schedule(reports, "hourly", reason="later")
    cluster.driver.advance(3 * HOUR)
    view = cluster.client().engine.resume_schedule(reports, "hourly", who="ada", why="done")
    assert view.next_tick == datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert view.resumed is not None
    assert (view.resumed.who, view.resumed.why) == ("ada", "done")
    cluster.driver.advance(HOUR)
    assert ticks(cluster) == ["12:00"]
    assert not state(cluster).is_paused


def test_verbs_go_by_names_where_the_definition_is_not_at_hand(cluster: Cluster) -> None:
    cluster.driver.serve(flow())
    cluster.driver.run()
    client = cluster.client().engine
    client.pause_schedule("reports", "hourly", reason="by the web UI")
    assert client.schedules("reports")[0].is_paused
    assert client.schedules("others") == []
    client.resume_schedule("reports", "hourly", who="ada")
    cluster.driver.advance(HOUR)
    assert ticks(cluster) == ["09:00"]


def test_schedule_can_be_paused_before_anybody_serves_it(cluster: Cluster) -> None:
    reports = flow()
    cluster.engine.pause_schedule(reports, "hourly", reason="not yet")
    cluster.driver.serve(reports)
    cluster.driver.advance(2 * HOUR)
    assert ticks(cluster) == []


def test_pausing_again_changes_nothing_and_resuming_a_running_one_is_refused(
    cluster: Cluster,
) -> None:
    reports = flow()
    cluster.engine.pause_schedule(reports, "hourly", reason="first")
    again = cluster.engine.pause_schedule(reports, "hourly", reason="second")
    assert again.reason == "first"
    cluster.engine.resume_schedule(reports, "hourly", who="ada")
    with pytest.raises(RunStateError, match="reports/hourly is not paused"):
        cluster.engine.resume_schedule(reports, "hourly", who="ada")


def test_unknown_schedule_is_refused_with_a_hint(cluster: Cluster) -> None:
    with pytest.raises(InputError, match="Did you mean 'hourly'"):
        cluster.engine.pause_schedule(flow(), "hourley", reason="x")
    with pytest.raises(InputError, match="has no schedule 'hourly' that was served yet"):
        cluster.engine.resume_schedule("reports", "hourly", who="x")


def test_pause_wins_against_the_tick_of_the_same_moment(cluster: Cluster) -> None:
    """The scheduler has read, and asked its function, when the pause is written."""
    reports = flow(lambda tick: (pause(), each(tick))[1])  # type: ignore[func-returns-value]

    def pause() -> None:
        cluster.engine.pause_schedule(reports, "hourly", reason="now")

    cluster.driver.serve(reports)
    cluster.driver.advance(2 * HOUR)
    assert ticks(cluster) == []
    assert state(cluster).is_paused


def test_verbs_are_there_for_asyncio(cluster: Cluster) -> None:
    reports = flow()

    async def steer() -> None:
        engine = cluster.engine.aio
        await engine.pause_schedule(reports, "hourly", reason="x")
        assert [view.name for view in await engine.schedules(reports)] == ["hourly"]
        view = await engine.resume_schedule("reports", "hourly", who="ada")
        assert not view.is_paused

    asyncio.run(steer())


def test_closed_engine_refuses_the_verbs(cluster: Cluster) -> None:
    engine = cluster.client().engine
    engine.close()
    verbs: list[Callable[[], object]] = [
        engine.schedules,
        lambda: engine.pause_schedule("reports", "hourly", reason="x"),
        lambda: engine.resume_schedule("reports", "hourly", who="x"),
    ]
    for verb in verbs:
        with pytest.raises(StoppedError):
            verb()


def test_verbs_on_runs_leave_the_record_of_a_schedule_alone(cluster: Cluster) -> None:
    cluster.driver.serve(flow())
    cluster.driver.run()
    run_id = record_id("reports", "hourly")
    verbs: list[Callable[[], object]] = [
        lambda: cluster.engine.pause(run_id, reason="x"),
        lambda: cluster.engine.cancel(run_id, reason="x"),
        lambda: cluster.engine.resume(run_id, who="x"),
    ]
    for verb in verbs:
        with pytest.raises(RunNotFoundError):
            verb()
