"""Trigger: how runs begin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from workflow_core.definition import Trigger, Workflow
from workflow_core.engine.core import Core
from workflow_core.engine.ledger import Ledger
from workflow_core.engine.searching import searchable
from workflow_core.engine.transition import Transition
from workflow_core.errors import (
    InputError,
    RunInProgressError,
    UnknownStatusError,
    VersionConflictError,
    WorkflowError,
)
from workflow_core.model import Work, WorkKind, names, uuid_from_key
from workflow_core.model.texts import checked_text, is_storable
from workflow_core.ports import Write

__all__ = ["Triggers"]

_BATCH = 500
_TEXT_LIMIT = 255  # characters; what every database can index
_NOW = timedelta(0)


class Triggers:
    """Begins runs. Any thread."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def trigger(
        self,
        workflow: Workflow[Any, Any],
        trigger: Trigger[Any],
        ledger: Ledger,
        *,
        reason: str = "",
    ) -> str:
        """Begin one run; answers its id, or raises what `trigger_many` would have answered.

        `reason` is kept with its first version.
        """
        outcome = self.trigger_many(workflow, [trigger], ledger, reason=reason)[0]
        if isinstance(outcome, WorkflowError):
            raise outcome
        return outcome

    def trigger_many(
        self,
        workflow: Workflow[Any, Any],
        triggers: Sequence[Trigger[Any]],
        ledger: Ledger,
        *,
        reason: str = "",
    ) -> list[str | WorkflowError]:
        """Begin many runs, a transaction per 500; a run id or an error for each, in order."""
        workflow.check()
        self._core.timers.learn(workflow)
        delayed = any(trigger.start_at is not None for trigger in triggers)
        now = ledger.now() if delayed else None
        answers: list[str | WorkflowError] = []
        for start in range(0, len(triggers), _BATCH):
            batch = triggers[start : start + _BATCH]
            answers += self._batch(workflow, batch, now, ledger, reason)
        return answers

    def _batch(
        self,
        workflow: Workflow[Any, Any],
        triggers: Sequence[Trigger[Any]],
        now: datetime | None,
        ledger: Ledger,
        reason: str,
    ) -> list[str | WorkflowError]:
        answers: list[str | WorkflowError] = []
        writes: dict[str, Write] = {}
        for trigger in triggers:
            try:
                write = self.first_version(workflow, trigger, now, reason)
            except InputError as error:
                answers.append(error)
            else:
                writes.setdefault(write.record.run_id, write)
                answers.append(write.record.run_id)
        failures = _begin(list(writes.values()), ledger)
        return [
            failures.get(answer, answer) if isinstance(answer, str) else answer
            for answer in answers
        ]

    def first_version(
        self,
        workflow: Workflow[Any, Any],
        trigger: Trigger[Any],
        now: datetime | None,
        reason: str = "",
    ) -> Write:
        """What begins the run; `now` is the store's, needed where the trigger has a time.

        Raises:
            InputError: something given cannot be taken.
        """
        check_foreign_id(trigger.foreign_id)
        run_id, status = self._run_id(workflow, trigger), _first_status(workflow, trigger)
        write = Transition(workflow, "", self._core.identity).triggered(
            run_id=run_id,
            foreign_id=trigger.foreign_id,
            status=status,
            data=workflow.encode(trigger.data),
            headers=self._headers(workflow, run_id, status, trigger),
            delay=_delay(trigger.start_at, now),
            reason=reason,
        )
        return searchable(write, workflow, trigger.data)

    def _headers(
        self, workflow: Workflow[Any, Any], run_id: str, status: int, trigger: Trigger[Any]
    ) -> dict[str, str]:
        headers = _checked_headers(trigger.headers)
        if self._core.observers is None:
            return headers
        begun = Work(
            kind=WorkKind.TRIGGER,
            workflow=workflow.name,
            process=names.TRIGGER_PROCESS,
            name="",
            run_id=run_id,
            status=workflow.status(status).name,
            headers=headers,
        )
        return dict(self._core.observers.begun(begun))

    def _run_id(self, workflow: Workflow[Any, Any], trigger: Trigger[Any]) -> str:
        key = trigger.idempotency_key
        if key is None:
            return self._core.identity.uuid()
        if not key or not is_storable(key):
            raise InputError(
                "an idempotency key is a text, not empty, without NUL characters and surrogates",
                workflow=workflow.name,
            )
        return uuid_from_key(workflow.name, key)


def _begin(writes: Sequence[Write], ledger: Ledger) -> dict[str, WorkflowError]:
    """Write them; by run id, why a run with this id does not exist now."""
    if not writes:
        return {}
    outcomes = ledger.commit(writes)
    # A conflict of versions: begun by the same key earlier, or by a try whose answer was lost.
    failures: dict[str, WorkflowError] = {
        write.record.run_id: outcome
        for write, outcome in zip(writes, outcomes, strict=True)
        if outcome is not None and not isinstance(outcome, VersionConflictError)
    }
    in_progress = [
        run_id for run_id, error in failures.items() if isinstance(error, RunInProgressError)
    ]
    if in_progress:
        # the same key may have begun a run that has ended, before the other one began
        for run_id in ledger.lock(in_progress):
            del failures[run_id]
    return failures


def _first_status(workflow: Workflow[Any, Any], trigger: Trigger[Any]) -> int:
    if trigger.status is None:
        return int(workflow.start)
    status = workflow.parse_status(trigger.status)
    if workflow.is_end(int(status)):
        raise UnknownStatusError(
            f"a run cannot begin at {status.name}, which ends it", workflow=workflow.name
        )
    consumers = [*workflow.steps.values(), *workflow.callbacks, *workflow.timeouts]
    if all(consumer.status != int(status) for consumer in consumers):
        raise UnknownStatusError(
            f"a run cannot begin at {status.name}, from where nothing would move it on",
            workflow=workflow.name,
            hint="Was the module with its step imported?",
        )
    return int(status)


def _checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    if not all(is_storable(text) for header in headers.items() for text in header):
        raise InputError("headers are texts by text, without NUL characters and surrogates")
    return dict(headers)


def _delay(start_at: datetime | None, now: datetime | None) -> timedelta:
    if start_at is None or now is None:
        return _NOW
    if start_at.tzinfo is None:
        raise InputError("start_at must be aware, e.g. datetime.now(UTC) + timedelta(hours=1)")
    return start_at - now


def check_foreign_id(foreign_id: object) -> None:
    """Refuse what some store could not keep exactly.

    Raises:
        InputError: no text, empty, over 255 characters, or with a NUL or a lone surrogate in it.
    """
    length = len(checked_text(foreign_id, "a foreign id"))
    if not 0 < length <= _TEXT_LIMIT:
        raise InputError(f"a foreign id has 1 to {_TEXT_LIMIT} characters, this one has {length}")
