"""What an observer is told: frozen values, one kind a happening.

They hold names, numbers and run ids, and never a run's data, its foreign id or an error's text. All
texts but run ids are of a bounded number: names of workflows, statuses, functions, adapters, roles
and types of errors, so that they can be labels of a metric. Later versions may add kinds: an
observer passes over what it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import TypeAlias

from workflow_core.model.dead_letter import LetterKind, LetterState
from workflow_core.model.states import RunState
from workflow_core.model.value import Value

__all__ = [
    "AttemptFailed",
    "EventSkipped",
    "EventsPublished",
    "LagSeen",
    "LetterKept",
    "Observation",
    "PortCalled",
    "ProcessFailed",
    "ProcessStanding",
    "RoleChange",
    "RoleChanged",
    "SkipReason",
    "Standing",
    "StateChanged",
    "StockGone",
    "StockTaken",
    "TimerFired",
    "Work",
    "WorkDone",
    "WorkKind",
]


class WorkKind(StrEnum):
    """Whose function is called."""

    TRIGGER = "trigger"
    """Nobody's: a run begins."""
    STEP = "step"
    TIMER = "timer"
    CALLBACK = "callback"
    HOOK = "hook"
    CONNECTOR = "connector"


class Work(Value, frozen=True, kw_only=True, gc=False):
    """A user's function that is about to be called, or a run that is about to begin."""

    kind: WorkKind
    workflow: str
    process: str
    """What does it, as metrics name it: ``created-consumer``; see `names`."""
    name: str
    """The function's, the timer's or the connector's; "" for a trigger."""
    run_id: str = ""
    """"" for a connector's event from a foreign stream."""
    status: str = ""
    """The name of the status at which the run stands, or begins."""
    attempt: int = 1
    headers: Mapping[str, str] = {}
    """What came with the run's trigger, or with a connector's event: trace context."""


class WorkDone(Value, frozen=True, kw_only=True, gc=False):
    """A user's function has returned or raised."""

    work: Work
    seconds: float
    answer: str = ""
    """The status or directive that it answered, by name; "" where it answered none, or raised."""
    error: str = ""
    """The type of what it raised; "": it returned."""


class AttemptFailed(Value, frozen=True, kw_only=True, gc=False):
    """Work on a run, or for a hook or connector, has failed: it is tried again, or given up."""

    kind: WorkKind
    workflow: str
    process: str
    error: str
    """The error's type."""
    is_last: bool
    """Whether it is given up: the run pauses or goes elsewhere, the letter is set aside."""


class ProcessFailed(Value, frozen=True, kw_only=True, gc=False):
    """A background process of the engine could not do its work; it tries again by itself."""

    process: str
    error: str
    """The error's type."""


class SkipReason(StrEnum):
    """Why an event was dropped unworked. The texts are the Go original's."""

    NOT_FOUND = "record not found"
    OTHER_STATUS = "record status not in expected state"
    STALE = "event record version lower than latest record version"
    STOPPED = "record stopped"
    SKIPPED = "next value specified skip"
    """Its step has answered Skip: a callback or timer moves the run on."""
    NOT_OURS = "filtered out"
    """It is meant for another consumer."""


class EventSkipped(Value, frozen=True, kw_only=True, gc=False):
    """Some events were dropped unworked."""

    workflow: str
    process: str
    reason: SkipReason
    count: int = 1


class LagSeen(Value, frozen=True, kw_only=True, gc=False):
    """How old the oldest event was of those that a step has just taken up."""

    workflow: str
    process: str
    seconds: float
    is_over: bool
    """Whether that is more than the step's alert."""


class StateChanged(Value, frozen=True, kw_only=True, gc=False):
    """A run's state has changed, durably.

    What is written in a transaction that somebody else ends is not told: nobody here knows whether
    it commits.
    """

    workflow: str
    before: RunState | None
    """None: the run has just begun."""
    after: RunState


class TimerFired(Value, frozen=True, kw_only=True, gc=False):
    """A due timer's function is being called."""

    workflow: str
    process: str
    late: float
    """Seconds since it was due."""


class LetterKept(Value, frozen=True, kw_only=True, gc=False):
    """What a hook or connector failed on was kept, or what was kept is over."""

    workflow: str
    kind: LetterKind
    name: str
    """The hook's or connector's."""
    state: LetterState


class RoleChange(StrEnum):
    """What became of a role in this process."""

    WANTED = "wanted"
    """It is asked for from now on."""
    GAINED = "gained"
    LOST = "lost"
    """Its lease has run out, or the scheduler took it away."""
    GIVEN_UP = "given up"
    """In order: recalled for another member, or at a stop."""


class RoleChanged(Value, frozen=True, kw_only=True, gc=False):
    """A role was gained, lost or given up; the shards of one consumer are one role here."""

    role: str
    change: RoleChange
    held: int
    """How many of its shards this process holds now."""
    of: int
    """How many shards it has over all processes."""


class Standing(IntEnum):
    """What a consumer is doing in this process. The numbers are the Go original's."""

    SHUTDOWN = 1
    RUNNING = 2
    """It holds its role, or part of it, or needs none."""
    IDLE = 3
    """It waits for its role: another process has it."""


class ProcessStanding(Value, frozen=True, kw_only=True, gc=False):
    """A consumer of a workflow has begun, waits for its role, or is stopped."""

    workflow: str
    process: str
    standing: Standing


class EventsPublished(Value, frozen=True, kw_only=True, gc=False):
    """Events have been published."""

    by: str
    """``writer``: by who wrote them, right away; ``relay``: by a relay, from the outbox."""
    count: int


class PortCalled(Value, frozen=True, kw_only=True, gc=False):
    """An adapter was called."""

    port: str
    """As the configuration names it: ``record_store``."""
    adapter: str
    """The name that chose it: ``sql``; of one made by hand its class."""
    operation: str
    """The port's method: ``store_many``."""
    seconds: float
    items: int | None = None
    """How many values were given, or came back; None: it does not count in values."""
    is_wait: bool = False
    """Whether it waits for something to happen, so that its time says nothing."""
    error: str = ""
    """The type of what went wrong; "": nothing."""

    @property
    def is_idle(self) -> bool:
        """Whether it looked for work and found none."""
        return self.items == 0 and not self.error


class StockTaken(Value, frozen=True, kw_only=True):
    """What there is of a workflow, over all processes: counted by one of them, now and then."""

    workflow: str
    runs: Mapping[tuple[str, RunState], int] = {}
    """Live runs by the status's name and the run state."""
    letters: Mapping[tuple[LetterKind, LetterState], int] = {}
    """What somebody is to do something about, and what is tried again."""
    outbox_due: int | None = None
    """None: the store cannot tell, as with the next two."""
    outbox_scheduled: int | None = None
    outbox_age: float | None = None
    """Seconds for which the oldest due event has been due."""
    workers: Mapping[str, int] = {}
    """Processes that serve it: those that are ``live``, and those that were ``lost``."""


class StockGone(Value, frozen=True, kw_only=True, gc=False):
    """Another process counts from now on: what was last told here holds no longer."""

    workflow: str


Observation: TypeAlias = (
    AttemptFailed
    | EventSkipped
    | EventsPublished
    | LagSeen
    | LetterKept
    | PortCalled
    | ProcessFailed
    | ProcessStanding
    | RoleChanged
    | StateChanged
    | StockGone
    | StockTaken
    | TimerFired
    | WorkDone
)
