"""Outcomes: what steps have come to and is not committed yet, on its way to whoever commits it.

Usually that is the committer, with as many at once as there are after a moment. Where little is
finished and nothing else waits to be begun, the worker commits itself: to wake another thread, and
be woken by it, takes longer than to write.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Sequence
from datetime import timedelta

from workflow_core.engine.lane import BATCH, Chunk, Finished
from workflow_core.ports import Clock

__all__ = ["Outcomes"]

FLUSH_AFTER = 0.02  # seconds a finished item may wait for others
_FEW = 8  # finished items that a worker may commit itself


class Outcomes:
    """Under the window's lock, which `take` and `give_back` take themselves.

    Args:
        lock: the window's.
        clock: by its monotonic side.
        chunks: those that workers are at.
    """

    def __init__(self, lock: threading.Lock, clock: Clock, chunks: Collection[Chunk]) -> None:
        self._done = threading.Condition(lock)
        self._clock = clock
        self._chunks = chunks
        self._finished: deque[Finished] = deque()

    def __bool__(self) -> bool:
        return bool(self._finished)

    @property
    def are_few(self) -> bool:
        """Whether there are some, and not so many that a worker had better not commit them."""
        return 0 < len(self._finished) <= _FEW

    def add(self, finished: Finished, chunk: Chunk | None) -> None:
        """One more; `chunk`: of this one, whose worker sees to it at its end."""
        self._finished.append(finished)
        waiting = len(self._finished)  # the first one starts the time that it waits for others
        if chunk is None or (waiting == 1 and chunk.pending) or waiting >= BATCH:
            self._done.notify()

    def call(self) -> None:
        """The committer is to look now."""
        self._done.notify()

    def take(self, wait: timedelta) -> list[Finished]:
        """Those to commit together: at most one per run. [] when none come within `wait`."""
        with self._done:
            if not self._finished and wait:
                self._done.wait(wait.total_seconds())
            if wait and self._finished and self._more_come_soon():
                rest = self._finished[0].since + FLUSH_AFTER - self._clock.monotonic()
                if rest > 0:
                    self._done.wait(rest)
            taken = [self._finished.popleft() for _ in range(min(BATCH, len(self._finished)))]
            if self._finished:
                self._done.notify()
            return taken

    def give_back(self, batch: Sequence[Finished]) -> None:
        """The store did not answer: commit them again, before all others."""
        with self._done:
            self._finished.extendleft(reversed(batch))
            self._done.notify()

    def _more_come_soon(self) -> bool:
        return len(self._finished) < BATCH and any(
            chunk.pending and not chunk.step.is_async for chunk in self._chunks
        )
