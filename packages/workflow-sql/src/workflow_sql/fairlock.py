"""A lock that is handed on in the order of asking."""

from __future__ import annotations

import threading
from collections import deque

__all__ = ["FairLock"]


class FairLock:
    """First come, first served, but for what is urgent. Any thread.

    `threading.Lock` may give a busy thread the lock again and again while others wait: one loop of
    batch writes would starve all other writers of the process.
    """

    def __init__(self) -> None:
        self._gate = threading.Lock()
        self._owner: int | None = None
        self._queue: deque[_Ticket] = deque()

    def acquire(self, timeout: float, *, urgent: bool = False) -> bool:
        """Wait up to `timeout` seconds for one's turn; whether it came.

        Args:
            timeout: seconds.
            urgent: wait in front of all others.

        Raises:
            RuntimeError: this thread holds the lock already and would wait for itself.
        """
        with self._gate:
            if self._owner is None:
                self._owner = threading.get_ident()
                return True
            if self._owner == threading.get_ident():
                raise RuntimeError("this thread holds the lock already")
            ticket = _Ticket()
            if urgent:
                self._queue.appendleft(ticket)
            else:
                self._queue.append(ticket)
        if ticket.turn.acquire(timeout=max(timeout, 0)):
            return True
        with self._gate:
            if ticket in self._queue:
                self._queue.remove(ticket)
                return False
        return True  # the turn came between the end of the wait and this look

    def release(self) -> None:
        """Hand the lock to the next in the queue."""
        with self._gate:
            if self._queue:
                ticket = self._queue.popleft()
                self._owner = ticket.thread
                ticket.turn.release()
            else:
                self._owner = None


class _Ticket:
    """One thread's place in the queue."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.turn = threading.Lock()
        self.turn.acquire()
