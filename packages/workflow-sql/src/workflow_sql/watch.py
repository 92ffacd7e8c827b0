"""How a blocked call learns of what others committed, without asking the database each time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import Protocol

from workflow_core.errors import AdapterError

from workflow_sql.horizon import Marks

__all__ = ["Marks", "Pulse", "Watch"]

_SHORT = 0.04  # seconds; who waits for less wants to know what is there now
_ATTENTION = 5.0  # seconds
_HELD_UP = 0.02  # seconds between two looks at a gap
_NAP = 0.05  # seconds that need not be cut short: a sleep costs half of what a wait does
_SLOWER = 1.5  # from one look to the next, while there is no news


class Pulse(Protocol):
    """What tells that something was committed."""

    def pulse(self) -> Hashable:
        """Differs from the answer before if anybody has committed since, as far as is known."""

    @property
    def knows_all(self) -> bool:
        """Whether the pulse tells of other processes' commits, all and at once."""

    @property
    def rhythm(self) -> tuple[float, float]:
        """Seconds between two looks: while there is news, and at rest."""

    def attend(self) -> None:
        """Somebody waits from now on."""


class Watch:
    """The latest marks of a database. Any thread.

    Whoever commits events or changes of roles stirs one of the calls that wait in this process, and
    goes on. That one refreshes at once, which wakes all others. For the commits of other processes
    one thread looks, and only while somebody waits. Where the pulse knows all, a look costs a few
    microseconds, and the marks are read only when it has changed. Where it does not, each look
    reads them: often while there is news, seldom at rest.

    Args:
        pulse: tells of commits.
        read_marks: one statement.
        is_held_up: whether the marks may change by time alone.
        told: turns the driver's errors into ours.
    """

    def __init__(
        self,
        pulse: Pulse,
        read_marks: Callable[[], Marks],
        is_held_up: Callable[[], bool],
        told: Callable[[str], AbstractContextManager[None]],
    ) -> None:
        self._pulse = pulse
        self._told = told
        self._read_marks = read_marks
        self._is_held_up = is_held_up
        self.restart()

    def restart(self) -> None:
        """Begin anew, as in a forked child."""
        self.marks = Marks(0, 0)
        self._seen: Hashable = None
        self._refreshing = threading.Lock()
        lock = threading.RLock()
        self._news = threading.Condition(lock)  # for the calls that wait
        self._looking = threading.Condition(lock)  # for the thread
        self._waiting = 0
        self._is_stirred = False
        self._attended_until = 0.0
        self._looks = 0
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def refresh_quietly(self) -> None:
        """As `refresh`; where that fails, whoever waits finds out a little later."""
        with suppress(AdapterError):
            self.refresh()

    def refresh(self, *, anyway: bool = False) -> Marks:
        """The marks as they are now.

        Args:
            anyway: read them though nothing is known to have changed.

        Raises:
            AdapterUnavailableError: no answer.
        """
        with self._refreshing:
            with self._told("watching the database"):
                pulse = self._pulse.pulse()
            if pulse == self._seen and not anyway and not self._is_held_up():
                return self.marks
            marks = self._read_marks()
            # only now: what is committed in between changes the pulse again
            self._seen = pulse
            if marks != self.marks:
                self.marks = marks
                self.wake()
            elif self._is_held_up():
                self.wake()  # the thread is to look again soon
        return marks

    def look(self, timeout: float) -> None:
        """What a call does that is willing to wait for `timeout` seconds: see what is there now.

        One that waits for long leaves the looking to the thread.

        Raises:
            AdapterUnavailableError: no answer.
        """
        if timeout < _SHORT and not self._pulse.knows_all:
            self.refresh(anyway=True)

    def stir(self) -> None:
        """This process has committed something: one of the calls that wait is to look.

        Whoever has committed goes on, and where nobody waits nobody looks.
        """
        with self._news:
            self._is_stirred = True
            self._news.notify()

    def wake(self) -> None:
        """Let all waiting calls look again."""
        with self._news:
            self._news.notify_all()
            self._looking.notify_all()

    def wait(self, ready: Callable[[], bool], timeout: float) -> None:
        """Block until `ready` (asked at each change of the marks), or for `timeout` seconds."""
        end = time.monotonic() + timeout
        while self._is_to_look(ready, end - time.monotonic()):
            self.refresh_quietly()

    def _is_to_look(self, ready: Callable[[], bool], timeout: float) -> bool:
        """Wait; answers whether this process has committed something, and this call is to look."""
        with self._news:
            self._waiting += 1
            try:
                if self._waiting == 1:
                    self._look_on()
                self._news.wait_for(
                    lambda: self._closed.is_set() or self._is_stirred or ready(), timeout
                )
                looks = self._is_stirred and not self._closed.is_set()
                if looks:
                    self._is_stirred = False
                return looks
            finally:
                self._waiting -= 1

    def perhaps(self) -> Hashable:
        """Differs from the answer before if anybody may have committed anything since.

        For one who asks again and again. Where the pulse does not know all, each look may have
        missed what the marks do not tell.

        Raises:
            AdapterUnavailableError: no answer.
        """
        if not self._pulse.knows_all:
            with self._news:
                self._attended_until = time.monotonic() + _ATTENTION
                if not self._waiting:
                    self._look_on()
        with self._told("watching the database"):
            return self._pulse.pulse(), self._looks

    def close(self) -> None:
        """End the thread and all waits. Twice is harmless."""
        self._closed.set()
        self.wake()

    # -- the thread ----------------------------------------------------------------------------

    def _look_on(self) -> None:
        if self._thread is None:
            self._pulse.attend()
            self._thread = threading.Thread(
                target=self._look, name="workflow-sql-watch", daemon=True
            )
            self._thread.start()
        else:
            self._looking.notify_all()

    def _is_watched(self) -> bool:
        return self._closed.is_set() or self._waiting > 0 or time.monotonic() < self._attended_until

    def _is_over(self, seen: Marks) -> bool:
        return self._closed.is_set() or self.marks is not seen or self._is_held_up()

    def _look(self) -> None:
        seen: Marks | None = None
        pause = 0.0
        while True:
            often, seldom = self._pulse.rhythm
            if self._is_held_up():
                pause = _HELD_UP
            elif self.marks is not seen:
                pause = often
            else:
                pause = min(max(pause * _SLOWER, often), seldom)
            seen = self.marks
            if pause <= _NAP:
                time.sleep(pause)
            with self._news:
                if pause > _NAP and self._looking.wait_for(partial(self._is_over, seen), pause):
                    # This process has looked itself just now. To look at once as well would stand
                    # in the way of who reads that news; but there may be more of it soon.
                    if self._closed.is_set():
                        return
                    continue
                self._looking.wait_for(self._is_watched)
            if self._closed.is_set():
                return
            if self._pulse.knows_all:
                self.refresh_quietly()  # the waiting calls meet it themselves
                continue
            with suppress(AdapterError):
                self.refresh(anyway=True)
            self._looks += 1
