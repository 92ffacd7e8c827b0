"""The driver: runs engines on one thread, with a clock that only a test moves.

It polls the very processes that threads drive in production, until none has anything to do. Async
bodies run on a loop that lives by the same clock. So a test is deterministic and takes no real
time: an hour passes in one call.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from datetime import timedelta
from enum import IntEnum
from typing import Any, Self, TypeVar

from workflow_core.definition import Workflow
from workflow_core.engine import Engine, Serving
from workflow_core.engine.bodies import AsyncBodies, Done
from workflow_core.engine.crew import Crew
from workflow_core.engine.process import Process
from workflow_core.engine.runtime import Runtime
from workflow_core.errors import AdapterUnavailableError, ServingError, WouldWaitForeverError
from workflow_core.testing.clock import FakeClock
from workflow_core.testing.loop import DrivenLoop
from workflow_core.testing.run_under_test import RunUnderTest

__all__ = ["Driver"]

T = TypeVar("T")
DataT = TypeVar("DataT")
StatusT = TypeVar("StatusT", bound=IntEnum)

_NOW = timedelta(0)
_TICK = timedelta(milliseconds=1)
_BACK_OFF = timedelta(seconds=1)  # after which a process that failed is due again


class Driver:
    """Drives engines; a context manager that closes them. One thread.

    Args:
        engine: the engine to drive, before it has started anything; None: one in memory.
        clock: the clock that the engine and its adapters were given.

    Attributes:
        engine: the (first) engine.
        clock: moved by `advance`, `settle`, and waits within the driver.
        failures: what processes raised because an adapter was unavailable; they try again with the
            next call, or after a second of the clock.
    """

    def __init__(self, engine: Engine | None = None, *, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock()
        # Seeded, so that a test takes the same course each time.
        self.engine = engine or Engine.in_memory(clock=self.clock, entropy=random.Random(0))
        self.failures: list[AdapterUnavailableError] = []
        self._engines: dict[Engine, Crew] = {}
        self._failing: set[Process] = set()
        self._runtime = _DrivenRuntime(self)
        self.add(self.engine)
        self._loop = DrivenLoop(self.clock)

    def add(self, engine: Engine) -> Engine:
        """Drive another engine of the same cluster too."""
        self._engines[engine] = engine.be_driven(self._runtime)
        return engine

    def serve(self, *workflows: Workflow[Any, Any], engine: Engine | None = None) -> Serving:
        """Let the (first) engine work on these workflows."""
        return (engine or self.engine).serving(*workflows).start()

    def begin(
        self,
        workflow: Workflow[DataT, StatusT],
        foreign_id: str,
        data: DataT,
        *,
        status: StatusT | None = None,
    ) -> RunUnderTest[DataT, StatusT]:
        """Trigger a run, to be followed by a test. Raises as `Engine.trigger`."""
        run_id = self.engine.trigger(workflow, foreign_id, data, status=status)
        return RunUnderTest(self, workflow, run_id)

    def crash(self, engine: Engine) -> None:
        """Drive this engine no more, as if its process had been killed: nothing is given back."""
        del self._engines[engine]

    # -- running -------------------------------------------------------------------------------

    def run(self, limit: int = 1_000_000) -> None:
        """Poll until all is quiet; time stands still.

        Raises:
            ServingError: after `limit` rounds something still finds work, such as a step that
                answers Repeat without a delay for ever.
        """
        for _ in range(limit):
            if not self._round():
                return
        raise ServingError(
            f"after {limit} rounds there is still work to do",
            hint="Does a step answer Repeat() without a delay for ever?",
        )

    def advance(self, by: timedelta) -> None:
        """Let time pass, and do all that comes due in it, each at its time."""
        end = self.clock.now() + by
        self.run()
        while (rest := end - self.clock.now()) > _NOW:
            due = self.next_due(upkeep=True)
            self.clock.advance(rest if due is None else min(rest, max(due, _TICK)))
            self.run()

    def settle(self, within: timedelta = timedelta(days=1)) -> None:
        """Run, and move the clock to whatever is due next, until nothing is due any more.

        What only repeats itself (upkeep) is not waited for.

        Raises:
            ServingError: something is still due after `within`.
        """
        end = self.clock.now() + within
        self.run()
        while (due := self.next_due()) is not None:
            if self.clock.now() + due > end:
                raise ServingError(f"something is still due in {due}, after {within}")
            self.clock.advance(max(due, _TICK))
            self.run()

    def next_due(self, *, upkeep: bool = False) -> timedelta | None:
        """How long until time alone gives some process work; None: never.

        Args:
            upkeep: count also what only repeats itself.
        """
        dues = [
            self._due_of(process)
            for crew in self._engines.values()
            for process in crew.processes
            if upkeep or not process.upkeep
        ]
        dues.append(self._loop.next_due())
        return min((due for due in dues if due is not None), default=None)

    def close(self) -> None:
        """Close the engines in order."""
        for engine in list(self._engines):
            engine.close()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    # -- inside --------------------------------------------------------------------------------

    def _round(self) -> bool:
        worked = False
        for crew in list(self._engines.values()):
            for process in crew.processes:
                worked |= self._poll(process)
        if not self._loop.is_running:
            worked |= self._loop.poll()
        return worked

    def _poll(self, process: Process) -> bool:
        try:
            worked = process.poll(_NOW)
        except AdapterUnavailableError as error:
            self.failures.append(error)
            self._failing.add(process)
            return False
        self._failing.discard(process)
        return worked

    def _due_of(self, process: Process) -> timedelta | None:
        if process in self._failing:
            return _BACK_OFF
        try:
            return process.next_due()
        except AdapterUnavailableError as error:
            self.failures.append(error)
            return _BACK_OFF

    def wait(self, future: Future[T], timeout: timedelta) -> T:
        """Drive on until the future is done, by moving the clock if need be."""
        if self._loop.is_running:
            raise WouldWaitForeverError(
                "a blocking wait inside an async step would block the loop",
                hint="Use engine.aio in async code",
            )
        end = self.clock.now() + timeout
        while True:
            self.run()
            if future.done():
                return future.result()
            due = self.next_due()
            if due is None:
                raise WouldWaitForeverError(
                    "nothing will ever happen: all is quiet and nothing is due",
                    hint=self._loop.told_unfinished,
                )
            rest = end - self.clock.now()
            if max(due, _TICK) > rest:
                self.clock.advance(max(rest, _NOW))
                self.run()
                return future.result(0)
            self.clock.advance(max(due, _TICK))


class _DrivenRuntime(Runtime):
    manual = True

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def bodies(self) -> AsyncBodies:
        return _SharedLoop(self._driver._loop)

    def result(self, future: Future[T], timeout: timedelta) -> T:
        return self._driver.wait(future, timeout)

    def errand(self, call: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)
        return future


class _SharedLoop(AsyncBodies):
    """The driver's one loop, as one serving sees it: closing the serving does not close it."""

    def __init__(self, loop: DrivenLoop) -> None:
        self._loop = loop

    def start(self, body: Coroutine[Any, Any, object], done: Done) -> None:
        self._loop.start(body, done)

    def cancel(self, body: Coroutine[Any, Any, object]) -> None:
        self._loop.cancel(body)

    def close(self) -> None:
        """The bodies of a stopped serving are abandoned: their answers reach nobody."""
        self.is_closed = True
