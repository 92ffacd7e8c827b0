"""Pure: how failed work is kept, as records of a reserved workflow, and what becomes of it.

A letter is written at the first failure, together with a delayed event that brings it back to be
tried again: as with runs, the delayed event *is* the retry, and the version tells a stale one. So
what has failed survives every restart, is tried by one member at a time, and is listed as long as
it fails. After its last try it stays as it is: then it is a dead letter.

The record's status tells kind and state of the letter, its foreign id the run or key that it is
about, so that all letters of a run can be found when its data is deleted. Its run state is an
ended one from the start: letters never hold a foreign id, and are purged by age.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TypeAlias

import msgspec

from workflow_core.definition import Retry
from workflow_core.engine.transition import Failure, Identity
from workflow_core.model import (
    ConnectorEvent,
    DeadLetter,
    Event,
    EventKind,
    LetterKind,
    LetterState,
    OutboxEvent,
    Record,
    RunState,
    Value,
    names,
    uuid_from_key,
)
from workflow_core.ports import Write

__all__ = [
    "ERASED",
    "Cause",
    "Letters",
    "Origin",
    "cause_of",
    "identity_of",
    "kind_and_state",
    "letter_of",
    "origin_of",
    "retry_event",
    "state_of",
    "statuses",
]

Cause: TypeAlias = Event | ConnectorEvent
"""What was to be handled."""

_KINDS = (LetterKind.HOOK, LetterKind.CONNECTOR, LetterKind.DELETION)
_STATES = tuple(LetterState)
_BASE = 10  # a status is ten times the kind's number, plus the state's: never to be renumbered
_KEY_LENGTH = 255
_NOW = timedelta(0)
_HANGING = timedelta(hours=1)
ERASED = "the data of its run is deleted"
"""The reason in the record of a letter whose errors are forgotten."""


class Origin(Value, frozen=True):
    """Whose work it is: a hook, connector or deletion of a workflow."""

    workflow: str
    kind: LetterKind
    name: str

    @property
    def target(self) -> str:
        """How an event names the one consumer that it is meant for."""
        return f"{self.kind}:{self.name}"


class _Content(Value, frozen=True, kw_only=True, omit_defaults=True):
    """What a letter's data holds."""

    name: str
    event: Event | None = None
    foreign: ConnectorEvent | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Content).decode


def statuses(kinds: Sequence[LetterKind], states: Sequence[LetterState]) -> list[int]:
    """The statuses of letters of any of these kinds in any of these states."""
    return [_status(kind, state) for kind in kinds for state in states]


def origin_of(record: Record, workflow: str) -> Origin:
    """Whose letter it is; nobody's that is known where it cannot be read."""
    return Origin(workflow, _KINDS[record.status // _BASE - 1], letter_of(record, workflow).name)


def kind_and_state(status: int) -> tuple[LetterKind, LetterState]:
    """What the status of a letter's record says."""
    return _KINDS[status // _BASE - 1], _STATES[status % _BASE - 1]


def state_of(record: Record) -> LetterState:
    """What has become of it."""
    return kind_and_state(record.status)[1]


def cause_of(record: Record) -> Cause | None:
    """What is to be handled; None: nothing is left of it."""
    content = _content(record)
    return content.event or content.foreign


def letter_of(record: Record, workflow: str) -> DeadLetter:
    """The letter as people see it."""
    content = _content(record)
    event, foreign = content.event, content.foreign
    return DeadLetter(
        id=record.run_id,
        workflow=workflow,
        kind=_KINDS[record.status // _BASE - 1],
        name=content.name,
        state=state_of(record),
        attempts=record.attempts,
        error=record.last_error,
        run_id=event.run_id if event else "",
        version=event.version if event else 0,
        foreign_id=event.foreign_id if event else foreign.key if foreign else "",
        event_id=foreign.id if foreign else "",
        value=foreign.value if foreign else b"",
        created_at=record.created_at,
        updated_at=record.updated_at,
        next_try_at=record.next_try_at,
    )


def retry_event(
    record: Record, origin: Origin, identity: Identity, delay: timedelta
) -> OutboxEvent:
    """What brings a letter back to be tried again."""
    event = Event(
        id=identity.uuid(),
        topic=names.retries_topic(origin.workflow),
        workflow=origin.workflow,
        run_id=record.run_id,
        foreign_id=record.foreign_id,
        status=record.status,
        state=record.state,
        version=record.version,
        kind=EventKind.RETRY,
        target=origin.target,
        attempt=record.attempts,
    )
    return OutboxEvent(event=event, delay=delay)


class Letters:
    """Makes the writes. Any thread.

    Args:
        identity: makes ids and jitter.
    """

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    def failed(self, origin: Origin, cause: Cause, failure: Failure, retry: Retry) -> Write:
        """The first failure."""
        return self._after(self._new(origin, cause), origin, failure, retry)

    def hangs(self, letter: Record | None, origin: Origin, cause: Cause, retry: Retry) -> Write:
        """It has begun and does not return: a failed attempt, made again in an hour.

        By then it has returned, or its process is no more, or it counts as failed once more.
        """
        record = self._new(origin, cause) if letter is None else self._next(letter)
        failure = Failure.of(TimeoutError("has run for some minutes and not returned"))
        return self._after(record, origin, failure, retry, at_least=_HANGING)

    def failed_again(self, record: Record, origin: Origin, failure: Failure, retry: Retry) -> Write:
        """A later one."""
        return self._after(self._next(record), origin, failure, retry)

    def put_off(self, origin: Origin, cause: Cause, delay: timedelta) -> Write:
        """To be done later, though nothing has failed."""
        record = self._new(origin, cause)
        event = retry_event(record, origin, self._identity, delay)
        return Write(record=record, events=[event], retry_in=delay)

    def given_up(self, record: Record, origin: Origin, error: str) -> Write:
        """Nothing can handle it now: set aside at once."""
        status = _status(origin.kind, LetterState.SET_ASIDE)
        return Write(record=self._next(record, status=status, last_error=error))

    def handled(self, record: Record, origin: Origin) -> Write:
        """A later try went well: nothing of its content is kept."""
        return self._ended(record, origin, LetterState.HANDLED)

    def discarded(self, record: Record, origin: Origin) -> Write:
        """Somebody gave it up for good."""
        return self._ended(record, origin, LetterState.DISCARDED)

    def asked_again(self, record: Record, origin: Origin) -> Write:
        """Somebody wants it tried again, now, as often as at first."""
        status = _status(origin.kind, LetterState.RETRYING)
        after = self._next(record, status=status, attempts=0)
        return Write(record=after, events=[retry_event(after, origin, self._identity, _NOW)])

    def blanked(self, record: Record, origin: Origin) -> Write:
        """Its error and headers, which may hold data of the run that is deleted, are forgotten.

        Of one that has no error any more: and its copies have been erased.
        """
        reason = "" if record.last_error else ERASED
        data = _encode(_without_headers(_content(record)))
        after = self._next(record, data=data, last_error="", reason=reason)
        if state_of(record) is not LetterState.RETRYING:
            return Write(record=after)
        return Write(record=after, events=[retry_event(after, origin, self._identity, _NOW)])

    def without_value(self, write: Write, origin: Origin) -> Write:
        """As set aside without what it carries, for a store that refuses to keep that."""
        content = _content(write.record)
        if content.foreign is not None:
            content = content.replace(foreign=content.foreign.replace(value=b"", headers={}))
        record = write.record.replace(
            status=_status(origin.kind, LetterState.SET_ASIDE),
            data=_encode(content),
            last_error="the store refuses to keep what it carries",
        )
        return Write(record=record)

    def _new(self, origin: Origin, cause: Cause) -> Record:
        if isinstance(cause, ConnectorEvent):
            content, about = _Content(name=origin.name, foreign=cause), cause.key
        else:
            content, about = _Content(name=origin.name, event=cause), cause.run_id
        workflow = names.dead_letters(origin.workflow)
        return Record(
            workflow=workflow,
            foreign_id=_storable(about) or "-",
            run_id=uuid_from_key(workflow, f"{origin.target}/{identity_of(cause)}"),
            status=_status(origin.kind, LetterState.RETRYING),
            state=RunState.COMPLETED,
            version=1,
            write_id=self._identity.write_id(),
            data=_encode(content),
        )

    def _after(
        self,
        record: Record,
        origin: Origin,
        failure: Failure,
        retry: Retry,
        at_least: timedelta = _NOW,
    ) -> Write:
        attempts = record.attempts + 1
        record = record.replace(attempts=attempts, last_error=failure.text)
        if retry.gives_up(attempts, failure.error):
            status = _status(origin.kind, LetterState.SET_ASIDE)
            return Write(record=record.replace(status=status))
        delay = max(retry.delay(attempts, self._identity.entropy), at_least)
        event = retry_event(record, origin, self._identity, delay)
        return Write(record=record, events=[event], retry_in=delay)

    def _ended(self, record: Record, origin: Origin, state: LetterState) -> Write:
        content = _without_headers(_content(record))
        kept = _encode(_Content(name=content.name, event=content.event))
        status = _status(origin.kind, state)
        return Write(record=self._next(record, status=status, data=kept, last_error=""))

    def _next(self, record: Record, **changes: object) -> Record:
        return record.replace(
            version=record.version + 1, write_id=self._identity.write_id(), **changes
        )


def identity_of(cause: Cause) -> str:
    """What tells a piece of work from all others of its origin."""
    if isinstance(cause, ConnectorEvent):
        return cause.id
    return f"{cause.run_id}/{cause.version}"


def _status(kind: LetterKind, state: LetterState) -> int:
    return (_KINDS.index(kind) + 1) * _BASE + _STATES.index(state) + 1


def _content(record: Record) -> _Content:
    """What it holds; of one that cannot be read nothing, so that it is seen and discarded still."""
    try:
        return _decode(record.data)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return _Content(name="?")


def _without_headers(content: _Content) -> _Content:
    """As it is, but for the headers of a run's event."""
    return content.replace(event=content.event and content.event.replace(headers={}))


def _storable(text: str) -> str:
    """The text as every store can keep a foreign id, cut if need be."""
    return text.replace("\0", "").encode("utf-8", "ignore").decode()[:_KEY_LENGTH]
