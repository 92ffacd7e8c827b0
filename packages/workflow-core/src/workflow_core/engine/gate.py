"""A gate: whether this process holds the right to do something."""

from __future__ import annotations

import threading
from datetime import timedelta

__all__ = ["Gate"]


class Gate:
    """Open while the role that it stands for is held. Any thread."""

    def __init__(self, *, is_open: bool = False) -> None:
        self._event = threading.Event()
        if is_open:
            self._event.set()

    @property
    def is_open(self) -> bool:
        """Whether the right is held."""
        return self._event.is_set()

    def open(self) -> None:
        """The right is granted."""
        self._event.set()

    def shut(self) -> None:
        """The right is gone."""
        self._event.clear()

    def wait(self, timeout: timedelta) -> bool:
        """Wait until it is open; answers whether it is."""
        return self._event.wait(timeout.total_seconds())
