"""Trigger: how runs begin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any, Generic, TypeVar

from workflow_core.definition import Workflow
from workflow_core.engine.core import Core
from workflow_core.engine.patience import patiently
from workflow_core.engine.transition import Transition
from workflow_core.errors import (
    InputError,
    RunInProgressError,
    UnknownStatusError,
    VersionConflictError,
    WorkflowError,
)
from workflow_core.model import uuid_from_key
from workflow_core.ports import Outcome, Write

__all__ = ["Trigger", "Triggers"]

DataT = TypeVar("DataT")

_BATCH = 500
_TEXT_LIMIT = 255  # characters; what every database can index
_NOW = timedelta(0)


@dataclass(frozen=True)
class Trigger(Generic[DataT]):
    """One run to be begun.

    Attributes:
        foreign_id: the business key, 1 to 255 characters; at most one live run has it.
        data: the run's data.
        status: where it begins; None: at the workflow's start.
        idempotency_key: the same key answers the same run, for as long as the run is kept.
        start_at: not before this time, by the store's clock; aware.
        headers: travel with every event of the run, e.g. a trace context.
    """

    foreign_id: str
    data: DataT
    status: IntEnum | None = None
    idempotency_key: str | None = None
    start_at: datetime | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Triggers:
    """Begins runs. Any thread."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def trigger(self, workflow: Workflow[Any, Any], trigger: Trigger[Any]) -> str:
        """Begin one run; answers its id, or raises what `trigger_many` would have answered."""
        outcome = self.trigger_many(workflow, [trigger])[0]
        if isinstance(outcome, WorkflowError):
            raise outcome
        return outcome

    def trigger_many(
        self, workflow: Workflow[Any, Any], triggers: Sequence[Trigger[Any]]
    ) -> list[str | WorkflowError]:
        """Begin many runs, a transaction per 500; a run id or an error for each, in order."""
        workflow.check()
        now = self._now_if_needed(triggers)
        answers: list[str | WorkflowError] = []
        for start in range(0, len(triggers), _BATCH):
            answers += self._batch(workflow, triggers[start : start + _BATCH], now)
        return answers

    def _batch(
        self, workflow: Workflow[Any, Any], triggers: Sequence[Trigger[Any]], now: datetime
    ) -> list[str | WorkflowError]:
        answers: list[str | WorkflowError] = []
        writes: dict[str, Write] = {}
        for trigger in triggers:
            try:
                write = self._first_version(workflow, trigger, now)
            except InputError as error:
                answers.append(error)
            else:
                writes.setdefault(write.record.run_id, write)
                answers.append(write.record.run_id)
        batch = list(writes.values())
        outcomes = patiently(lambda: self._core.journal.commit(batch), self._core.crew.manual)
        failures = {
            write.record.run_id: failure
            for write, outcome in zip(batch, outcomes, strict=True)
            if (failure := self._failure(write.record.run_id, outcome)) is not None
        }
        return [
            failures.get(answer, answer) if isinstance(answer, str) else answer
            for answer in answers
        ]

    def _failure(self, run_id: str, outcome: Outcome) -> WorkflowError | None:
        """None where the run with this id exists: made now, or by the same key earlier."""
        if outcome is None or isinstance(outcome, VersionConflictError):
            return None
        if isinstance(outcome, RunInProgressError):
            if outcome.live_run_id == run_id:
                return None
            known = patiently(
                lambda: self._core.store.lookup_many([run_id], primary=True),
                self._core.crew.manual,
            )
            return None if run_id in known else outcome
        return outcome

    def _first_version(
        self, workflow: Workflow[Any, Any], trigger: Trigger[Any], now: datetime
    ) -> Write:
        check_foreign_id(trigger.foreign_id)
        status = workflow.start if trigger.status is None else trigger.status
        status = workflow.parse_status(status)
        if workflow.is_end(int(status)):
            raise UnknownStatusError(
                f"a run cannot begin at {status.name}, which ends it", workflow=workflow.name
            )
        return Transition(workflow, "", self._core.identity).triggered(
            run_id=self._run_id(workflow, trigger),
            foreign_id=trigger.foreign_id,
            status=int(status),
            data=workflow.encode(trigger.data),
            headers=dict(trigger.headers),
            delay=_NOW if trigger.start_at is None else trigger.start_at - now,
        )

    def _run_id(self, workflow: Workflow[Any, Any], trigger: Trigger[Any]) -> str:
        key = trigger.idempotency_key
        if key is None:
            return self._core.identity.uuid()
        if not key:
            raise InputError("an idempotency key must not be empty", workflow=workflow.name)
        return uuid_from_key(workflow.name, key)

    def _now_if_needed(self, triggers: Sequence[Trigger[Any]]) -> datetime:
        times = [trigger.start_at for trigger in triggers if trigger.start_at is not None]
        if any(time.tzinfo is None for time in times):
            raise InputError("start_at must be aware, e.g. datetime.now(UTC) + timedelta(hours=1)")
        return self._core.store.now() if times else datetime.now(UTC)


def check_foreign_id(foreign_id: object) -> None:
    """Refuse what some store could not keep exactly.

    Raises:
        InputError: no text, empty, over 255 characters, or with a NUL or a lone surrogate in it.
    """
    if not isinstance(foreign_id, str):
        raise InputError(f"a foreign id is a text, not a {type(foreign_id).__name__}")
    if not 0 < len(foreign_id) <= _TEXT_LIMIT:
        raise InputError(
            f"a foreign id has 1 to {_TEXT_LIMIT} characters, this one has {len(foreign_id)}"
        )
    if "\0" in foreign_id or _is_broken(foreign_id):
        raise InputError("a foreign id must not hold NUL characters or lone surrogates")


def _is_broken(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
