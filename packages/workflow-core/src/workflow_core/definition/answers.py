"""What a body may answer besides a status."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TypeAlias, TypeVar

from workflow_core.errors import InputError

__all__ = ["DIRECTIVES", "Answer", "Cancel", "Pause", "Repeat", "Skip"]

StatusT = TypeVar("StatusT", bound=IntEnum)


@dataclass(frozen=True, slots=True)
class Pause:
    """Save the run's data and stand still until somebody resumes or cancels the run.

    Counts as paused by hand: nothing resumes it automatically. After the resume the same step runs
    again and finds `Run.resumed` filled.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """Save the run's data and end the run here, for good."""

    reason: str


@dataclass(frozen=True, slots=True)
class Skip:
    """Leave the run where it is and save nothing; a callback or a timer moves it on."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """Save the run's data and run the same step again, ``after`` from now.

    Args:
        after: zero or more; zero means at once.

    Raises:
        InputError: ``after`` is negative.
    """

    after: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        if self.after < timedelta(0):
            raise InputError("Repeat(after=…) cannot lie in the past")


Answer: TypeAlias = StatusT | Pause | Cancel | Skip | Repeat
"""All that any body could answer; what one body may answer is its return annotation."""

DIRECTIVES: frozenset[type] = frozenset({Pause, Cancel, Skip, Repeat})
