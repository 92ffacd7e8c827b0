"""How far a move has come."""

from __future__ import annotations

from collections.abc import Callable

from workflow_core.model import Value

__all__ = ["Progress", "Told", "untold"]


class Progress(Value, frozen=True, kw_only=True):
    """How far it has come."""

    stage: str
    """What is being done, in words."""
    seen: int
    """How many of these have been looked at."""
    written: int
    """How many of them were written to the target."""
    total: int | None = None
    """How many there were when it began; None: not counted."""


Told = Callable[[Progress], None]


def untold(progress: Progress) -> None:
    """Tells nobody."""
