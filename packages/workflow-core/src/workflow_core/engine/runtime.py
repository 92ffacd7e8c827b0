"""How an engine runs: by threads of its own, or by a test's driver."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from typing import TypeVar

from workflow_core.engine.bodies import AsyncBodies, ThreadedLoop
from workflow_core.engine.errands import Errands
from workflow_core.ports import Clock

__all__ = ["Runtime", "ThreadRuntime"]

T = TypeVar("T")


class Runtime(ABC):
    """What differs between the two."""

    manual: bool
    """Whether somebody else polls the processes."""

    def forked(self) -> None:  # noqa: B027 - one without threads has nothing to lose
        """In a forked child: threads stayed with the parent."""

    @abstractmethod
    def bodies(self) -> AsyncBodies:
        """Where async steps run."""

    @abstractmethod
    def result(self, future: Future[T], timeout: timedelta) -> T:
        """The future's result. Raises TimeoutError."""

    @abstractmethod
    def errand(self, call: Callable[[], T]) -> Future[T]:
        """Run a short blocking call for asyncio code."""

    def aside(self, call: Callable[[], T]) -> Future[T]:
        """The same for a call that must not wait behind those."""
        return self.errand(call)


class ThreadRuntime(Runtime):
    """Threads, started when they are first needed."""

    manual = False

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._errands = Errands()
        self._aside = Errands(threads=2)

    def forked(self) -> None:
        """Begin without any."""
        self._errands.forked()
        self._aside.forked()

    def bodies(self) -> AsyncBodies:
        """A loop on a thread of its own."""
        return ThreadedLoop(self._clock)

    def result(self, future: Future[T], timeout: timedelta) -> T:
        """Wait on this thread."""
        return future.result(timeout.total_seconds())

    def errand(self, call: Callable[[], T]) -> Future[T]:
        """On one of a few threads."""
        return self._errands.submit(call)

    def aside(self, call: Callable[[], T]) -> Future[T]:
        """On one of two threads that nothing else has to do with."""
        return self._aside.submit(call)
