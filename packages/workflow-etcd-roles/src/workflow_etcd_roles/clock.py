"""The clock that trust in a lease is counted by."""

from __future__ import annotations

import sys
import time

__all__ = ["elapsed"]


def _clock_that_runs_during_sleep() -> int | None:
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.CLOCK_BOOTTIME
    if (
        sys.platform == "darwin"
    ):  # where time.monotonic stands still during sleep, and this does not
        return time.CLOCK_MONOTONIC
    return None


_CLOCK = _clock_that_runs_during_sleep()


def elapsed() -> float:
    """Seconds since some fixed instant: never set, and counted on while the machine sleeps.

    Linux' CLOCK_MONOTONIC, which `time.monotonic` reads, stands still while the machine is
    suspended: it would let a laptop believe for another nine seconds in a lease of yesterday.
    """
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)
