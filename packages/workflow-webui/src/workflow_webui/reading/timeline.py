"""A run's history as a line of time: its stays in statuses, and what happened in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from workflow_core import RunState
from workflow_core.model import HistoryEntry

from workflow_webui.words import state_words

__all__ = ["Happening", "Stay", "path_of", "timeline"]


@dataclass(frozen=True, kw_only=True)
class Happening:
    """One version of the run."""

    at: datetime
    version: int
    what: str
    """Such as ``attempt 2 failed``."""
    kind: str
    """``entered``, ``failed``, ``paused``, ``resumed``, ``ended`` or ``saved``."""
    detail: str = ""
    """A reason, or an error."""


@dataclass(frozen=True, kw_only=True)
class Stay:
    """The run in one status, from when to when."""

    status: int
    since: datetime
    until: datetime | None
    """None: it is there now."""
    happenings: Sequence[Happening]
    is_last: bool
    is_over: bool
    """The run has ended here."""

    def length(self, now: datetime) -> timedelta:
        """How long it was there, or has been so far."""
        return (self.until or now) - self.since

    @property
    def failures(self) -> int:
        """How many of its attempts failed, as far as the history is kept."""
        return sum(happening.kind == "failed" for happening in self.happenings)


def timeline(history: Sequence[HistoryEntry], *, ends: bool) -> list[Stay]:
    """The stays, oldest first.

    Args:
        history: every version that is kept, oldest first.
        ends: whether the run has ended.
    """
    stays: list[Stay] = []
    here: list[Happening] = []
    before: HistoryEntry | None = None
    if not history:
        return []
    begun = history[0].at
    for entry in history:
        if before is not None and entry.status != before.status:
            stays.append(_stay(before.status, begun, entry.at, here))
            here, begun = [], entry.at
        here.append(_happening(entry, before))
        before = entry
    if before is not None:
        last = _stay(before.status, begun, None, here)
        until = before.at if ends else None
        stays.append(_changed(last, until=until, is_last=True, is_over=ends))
    return stays


def path_of(history: Sequence[HistoryEntry], passed: Mapping[int, int], status: int) -> list[int]:
    """The statuses that the run went through, in order, the present one last.

    Where the store keeps no history the record itself knows the last stay in each.
    """
    seen = [entry.status for entry in history]
    if len(history) <= 1 and passed:
        seen = [number for number, _ in sorted(passed.items(), key=lambda item: item[1])]
        seen.append(status)
    return [number for place, number in enumerate(seen) if place == 0 or seen[place - 1] != number]


def _stay(
    status: int, since: datetime, until: datetime | None, happenings: Sequence[Happening]
) -> Stay:
    return Stay(
        status=status,
        since=since,
        until=until,
        happenings=tuple(happenings),
        is_last=False,
        is_over=False,
    )


def _changed(stay: Stay, *, until: datetime | None, is_last: bool, is_over: bool) -> Stay:
    return Stay(
        status=stay.status,
        since=stay.since,
        until=until,
        happenings=stay.happenings,
        is_last=is_last,
        is_over=is_over,
    )


def _happening(entry: HistoryEntry, before: HistoryEntry | None) -> Happening:
    what, kind, detail = _told(entry, before)
    return Happening(at=entry.at, version=entry.version, what=what, kind=kind, detail=detail)


def _told(entry: HistoryEntry, before: HistoryEntry | None) -> tuple[str, str, str]:
    state = entry.state
    changed = before is None or before.state is not state
    if state is RunState.PAUSED and changed:
        failed = before is not None and entry.attempts > before.attempts
        detail = "\n".join(part for part in (entry.reason, entry.error if failed else "") if part)
        return "paused", "paused", detail
    if state.is_finished and changed:
        return state_words(state), "ended", entry.reason
    if before is not None and entry.attempts > before.attempts:
        return f"attempt {entry.attempts} failed", "failed", entry.error
    if before is None:
        what = "triggered" if entry.version == 1 else f"kept from version {entry.version} on"
        return what, "entered", ""
    if before.state is RunState.PAUSED and state.is_driven:
        return "resumed", "resumed", ""
    if before.status != entry.status:
        return "entered", "entered", ""
    return "saved", "saved", ""
