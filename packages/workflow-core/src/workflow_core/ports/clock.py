"""Time as the engine and the adapters see it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from datetime import UTC, datetime

__all__ = ["Clock", "SystemClock"]


class Clock(ABC):
    """A wall clock and a monotonic one. Any thread may read them."""

    @abstractmethod
    def now(self) -> datetime:
        """The present, aware and UTC."""

    @abstractmethod
    def monotonic(self) -> float:
        """Seconds since some fixed instant; never goes back."""


class SystemClock(Clock):
    """The machine's clocks."""

    def now(self) -> datetime:
        """The machine's wall clock."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """The machine's monotonic clock."""
        return time.monotonic()
