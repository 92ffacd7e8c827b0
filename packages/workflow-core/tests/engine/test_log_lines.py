"""What core's own lines are about, and the lines of bodies of every kind."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

import pytest
from workflow_core.definition import Callback, Retry, Run, RunView, Workflow
from workflow_core.logs import FIELDS, fields_of, run_fields

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster

HOUR = timedelta(hours=1)


class Status(IntEnum):
    BEGUN = 1
    WAITING = 2
    DONE = 3


@dataclass
class Data:
    card: str = "4111"


Seen = list[tuple[str, dict[str, object]]]


Flow = Workflow[Data, Status]


def flow_of_all_kinds(seen: Seen, *, is_async: bool) -> tuple[Flow, Callback[Data, Status, None]]:
    """Each body notes what its lines would be about."""
    flow = Workflow("flow", Data, Status, ends=(Status.DONE,))

    def note(kind: str) -> None:
        seen.append((kind, run_fields()))

    if is_async:

        @flow.step(Status.BEGUN)
        async def step(run: Run[Data, Status]) -> Literal[Status.WAITING]:
            note("step")
            await asyncio.sleep(0)
            note("step, later")
            return Status.WAITING

        @flow.callback(Status.WAITING)
        async def callback(run: Run[Data, Status]) -> Literal[Status.DONE]:
            await asyncio.sleep(0)
            note("callback")
            return Status.DONE

        @flow.timeout(Status.WAITING, after=HOUR)
        async def timer(run: Run[Data, Status]) -> Literal[Status.DONE]:
            await asyncio.sleep(0)
            note("timer")
            return Status.DONE

        @flow.on_complete()
        async def hook(run: RunView[Data, Status]) -> None:
            await asyncio.sleep(0)
            note("hook")

        return flow, callback

    @flow.step(Status.BEGUN)
    def plain_step(run: Run[Data, Status]) -> Literal[Status.WAITING]:
        note("step")
        return Status.WAITING

    @flow.callback(Status.WAITING)
    def plain_callback(run: Run[Data, Status]) -> Literal[Status.DONE]:
        note("callback")
        return Status.DONE

    @flow.timeout(Status.WAITING, after=HOUR)
    def plain_timer(run: Run[Data, Status]) -> Literal[Status.DONE]:
        note("timer")
        return Status.DONE

    @flow.on_complete()
    def plain_hook(run: RunView[Data, Status]) -> None:
        note("hook")

    return flow, plain_callback


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_body_of_every_kind_is_about_its_run(joined: Cluster, is_async: bool) -> None:
    """Seen to fail for each kind without its `About`."""
    seen: Seen = []
    flow, callback = flow_of_all_kinds(seen, is_async=is_async)
    driver = joined.driver
    driver.serve(flow)
    called = joined.engine.trigger(flow, "called", Data())
    driver.run()
    joined.engine.callback(callback, called)
    awaited = joined.engine.trigger(flow, "awaited", Data())
    driver.run()
    asyncio.run(joined.engine.aio.callback(callback, awaited))
    fired = joined.engine.trigger(flow, "fired", Data())
    driver.advance(2 * HOUR)
    by_kind = {(kind, fields["run_id"]) for kind, fields in seen}
    for run_id in (called, awaited):
        assert by_kind >= {(k, run_id) for k in ("step", "callback", "hook")}
    assert by_kind >= {(k, fired) for k in ("step", "timer", "hook")}
    statuses = {"step": "BEGUN", "callback": "WAITING", "timer": "WAITING", "hook": "DONE"}
    for kind, fields in seen:
        assert fields["status"] == statuses[kind.partition(",")[0]]
        assert fields["workflow"] == "flow"
        assert "4111" not in str(fields)
    assert run_fields() == {}


def test_function_of_a_schedule_is_about_that(
    joined: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """Seen to fail when its function is about nothing, and when its failure names no schedule."""
    flow, _ = flow_of_all_kinds([], is_async=False)
    seen: list[dict[str, object]] = []

    @flow.schedule("hourly", every=HOUR)
    def begin(tick: datetime) -> None:
        seen.append(run_fields())
        if len(seen) == 1:
            raise ConnectionError

    joined.driver.serve(flow)
    joined.driver.advance(HOUR)
    assert seen == [{"workflow": "flow", "schedule": "hourly"}] * 2
    (failed,) = [line for line in caplog.records if "on attempt 1" in line.getMessage()]
    assert fields_of(failed) == {"workflow": "flow", "schedule": "hourly", "attempt": 1}


# -- core's own lines --------------------------------------------------------------------------


class Lines:
    """What core says, by the beginning of the message."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def about(self, words: str) -> dict[str, object]:
        """The fields of the one line with these words; nothing of a run's data is in it."""
        assert "4111" not in self._caplog.text
        (record,) = [each for each in self._caplog.records if words in each.getMessage()]
        return {name: getattr(record, name) for name in FIELDS if hasattr(record, name)} | {
            "level": record.levelname
        }


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    caplog.set_level(logging.DEBUG, "workflow_core")
    return Lines(caplog)


def of_run(run_id: str, **fields: object) -> dict[str, object]:
    return {"workflow": "flow", "run_id": run_id, "foreign_id": "one", **fields}


def test_skipped_event_of_a_stopped_run_is_told(joined: Cluster, lines: Lines) -> None:
    flow, _ = flow_of_all_kinds([], is_async=False)
    run_id = joined.engine.trigger(flow, "one", Data())
    joined.engine.pause(run_id, reason="wait")
    joined.driver.serve(flow)
    joined.driver.run()
    fields = lines.about("is skipped: the record has version 2")
    assert fields.pop("event_id")
    assert fields == of_run(
        run_id,
        status="BEGUN",
        run_state="paused",
        version=2,
        process_name="worker 1",
        level="DEBUG",
    )


def test_timer_of_a_paused_run_that_does_not_fire_is_told(joined: Cluster, lines: Lines) -> None:
    flow, _ = flow_of_all_kinds([], is_async=False)
    joined.driver.serve(flow)
    run_id = joined.engine.trigger(flow, "one", Data())
    joined.driver.run()
    joined.engine.pause(run_id, reason="wait")
    joined.driver.advance(2 * HOUR)
    fields = lines.about("does not fire: its run is paused")
    assert fields == {
        "workflow": "flow",
        "run_id": run_id,
        "process_name": "timers",
        "level": "DEBUG",
    }


def test_outcome_that_came_too_late_is_told(joined: Cluster, lines: Lines) -> None:
    flow = Workflow("flow", Data, Status, ends=(Status.DONE,))

    @flow.step(Status.BEGUN)
    def begin(run: Run[Data, Status]) -> Literal[Status.DONE]:
        joined.engine.pause(run.run_id, reason="wait")
        return Status.DONE

    joined.driver.serve(flow)
    run_id = joined.engine.trigger(flow, "one", Data())
    joined.driver.run()
    assert lines.about("was changed meanwhile") == of_run(
        run_id, status="BEGUN", run_state="initiated", version=1, attempt=1, level="DEBUG"
    )


def test_failed_attempt_and_the_pause_that_it_leads_to_are_told(
    joined: Cluster, lines: Lines
) -> None:
    """Seen to fail when only the attempts are told: that nobody tries any more is not."""
    flow = Workflow("flow", Data, Status, ends=(Status.DONE,))

    @flow.step(Status.BEGUN, retry=Retry(pause_after=2))
    def fail(run: Run[Data, Status]) -> Literal[Status.DONE]:
        raise RuntimeError(f"{len(run.data.card)} digits refused")

    joined.driver.serve(flow)
    run_id = joined.engine.trigger(flow, "one", Data())
    joined.driver.advance(timedelta(minutes=1))
    failed = lines.about("step fail failed on attempt 2: RuntimeError: 4 digits refused")
    assert failed == of_run(
        run_id, status="BEGUN", run_state="initiated", version=2, attempt=2, level="WARNING"
    )
    paused = lines.about(f"run {run_id} is paused: fail failed 2 times")
    assert paused == of_run(run_id, status="BEGUN", run_state="paused", version=3, level="WARNING")


def test_roles_that_come_and_go_are_told(joined: Cluster, lines: Lines) -> None:
    flow, _ = flow_of_all_kinds([], is_async=False)
    serving = joined.driver.serve(flow)
    joined.driver.run()
    role = serving.roles[0]
    assert lines.about(f"role {role} acquired") == {"role": role, "level": "DEBUG"}
    serving.stop()
    assert lines.about(f"role {role} released") == {"role": role, "level": "DEBUG"}
