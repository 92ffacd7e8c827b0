"""The waiter: tells callers when their runs have reached a status.

One per process for all who wait. It subscribes, then reads, then waits: a commit of this process
wakes it at once, polling finds what others did. All awaited runs are looked up in one question.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from workflow_core.engine.lookups import look_up
from workflow_core.engine.process import Process
from workflow_core.errors import StoppedError
from workflow_core.model import Record
from workflow_core.ports import Clock, RecordStore

__all__ = ["Question", "Waiter"]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a run.

    Attributes:
        is_settled: whether a record, perhaps not yet stamped by the store, will be answered at
            all: what a commit of this process does not settle need not be looked up.
        answer: given the record as it is (None: there is none): the answer; None: not yet; or it
            raises.
    """

    is_settled: Callable[[Record], bool]
    answer: Callable[[Record | None], Any]


_FIRST_POLL = 0.01  # seconds; grows while nothing happens
_LAST_POLL = 0.25
_GROWTH = 1.5
_SHARE = 10  # looking all of them up is at most one part in so many of the time
_LONGEST_PAUSE = 10.0  # seconds, also when a store that stood still took minutes to answer
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
        self._is_closed = False
        self._begin()

    def _begin(self) -> None:
        self._asked: dict[str, dict[Future[Any], Question]] = defaultdict(dict)
        self._fresh: set[str] = set()
        self._news = threading.Condition()
        self._interval = _FIRST_POLL
        self._next_poll = 0.0
        self._all_by = 0.0  # however busy this process is, all are looked up by then
        self._all_take = 0.0  # seconds that it took to look all of them up the last time

    def forked(self) -> None:
        """In a forked child: whoever waits does so in the parent."""
        self._begin()

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
        """This process has written these records: those that settle a question are looked up."""
        if not self._asked:
            return
        with self._news:
            fresh = [
                record.run_id
                for record in records
                if record.run_id in self._asked
                and any(asked.is_settled(record) for asked in self._asked[record.run_id].values())
            ]
            if fresh:
                self._fresh.update(fresh)
                self._news.notify()

    def poll(self, wait: timedelta) -> bool:
        """Answer what can be answered."""
        run_ids, are_all = self._choose(wait)
        began = self._clock.monotonic()
        answered = False
        for start in range(0, len(run_ids), _BATCH):
            part = run_ids[start : start + _BATCH]
            found = look_up(self._store, dict.fromkeys(part, 1))
            for run_id in part:
                answered |= self._answer(run_id, found.get(run_id))
        if are_all:
            self._all_take = self._clock.monotonic() - began
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

    def _choose(self, wait: timedelta) -> tuple[list[str], bool]:
        """The runs to look up now, and whether they are all that are awaited."""
        with self._news:
            if not self._fresh and wait:
                rest = self._next_poll - self._clock.monotonic() if self._asked else _LAST_POLL
                self._news.wait(min(wait.total_seconds(), max(0.0, rest)))
            now = self._clock.monotonic()
            if self._fresh and now < self._all_by:
                run_ids = list(self._fresh)
                self._fresh.clear()
                self._next_poll = min(self._next_poll, now + self._pause)
                return run_ids, False
            if not self._asked or (wait and now < self._next_poll):
                return [], False
            self._interval = min(self._interval * _GROWTH, _LAST_POLL)
            self._next_poll = now + self._pause
            self._all_by = now + max(_LAST_POLL, self._pause)
            self._fresh.clear()
            return list(self._asked), True

    @property
    def _pause(self) -> float:
        """Seconds between two looks at all of them: the more they are, the longer."""
        return max(self._interval, min(self._all_take * _SHARE, _LONGEST_PAUSE))

    def _answer(self, run_id: str, record: Record | None) -> bool:
        answered = False
        for future, question in self._questions(run_id):
            try:
                answer = question.answer(record)
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
