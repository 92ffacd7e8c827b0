"""Once more from the start, when others were in the way."""

from __future__ import annotations

import random
import time
from datetime import timedelta

from workflow_core.errors import AdapterUnavailableError

from workflow_sql.dialects import Dialect

__all__ = ["Tries"]

_MOST = 10
_PAUSE = 0.005  # seconds before the second, at most; twice that before each next one
_LONGEST = 0.25


class Tries:
    """Counts the tries of one transaction. One thread.

    Only what has been rolled back whole is tried again, and only what may go well at once: a
    deadlock, a conflict. A lock that was waited for in vain has used up the time already.

    Args:
        dialect: tells contention from other errors.
        patience: no further try begins after it.
    """

    def __init__(self, dialect: Dialect, patience: timedelta) -> None:
        self._dialect = dialect
        self._end = time.monotonic() + patience.total_seconds()
        self._made = 0

    def again_or_raise(self, error: AdapterUnavailableError) -> None:
        """Pause a little before the next try; where there is to be none, raise the error."""
        self._made += 1
        cause = error.__cause__
        if (
            self._made >= _MOST
            or cause is None
            or not self._dialect.is_contention(cause)
            or time.monotonic() >= self._end
        ):
            raise error
        time.sleep(random.uniform(0, min(_PAUSE * 2**self._made, _LONGEST)))
