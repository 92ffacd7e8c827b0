"""How a blocked call learns of what others committed, without asking the database each time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import NamedTuple

from workflow_core.errors import AdapterError

__all__ = ["Marks", "Watch"]

_INTERVAL = 0.015  # seconds between two looks for commits of other processes


class Marks(NamedTuple):
    """Numbers that grow with what waiting calls care for."""

    events: int
    """All events up to this id are settled: committed, or never to be."""
    role_changes: int


class Watch:
    """The latest marks of a database. Any thread.

    Whoever commits events or changes of roles refreshes at once, which wakes all waiting calls of
    this process. For the commits of other processes one thread looks at the pulse, a few
    microseconds each, and only while somebody waits; the marks are read only when it has changed.

    Args:
        pulse: differs from before if anybody committed.
        read_marks: one statement.
    """

    def __init__(self, pulse: Callable[[], Hashable], read_marks: Callable[[], Marks]) -> None:
        self._pulse = pulse
        self._read_marks = read_marks
        self.restart()

    def restart(self) -> None:
        """Begin anew, as in a forked child."""
        self.marks = Marks(0, 0)
        self._seen: Hashable = None
        self._refreshing = threading.Lock()
        self._news = threading.Condition()
        self._waiting = 0
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def refresh(self) -> Marks:
        """The marks as they are now.

        Raises:
            AdapterUnavailableError: no answer.
        """
        with self._refreshing:
            pulse = self._pulse()
            if pulse == self._seen:
                return self.marks
            marks = self._read_marks()
            # only now: what is committed in between changes the pulse again
            self._seen = pulse
            if marks != self.marks:
                self.marks = marks
                self.wake()
        return marks

    def wake(self) -> None:
        """Let all waiting calls look again."""
        with self._news:
            self._news.notify_all()

    def wait(self, ready: Callable[[], bool], timeout: float) -> None:
        """Block until `ready` (asked at each change of the marks), or for `timeout` seconds."""
        with self._news:
            self._waiting += 1
            try:
                if self._waiting == 1:
                    self._keep_looking()
                self._news.wait_for(lambda: self._closed.is_set() or ready(), timeout)
            finally:
                self._waiting -= 1

    def close(self) -> None:
        """End the thread and all waits. Twice is harmless."""
        self._closed.set()
        self.wake()

    def _keep_looking(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._look, name="workflow-sql-watch", daemon=True
            )
            self._thread.start()
        else:
            self._news.notify_all()

    def _look(self) -> None:
        while not self._closed.wait(_INTERVAL):
            with suppress(AdapterError):  # the waiting calls meet it themselves
                self.refresh()
            with self._news:
                self._news.wait_for(lambda: self._waiting or self._closed.is_set())
