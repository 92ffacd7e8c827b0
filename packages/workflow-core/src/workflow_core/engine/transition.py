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

from workflow_core.definition import Cancel, Pause, Repeat, Skip, Step, Workflow
from workflow_core.model import (
    Event,
    EventKind,
    OutboxEvent,
    PauseKind,
    Record,
    Resumed,
    RunState,
    names,
    uuid7,
)
from workflow_core.ports import Clock, Write

__all__ = [
    "Decision",
    "Failure",
    "Identity",
    "Transition",
    "cancelled_by",
    "clean_text",
    "file_again",
    "paused_by_operator",
    "resumed_by",
    "state_event",
    "status_event",
]

Decision: TypeAlias = int | Pause | Cancel | Skip | Repeat
"""An answer after its check: a declared status's number, or a directive."""

_ERROR_BYTES = 4096
_NOW = timedelta(0)


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

    def write_id(self) -> str:
        """Random: no two writes share one."""
        return f"{self.entropy.getrandbits(64):016x}"

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
    """

    def __init__(self, workflow: Workflow[Any, Any], consumer: str, identity: Identity) -> None:
        self._workflow = workflow
        self._consumer = consumer
        self._identity = identity

    def triggered(
        self,
        *,
        run_id: str,
        foreign_id: str,
        status: int,
        data: bytes,
        headers: dict[str, str],
        delay: timedelta,
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
        )
        return self._write(record, max(delay, self._lag(status)))

    def answered(self, record: Record, answer: Decision, encode: Callable[[], bytes]) -> Write:
        """What a step's answer makes of the record. `encode` is called where data is saved."""
        if isinstance(answer, Pause):
            return self._paused(record, answer.reason, PauseKind.STEP, encode())
        if isinstance(answer, Cancel):
            after = self._next(record, data=encode(), **_success())
            after = after.replace(state=RunState.CANCELLED, reason=clean_text(answer.reason))
            return Write(record=after, events=[state_event(after, self._identity)])
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

    def failed(self, record: Record, failure: Failure, step: Step) -> Write:
        """A failed attempt: counted, kept with the original data, and tried again or given up."""
        attempts = record.attempts + 1
        counted = record.replace(attempts=attempts, last_error=failure.text)
        if not step.retry.gives_up(attempts, failure.error):
            delay = step.retry.delay(attempts, self._identity.entropy)
            after = self._next(counted)
            return self._write(after, delay, EventKind.RETRY, self._consumer)
        if step.retry.then is not None:
            return self._entered(counted, int(step.retry.then), record.data, error=failure.text)
        reason = clean_text(
            f"{step.name} failed {attempts} times, the last time with {failure.text}"
        )
        return self._paused(counted, reason, PauseKind.AUTOMATIC, record.data, error=failure.text)

    def _entered(self, record: Record, status: int, data: bytes, error: str = "") -> Write:
        ends = self._workflow.is_end(status)
        version = record.version + 1
        after = self._next(
            record,
            status=status,
            state=RunState.COMPLETED if ends else RunState.RUNNING,
            data=data,
            entered_version=version,
            repeat=0,
            auto_resumes=0,
            skipped=False,
            passed={**record.passed, record.status: record.entered_version},
            resumed=None,
            **_success(error),
        )
        if ends:
            return Write(record=after, events=[state_event(after, self._identity)])
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
        return Write(record=record, events=[event], retry_in=delay if delay > _NOW else None)

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
        return Write(record=after, events=[state_event(after, self._identity)])

    def _next(self, record: Record, **changes: Any) -> Record:
        return record.replace(
            version=record.version + 1, write_id=self._identity.write_id(), **changes
        )

    def _lag(self, status: int) -> timedelta:
        step = self._workflow.steps.get(status)
        return step.lag if step is not None else _NOW


def _success(error: str = "") -> dict[str, Any]:
    return {"attempts": 0, "last_error": error, "reason": "", "pause_kind": None}


def paused_by_operator(record: Record, identity: Identity, reason: str) -> Write | None:
    """The write that pauses; None: an operator has paused it already."""
    if record.state is RunState.PAUSED and record.pause_kind is PauseKind.OPERATOR:
        return None
    after = record.replace(
        version=record.version + 1,
        write_id=identity.write_id(),
        state=RunState.PAUSED,
        reason=clean_text(reason),
        pause_kind=PauseKind.OPERATOR,
    )
    return Write(record=after, events=[state_event(after, identity)])


def resumed_by(record: Record, identity: Identity, who: str, why: str, at: datetime) -> Write:
    """The write that resumes; the attempts begin anew, the stay in the status goes on."""
    after = record.replace(
        version=record.version + 1,
        write_id=identity.write_id(),
        state=RunState.RUNNING,
        reason="",
        pause_kind=None,
        attempts=0,
        resumed=Resumed(who=clean_text(who), why=clean_text(why), at=at),
    )
    return Write(record=after, events=[status_event(after, identity, kind=EventKind.RESUMED)])


def cancelled_by(record: Record, identity: Identity, reason: str) -> Write:
    """The write that cancels."""
    after = record.replace(
        version=record.version + 1,
        write_id=identity.write_id(),
        state=RunState.CANCELLED,
        reason=clean_text(reason),
        pause_kind=None,
    )
    return Write(record=after, events=[state_event(after, identity)])
