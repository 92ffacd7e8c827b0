"""The desk: runs the bodies of hooks and connectors, each for itself, and keeps how they ended.

An outlet is one hook or one connector in this process. Each has so many bodies at once at most, so
one that hangs holds up no other; work about one run (or of one key) goes one after the other.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from inspect import isawaitable
from typing import Any, Generic, TypeAlias, TypeVar, cast

from workflow_core.definition import Retry
from workflow_core.engine.bodies import AsyncBodies
from workflow_core.engine.letters import Cause, Origin
from workflow_core.logs import About, AboutRun
from workflow_core.model import ConnectorEvent, Event, LetterKind, Record
from workflow_core.ports import Delivery, Receiver

__all__ = ["Desk", "Outlet", "Parcel", "Pool", "Task"]

T = TypeVar("T")

Pool: TypeAlias = Callable[[Callable[[], None]], object]
"""Runs a call soon, on some thread."""


@dataclass(eq=False, slots=True)
class Parcel(Generic[T]):
    """What was delivered, once or again, and how much of the work for it is still to be done."""

    identity: str
    receipts: list[tuple[Receiver[T], Delivery[T]]]
    may_come_doubled: bool
    open_tasks: int = 0


@dataclass(eq=False, slots=True)
class Task:
    """One piece of work of one outlet."""

    outlet: Outlet
    cause: Cause
    key: str
    """Tasks of one outlet and key are done one after the other."""
    parcel: Parcel[Any]
    letter: Record | None = None
    """Where it was kept when it failed before."""
    argument: Any = None
    """What the body is called with, as the outlet prepares it."""
    answer: object = None
    error: BaseException | None = None
    started_at: float = 0.0
    is_overdue: bool = False
    """Whether its body has run for so long that it may never return."""
    is_kept: bool = False
    """Whether its cause is kept as a letter though its body still runs: its parcel is done."""
    carried: Mapping[str, str] = field(default_factory=dict)
    """Headers by which what it begins belongs to it, for observers."""

    @property
    def told(self) -> str:
        """Whose work it is, for logs."""
        origin = self.outlet.origin
        return f"workflow {origin.workflow!r}: {origin.kind} {origin.name}"

    @property
    def about(self) -> str:
        """What it is about, for logs."""
        if isinstance(self.cause, ConnectorEvent):
            return f"event {self.cause.id}"
        return f"run {self.cause.run_id}, version {self.cause.version}"

    @property
    def fields(self) -> dict[str, object]:
        """The same for machines."""
        origin, cause = self.outlet.origin, self.cause
        fields: dict[str, object] = {"workflow": origin.workflow}
        if origin.kind is LetterKind.CONNECTOR:
            return {**fields, "connector": origin.name, "event_id": cause.id}
        assert isinstance(cause, Event)
        return {**fields, "run_id": cause.run_id, "version": cause.version}


class Outlet(ABC):
    """One hook or connector.

    Attributes:
        origin: whose work it is.
        retry: how often and when it is tried again.
        limit: how many of its bodies run at once in this process.
    """

    origin: Origin
    retry: Retry
    limit: int

    @property
    @abstractmethod
    def process(self) -> str:
        """What metrics call it."""

    @abstractmethod
    def prepare(self, tasks: Sequence[Task], records: Mapping[str, Record]) -> None:
        """Fill in ``argument``, or ``error`` where there is none; no run's record is missing."""

    @abstractmethod
    def call(self, task: Task) -> object:
        """Call the body; answers what it answers, perhaps an awaitable."""

    @abstractmethod
    def commit(self, tasks: Sequence[Task]) -> None:
        """Do what the bodies answered; fill in ``error`` where that fails.

        Raises:
            AdapterUnavailableError: nobody knows what was done: commit them all again.
        """

    @property
    @abstractmethod
    def is_async(self) -> bool:
        """Whether calling the body is quick and gives an awaitable."""

    def about(self, task: Task) -> AboutRun | Mapping[str, object]:
        """What lines of the body are about: a run, or fields. Default: its task."""
        return task.fields

    def follow_up(self, answer: object) -> Callable[[], None] | None:
        """What is to be done about the answer before it is committed and may take a while."""
        return None


@dataclass(slots=True)
class _Queue:
    ready: deque[Task] = field(default_factory=deque)
    waiting: dict[str, deque[Task]] = field(default_factory=dict)  # by key, behind another
    running: int = 0


class Desk:
    """Any thread.

    Args:
        pool: where plain bodies run.
        bodies: where async ones do.
        monotonic: tells how long a body has run.
        call: calls the body of a task.
    """

    def __init__(
        self,
        pool: Pool,
        bodies: AsyncBodies,
        monotonic: Callable[[], float],
        call: Callable[[Task], object],
    ) -> None:
        self._call = call
        self._pool = pool
        self._monotonic = monotonic
        self._bodies = bodies
        self._queues: dict[Outlet, _Queue] = {}
        self._finished: deque[Task] = deque()
        self._lock = threading.Condition()
        self._closing = False
        self._executing: set[Task] = set()

    def admit(self, tasks: Sequence[Task]) -> None:
        """Let these be done; those that are in error already have ended."""
        outlets: dict[Outlet, None] = {}
        with self._lock:
            for task in tasks:
                queue = self._queues.setdefault(task.outlet, _Queue())
                if task.error is not None:
                    self._finished.append(task)
                    continue
                outlets[task.outlet] = None
                if task.key in queue.waiting:
                    queue.waiting[task.key].append(task)
                else:
                    queue.waiting[task.key] = deque()
                    queue.ready.append(task)
        for outlet in outlets:
            self._start(outlet)

    def await_finished(self, wait: timedelta) -> bool:
        """Wait until something has ended; answers whether it has."""
        with self._lock:
            if not self._finished and wait:
                self._lock.wait(wait.total_seconds())
            return bool(self._finished)

    def take_finished(self) -> list[Task]:
        """What has ended since the last call."""
        with self._lock:
            finished = list(self._finished)
            self._finished.clear()
            return finished

    def give_back(self, tasks: Sequence[Task]) -> None:
        """Their end could not be committed: they have ended still."""
        with self._lock:
            self._finished.extendleft(reversed(tasks))

    def take_excess(self, keep: int) -> list[Task]:
        """Of the outlet with the longest backlog what waits beyond ``keep``."""
        excess: list[Task] = []
        with self._lock:
            longest = max(self._queues.values(), key=lambda queue: len(queue.ready))
            while len(longest.ready) > keep:
                task = longest.ready.pop()
                excess += [task, *longest.waiting.pop(task.key)]
        return excess

    def close_entrance(self) -> None:
        """Begin nothing more; what has not begun comes again, as it is not acked."""
        with self._lock:
            self._closing = True
            for queue in self._queues.values():
                queue.ready.clear()
                queue.waiting.clear()

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs, and nothing that ended waits to be committed."""
        with self._lock:
            return not self._executing and not self._finished

    def executing(self) -> list[Task]:
        """Tasks whose bodies run."""
        with self._lock:
            return list(self._executing)

    def overdue(self, longer_than: timedelta) -> list[Task]:
        """Tasks whose bodies have run for so long, and that are not kept otherwise yet."""
        with self._lock:
            before = self._monotonic() - longer_than.total_seconds()
            for task in self._executing:
                task.is_overdue = task.started_at <= before
            return [task for task in self._executing if task.is_overdue and not task.is_kept]

    def take_stuck(self) -> list[Task]:
        """What waits behind overdue bodies alone: of their key, or for a place that they have."""
        stuck: list[Task] = []
        with self._lock:
            overdue = [task for task in self._executing if task.is_overdue]
            for task in overdue:
                behind = self._queues[task.outlet].waiting.get(task.key)
                if behind:
                    stuck += behind
                    behind.clear()
            for outlet, count in Counter(task.outlet for task in overdue).items():
                queue = self._queues[outlet]
                while count >= outlet.limit and queue.ready:
                    task = queue.ready.popleft()
                    stuck += [task, *queue.waiting.pop(task.key)]
        return stuck

    # ------------------------------------------------------------------------------------------

    def _start(self, outlet: Outlet) -> None:
        """Begin as much as may run."""
        queue = self._queues[outlet]
        while (task := self._claim(queue, outlet.limit)) is not None:
            if not outlet.is_async:
                self._pool(partial(self._work, task))
            elif self._begin(task):  # it could not even be called
                with self._lock:
                    queue.running -= 1

    def _claim(self, queue: _Queue, limit: int) -> Task | None:
        with self._lock:
            if queue.running >= limit or not queue.ready or self._closing:
                return None
            queue.running += 1
            return self._next(queue)

    def _next(self, queue: _Queue) -> Task:
        task = queue.ready.popleft()
        task.started_at = self._monotonic()
        self._executing.add(task)
        return task

    def _work(self, first: Task) -> None:
        """On a thread of the pool: one after the other, as long as there is any."""
        task: Task | None = first
        while task is not None and self._begin(task):
            task = self._take_next(task.outlet)

    def _begin(self, task: Task) -> bool:
        """Call the body; answers whether it has ended, so that its place is free."""
        try:
            with About(task.outlet.about(task)):
                answer = self._call(task)
                if isawaitable(answer):
                    body = cast("Coroutine[Any, Any, object]", answer)
                    self._bodies.start(body, partial(self._async_ended, task))
                    return False
            if (follow_up := task.outlet.follow_up(answer)) is not None:
                follow_up()
        except BaseException as error:  # whatever a body raises is its failure and nobody else's
            self._ended(task, None, error)
        else:
            self._ended(task, answer, None)
        return True

    def _async_ended(self, task: Task, answer: object, error: BaseException | None) -> None:
        if error is not None and self._bodies.is_closed:
            return  # abandoned by a stop: it comes again
        follow_up = task.outlet.follow_up(answer) if error is None else None
        if follow_up is not None:
            self._pool(partial(self._follow_up, task, answer, follow_up))  # not on the loop
            return
        self._ended(task, answer, error)
        self._free(task.outlet)

    def _follow_up(self, task: Task, answer: object, follow_up: Callable[[], None]) -> None:
        try:
            follow_up()
        except BaseException as error:
            self._ended(task, None, error)
        else:
            self._ended(task, answer, None)
        self._free(task.outlet)

    def _ended(self, task: Task, answer: object, error: BaseException | None) -> None:
        task.answer, task.error = answer, error
        with self._lock:
            self._executing.discard(task)
            self._finished.append(task)
            queue = self._queues[task.outlet]
            behind = queue.waiting.get(task.key)
            if behind:
                queue.ready.append(behind.popleft())
            else:
                queue.waiting.pop(task.key, None)
            self._lock.notify_all()

    def _take_next(self, outlet: Outlet) -> Task | None:
        queue = self._queues[outlet]
        with self._lock:
            if queue.ready and not self._closing:
                return self._next(queue)
            queue.running -= 1
            return None

    def _free(self, outlet: Outlet) -> None:
        with self._lock:
            self._queues[outlet].running -= 1
        self._start(outlet)
