"""Pure: what an operator's verb, or an automatic resume, makes of a record."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import IntEnum

from workflow_core.engine.transition import (
    AutoResume,
    Identity,
    Transition,
    clean_text,
    state_event,
    status_event,
)
from workflow_core.model import EventKind, PauseKind, Record, Resumed, RunState
from workflow_core.ports import Write

__all__ = [
    "by",
    "cancelled_by",
    "hurried_by",
    "moved_by",
    "paused_by_operator",
    "resumed_automatically",
    "resumed_by",
]

_NOW = timedelta(0)


def paused_by_operator(
    record: Record, identity: Identity, reason: str, rest: timedelta = _NOW
) -> Write | None:
    """The write that pauses; None: an operator has paused it already.

    What is left of a start, a Repeat or a lag is kept for the resume: `rest`.
    """
    if record.state is RunState.PAUSED and record.pause_kind is PauseKind.OPERATOR:
        return None
    after = record.replace(
        version=record.version + 1,
        write_id=identity.write_id(),
        state=RunState.PAUSED,
        reason=clean_text(reason),
        pause_kind=PauseKind.OPERATOR,
    )
    events = [state_event(after, identity)]
    return Write(record=after, events=events, retry_in=rest if rest > _NOW else None)


def resumed_by(
    record: Record, identity: Identity, who: str, why: str, at: datetime, rest: timedelta = _NOW
) -> Write:
    """The write that resumes; the attempts begin anew, the stay in the status goes on."""
    resumed = Resumed(who=clean_text(who), why=clean_text(why), at=at)
    return _resumed(record, identity, resumed, rest, auto_resumes=0)


def resumed_automatically(
    record: Record, identity: Identity, policy: AutoResume, at: datetime
) -> Write:
    """As `resumed_by`; counted, until the run leaves its status or a person resumes it."""
    number = record.auto_resumes + 1
    why = f"automatic resume {number} of at most {policy.at_most} in a row"
    resumed = Resumed(who="workflow", why=why, at=at)
    return _resumed(record, identity, resumed, _NOW, auto_resumes=number)


def _resumed(
    record: Record, identity: Identity, resumed: Resumed, rest: timedelta, *, auto_resumes: int
) -> Write:
    after = record.replace(
        version=record.version + 1,
        write_id=identity.write_id(),
        state=RunState.RUNNING,
        reason=by("resumed", resumed.who, resumed.why),
        pause_kind=None,
        attempts=0,
        auto_resumes=auto_resumes,
        resumed=resumed,
    )
    event = status_event(after, identity, kind=EventKind.RESUMED, delay=rest)
    return Write(record=after, events=[event], retry_in=rest if rest > _NOW else None)


def cancelled_by(record: Record, identity: Identity, reason: str) -> Write:
    """The write that cancels."""
    after = record.replace(
        version=record.version + 1,
        write_id=identity.write_id(),
        state=RunState.CANCELLED,
        reason=clean_text(reason),
        pause_kind=None,
    )
    return Write(record=after, events=[state_event(after, identity)])


def hurried_by(
    record: Record, identity: Identity, who: str, why: str, at: datetime, *, waits: bool
) -> Write:
    """The write that makes a run due now, whatever it waits for; its attempts stay counted.

    `waits`: whether the present version is not due yet.
    """
    after = record.replace(
        version=record.version + 1,
        write_id=identity.write_id(),
        skipped=False,
        reason=by("tried again", who, why),
        resumed=Resumed(who=clean_text(who), why=clean_text(why), at=at),
    )
    # Where nobody has been told of the status yet, this is what tells them.
    untold = waits and record.version == record.entered_version
    kind = EventKind.ENTERED if untold else EventKind.RESUMED
    return Write(record=after, events=[status_event(after, identity, kind=kind)])


def moved_by(
    transition: Transition, record: Record, status: IntEnum, who: str, why: str, at: datetime
) -> Write:
    """The write that moves a run to a status, or makes it begin its stay there anew."""
    write = transition.moved(record, int(status))
    moved = write.record.replace(
        reason=by(f"moved to {status.name}", who, why),
        resumed=Resumed(who=clean_text(who), why=clean_text(why), at=at),
    )
    return write.replace(record=moved)


def by(done: str, who: str, why: str) -> str:
    """What was done by whom, and why, in one sentence."""
    return clean_text(f"{done} by {who}: {why}" if why else f"{done} by {who}")
