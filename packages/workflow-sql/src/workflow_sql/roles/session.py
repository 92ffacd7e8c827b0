"""One lease for all roles of a process, and when it is over."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable

__all__ = ["Lost", "Session"]

_MARGIN = 0.1  # of the lease: a clock may be a little slow


class Session:
    """A process's membership, as its own monotonic clock sees it. Any thread.

    Args:
        lease: seconds that it lasts without being renewed.
        monotonic: the clock.
        began: what the clock said before the membership was written.
    """

    def __init__(self, lease: float, monotonic: Callable[[], float], began: float) -> None:
        self.id = str(uuid.uuid4())
        self._lease = lease
        self._monotonic = monotonic
        self.renewed(began)

    def renewed(self, began: float) -> None:
        """The database has it as renewed, some time after the clock said `began`."""
        self._ends = began + self._lease * (1 - _MARGIN)
        self._renew_at = began + self._lease / 3

    def ended(self) -> None:
        """It is over before its time."""
        self._ends = float("-inf")

    @property
    def rest(self) -> float:
        """Seconds until it is over, earlier than the database says."""
        return self._ends - self._monotonic()

    @property
    def renew_in(self) -> float:
        """Seconds until it is time to renew it."""
        return self._renew_at - self._monotonic()


class Lost(threading.Event):
    """Set by hand, or by the end of the session, whichever is first.

    It is the session's end itself and not a thread's word for it: a thread may be held up in the
    very call that should have renewed the lease.
    """

    def __init__(self, session: Session, longest_wait: float) -> None:
        super().__init__()
        self._session = session
        self._longest_wait = longest_wait

    def is_set(self) -> bool:
        """Whether the right is gone."""
        if not super().is_set() and self._session.rest <= 0:
            self.set()
        return super().is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until it is gone, or for `timeout` seconds; whether it is gone."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self.is_set():
            rest = min(self._session.rest, self._longest_wait)
            if end is not None:
                rest = min(rest, end - time.monotonic())
                if rest <= 0:
                    return self.is_set()
            super().wait(max(rest, 0))
        return True
