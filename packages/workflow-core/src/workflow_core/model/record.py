"""The record of a run: the one truth about it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from workflow_core.model.states import RunState
from workflow_core.model.value import UNSTAMPED, Value

__all__ = ["HistoryEntry", "PauseKind", "Record", "Resumed"]


class PauseKind(StrEnum):
    """Who paused a run; only automatically paused runs resume automatically."""

    OPERATOR = "operator"
    STEP = "step"
    AUTOMATIC = "automatic"


class Resumed(Value, frozen=True, kw_only=True):
    """Who resumed a run last, why, and when (by the clock of the resuming process)."""

    who: str
    why: str
    at: datetime


class Record(Value, frozen=True, kw_only=True, gc=False):
    """One run as it stands at one version.

    Times are aware and UTC. ``created_at``, ``updated_at``, ``entered_at`` and ``next_try_at``
    are stamped by the store, by its own clock: what a write carries there is ignored.
    """

    workflow: str
    foreign_id: str
    """The business key. At most one live run per (workflow, foreign id)."""
    run_id: str
    status: int
    state: RunState
    version: int
    """1 at the trigger, one more with each write."""
    write_id: str
    """Random per write: tells one's own write again when the answer to a commit was lost."""
    data: bytes
    """The user's data, encoded by the workflow's codec; never looked into by an adapter."""
    created_at: datetime = UNSTAMPED
    updated_at: datetime = UNSTAMPED
    entered_at: datetime = UNSTAMPED
    """When the run entered its present status."""
    entered_version: int = 1
    """The version at which the run entered its present status: names this stay in it."""
    repeat: int = 0
    """How often the step of this stay answered Repeat."""
    attempts: int = 0
    """Failed attempts of the present stay (since entering, a Repeat or a resume)."""
    next_try_at: datetime | None = None
    """Not to be worked on before: a back-off, a Repeat's or a trigger's delay. None: at once."""
    last_error: str = ""
    """The last failed attempt's error, at most 4 KB; "" after a success."""
    reason: str = ""
    """Why it is at this version, in words, where a step paused or cancelled it or an operator did
    something: by whom, and why."""
    pause_kind: PauseKind | None = None
    auto_resumes: int = 0
    """Automatic resumes in a row, without a success between them."""
    skipped: bool = False
    """The step answered Skip: a callback or timer moves the run on, not an event."""
    passed: Mapping[int, int] = {}
    """Statuses left behind: number → the version at which it was last entered."""
    resumed: Resumed | None = None
    headers: Mapping[str, str] = {}
    """What came with the trigger and travels with every event: trace context, origin."""
    # of `SearchValue`, but msgspec reads no union of text and time, and a store may keep whole
    # records by it
    search: Mapping[str, Any] = {}
    """What the run is found by, as `Write.search` last said; what a write carries is ignored."""


class HistoryEntry(Value, frozen=True, kw_only=True, gc=False):
    """One version of a run, as the store's history keeps it."""

    run_id: str
    version: int
    at: datetime
    status: int
    state: RunState
    attempts: int = 0
    reason: str = ""
    error: str = ""
    data: bytes | None = None
    """Kept on request only."""
