"""Working until a signal says to stop."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Sequence
from datetime import timedelta
from queue import Empty, SimpleQueue
from types import FrameType

__all__ = ["stop_when_signalled"]

logger = logging.getLogger("workflow_core.engine")

_AT_ONCE = timedelta(0)


def stop_when_signalled(
    stop: Callable[[], Sequence[str]], is_stopped: Callable[[timedelta], bool]
) -> Sequence[str]:
    """Wait for SIGINT or SIGTERM, then stop; answers what `stop` does. The main thread only.

    Args:
        stop: stops in order.
        is_stopped: whether another thread has done so meanwhile; given how long it may take to say.
    """
    # Not an event: a handler that sets one may have interrupted the very thread that holds its
    # lock. This queue's put is made for handlers.
    told: SimpleQueue[int] = SimpleQueue()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def tell(number: int, frame: FrameType | None) -> None:
        for known in before:
            signal.signal(known, signal.SIG_DFL)
        told.put(number)

    for number in before:
        signal.signal(number, tell)
    try:
        came = _next_signal(told, is_stopped)
        if came is not None:
            logger.info("%s: stopping; again to end at once", signal.Signals(came).name)
        return stop()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _next_signal(told: SimpleQueue[int], is_stopped: Callable[[timedelta], bool]) -> int | None:
    while not is_stopped(_AT_ONCE):
        try:
            return told.get(timeout=1)  # with a limit: another thread may stop us too
        except Empty:
            continue
    return None
