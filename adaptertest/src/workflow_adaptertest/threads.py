"""Threads that a case can rely on: they start together, and one that hangs is a failure."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Generic, TypeVar

__all__ = ["Background", "at_once", "is_race", "race"]

T = TypeVar("T")
CaseT = TypeVar("CaseT", bound=Callable[..., object])

_RACE = "_workflow_adaptertest_race"


def race(case: CaseT) -> CaseT:
    """A case whose outcome hangs on who comes first: under stress it is run many times."""
    setattr(case, _RACE, True)
    return case


def is_race(case: object) -> bool:
    """Whether `race` was said of it."""
    return hasattr(case, _RACE)


class Background(Generic[T]):
    """Runs a call in a thread of its own, which never outlives the test run."""

    def __init__(self, call: Callable[[], T], *, doing: str) -> None:
        self._call = call
        self._doing = doing
        self._answer: list[T] = []
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=doing, daemon=True)
        self._thread.start()

    def result(self, patience: timedelta) -> T:
        """What the call answered or raised.

        Raises:
            AssertionError: it did not end in time.
        """
        self._thread.join(patience.total_seconds())
        assert not self._thread.is_alive(), f"{self._doing}: no end after {patience}"
        if self._error is not None:
            raise self._error
        return self._answer[0]

    def _run(self) -> None:
        try:
            self._answer.append(self._call())
        except Exception as error:  # handed to whoever asks for the result
            self._error = error


def at_once(
    calls: Sequence[Callable[[], T]], *, doing: str, patience: timedelta
) -> list[T | Exception]:
    """Make all calls in threads that start together; what each answered or raised, in order."""
    barrier = threading.Barrier(len(calls))

    def when_all_are_there(call: Callable[[], T]) -> T:
        barrier.wait(patience.total_seconds())
        return call()

    running = [Background(partial(when_all_are_there, call), doing=doing) for call in calls]
    outcomes: list[T | Exception] = []
    for each in running:
        try:
            outcomes.append(each.result(patience))
        except AssertionError:
            raise
        except Exception as error:  # an outcome like any other
            outcomes.append(error)
    return outcomes
