"""Signals that ask for a stop, from before anything is opened until the stop has begun.

`Serving.run_until_signalled` listens once work has begun; a service manager may ask for the stop
while adapters are still being opened, and that is to end in order too.

All parts of a stop are bounded, and one thing bounds none: a library that does not come back and
holds Python's lock, or whatever else the end of a process waits for. So the first signal sets off
a thread of the system that needs no lock. If the process is still there when its time is up, that
thread writes where each of its threads stands, and ends it. What was not settled comes again
elsewhere, as after a crash.
"""

from __future__ import annotations

import faulthandler
import signal
from collections.abc import Sequence
from datetime import timedelta
from queue import Empty, SimpleQueue
from types import FrameType, TracebackType
from typing import Self

from workflow_core import Serving

__all__ = ["StopSignals"]

_STOPS = (signal.SIGINT, signal.SIGTERM)
_AT_ONCE = timedelta(0)
# what the rest of an orderly stop takes at most, with servers that do not answer
_BEYOND = timedelta(seconds=20)
_STDERR = 2  # not sys.stderr: what stands for that may be no file


class StopSignals:
    """Listens while it is entered. The first signal is noted, a second one ends the process.

    The main thread only.

    Args:
        grace: how long a stop may wait for work in hand. The process is ended by force 20 s after
            that, whatever it waits for.
    """

    def __init__(self, grace: timedelta = _AT_ONCE) -> None:
        self._last = (grace + _BEYOND).total_seconds()
        self._came: SimpleQueue[int] = SimpleQueue()  # its put is made for handlers
        self._before = {number: signal.getsignal(number) for number in _STOPS}

    def __enter__(self) -> Self:
        for number in _STOPS:
            signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def stop_when_told(self, serving: Serving) -> Sequence[str]:
        """Wait for a signal, then stop in order; answers what was abandoned."""
        while not serving.wait(_AT_ONCE):
            try:
                self._came.get(timeout=1)  # with a limit: another thread may stop it too
                break
            except Empty:
                continue
        return serving.stop()

    def _note(self, number: int, frame: FrameType | None) -> None:
        for each in _STOPS:
            signal.signal(each, signal.SIG_DFL)
        # never taken back: the end of the interpreter is a part of the stop
        faulthandler.dump_traceback_later(self._last, exit=True, file=_STDERR)
        self._came.put(number)
