"""Signals that ask for a stop, from before anything is opened until the stop has begun.

`Serving.run_until_signalled` listens once work has begun; a service manager may ask for the stop
while adapters are still being opened, and that is to end in order too.
"""

from __future__ import annotations

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


class StopSignals:
    """Listens while it is entered. The first signal is noted, a second one ends the process.

    The main thread only.
    """

    def __init__(self) -> None:
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
        self._came.put(number)
