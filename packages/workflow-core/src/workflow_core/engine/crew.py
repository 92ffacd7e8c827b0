"""The crew: an engine's background processes and the threads that drive them.

Threads start when a process is first needed, so an engine that only triggers has none but what
publishes. The test driver takes the crew over before anything starts and polls the same processes
on one thread.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable
from datetime import timedelta

from workflow_core.engine.process import Process, ProcessState, ProcessStatus, ProcessThread
from workflow_core.errors import AdapterUnavailableError, ServingError
from workflow_core.ports import Clock

__all__ = ["Crew"]

logger = logging.getLogger("workflow_core.engine")


class Crew:
    """Any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._processes: list[Process] = []
        self._threads: dict[Process, ProcessThread] = {}
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._disbanded = False
        self.manual = False
        """Whether somebody else polls the processes: no threads then."""

    def add(self, process: Process) -> None:
        """Drive this process from now on; once added, adding it again does nothing.

        After `disband` nothing is driven any more.
        """
        if process in self._threads and self._pid == os.getpid():
            return
        with self._lock:
            if self._pid != os.getpid():  # a fork: our threads stayed with the parent
                self._pid = os.getpid()
                self._threads.clear()
            if self._disbanded:  # whoever comes this late would never be stopped
                return
            if process not in self._processes:
                self._processes.append(process)
            if not self.manual and process not in self._threads:
                thread = self._threads[process] = ProcessThread(process, self._clock)
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

    def statuses(self) -> list[ProcessStatus]:
        """What each is doing."""
        with self._lock:
            return [
                self._threads[process].status()
                if process in self._threads
                else ProcessStatus(name=process.name, state=ProcessState.IDLE, last_progress=None)
                for process in self._processes
            ]
