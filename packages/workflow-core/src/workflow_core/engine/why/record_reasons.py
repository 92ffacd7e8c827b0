"""Pure: what the record of a run, and its definition, say about why it does not move."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from workflow_core.definition import Workflow
from workflow_core.engine.transition import AutoResume
from workflow_core.engine.why.values import Cause, Reason, at
from workflow_core.model import PauseKind, Record, RunState

__all__ = ["ended", "paused", "status_reason", "status_told", "waiting"]


def status_told(workflow: Workflow[Any, Any] | None, number: int) -> str:
    """The name of a status, where it is known; "" else."""
    return (None if workflow is None else _member(workflow, number)) or ""


def ended(record: Record) -> Reason:
    """What an ended run waits for: nothing, but for the deletion of its data."""
    if record.state is RunState.REQUESTED_DATA_DELETED:
        return Reason(
            cause=Cause.DELETING,
            detail=f"The deletion of its data was begun at {at(record.updated_at)}",
            todo="A process that serves the workflow finishes it: see that one does",
        )
    state = record.state.name.lower().replace("_", " ")
    why = f": {record.reason}" if record.reason else ""
    return Reason(
        cause=Cause.ENDED,
        detail=f"It is {state} since {at(record.updated_at)}{why}",
        todo="Nothing moves it any more; begin_again starts a new run with its foreign id",
    )


def paused(record: Record, policy: AutoResume) -> Reason:
    """Who paused it, why, and who ends that."""
    since = f"since {at(record.updated_at)}"
    if record.pause_kind is PauseKind.AUTOMATIC:
        return _failed(record, policy, since)
    by_step = record.pause_kind is PauseKind.STEP
    return Reason(
        cause=Cause.PAUSED_BY_STEP if by_step else Cause.PAUSED_BY_OPERATOR,
        detail=f"{'Its step' if by_step else 'An operator'} paused it, {since}: {record.reason}",
        todo="Resume it once that is settled, or cancel it",
    )


def _failed(record: Record, policy: AutoResume, since: str) -> Reason:
    what = f"Paused {since}: {record.reason or record.last_error}"
    if record.auto_resumes >= policy.at_most:
        return Reason(
            cause=Cause.RESUMES_USED_UP,
            detail=f"{what}. It was resumed automatically {record.auto_resumes} times in a row, "
            f"of at most {policy.at_most}",
            todo="Repair what the error tells, then resume it",
        )
    until = record.updated_at + policy.after
    return Reason(
        cause=Cause.PAUSED_BY_FAILURES,
        detail=f"{what}. It is resumed automatically at {at(until)}, for the "
        f"{record.auto_resumes + 1}. of at most {policy.at_most} times in a row",
        todo="Repair what the error tells; resume it yourself to try at once",
        until=until,
    )


def status_reason(record: Record, workflow: Workflow[Any, Any] | None) -> Reason | None:
    """What is wrong about its status by the definition; None: nothing, or nobody knows."""
    if workflow is None:
        return None
    name = _member(workflow, record.status)
    if name is None:
        return Reason(
            cause=Cause.UNKNOWN_STATUS,
            detail=f"It is at status {record.status}, and {workflow.statuses.__name__} has none of "
            "that number: other code wrote it",
            todo="Deploy code that knows the status, or move the run to one that there is",
        )
    others = [*workflow.callbacks, *workflow.timeouts]
    if any(consumer.status == record.status for consumer in others):
        return None
    if record.status in workflow.steps and not record.skipped:
        return None
    return Reason(
        cause=Cause.NOTHING_THERE,
        detail=f"Its step answered Skip, and the code has neither callback nor timer at {name}"
        if record.skipped
        else f"The code has no step, callback or timer at {name}",
        todo="Deploy code that has one (is its module imported?), or move the run elsewhere",
    )


def waiting(record: Record, workflow: Workflow[Any, Any] | None, now: datetime) -> Reason | None:
    """Until when it is not to be worked on; None: it is due."""
    due = record.next_try_at
    if due is None or due <= now:
        return None
    when = at(due)
    if record.attempts:
        return Reason(
            cause=Cause.BACKING_OFF,
            detail=f"It failed {record.attempts} times here, the last time with "
            f"{record.last_error}; it is tried again at {when}",
            todo="Wait, or repair what the error tells and have it retried now",
            until=due,
        )
    if record.repeat:
        return Reason(
            cause=Cause.REPEATING,
            detail=f"Its step asked for the {record.repeat}. time to be repeated, at {when}",
            todo="Wait, or have it retried now",
            until=due,
        )
    held = _lag(record, workflow)
    if held and due <= record.entered_at + held + timedelta(seconds=1):
        return Reason(
            cause=Cause.HELD_BACK,
            detail=f"Its step is declared with a lag of {held}, so it begins at {when}",
            todo="Wait, or have it retried now",
            until=due,
        )
    is_start = record.version == record.entered_version == 1
    return Reason(
        cause=Cause.STARTS_LATER if is_start else Cause.DELAYED,
        detail=f"It is to start at {when}" if is_start else f"It is due at {when}",
        todo="Wait, or have it retried now",
        until=due,
    )


def _lag(record: Record, workflow: Workflow[Any, Any] | None) -> timedelta:
    step = None if workflow is None else workflow.steps.get(record.status)
    return timedelta(0) if step is None else step.lag


def _member(workflow: Workflow[Any, Any], number: int) -> str | None:
    return next((status.name for status in workflow.statuses if int(status) == number), None)
