"""The crew: an engine's background processes and the threads that drive them.

Threads start when a process is first needed, so an engine that only triggers has none but what
publishes. The test driver takes the crew over before anything starts and polls the same processes
on one thread.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from workflow_core.engine.process import Process, ProcessState, ProcessStatus, ProcessThread
from workflow_core.errors import AdapterUnavailableError, ServingError
from workflow_core.ports import Clock

__all__ = ["Crew"]

logger = logging.getLogger("workflow_core.engine")


class Crew:
    """Any thread.

    Args:
        clock: for ages and waits.
        stuck_after: how long a poll may take that is in no function of a user's.
    """

    def __init__(self, clock: Clock, stuck_after: timedelta = timedelta(minutes=1)) -> None:
        self._clock = clock
        self._stuck_after = stuck_after
        self._disbanded = False
        self.manual = False
        """Whether somebody else polls the processes: no threads then."""
        self.on_failed: Callable[[Process, BaseException], None] | None = None
        """Told of polls that failed, on the process's thread."""
        self._start()

    def _start(self) -> None:
        self._processes: list[Process] = []
        self._threads: dict[Process, ProcessThread] = {}
        self._lock = threading.Lock()

    def forked(self) -> None:
        """In a forked child: the threads, and what they drive, stayed with the parent."""
        self._start()

    def add(self, process: Process) -> None:
        """Drive this process from now on; once added, adding it again does nothing.

        After `disband` nothing is driven any more.
        """
        if process in self._threads:
            return
        with self._lock:
            if self._disbanded:  # whoever comes this late would never be stopped
                return
            if process not in self._processes:
                self._processes.append(process)
            if not self.manual and process not in self._threads:
                thread = self._threads[process] = ProcessThread(
                    process, self._clock, self._stuck_after, self.on_failed
                )
                thread.start()

    def let_drive(self) -> None:
        """Somebody else will poll the processes; before any has started."""
        if self._threads:
            raise ServingError("the engine's threads have started already")
        self.manual = True

    def dismiss(self, processes: Iterable[Process], timeout: timedelta) -> list[str]:
        """Stop driving these; answers the names of those that did not end within `timeout`."""
        with self._lock:
            chosen = [process for process in processes if process in self._processes]
            threads = [self._threads.pop(p) for p in chosen if p in self._threads]
            self._processes = [p for p in self._processes if p not in chosen]
        for thread in threads:
            thread.stop()
        end = self._clock.monotonic() + timeout.total_seconds()
        late = []
        for thread in threads:
            rest = timedelta(seconds=max(0.0, end - self._clock.monotonic()))
            if not thread.join(rest):
                late.append(thread.process.name)
        return late

    def disband(self, timeout: timedelta) -> list[str]:
        """Dismiss all of them, and take nobody on any more."""
        with self._lock:
            self._disbanded = True
        return self.dismiss(self.processes, timeout)

    def work_off(self) -> None:
        """Where nobody but us drives the processes: poll them until none has anything to do."""
        while self.manual and self._poll_each():
            pass

    def _poll_each(self) -> bool:
        worked = False
        for process in self.processes:
            try:
                worked |= process.poll(timedelta(0))
            except AdapterUnavailableError as error:  # the rest is to end in order all the same
                logger.warning("%s failed in the end: %s", process.name, error)
        return worked

    @property
    def processes(self) -> list[Process]:
        """All of them, in the order in which they were added."""
        with self._lock:
            return list(self._processes)

    @property
    def last_progress(self) -> datetime | None:
        """When any of them last did some work that is not upkeep, by the clock; None: not yet."""
        with self._lock:
            threads = [each for process, each in self._threads.items() if not process.upkeep]
        times = [at for thread in threads if (at := thread.last_progress) is not None]
        return max(times, default=None)

    def statuses(self) -> list[ProcessStatus]:
        """What each is doing."""
        with self._lock:
            return [
                self._threads[process].status()
                if process in self._threads
                else ProcessStatus(name=process.name, state=ProcessState.IDLE, last_progress=None)
                for process in self._processes
            ]
