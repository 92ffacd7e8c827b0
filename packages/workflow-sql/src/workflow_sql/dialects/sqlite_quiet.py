"""Lets a fork find SQLite at rest.

The library keeps in the process's memory which of its connections hold which locks of a file. A
child inherits that, without the threads that would ever let go: where one was just writing, the
child finds the file locked for good, by nobody, and where one was within a call, the child hangs at
the library's own mutexes. So a fork waits until no connection is in use, and holds off whoever
comes meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from workflow_core.ports import hold_over_fork

__all__ = ["Quiet"]


class Quiet:
    """Counts the uses of a file's connections. Any thread.

    Args:
        patience: seconds that a fork waits at most; then it finds what it finds.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self.was_kept = True
        """Whether nothing was in use at the last fork."""
        self.restart()
        hold_over_fork(self._hold, self._let_go)

    def restart(self) -> None:
        """Begin anew, as in a forked child."""
        self._change = threading.Condition()
        self._users: Counter[int] = Counter()  # by thread
        self._holds = 0

    @contextmanager
    def use(self) -> Iterator[None]:
        """Around whatever touches a connection."""
        user = self.enter()
        try:
            yield
        finally:
            self.leave(user)

    def enter(self) -> int:
        """Begin a use; answers what to `leave` it with."""
        me = threading.get_ident()
        with self._change:
            # whoever uses one already must be able to finish
            while self._holds and me not in self._users:
                self._change.wait()
            self._users[me] += 1
        return me

    def leave(self, user: int) -> None:
        """End a use. Any thread."""
        with self._change:
            self._users[user] -= 1
            if not self._users[user]:
                del self._users[user]
                if self._holds:
                    self._change.notify_all()

    def _hold(self) -> None:
        """Before a fork. What this very thread uses cannot be waited for."""
        me = threading.get_ident()
        end = time.monotonic() + self._patience
        self._change.acquire()  # until `_let_go`
        self._holds += 1
        while self._users.keys() - {me} and (rest := end - time.monotonic()) > 0:
            self._change.wait(rest)
        self.was_kept = not self._users

    def _let_go(self) -> None:
        """After a fork, in the parent."""
        self._holds -= 1
        self._change.notify_all()
        self._change.release()
