"""The server's clock, read without asking it."""

from __future__ import annotations

import time

__all__ = ["ServerClock", "elapsed"]

# goes on while the machine sleeps, where there is such a clock
_SOURCE = getattr(time, "CLOCK_BOOTTIME", None)


def elapsed() -> int:
    """Microseconds that only grow, whoever sets this machine's clock."""
    if _SOURCE is None:
        return time.monotonic_ns() // 1_000
    return time.clock_gettime_ns(_SOURCE) // 1_000


class ServerClock:
    """What the server's clock shows, reckoned from its readings. Any thread.

    This machine's time of day plays no part in it. A reading was right at some moment between the
    question and the answer, which a busy machine may get late; so each only bounds the difference
    of the clocks, and what was known stays where it agrees. What is reckoned is a little behind, by
    what the quickest answer took to arrive: nothing is taken for due before it is.
    """

    _OLD = 60_000_000

    def __init__(self) -> None:
        self._offset: int | None = None
        self._read_at = 0

    def read(self, server: int, asked_at: int) -> None:
        """The server has just answered that its clock shows `server` microseconds.

        Args:
            server: the answer.
            asked_at: `elapsed` of before the question.
        """
        at = elapsed()
        least, most = server - at, server - asked_at
        if self._offset is None or not least <= self._offset <= most:
            self._offset = least
        self._read_at = at

    def now(self) -> int | None:
        """Its present, in microseconds; None: the last reading is too old to go by."""
        present = elapsed()
        if self._offset is None or present - self._read_at > self._OLD:
            return None
        return present + self._offset
