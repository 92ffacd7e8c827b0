"""Where the bodies of async steps run: one event loop per process, on a thread of its own.

Nothing else runs on that loop, so a body that blocks it holds up other async bodies and nothing
of the engine; the watchdog says so in the log.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeAlias

from workflow_core.ports import Clock

__all__ = ["AsyncBodies", "Done", "Tasks", "ThreadedLoop"]

logger = logging.getLogger("workflow_core.engine")

Done: TypeAlias = Callable[[object, BaseException | None], None]
"""Told the answer of a body, or what it raised."""

_BLOCKED_AFTER = 5.0  # seconds without a turn of the loop


class AsyncBodies(ABC):
    """Runs coroutines side by side."""

    is_closed = False
    """Whether `close` has cancelled what still ran."""

    @abstractmethod
    def start(self, body: Coroutine[Any, Any, object], done: Done) -> None:
        """Begin a body; `done` is called when it ends. Any thread."""

    @abstractmethod
    def cancel(self, body: Coroutine[Any, Any, object]) -> None:
        """Cancel a body that was started, if it still runs; as `close`. Any thread."""

    @abstractmethod
    def close(self) -> None:
        """Cancel what still runs; `done` is told CancelledError. Twice is harmless."""

    def watch(self) -> None:  # noqa: B027 - only a loop of its own can be blocked
        """Look whether a body blocks the loop; to be called about each second."""

    @property
    def blocked_for(self) -> timedelta:
        """How long the loop has had no turn, as far as `watch` has found; zero: it turns."""
        return timedelta(0)


class ThreadedLoop(AsyncBodies):
    """A loop on a daemon thread, started at the first body."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._tasks = Tasks()
        self._lock = threading.Lock()
        self._pinged_at: float | None = None
        self._warned = False

    def start(self, body: Coroutine[Any, Any, object], done: Done) -> None:
        """Begin a body on the loop's thread."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._run, args=(self._loop,), name="async steps", daemon=True
                )
                self._thread.start()
        self._loop.call_soon_threadsafe(self._begin, body, done)

    def cancel(self, body: Coroutine[Any, Any, object]) -> None:
        """On the loop's thread, where it began before."""
        if self._loop is not None and not self.is_closed:
            self._loop.call_soon_threadsafe(self._tasks.cancel, body)

    def close(self) -> None:
        """Cancel all bodies, give them a moment to clean up, and stop the loop."""
        with self._lock:
            if self._loop is None or self.is_closed:
                return
            self.is_closed = True
        self._loop.call_soon_threadsafe(self._cancel_all)
        assert self._thread is not None
        self._thread.join(2)  # a blocked loop is left behind; its thread is a daemon

    def watch(self) -> None:
        """Warn once when the loop has had no turn for long."""
        if self._loop is None or self.is_closed:
            return
        now = self._clock.monotonic()
        if self._pinged_at is None:
            self._pinged_at = now
            self._loop.call_soon_threadsafe(self._pong)
        elif now - self._pinged_at > _BLOCKED_AFTER and not self._warned:
            self._warned = True
            logger.warning(
                "an async step blocks the event loop for %.0f s: all other async steps wait. "
                "Await in it, or make it a plain function",
                now - self._pinged_at,
            )

    @property
    def blocked_for(self) -> timedelta:
        """Since the last look that was not answered."""
        pinged_at = None if self.is_closed else self._pinged_at
        seconds = 0.0 if pinged_at is None else self._clock.monotonic() - pinged_at
        return timedelta(seconds=max(0.0, seconds))

    def _pong(self) -> None:
        self._pinged_at = None
        self._warned = False

    def _begin(self, body: Coroutine[Any, Any, object], done: Done) -> None:
        if self.is_closed:
            body.close()
            return
        assert self._loop is not None
        self._tasks.begin(self._loop, body, done)

    def _cancel_all(self) -> None:
        assert self._loop is not None
        self._tasks.cancel_all()
        self._loop.create_task(self._stop_when_done())

    async def _stop_when_done(self) -> None:
        if self._tasks.running:
            await asyncio.wait(self._tasks.running, timeout=1)
        asyncio.get_running_loop().stop()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()


class Tasks:
    """The bodies of one loop, on the loop's own thread."""

    def __init__(self) -> None:
        self._tasks: dict[Coroutine[Any, Any, object], asyncio.Task[None]] = {}

    def begin(
        self, loop: asyncio.AbstractEventLoop, body: Coroutine[Any, Any, object], done: Done
    ) -> None:
        """Begin a body; `done` is told also of one that is cancelled before its first turn."""
        has_begun = False

        async def run() -> None:
            nonlocal has_begun
            has_begun = True
            await _conclude(body, done)

        def end(_: asyncio.Task[None]) -> None:
            del self._tasks[body]
            body.close()  # else one that never had a turn would warn
            if not has_begun:
                done(None, asyncio.CancelledError())

        task = self._tasks[body] = loop.create_task(run())
        task.add_done_callback(end)

    def cancel(self, body: Coroutine[Any, Any, object]) -> None:
        """Cancel it, if it still runs."""
        if body in self._tasks:
            self._tasks[body].cancel()

    def cancel_all(self) -> None:
        """Cancel what still runs."""
        for task in self._tasks.values():
            task.cancel()

    @property
    def running(self) -> list[asyncio.Task[None]]:
        """What has not ended."""
        return list(self._tasks.values())


async def _conclude(body: Coroutine[Any, Any, object], done: Done) -> None:
    """Await a body and tell how it ended."""
    try:
        answer = await body
    except BaseException as error:  # whatever a body raises is its failed attempt
        done(None, error)
        if isinstance(error, asyncio.CancelledError):
            raise
    else:
        done(answer, None)
