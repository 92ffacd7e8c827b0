"""A rota: several processes that seldom have work share one thread."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import timedelta

from workflow_core.engine.process import Process

__all__ = ["Rota"]

_NOW = timedelta(0)


class Rota(Process):
    """Polls each of its processes, and then waits once. One that fails does not stop the others."""

    upkeep = True

    def __init__(self, name: str, processes: Sequence[Process]) -> None:
        self.name = name
        self._processes = list(processes)
        self._ended = threading.Event()

    def poll(self, wait: timedelta) -> bool:
        """One poll of each. Raises the first failure, after all had their turn."""
        worked = False
        failure: Exception | None = None
        for process in self._processes:
            try:
                worked |= process.poll(_NOW)
            except Exception as error:
                failure = failure or error
        if failure is not None:
            raise failure
        if not worked:
            self._ended.wait(wait.total_seconds())
        return worked

    def next_due(self) -> timedelta | None:
        """The earliest of its processes'."""
        return min(
            (due for process in self._processes if (due := process.next_due()) is not None),
            default=None,
        )

    def wake(self) -> None:
        """End a wait for good: only a stop does."""
        self._ended.set()
