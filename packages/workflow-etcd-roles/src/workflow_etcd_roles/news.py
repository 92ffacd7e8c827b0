"""How the threads of a scheduler wake each other."""

from __future__ import annotations

import threading

__all__ = ["News"]


class News:
    """Something has changed: whoever waits looks again. Any thread."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._number = 0

    @property
    def number(self) -> int:
        """Grows with each `tell`. Note it before looking, and give it to `wait`."""
        return self._number

    def tell(self) -> None:
        """Wake all who wait."""
        with self._condition:
            self._number += 1
            self._condition.notify_all()

    def wait(self, seen: int, timeout: float) -> None:
        """Until there is news since `seen`, or for `timeout` seconds."""
        with self._condition:
            self._condition.wait_for(
                lambda: self._number != seen, min(timeout, threading.TIMEOUT_MAX)
            )
