"""Tells observers what happens, and keeps whatever they do away from the engine.

Where no observer was given there is none of this: `Core.observers` is None, adapters are called
directly and bodies are as they were declared. Who has something to tell asks for None first.

What has happened is put into a queue per observer and told, batch by batch, on a thread of the
observer's own: one that fails or hangs harms nobody, and the work that it makes is not done where
runs are worked on. A queue that is full drops what is new, counts it, and says so in the log. What
has to be there while a body runs, the current span, is set up on the body's own thread.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from enum import IntEnum
from time import perf_counter
from types import TracebackType
from typing import Self

from workflow_core.engine.process import Process
from workflow_core.model import (
    Observation,
    ProcessFailed,
    RunState,
    StateChanged,
    Work,
    WorkDone,
)
from workflow_core.ports import Answered, Observer

__all__ = ["Observers", "Working"]

logger = logging.getLogger("workflow_core.engine")

_LIMIT = 100_000  # observations that wait for one observer
_BATCH = 1000
_NOW = timedelta(0)


class Observers:
    """All observers of one engine. Any thread.

    Args:
        observers: one at least.
        start: given each observer's process when there is something to tell.
    """

    def __init__(self, observers: Sequence[Observer], start: Callable[[Process], None]) -> None:
        self._start = start
        self._tellers = [Teller(observer) for observer in observers]
        kind = Observer
        self._spanning = [o for o in observers if type(o).around is not kind.around]
        self._greeting = [o for o in observers if type(o).begun is not kind.begun]
        self._carrying = [o for o in observers if type(o).carried is not kind.carried]
        self._complained: set[tuple[Observer, str]] = set()
        self._started = False

    def forked(self) -> None:
        """In a forked child: what waits is the parent's to tell."""
        self._started = False
        for teller in self._tellers:
            teller.forked()

    def tell(self, observation: Observation) -> None:
        """It has happened. Costs an entry in a queue."""
        for teller in self._tellers:
            teller.add(observation)
        if not self._started:
            self._started = True
            for teller in self._tellers:
                self._start(teller)

    def changed(self, workflow: str, before: RunState | None, after: RunState) -> None:
        """A run was written; told where its state is another one now."""
        if before is not after:
            self.tell(StateChanged(workflow=workflow, before=before, after=after))

    def failed(self, process: Process, error: BaseException) -> None:
        """A poll of a background process has failed."""
        self.tell(ProcessFailed(process=process.name, error=type(error).__name__))

    def finish(self, late: Sequence[str]) -> None:
        """The threads have ended, but for those that are late: tell the others what is left."""
        for teller in self._tellers:
            if teller.name not in late:
                teller.poll(_NOW)

    # -- where the work is done ----------------------------------------------------------------

    def begun(self, run: Work) -> Mapping[str, str]:
        """The headers of a run that is about to be written: those it has, and the observers'."""
        headers = dict(run.headers)
        for observer in self._greeting:
            try:
                headers |= _checked(observer.begun(run))
            except Exception as error:
                self.complain(observer, "begun", error)
        return headers

    def carried(self) -> Mapping[str, str]:
        """By which headers what is begun from here belongs to the work that is under way."""
        headers: dict[str, str] = {}
        for observer in self._carrying:
            try:
                headers |= _checked(observer.carried())
            except Exception as error:
                self.complain(observer, "carried", error)
        return headers

    def around(self, work: Work) -> Working:
        """For a ``with`` around the call of a function."""
        return Working(self, work, self._spanning)

    def complain(self, observer: Observer, method: str, error: Exception) -> None:
        """Once for each observer and method: what fails once may fail with each event."""
        if (observer, method) in self._complained:
            return
        self._complained.add((observer, method))
        logger.error(
            "observer %s failed in %s() and is kept out of the work; it is called on, and what it"
            " fails on there is not logged again: %s",
            type(observer).__name__,
            method,
            type(error).__name__,
            exc_info=error,
        )


class Working:
    """A function is being called. One thread or task; a context manager, entered once."""

    __slots__ = ("_answer", "_answered", "_began", "_entered", "_observers", "_spanning", "work")

    def __init__(self, observers: Observers, work: Work, spanning: Sequence[Observer]) -> None:
        self.work = work
        self._observers = observers
        self._spanning = spanning
        self._entered: list[tuple[Observer, AbstractContextManager[object]]] = []
        self._answered: list[tuple[Observer, Answered]] = []
        self._answer = ""

    def answered(self, answer: object) -> None:
        """What the function answered."""
        if isinstance(answer, IntEnum):
            self._answer = answer.name
        elif answer is not None:
            self._answer = type(answer).__name__.lower()
        for observer, tell in self._answered:
            try:
                tell(self._answer)
            except Exception as error:
                self._observers.complain(observer, "around", error)

    def __enter__(self) -> Self:
        for observer in self._spanning:
            try:
                manager = observer.around(self.work)
                tell = manager.__enter__()
            except Exception as error:
                self._observers.complain(observer, "around", error)
            else:
                self._entered.append((observer, manager))
                if tell is not None:
                    self._answered.append((observer, tell))
        self._began = perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        seconds = perf_counter() - self._began
        for observer, manager in reversed(self._entered):
            try:
                manager.__exit__(kind, error, traceback)  # what it answers suppresses nothing
            except Exception as failure:
                if failure is not error:  # one written as a generator may raise it on
                    self._observers.complain(observer, "around", failure)
        name = "" if kind is None else kind.__name__
        done = WorkDone(work=self.work, seconds=seconds, answer=self._answer, error=name)
        self._observers.tell(done)


class Teller(Process):
    """Tells one observer what waits for it, about four times a second."""

    upkeep = True

    def __init__(self, observer: Observer) -> None:
        self.name = f"observer {type(observer).__name__}"
        self._observer = observer
        self._begin()
        self._has_failed = False
        self._dropped_before = 0

    def _begin(self) -> None:
        self._waiting: deque[Observation] = deque()
        self._dropped = 0
        self._doing = ""
        self._hurry = threading.Event()

    def forked(self) -> None:
        """Begin anew."""
        self._begin()

    def add(self, observation: Observation) -> None:
        """It is told soon. Any thread."""
        if len(self._waiting) < _LIMIT:
            self._waiting.append(observation)
        else:
            self._dropped += 1

    def poll(self, wait: timedelta) -> bool:
        """Tell what has come. Answers False: nobody need wait for it to be through."""
        if wait:
            self._hurry.wait(wait.total_seconds())
            self._hurry.clear()
        while self._waiting:
            self._tell()
        self._report_dropped()
        return False

    @property
    def doing(self) -> str:
        """The observer's `notice`: one that hangs makes no process deaf."""
        return self._doing

    def wake(self) -> None:
        """End a wait."""
        self._hurry.set()

    def _tell(self) -> None:
        count = min(_BATCH, len(self._waiting))
        batch = [self._waiting.popleft() for _ in range(count)]
        self._doing = "notice()"
        try:
            self._observer.notice(batch)
        except Exception as error:
            if not self._has_failed:
                self._has_failed = True
                logger.error(
                    "%s failed in notice(): what it was told is lost to it, and further failures"
                    " are not logged: %s",
                    self.name,
                    type(error).__name__,
                    exc_info=error,
                )
        finally:
            self._doing = ""

    def _report_dropped(self) -> None:
        dropped = self._dropped
        if dropped != self._dropped_before:
            logger.warning(
                "%s is too slow: %d observations were dropped",
                self.name,
                dropped - self._dropped_before,
            )
            self._dropped_before = dropped


def _checked(headers: Mapping[str, str]) -> Mapping[str, str]:
    parts: list[object] = [part for header in headers.items() for part in header]
    if not all(isinstance(part, str) and "\0" not in part for part in parts):
        raise TypeError("headers are texts by text, without NUL characters")
    return headers
