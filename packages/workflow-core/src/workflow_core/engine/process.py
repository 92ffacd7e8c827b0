"""A background process: an object whose ``poll`` does one bounded piece of work.

Threads drive processes in production, the test driver drives the very same objects on one thread.
So a process never sleeps on its own: it waits inside ``poll``, at most as long as it is told.
"""

from __future__ import annotations

import logging
import random
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum

from workflow_core.errors import AdapterUnavailableError, ClosedError
from workflow_core.model import Value
from workflow_core.ports import Clock

__all__ = ["Process", "ProcessState", "ProcessStatus", "ProcessThread"]

logger = logging.getLogger("workflow_core.engine")

_WAIT = timedelta(milliseconds=250)  # how long a poll may wait: bounds how long a stop takes
_FIRST_BACK_OFF = 0.05  # seconds; doubles with each failure in a row
_LAST_BACK_OFF = 10.0


class ProcessState(StrEnum):
    """What a process is doing."""

    IDLE = "idle"
    """It waits: for work, or for its role."""
    RUNNING = "running"
    FAILING = "failing"
    """Its last poll failed; it tries again with back-off."""
    STUCK = "stuck"
    """Its poll does not return, and no function of a user's is what it waits for."""
    STOPPED = "stopped"
    """Its thread has ended. Nobody reports it but where that was not asked for."""


class ProcessStatus(Value, frozen=True, kw_only=True):
    """A process as it was at one moment, for people and probes."""

    name: str
    state: ProcessState
    last_progress: datetime | None
    """When it last did some work, by the engine's clock; None: not yet."""
    error: str = ""
    """The last failure in a row of them; "" when the last poll was well."""
    failures: int = 0
    """Failed polls in a row."""
    failing_for: timedelta = timedelta(0)
    """Since the first of them."""
    is_unavailable: bool = False
    """Whether the last of them was an adapter that did not answer, so that no restart helps."""
    polls: int = 0
    """Polls so far: the same number at two looks means that it is in the same one still."""
    polling_for: timedelta = timedelta(0)
    """How long the present poll has lasted."""
    doing: str = ""
    """The user's function that the present poll is in: which, and for which run; "": none."""


class Process(ABC):
    """One background activity of an engine."""

    name: str
    upkeep = False
    """Whether it only ever repeats itself, so that "all is quiet" need not wait for it."""

    @abstractmethod
    def poll(self, wait: timedelta) -> bool:
        """Do one bounded piece of work; wait at most `wait` for there to be some.

        Answers whether there was any. One thread at a time. What it raises leaves nothing half
        done that the next poll does not finish.
        """

    def next_due(self) -> timedelta | None:
        """How long until time alone gives it work; None: never, or not known."""
        return None

    @property
    def doing(self) -> str:
        """The user's function that a poll is in, as nobody can say how long it takes. Any thread.

        "": none, so that the poll is bounded by what its adapters take.
        """
        return ""

    def wake(self) -> None:  # noqa: B027 - most processes have nothing to wake
        """End the wait of a poll that another thread is in. Any thread."""


class ProcessThread:
    """Drives one process until told to stop. A daemon, so that no process keeps Python alive.

    Args:
        process: what is driven.
        clock: for ages.
        stuck_after: how long a poll may take that is in no function of a user's.
        on_failed: told each poll that failed, and why; None: nobody is.
    """

    def __init__(
        self,
        process: Process,
        clock: Clock,
        stuck_after: timedelta,
        on_failed: Callable[[Process, BaseException], None] | None = None,
    ) -> None:
        self.process = process
        self._clock = clock
        self._stuck_after = stuck_after
        self._on_failed = on_failed
        self._stop = threading.Event()
        self._state = ProcessState.IDLE
        self._last_progress: datetime | None = None
        self._error = ""
        self._failures = 0
        self._failing_since = 0.0
        self._is_unavailable = False
        self._polls = 0
        self._polling_since: float | None = None
        self._thread = threading.Thread(target=self._run, name=process.name, daemon=True)

    def start(self) -> None:
        """Begin. Once only."""
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end after the present poll; does not wait."""
        self._stop.set()
        self.process.wake()

    def join(self, timeout: timedelta) -> bool:
        """Wait for its end; answers whether it has ended."""
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(max(0.0, timeout.total_seconds()))
        return not self._thread.is_alive()

    @property
    def last_progress(self) -> datetime | None:
        """When it last did some work, by the clock; None: not yet."""
        return self._last_progress

    def status(self) -> ProcessStatus:
        """What it is doing."""
        now, since, doing = self._clock.monotonic(), self._polling_since, self.process.doing
        polling_for = timedelta(seconds=0.0 if since is None else max(0.0, now - since))
        failures = self._failures
        return ProcessStatus(
            name=self.process.name,
            state=self._state_after(polling_for, doing),
            last_progress=self._last_progress,
            error=self._error,
            failures=failures,
            failing_for=timedelta(seconds=max(0.0, now - self._failing_since) if failures else 0),
            is_unavailable=self._is_unavailable,
            polls=self._polls,
            polling_for=polling_for,
            doing=doing,
        )

    def _state_after(self, polling_for: timedelta, doing: str) -> ProcessState:
        if self._thread.ident is not None and not self._thread.is_alive():
            return ProcessState.STOPPED
        if doing:
            return ProcessState.RUNNING
        return ProcessState.STUCK if polling_for >= self._stuck_after else self._state

    def _run(self) -> None:
        while not self._stop.is_set():
            self._polls += 1
            self._polling_since = self._clock.monotonic()
            try:
                worked = self.process.poll(_WAIT)
            except ClosedError:
                if self._stop.is_set():
                    break
                self._failed()
            except BaseException:  # a process must outlive whatever its adapters raise
                self._failed()
            else:
                self._succeeded(worked)
        self._polling_since = None
        self._state = ProcessState.STOPPED
        logger.debug("%s has ended", self.process.name, extra={"process_name": self.process.name})

    def _succeeded(self, worked: bool) -> None:
        if self._failures:
            logger.info(
                "%s works again", self.process.name, extra={"process_name": self.process.name}
            )
        self._failures = 0
        self._error = ""
        self._state = ProcessState.RUNNING if worked else ProcessState.IDLE
        if worked:
            self._last_progress = self._clock.now()

    def _failed(self) -> None:
        error = sys.exception()
        self._polling_since = None
        if not self._failures:
            self._failing_since = self._clock.monotonic()
        if self._on_failed is not None and error is not None:
            self._on_failed(self.process, error)
        self._failures += 1
        self._error = f"{type(error).__name__}: {error}"
        self._state = ProcessState.FAILING
        back_off = min(_LAST_BACK_OFF, _FIRST_BACK_OFF * 2 ** min(self._failures - 1, 20))
        back_off *= random.uniform(0.5, 1)
        self._is_unavailable = expected = isinstance(error, AdapterUnavailableError)
        logger.warning(
            "%s failed, next try in %.1f s: %s",
            self.process.name,
            back_off,
            self._error,
            exc_info=None if expected else error,
            extra={"process_name": self.process.name},
        )
        self._stop.wait(back_off)
