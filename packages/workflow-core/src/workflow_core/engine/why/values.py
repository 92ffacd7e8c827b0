"""What `Engine.why` answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from workflow_core.model import RunState

__all__ = ["Cause", "Reason", "Why", "at"]


class Cause(StrEnum):
    """Why a run does not move. The names are stable; the texts are for people."""

    ENDED = "it has ended"
    SUPERSEDED = "its foreign id has another run that is live"
    DELETING = "its data is being deleted"
    PAUSED_BY_OPERATOR = "an operator paused it"
    PAUSED_BY_STEP = "its step paused it"
    PAUSED_BY_FAILURES = "it was paused because it failed, and is resumed automatically"
    RESUMES_USED_UP = "it was paused because it failed, and no automatic resume is left"
    BACKING_OFF = "it failed, and waits for its next try"
    REPEATING = "its step asked to be repeated later"
    STARTS_LATER = "it is to start later"
    HELD_BACK = "its step works on no run before it has been there for a while"
    DELAYED = "it is not due yet"
    CALLBACK = "it waits for a callback"
    TIMER = "it waits for a timer"
    TIMER_OVERDUE = "a timer of it is due and has not fired"
    NO_TIMER = "the only thing that could move it on is a timer, and none is open"
    UNKNOWN_STATUS = "the code does not know its status"
    NOTHING_THERE = "nothing in the code moves it on from its status"
    NOT_DEFINED = "its definition is not known here"
    AT_WORK = "its step runs at this moment, in this process"
    BEHIND_ITSELF = "an older execution of it still runs, in this process"
    LIMIT_REACHED = "as many bodies of its step run in this process as may"
    NOT_SERVED = "nobody holds a role that it needs"
    NOT_PUBLISHED = "its event is due and not published"
    FILED_FOR_LATER = "its event is filed for later"
    QUEUED = "its event is in the stream and not done"
    NOT_DRIVEN = "no event of it is on its way"
    MOVING = "it moves"
    UNAVAILABLE = "an adapter does not answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One answer.

    Attributes:
        cause: what kind.
        detail: what exactly, with names, times and errors; a sentence for people.
        todo: the next thing to do; a sentence for people.
        until: when it ends by itself, by the store's clock; None: it does not, or nobody knows.
    """

    cause: Cause
    detail: str
    todo: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """Why a run does not move, as it stood at one version.

    Attributes:
        run_id: the run.
        workflow: its workflow's name.
        foreign_id: its business key.
        status: its status's number.
        status_name: the status's name; "" where the definition is not known here, or has none.
        state: its run state.
        version: the version that was looked at.
        since: when it was written last.
        now: when it was looked at; both by the store's clock.
        reasons: at least one; the one that stands in the way most comes first.
        not_asked: what might be a reason too and could not be found out; sentences for people.
    """

    run_id: str
    workflow: str
    foreign_id: str
    status: int
    status_name: str
    state: RunState
    version: int
    since: datetime
    now: datetime
    reasons: tuple[Reason, ...]
    not_asked: tuple[str, ...] = ()

    @property
    def cause(self) -> Cause:
        """The first reason's."""
        return self.reasons[0].cause


def at(when: datetime) -> str:
    """A time as reasons tell it."""
    return f"{when:%Y-%m-%d %H:%M:%S} UTC"
