"""How far a schedule has come: its record, and the pure rules by which that changes.

Each schedule has one record of the reserved workflow ``_schedules``, live for ever, so that no
purge touches it. Its data tells up to which instant all ticks are settled; every change of it is a
compare-and-swap, so a tick is settled once, whoever comes to it how often.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec

from workflow_core.definition import Missed, Schedule, Workflow
from workflow_core.engine.transition import Identity, clean_text
from workflow_core.errors import DecodeError
from workflow_core.model import PauseKind, Record, Resumed, RunState, Value, names, uuid_from_key
from workflow_core.ports import Write

__all__ = [
    "MOST_MADE_UP",
    "Plan",
    "ScheduleState",
    "ScheduleView",
    "begun",
    "changed",
    "paused",
    "plan",
    "record_id",
    "restarted",
    "resumed",
    "state_of",
    "view",
]

MOST_MADE_UP = 100
"""Ticks that RUN_ALL makes up for, after an outage of however long."""
_PUNCTUAL = timedelta(minutes=1)  # what comes later has missed its tick
_STATUS = 1  # the only one of the reserved workflow


class ScheduleState(Value, frozen=True, kw_only=True):
    """The data of a schedule's record."""

    workflow: str
    name: str
    told: str
    """Its recurrence in words: another one means that the schedule was changed."""
    settled: datetime
    """All ticks up to here are settled: run, skipped or left out."""
    next_tick: datetime | None = None
    last_tick: datetime | None = None
    """The last one for which the function was asked."""
    last_run_id: str = ""
    """The run that the last tick began; "" for none."""
    note: str = ""
    """Why the last tick began no run."""


class ScheduleView(Value, frozen=True, kw_only=True):
    """A schedule as it is now."""

    workflow: str
    name: str
    recurrence: str
    """In words, e.g. ``cron 0 3 * * * in Europe/Berlin``."""
    next_tick: datetime | None
    """None while it is paused, and where there will be none."""
    last_tick: datetime | None
    """The last one for which its function was asked."""
    last_run_id: str
    """The run that this tick began; "" for none, and then ``note`` says why."""
    note: str
    is_paused: bool
    reason: str
    """Why it is paused."""
    resumed: Resumed | None
    attempts: int
    """Failed attempts at the present tick."""
    last_error: str
    next_try_at: datetime | None


@dataclass(frozen=True)
class Plan:
    """What is to be done about the ticks that are due."""

    tick: datetime | None
    """The one to ask the function for; None: all are left out."""
    settled: datetime
    """Up to where all is settled once this is done."""
    left_out: str = ""
    """Which due ticks are missed for good, in words; "" for none."""


def record_id(workflow: str, schedule: str) -> str:
    """The run id of a schedule's record."""
    return uuid_from_key(names.SCHEDULES, names.schedule_key(workflow, schedule))


def plan(schedule: Schedule, settled: datetime, now: datetime) -> Plan | None:
    """Which of the ticks after `settled` and not after `now` to run; None: none is due."""
    due = schedule.recurrence.latest(settled, now, most=MOST_MADE_UP + 1)
    if not due:
        return None
    too_many = len(due) > MOST_MADE_UP
    if schedule.missed is Missed.RUN_ALL:
        oldest = due[-MOST_MADE_UP:][0]
        return Plan(oldest, oldest, f"all but the latest {MOST_MADE_UP}" if too_many else "")
    newest = due[-1]
    if schedule.missed is Missed.SKIP and now - newest > _PUNCTUAL:
        return Plan(None, newest, "100 or more" if too_many else str(len(due)))
    earlier = "100 or more" if too_many else str(len(due) - 1)
    return Plan(newest, newest, "" if len(due) == 1 else earlier)


def state_of(record: Record) -> ScheduleState:
    """What the record tells. Raises DecodeError where it cannot be read."""
    try:
        return msgspec.json.decode(record.data, type=ScheduleState)
    except msgspec.MsgspecError as error:
        raise DecodeError(
            f"the record of schedule {record.foreign_id} cannot be read", run_id=record.run_id
        ) from error


def view(record: Record) -> ScheduleView:
    """The schedule as people see it. Raises DecodeError."""
    state = state_of(record)
    is_paused = record.state is RunState.PAUSED
    return ScheduleView(
        workflow=state.workflow,
        name=state.name,
        recurrence=state.told,
        next_tick=None if is_paused else state.next_tick,
        last_tick=state.last_tick,
        last_run_id=state.last_run_id,
        note=state.note,
        is_paused=is_paused,
        reason=record.reason,
        resumed=record.resumed,
        attempts=record.attempts,
        last_error=record.last_error,
        next_try_at=record.next_try_at,
    )


# -- writes ------------------------------------------------------------------------------------


def begun(
    workflow: Workflow[Any, Any], schedule: Schedule, identity: Identity, now: datetime
) -> Write:
    """The first version: nothing before now is owed."""
    state = ScheduleState(
        workflow=workflow.name,
        name=schedule.name,
        told=schedule.recurrence.told,
        settled=now,
        next_tick=schedule.recurrence.next(now),
    )
    return Write(
        record=Record(
            workflow=names.SCHEDULES,
            foreign_id=names.schedule_key(workflow.name, schedule.name),
            run_id=record_id(workflow.name, schedule.name),
            status=_STATUS,
            state=RunState.RUNNING,
            version=1,
            write_id=identity.write_id(),
            data=msgspec.json.encode(state),
        )
    )


def restarted(
    record: Record, state: ScheduleState, schedule: Schedule, identity: Identity, now: datetime
) -> Write:
    """The schedule was changed: its new ticks count from now."""
    fresh = state.replace(
        told=schedule.recurrence.told, settled=now, next_tick=schedule.recurrence.next(now)
    )
    return changed(record, fresh, identity)


def changed(
    record: Record,
    state: ScheduleState,
    identity: Identity,
    *,
    attempts: int = 0,
    error: str = "",
    retry_in: timedelta | None = None,
) -> Write:
    """The next version, with this state; `attempts` and `error` are of failed attempts."""
    after = _next(record, state, identity, attempts=attempts, last_error=error)
    return Write(record=after, retry_in=retry_in)


def paused(record: Record, identity: Identity, reason: str) -> Write | None:
    """The write that pauses; None: it is paused already."""
    if record.state is RunState.PAUSED:
        return None
    return Write(
        record=_next(
            record,
            state_of(record),
            identity,
            state=RunState.PAUSED,
            pause_kind=PauseKind.OPERATOR,
            reason=clean_text(reason),
        )
    )


def resumed(
    record: Record, schedule: Schedule | None, identity: Identity, by: Resumed, now: datetime
) -> Write:
    """The write that resumes: what was due during the pause is not owed.

    `schedule` is there to tell the next tick, None where the definition is not at hand.
    """
    state = state_of(record)
    after = _next(
        record,
        state.replace(
            settled=now,  # the one way back, too, after the store's clock was far ahead
            next_tick=schedule.recurrence.next(now) if schedule is not None else None,
        ),
        identity,
        state=RunState.RUNNING,
        pause_kind=None,
        reason="",
        attempts=0,
        last_error="",
        resumed=by.replace(who=clean_text(by.who), why=clean_text(by.why)),
    )
    return Write(record=after)


def _next(record: Record, data: ScheduleState, identity: Identity, /, **changes: Any) -> Record:
    return record.replace(
        version=record.version + 1,
        write_id=identity.write_id(),
        data=msgspec.json.encode(data),
        **changes,
    )
