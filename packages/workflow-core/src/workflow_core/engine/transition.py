"""Pure: a record and what its step answered make the next record and its events.

Nothing here reads a clock, a store or the network, so every rule of a transition can be read and
tested by itself. Each write keeps the drive invariant: a run that is live, at a status with a step
and not skipped leaves with an event of its new version.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from workflow_core.definition import Cancel, Pause, Repeat, Skip, Step, TimeoutStep, Workflow
from workflow_core.model import (
    Event,
    EventKind,
    OutboxEvent,
    PauseKind,
    Record,
    RunState,
    names,
    uuid7,
)
from workflow_core.ports import Clock, Write

__all__ = [
    "AutoResume",
    "Decision",
    "Failure",
    "Identity",
    "Transition",
    "clean_text",
    "file_again",
    "resume_event",
    "state_event",
    "status_event",
    "time_to_wait",
]

Decision: TypeAlias = int | Pause | Cancel | Skip | Repeat
"""An answer after its check: a declared status's number, or a directive."""

_ERROR_BYTES = 4096
_WRITE_ID = "%016x"  # half the time of an f-string
_NOW = timedelta(0)


@dataclass(frozen=True, slots=True)
class AutoResume:
    """When runs that were paused because they failed are resumed automatically.

    Attributes:
        after: so long after the pause.
        at_most: so many times in a row; 0: never.
    """

    after: timedelta = timedelta(hours=1)
    at_most: int = 0


@dataclass(frozen=True)
class Failure:
    """A step that raised, or answered what it may not."""

    error: BaseException
    text: str

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """The failure with the text that the record keeps."""
        return cls(error, clean_text(f"{type(error).__name__}: {_text_of(error)}"))


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except (
        Exception
    ):  # a user's __str__ may raise too, and the attempt is to be counted all the same
        return "(its text cannot be told)"


class Identity:
    """Makes the ids of writes, runs and events. Any thread."""

    def __init__(self, clock: Clock, entropy: random.Random) -> None:
        self._clock = clock
        self.entropy = entropy

    def forked(self) -> None:
        """In a forked child: with the parent's state it would make the parent's and siblings' ids.

        Two writes of one id would even count as one and the same.
        """
        self.entropy.seed()

    def write_id(self) -> str:
        """Random: no two writes share one."""
        return _WRITE_ID % self.entropy.getrandbits(64)

    def uuid(self) -> str:
        """Time-ordered, by this process's clock, which need not be right."""
        return uuid7(self._clock.now(), self.entropy)


def clean_text(text: str) -> str:
    """`text` as every store can keep it: no NUL, no lone surrogates, at most 4 KB in UTF-8."""
    encoded = text.replace("\0", "\\0").encode("utf-8", "backslashreplace")
    if len(encoded) <= _ERROR_BYTES:
        return encoded.decode()
    return encoded[: _ERROR_BYTES - 3].decode("utf-8", "ignore") + "…"


def status_event(
    record: Record,
    identity: Identity,
    *,
    kind: EventKind = EventKind.ENTERED,
    target: str = "",
    delay: timedelta = _NOW,
) -> OutboxEvent:
    """The event that makes the step of the record's status work on this version."""
    topic = names.status_topic(record.workflow, record.status)
    return OutboxEvent(event=_event(record, identity, topic, kind, target), delay=delay)


def state_event(record: Record, identity: Identity) -> OutboxEvent:
    """The event that tells a change of run state: paused, cancelled, completed."""
    topic = names.run_state_topic(record.workflow)
    return OutboxEvent(event=_event(record, identity, topic, EventKind.ENTERED, ""))


def resume_event(
    record: Record, identity: Identity, target: str, *, delay: timedelta = _NOW
) -> OutboxEvent:
    """The event that makes the lane `target` resume a paused run, if it is still as it is."""
    return status_event(record, identity, kind=EventKind.NUDGE, target=target, delay=delay)


def file_again(event: Event, identity: Identity, *, delay: timedelta = _NOW) -> OutboxEvent:
    """The same hint for the same version once more: too early, kept for safety, perhaps lost."""
    kind = EventKind.NUDGE if event.kind is EventKind.ENTERED else event.kind
    return OutboxEvent(event=event.replace(id=identity.uuid(), kind=kind), delay=delay)


def _event(record: Record, identity: Identity, topic: str, kind: EventKind, target: str) -> Event:
    return Event(
        id=identity.uuid(),
        topic=topic,
        workflow=record.workflow,
        run_id=record.run_id,
        foreign_id=record.foreign_id,
        status=record.status,
        state=record.state,
        version=record.version,
        kind=kind,
        target=target,
        attempt=record.attempts,
        headers=record.headers,
    )


class Transition:
    """The rules of one workflow's transitions, for one consumer.

    Args:
        workflow: the definition.
        consumer: the name of the consumer that retries are meant for.
        identity: makes ids and jitter.
        auto_resume: what is to become of runs that fail for good.
    """

    def __init__(
        self,
        workflow: Workflow[Any, Any],
        consumer: str,
        identity: Identity,
        auto_resume: AutoResume = AutoResume(),
    ) -> None:
        self._workflow = workflow
        self._consumer = consumer
        self._identity = identity
        self._auto_resume = auto_resume

    def triggered(
        self,
        *,
        run_id: str,
        foreign_id: str,
        status: int,
        data: bytes,
        headers: dict[str, str],
        delay: timedelta,
        reason: str = "",
    ) -> Write:
        """Version 1 of a run."""
        record = Record(
            workflow=self._workflow.name,
            foreign_id=foreign_id,
            run_id=run_id,
            status=status,
            state=RunState.INITIATED,
            version=1,
            write_id=self._identity.write_id(),
            data=data,
            headers=headers,
            reason=reason,
        )
        return self._write(record, max(delay, self._lag(status)))

    def answered(self, record: Record, answer: Decision, encode: Callable[[], bytes]) -> Write:
        """What a step's answer makes of the record. `encode` is called where data is saved."""
        if isinstance(answer, Pause):
            return self._paused(record, answer.reason, PauseKind.STEP, encode())
        if isinstance(answer, Cancel):
            after = self._next(record, data=encode(), **_success())
            after = after.replace(state=RunState.CANCELLED, reason=clean_text(answer.reason))
            return Write(record=after, events=(state_event(after, self._identity),))
        if isinstance(answer, Repeat):
            after = self._next(
                record,
                data=encode(),
                state=RunState.RUNNING,
                repeat=record.repeat + 1,
                **_success(),
            )
            return self._write(after, answer.after, EventKind.REPEATED, self._consumer)
        if isinstance(answer, Skip):
            return Write(
                record=self._next(record, state=RunState.RUNNING, skipped=True, **_success())
            )
        return self._entered(record, answer, encode())

    def called_back(
        self,
        record: Record,
        answer: Decision,
        encode: Callable[[], bytes],
        now: Callable[[], datetime],
    ) -> Write:
        """What a callback's answer makes of the record. Repeat keeps the data and moves nothing."""
        if isinstance(answer, Repeat):
            return self.kept(record, encode(), now)
        return self.answered(record, answer, encode)

    def kept(self, record: Record, data: bytes, now: Callable[[], datetime]) -> Write:
        """New data, and nothing else: what drives the run drives it on at the time it would have.

        Attempts and the repeat number stay, so a step that is being retried keeps its idempotency
        key. `now`, the store's, is asked only where there is a time to wait for.
        """
        after = self._next(record, data=data)
        if record.skipped:
            return Write(record=after)
        return self._write(after, time_to_wait(record, now), EventKind.NUDGE)

    def failed(self, record: Record, failure: Failure, step: Step) -> Write:
        """A failed attempt: counted, kept with the original data, and tried again or given up."""
        attempts = record.attempts + 1
        if not step.retry.gives_up(attempts, failure.error):
            return self.begun(record, failure, step)
        counted = record.replace(attempts=attempts, last_error=failure.text)
        return self.given_up(counted, failure, step, attempts)

    def begun(self, record: Record, failure: Failure, step: Step) -> Write:
        """An attempt that is counted as failed, and tried again; where it is yet to end, in case.

        The write that it comes to is made from the same record, one version on.
        """
        attempts = record.attempts + 1
        delay = step.retry.delay(attempts, self._identity.entropy)
        after = self._next(record, attempts=attempts, last_error=failure.text)
        return self._write(after, delay, EventKind.RETRY, self._consumer)

    def repeated(self, record: Record, *, reason: str = "") -> Write:
        """The same attempt under a version of its own, that an event tells at once."""
        after = self._next(record, reason=reason)
        return self._write(after, _NOW, EventKind.RETRY, self._consumer)

    def moved(self, record: Record, status: int) -> Write:
        """An operator puts the run at this status; its data stays as it is."""
        return self._entered(record, status, record.data)

    def timer_failed(
        self, record: Record, failure: Failure, step: TimeoutStep, attempts: int
    ) -> Write | None:
        """What the last failed attempt of a timer makes of the record; None: it was not the last.

        What is to be tried again is kept with the timer and leaves the record as it is: a step of
        the same status must not lose its compare-and-swap to it.
        """
        if not step.retry.gives_up(attempts, failure.error):
            return None
        return self.given_up(record, failure, step, attempts)

    @property
    def entropy(self) -> random.Random:
        """Where jitter comes from."""
        return self._identity.entropy

    def given_up(
        self, record: Record, failure: Failure, step: Step | TimeoutStep, attempts: int
    ) -> Write:
        """After so many failed attempts: paused, or where the policy puts the run."""
        if step.retry.then is not None:
            return self._entered(record, int(step.retry.then), record.data, error=failure.text)
        name = step.name if isinstance(step, Step) else f"timer {step.name}"
        reason = clean_text(f"{name} failed {attempts} times, the last time with {failure.text}")
        return self._paused(record, reason, PauseKind.AUTOMATIC, record.data, error=failure.text)

    def _entered(self, record: Record, status: int, data: bytes, error: str = "") -> Write:
        ends = self._workflow.is_end(status)
        version = record.version + 1
        after = record.replace(  # by itself: the way through `_next` costs two microseconds more
            version=version,
            write_id=self._identity.write_id(),
            status=status,
            state=RunState.COMPLETED if ends else RunState.RUNNING,
            data=data,
            entered_version=version,
            repeat=0,
            attempts=0,
            last_error=error,
            reason="",
            pause_kind=None,
            auto_resumes=0,
            skipped=False,
            passed={**record.passed, record.status: record.entered_version},
            resumed=None,
        )
        if ends:
            return Write(record=after, events=(state_event(after, self._identity),))
        return self._write(after, self._lag(status))

    def _write(
        self,
        record: Record,
        delay: timedelta,
        kind: EventKind = EventKind.ENTERED,
        target: str = "",
    ) -> Write:
        """A live run and the event that drives it; whatever else finds it early waits as well."""
        event = status_event(record, self._identity, kind=kind, target=target, delay=delay)
        return Write(record=record, events=(event,), retry_in=delay if delay > _NOW else None)

    def _paused(
        self, record: Record, reason: str, kind: PauseKind, data: bytes, error: str = ""
    ) -> Write:
        after = self._next(
            record,
            state=RunState.PAUSED,
            reason=clean_text(reason),
            pause_kind=kind,
            data=data,
            last_error=error,
        )
        events = [state_event(after, self._identity)]
        if kind is PauseKind.AUTOMATIC and after.auto_resumes < self._auto_resume.at_most:
            delay = self._auto_resume.after
            events.append(resume_event(after, self._identity, self._consumer, delay=delay))
        return Write(record=after, events=events)

    def _next(self, record: Record, *, reason: str = "", **changes: Any) -> Record:
        return record.replace(
            version=record.version + 1,
            write_id=self._identity.write_id(),
            reason=reason,  # of this version: what an operator did to an earlier one is told there
            **changes,
        )

    def _lag(self, status: int) -> timedelta:
        step = self._workflow.steps.get(status)
        return step.lag if step is not None else _NOW


def time_to_wait(record: Record, now: Callable[[], datetime]) -> timedelta:
    """How long until the record's next try, by the store's clock; zero: it has none, or it is due.

    Raises:
        AdapterUnavailableError: the store does not tell its time.
    """
    if record.next_try_at is None:
        return _NOW
    return max(_NOW, record.next_try_at - now())


def _success() -> dict[str, Any]:
    return {"attempts": 0, "last_error": "", "pause_kind": None}
