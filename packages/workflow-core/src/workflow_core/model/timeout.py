"""Durable timers."""

from __future__ import annotations

from datetime import datetime, timedelta

from workflow_core.model.value import UNSTAMPED, Value

__all__ = ["Timeout"]


class Timeout(Value, frozen=True, kw_only=True, gc=False):
    """A timer of one run and of this one stay in a status."""

    key: str
    """Made by the engine from run id, version of entry and timer name: creating is idempotent."""
    workflow: str
    run_id: str
    status: int
    entered_version: int
    name: str
    """The timer's name in the definition, stable over deploys."""
    delay: timedelta = timedelta(0)
    """Going in: due this long after the store's present. Coming out of `list_soon`: likewise."""
    due_at: datetime = UNSTAMPED
    """Coming out: when it is or was due, by the store's clock."""
    repeat: int = 0
    """How often its function has answered Repeat. Never less than before: see `TimeoutStore`."""
    attempts: int = 0
    error: str = ""
    parked: bool = False
    """Its run is paused: not due until it is created again."""
