"""What a record store answers about many runs, events or copies at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from workflow_core.model import RunState, Value

__all__ = ["Erasure", "OutboxBacklog", "Tally"]


class Erasure(Value, frozen=True, kw_only=True):
    """What became of the copies of a run's payload; each a phrase for people."""

    erased: Sequence[str] = ()
    remains: Sequence[str] = ()
    """What the store knows of and could not reach, and until when it is there."""


class OutboxBacklog(Value, frozen=True, kw_only=True):
    """What waits in the outbox."""

    due: int
    """Events whose time has come, with those that somebody is publishing just now."""
    scheduled: int
    """Events whose time is yet to come: retries, repeats, starts."""
    oldest: timedelta = timedelta(0)
    """For how long the first of the due ones has been due; zero: none is."""


class Tally(Value, frozen=True, kw_only=True):
    """How many runs there are among some."""

    counts: Mapping[tuple[int, RunState], int]
    """By status and run state."""
    next: str | None = None
    """Opaque: the next query's ``after``. None: these were the last."""
