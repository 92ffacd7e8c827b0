"""Lets a fork find SQLite at rest.

The library keeps in the process's memory who holds which locks of a file. A child inherits that
without the threads that would let go: where one of them was writing, the file stays locked there
for good. So a fork waits until nobody is within a call, and holds off whoever comes meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from workflow_core.ports import hold_over_fork

__all__ = ["AtRest"]


class AtRest:
    """Counts the calls under way. Any thread; none may be within another one of the same thread.

    Args:
        patience: seconds that a fork waits at most; then it finds what it finds.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self.restart()
        hold_over_fork(self._hold, self._let_go)

    def restart(self) -> None:
        """Begin anew, as in a forked child."""
        self._change = threading.Condition(threading.Lock())
        self._calls = 0
        self._is_held = False

    @contextmanager
    def call(self) -> Iterator[None]:
        """Around whatever touches a connection."""
        with self._change:
            self._change.wait_for(lambda: not self._is_held)
            self._calls += 1
        try:
            yield
        finally:
            with self._change:
                self._calls -= 1
                self._change.notify_all()

    def _hold(self) -> None:
        self._change.acquire()  # until `_let_go`
        self._is_held = True
        self._change.wait_for(lambda: not self._calls, self._patience)

    def _let_go(self) -> None:
        self._is_held = False
        self._change.notify_all()
        self._change.release()
