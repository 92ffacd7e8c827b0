"""Triage: what is to be done about an event, given the record as it is now.

Versions are compared first. Only the primary may say that a run is gone or older than its event:
a replica may not have caught up.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from workflow_core.definition import Step
from workflow_core.model import Event, EventKind, Record, SkipReason

__all__ = ["Triage", "Verdict", "needs_time", "triage", "why_dropped"]

_NOW = timedelta(0)


class Verdict(Enum):
    """What to do about an event."""

    RUN = "its step is to run"
    DROP = "it is stale, or its run is stopped: done"
    BEHIND = "the record is older than the event, or missing: look again"
    EARLY = "its time has not come: file it again, delayed"


@dataclass(frozen=True, slots=True)
class Triage:
    """A verdict, and where it is EARLY how long to wait."""

    verdict: Verdict
    rest: timedelta = _NOW


_RUN = Triage(Verdict.RUN)
_DROP = Triage(Verdict.DROP)
_BEHIND = Triage(Verdict.BEHIND)


def needs_time(record: Record | None, step: Step) -> bool:
    """Whether `triage` must be told the store's present."""
    return record is not None and (record.next_try_at is not None or step.lag > _NOW)


def triage(event: Event, record: Record | None, step: Step, now: datetime | None) -> Triage:
    """What to do.

    Args:
        event: the hint.
        record: the run as looked up, None if it was not found.
        step: the step of the event's status.
        now: by the store's clock; may be None where `needs_time` says no.
    """
    if record is None or record.version < event.version:
        return _BEHIND
    if (
        record.version > event.version
        or not record.state.is_driven
        or record.skipped
        or record.status != event.status
    ):
        return _DROP
    if now is not None:
        rest = _time_to_wait(event, record, step, now)
        if rest > _NOW:
            return Triage(Verdict.EARLY, rest)
    return _RUN


def why_dropped(event: Event, record: Record | None) -> SkipReason:
    """For observers: what made `triage` drop it, or the worker give it up."""
    if record is None:
        return SkipReason.NOT_FOUND
    if record.version != event.version:
        return SkipReason.STALE
    if not record.state.is_driven:
        return SkipReason.STOPPED
    return SkipReason.SKIPPED if record.skipped else SkipReason.OTHER_STATUS


def _time_to_wait(event: Event, record: Record, step: Step, now: datetime) -> timedelta:
    rest = record.next_try_at - now if record.next_try_at is not None else _NOW
    fresh = record.attempts == 0 and record.repeat == 0 and event.kind is not EventKind.RESUMED
    if fresh and step.lag > _NOW:
        rest = max(rest, record.entered_at + step.lag - now)
    return rest
