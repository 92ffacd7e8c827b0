"""One timer that is due: its function is called, and its answer judged.

A failing function is retried by its row: attempts, error and the next try are kept there, and the
record is not touched before the run is paused. Else the step of the same status would lose its
compare-and-swap to a mere count.
"""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from inspect import isawaitable
from typing import Any, TypeAlias, cast

from workflow_core.definition import Repeat, Run, Skip, TimeoutStep
from workflow_core.engine.core import Core
from workflow_core.engine.execution import checked_answer, open_run
from workflow_core.engine.lag import StoreTime
from workflow_core.engine.observed_bodies import observed, process_of
from workflow_core.engine.telling import of_record, tell_pause
from workflow_core.engine.timers.book import NEVER, WorkflowTimers, planned_key
from workflow_core.engine.transition import Failure, Transition
from workflow_core.errors import AdapterUnavailableError, DefinitionError
from workflow_core.logs import About
from workflow_core.model import AttemptFailed, Record, Timeout, TimerFired, WorkKind
from workflow_core.ports import Write

__all__ = ["Answer", "Firing", "Kind", "Verdict"]

logger = logging.getLogger("workflow_core.engine")

Kind: TypeAlias = tuple[str, int, str]
"""Workflow, status and name of a timer."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be written. First the run, then what becomes of the timer.

    Attributes:
        write: the run's next version; the timer goes with the stay that it leaves.
        create: the timer that a plan comes to, to be due at its ``due_at``, whatever it was due at
            before. How long that is from now is told when it is written: what the calls beside it
            take makes it no later.
        drop: the timer that a plan does not come to: its key is to be closed.
        again: the timer is due again, later.
        is_over: the timer is complete.
    """

    write: Write | None = None
    create: Timeout | None = None
    drop: Timeout | None = None
    again: Timeout | None = None
    is_over: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What a function answered, not judged yet: others that are due are called first."""

    value: object


class Firing:
    """One call of a timer's function, or of the one that says when it fires. One thread at a time.

    Args:
        timeout: the timer, due.
        step: its entry in the definition.
        record: its run, at the stay that it belongs to.
        timers: the workflow's.
        transition: the workflow's rules.
        core: the engine's.
    """

    __slots__ = (
        "_observers",
        "_run",
        "_store",
        "_transition",
        "at",
        "is_plan",
        "kind",
        "record",
        "started_at",
        "step",
        "timeout",
        "timers",
    )

    def __init__(
        self,
        timeout: Timeout,
        step: TimeoutStep,
        record: Record,
        timers: WorkflowTimers,
        transition: Transition,
        core: Core,
    ) -> None:
        observers = core.observers
        self.timeout = timeout
        self.step = step if observers is None else observed(observers, timers.workflow, step)
        self._observers = observers
        self.record = record
        self.timers = timers
        self.kind: Kind = (timeout.workflow, timeout.status, timeout.name)
        """Which timer of the definition it is."""
        self.is_plan = planned_key(timeout) is not None
        """Whether it is only asked when the timer fires."""
        self.at = 0.0
        """When it is due, by the engine's monotonic clock."""
        self.started_at = 0.0
        self._transition = transition
        self._store = core.store
        self._run: Run[Any, Any] | None = None

    @property
    def process(self) -> str:
        """What metrics call it."""
        return process_of(self.timers.workflow, self.step)

    @property
    def is_async(self) -> bool:
        """Whether its function is to be awaited."""
        return self.step.is_async and not self.is_plan

    @property
    def told(self) -> str:
        """Its name, for people."""
        return f"{self.record.workflow}: timer {self.timeout.name} of run {self.record.run_id}"

    def tell_lateness(self, time: StoreTime) -> None:
        """Tell observers how late the call is, by the record store's clock."""
        if self._observers is None or self.is_plan:
            return
        try:
            late = time.now() - self.timeout.due_at
        except AdapterUnavailableError:
            return  # nobody can tell, and it is to fire all the same
        self._observers.tell(
            TimerFired(
                workflow=self.timeout.workflow,
                process=self.process,
                late=max(0.0, late.total_seconds()),
            )
        )

    @property
    def about(self) -> Run[Any, Any] | None:
        """What lines of the function are about, once it was called."""
        return self._run

    def call(self) -> Answer | Verdict:
        """Call a sync function; a Verdict where there is nothing left to be judged."""
        try:
            if self.is_plan:
                return self._planned()
            with About(run := self._open()):
                answer = self.step.body(run)
        except BaseException as error:  # whatever a body raises is its failed attempt
            return self.failed(error)
        return Answer(answer)

    def coroutine(self) -> Coroutine[Any, Any, object] | Verdict:
        """The body of an async function, to be awaited; a Verdict where it could not be called."""
        try:
            body = self.step.body(self._open())
        except BaseException as error:
            return self.failed(error)
        if not isawaitable(body):  # a plain function around an async one, that has run it itself
            return self.concluded(body, None)
        return cast("Coroutine[Any, Any, object]", body)

    def concluded(self, answer: object, error: BaseException | None) -> Verdict:
        """What the function's answer, or its error, comes to."""
        if error is None:
            try:
                return self._answered(answer)
            except Exception as wrong:  # an undeclared answer, or data that cannot be encoded
                error = wrong
        return self.failed(error)

    def failed(self, error: BaseException) -> Verdict:
        """A failed attempt: the timer is due again after the back-off, or the run gives up."""
        failure = Failure.of(error)
        attempts = self.timeout.attempts + 1
        logger.warning(
            "workflow %r, run %s: timer %s failed on attempt %d: %s",
            self.record.workflow,
            self.record.run_id,
            self.timeout.name,
            attempts,
            failure.text,
            exc_info=error,
            extra=of_record(self.record, self.timers.workflow, attempt=attempts),
        )
        write = self._transition.timer_failed(self.record, failure, self.step, attempts)
        if self._observers is not None:
            self._observers.tell(
                AttemptFailed(
                    kind=WorkKind.TIMER,
                    workflow=self.record.workflow,
                    process=self.process,
                    error=type(error).__name__,
                    is_last=write is not None,
                )
            )
        if write is not None:
            return Verdict(write=tell_pause(write, self.timers.workflow))
        delay = self.step.retry.delay(attempts, self._transition.entropy)
        return Verdict(again=self._later(delay, attempts, failure.text))

    def _answered(self, answer: object) -> Verdict:
        decision = checked_answer(self.timers.workflow, self.step, answer)
        if isinstance(decision, Skip):
            return Verdict(is_over=True)
        if isinstance(decision, Repeat):
            data = self._encode()
            again = self._later(decision.after, 0, "").replace(repeat=self.timeout.repeat + 1)
            if data == self.record.data:
                return Verdict(again=again)
            return Verdict(
                write=self._transition.kept(self.record, data, self._store.now), again=again
            )
        return Verdict(write=self._transition.answered(self.record, decision, self._encode))

    def _planned(self) -> Verdict:
        assert self.step.fires_at is not None
        begun = self.timers.begun_at(self.record)
        with About(run := self._open()):
            at: object = self.step.fires_at(run, begun)
        if at is None:
            return Verdict(drop=self.timers.planned(self.timeout, NEVER), is_over=True)
        if not isinstance(at, datetime) or at.tzinfo is None:
            raise DefinitionError(
                f"fires_at of timer {self.step.told} answers when to fire as an aware datetime, or"
                f" None, not {'a naive one' if isinstance(at, datetime) else type(at).__name__}",
                workflow=self.record.workflow,
            )
        planned = self.timers.planned(self.timeout, NEVER)
        return Verdict(create=planned.replace(due_at=at), is_over=True)

    def _later(self, delay: timedelta, attempts: int, error: str) -> Timeout:
        return self.timeout.replace(delay=delay, attempts=attempts, error=error)

    def _open(self) -> Run[Any, Any]:
        self._run = open_run(
            self.timers.workflow,
            self.record,
            attempt=self.timeout.attempts + 1,
            repeat=self.timeout.repeat,
            timer=self.timeout.name,
        )
        return self._run

    def _encode(self) -> bytes:
        assert self._run is not None
        workflow = self.timers.workflow
        return workflow.encode(self._run.data, self.record.data, run_id=self.record.run_id)
