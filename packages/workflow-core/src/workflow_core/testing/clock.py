"""A clock that stands still until a test moves it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from workflow_core.ports import Clock

__all__ = ["FakeClock"]


class FakeClock(Clock):
    """Both clocks move only by `advance`. Any thread.

    Args:
        start: the first present, aware.
    """

    def __init__(self, start: datetime = datetime(2026, 1, 1, 8, 30, tzinfo=UTC)) -> None:
        if start.tzinfo is None:
            raise ValueError("the start of a FakeClock must be aware, e.g. tzinfo=UTC")
        self._lock = threading.Lock()
        self._start = start.astimezone(UTC)
        self._passed = timedelta(0)

    def now(self) -> datetime:
        """The start plus all that was advanced."""
        with self._lock:
            return self._start + self._passed

    def monotonic(self) -> float:
        """Seconds advanced so far."""
        with self._lock:
            return self._passed.total_seconds()

    def advance(self, by: timedelta) -> None:
        """Move both clocks on. ValueError for a negative step: time does not go back."""
        if by < timedelta(0):
            raise ValueError("a clock only moves on")
        with self._lock:
            self._passed += by
