"""An asyncio loop that lives by a test's clock and runs only when it is told to."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

from workflow_core.engine.bodies import AsyncBodies, Done, Tasks
from workflow_core.ports import Clock

__all__ = ["DrivenLoop"]


class DrivenLoop(AsyncBodies):
    """Runs async bodies on the driver's thread; ``asyncio.sleep`` takes no real time."""

    def __init__(self, clock: Clock) -> None:
        self._selector = _RestingSelector()
        self._loop = _ClockedLoop(self._selector, clock)
        self._selector.loop = self._loop
        self._tasks = Tasks()

    def start(self, body: Coroutine[Any, Any, object], done: Done) -> None:
        """The body begins at the next poll."""
        self._tasks.begin(self._loop, body, done)

    def cancel(self, body: Coroutine[Any, Any, object]) -> None:
        """It ends at the next poll."""
        self._tasks.cancel(body)

    @property
    def is_running(self) -> bool:
        """Whether we are inside one of its bodies."""
        return self._loop.is_running()

    def poll(self) -> bool:
        """Run until no callback is ready; answers whether any was."""
        self._selector.rounds = 0
        self._loop.run_forever()
        return self._selector.rounds > 0

    @property
    def told_unfinished(self) -> str:
        """A sentence on bodies that have not ended; "" if all have."""
        unfinished = len(self._tasks.running)
        if not unfinished:
            return ""
        return (
            f"{unfinished} async steps wait for something that is not the driver's, such as "
            "a thread or a process: stand something in for it in tests"
        )

    def next_due(self) -> timedelta | None:
        """How long until a sleeper wakes."""
        return None if self._selector.rest is None else timedelta(seconds=self._selector.rest)

    def close(self) -> None:
        """Cancel what runs and close the loop."""
        if self._loop.is_closed():
            return
        self._tasks.cancel_all()
        self._loop.run_forever()
        self._loop.close()


class _ClockedLoop(asyncio.SelectorEventLoop):
    def __init__(self, selector: selectors.BaseSelector, clock: Clock) -> None:
        super().__init__(selector)
        self._clock = clock

    def time(self) -> float:
        return self._clock.monotonic()


class _RestingSelector(selectors.DefaultSelector):
    """Where the loop would wait it is stopped instead; the time it would have waited is kept."""

    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        super().__init__()
        self.rounds = 0
        self.rest: float | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            self.rounds += 1
            return ready
        self.rest = timeout
        self.loop.stop()
        return ready
