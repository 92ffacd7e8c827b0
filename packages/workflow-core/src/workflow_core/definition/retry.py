"""When a failed step is tried again, and when no more."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum

from workflow_core.errors import DefinitionError

__all__ = ["Retry"]


@dataclass(frozen=True, slots=True)
class Retry:
    """Exponential back-off per run, and what happens when it gives up.

    Args:
        first: the delay after the first failed attempt.
        factor: by how much each delay is longer than the one before; 1 or more.
        maximum: the longest delay.
        jitter: draw each delay evenly from between its half and its whole, so that runs that failed
            together do not come back together.
        never: exceptions after which there is no further try.
        pause_after: give up after so many failed attempts; 1 or more.
        then: giving up moves the run to this status, a declared target of the step; None pauses it.

    Raises:
        DefinitionError: one of these does not hold.
    """

    first: timedelta = timedelta(seconds=1)
    factor: float = 2.0
    maximum: timedelta = timedelta(minutes=5)
    jitter: bool = True
    never: tuple[type[BaseException], ...] = ()
    pause_after: int = 20
    then: IntEnum | None = None

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise DefinitionError(f"Retry: {problem}")

    def _problem(self) -> str:
        for name in ("first", "maximum"):
            if not isinstance(getattr(self, name), timedelta):
                return f"{name} must be a timedelta, e.g. timedelta(seconds=2)"
        if self.first <= timedelta(0):
            return f"first must be more than zero, not {self.first}"
        if not (math.isfinite(self.factor) and self.factor >= 1):
            return f"factor must be 1 or more, not {self.factor}"
        if self.maximum < self.first:
            return f"maximum ({self.maximum}) is shorter than first ({self.first})"
        if self.pause_after < 1:
            return f"pause_after must be 1 or more, not {self.pause_after}"
        if not _are_exception_types(self.never):
            return "never must be a tuple of exception classes, e.g. (ValueError,)"
        if not _is_status(self.then):
            return f"then must be a status, not {self.then!r}"
        return ""

    def delay(self, attempts: int, entropy: random.Random) -> timedelta:
        """How long to wait after so many failed attempts (1, 2, …)."""
        longest = self.maximum.total_seconds()
        try:
            seconds = self.first.total_seconds() * float(self.factor) ** (attempts - 1)
        except OverflowError:
            seconds = longest
        seconds = min(seconds, longest)
        if self.jitter:
            seconds = entropy.uniform(seconds / 2, seconds)
        return timedelta(seconds=seconds)

    def gives_up(self, attempts: int, error: BaseException) -> bool:
        """Whether ``error``, the so-many-th failure in a row, was the last one."""
        return attempts >= self.pause_after or isinstance(error, self.never)


def _are_exception_types(value: object) -> bool:
    return isinstance(value, tuple) and all(
        isinstance(member, type) and issubclass(member, BaseException) for member in value
    )


def _is_status(value: object) -> bool:
    return value is None or isinstance(value, IntEnum)
