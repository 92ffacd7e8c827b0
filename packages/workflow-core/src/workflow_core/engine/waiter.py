"""The waiter: tells callers when their runs have reached a status.

One per process for all who wait. It subscribes, then reads, then waits: a commit of this process
wakes it at once, polling finds what others did. All awaited runs are looked up in one question.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import timedelta
from typing import Any, TypeAlias

from workflow_core.engine.lookups import look_up
from workflow_core.engine.process import Process
from workflow_core.errors import StoppedError
from workflow_core.model import Record
from workflow_core.ports import Clock, RecordStore

__all__ = ["Question", "Waiter"]

Question: TypeAlias = Callable[[Record | None], Any]
"""Given the record as it is (None: there is none): the answer; None: not yet; or it raises."""

_FIRST_POLL = 0.01  # seconds; grows while nothing happens
_LAST_POLL = 0.25
_GROWTH = 1.5
_BATCH = 1000


class Waiter(Process):
    """Any thread may ask.

    Args:
        store: where the runs are looked up.
        clock: for the pace of polling.
        start: given the waiter at each question, so that its thread starts with the first.
    """

    name = "waiter"

    def __init__(self, store: RecordStore, clock: Clock, start: Callable[[Process], None]) -> None:
        self._store = store
        self._start = start
        self._clock = clock
        self._asked: dict[str, dict[Future[Any], Question]] = defaultdict(dict)
        self._fresh: set[str] = set()
        self._news = threading.Condition()
        self._interval = _FIRST_POLL
        self._next_poll = 0.0
        self._all_by = 0.0  # however busy this process is, all are looked up by then
        self._is_closed = False

    def ask(self, run_id: str, question: Question) -> Future[Any]:
        """A future of the question's answer; cancel it when nobody waits any more.

        Raises:
            StoppedError: closed.
        """
        future: Future[Any] = Future()
        with self._news:
            if self._is_closed:
                raise StoppedError("this engine is closed")
            self._asked[run_id][future] = question
            self._fresh.add(run_id)
            self._interval = _FIRST_POLL
            self._news.notify()
        future.add_done_callback(lambda done: self._withdraw(run_id, done))
        self._start(self)
        return future

    def close(self) -> None:
        """Nobody is answered any more: all that wait get StoppedError."""
        with self._news:
            self._is_closed = True
            waiting = [
                (run_id, future) for run_id, asked in self._asked.items() for future in asked
            ]
        for run_id, future in waiting:
            error = StoppedError("the engine was closed", run_id=run_id)
            self._settle(run_id, future, error=error)

    def notice(self, records: Sequence[Record]) -> None:
        """This process has written these records."""
        if not self._asked:
            return
        with self._news:
            fresh = [record.run_id for record in records if record.run_id in self._asked]
            if fresh:
                self._fresh.update(fresh)
                self._news.notify()

    def poll(self, wait: timedelta) -> bool:
        """Answer what can be answered."""
        run_ids = self._choose(wait)
        answered = False
        for start in range(0, len(run_ids), _BATCH):
            part = run_ids[start : start + _BATCH]
            found = look_up(self._store, dict.fromkeys(part, 1))
            for run_id in part:
                answered |= self._answer(run_id, found.get(run_id))
        if answered:
            self._interval = _FIRST_POLL
        return answered

    def next_due(self) -> timedelta | None:
        """Nothing: what it waits for is moved on by others."""
        return None

    def wake(self) -> None:
        """End a wait."""
        with self._news:
            self._news.notify()

    def _choose(self, wait: timedelta) -> list[str]:
        with self._news:
            if not self._fresh and wait:
                rest = self._next_poll - self._clock.monotonic() if self._asked else _LAST_POLL
                self._news.wait(min(wait.total_seconds(), max(0.0, rest)))
            now = self._clock.monotonic()
            if self._fresh and now < self._all_by:
                run_ids = list(self._fresh)
                self._fresh.clear()
                self._next_poll = min(self._next_poll, now + self._interval)
                return run_ids
            if not self._asked or (wait and now < self._next_poll):
                return []
            self._interval = min(self._interval * _GROWTH, _LAST_POLL)
            self._next_poll = now + self._interval
            self._all_by = now + _LAST_POLL
            self._fresh.clear()
            return list(self._asked)

    def _answer(self, run_id: str, record: Record | None) -> bool:
        answered = False
        for future, question in self._questions(run_id):
            try:
                answer = question(record)
            except Exception as error:
                self._settle(run_id, future, error=error)
                answered = True
            else:
                if answer is not None:
                    self._settle(run_id, future, answer=answer)
                    answered = True
        return answered

    def _questions(self, run_id: str) -> list[tuple[Future[Any], Question]]:
        with self._news:
            return list(self._asked.get(run_id, {}).items())

    def _withdraw(self, run_id: str, future: Future[Any]) -> None:
        if future.cancelled():
            with self._news:
                self._drop(run_id, future)

    def _settle(
        self,
        run_id: str,
        future: Future[Any],
        *,
        answer: Any = None,
        error: Exception | None = None,
    ) -> None:
        with self._news:
            if not self._drop(run_id, future):
                return  # withdrawn, or settled by another thread
        if not future.set_running_or_notify_cancel():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(answer)

    def _drop(self, run_id: str, future: Future[Any]) -> bool:
        """Whether it was there."""
        asked = self._asked.get(run_id, {})
        was_there = asked.pop(future, None) is not None
        if was_there and not asked:
            del self._asked[run_id]
            self._fresh.discard(run_id)
        return was_there
