"""One execution of a step's body on one run: from the record to the write that it comes to."""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from enum import Enum, IntEnum
from inspect import isawaitable
from typing import Any, cast

from workflow_core.definition import Cancel, Pause, Repeat, Run, Skip, Step, Workflow
from workflow_core.engine.lane import Item
from workflow_core.engine.transition import Decision, Failure
from workflow_core.errors import DefinitionError
from workflow_core.model import Record
from workflow_core.ports import Write

__all__ = ["Execution", "checked_answer"]

logger = logging.getLogger("workflow_core.engine")

_DIRECTIVES = (Pause, Cancel, Skip, Repeat)


class Execution:
    """Decodes, calls the body, checks its answer, and says what is to be written.

    Whatever goes wrong in it is a failed attempt of this run and of no other.
    """

    __slots__ = ("_item", "_run", "_step", "_workflow", "record")

    def __init__(self, item: Item, record: Record) -> None:
        self._item = item
        self.record = record
        self._workflow = item.lane.workflow
        self._step = item.step
        self._run: Run[Any, Any] | None = None

    def run(self) -> Write:
        """Call a sync body."""
        try:
            answer = self._step.body(self._open())
        except BaseException as error:  # whatever a body raises is its failed attempt
            return self.concluded(None, error)
        return self.concluded(answer, None)

    def coroutine(self) -> Coroutine[Any, Any, object] | Write:
        """The body of an async step, to be awaited; a Write where it could not be called."""
        try:
            body = self._step.body(self._open())
        except BaseException as error:
            return self.concluded(None, error)
        if not isawaitable(body):  # a plain function around an async one, that has run it itself
            return self.concluded(body, None)
        return cast(Coroutine[Any, Any, object], body)

    def concluded(self, answer: object, error: BaseException | None) -> Write:
        """The write that the body's answer, or its error, comes to."""
        transition = self._item.lane.transition
        if error is None:
            try:
                decision = checked_answer(self._workflow, self._step, answer)
                return transition.answered(self.record, decision, self._encode)
            except Exception as wrong:  # an undeclared answer, or data that cannot be encoded
                error = wrong
        failure = Failure.of(error)
        logger.warning(
            "workflow %r, run %s: step %s failed on attempt %d: %s",
            self.record.workflow,
            self.record.run_id,
            self._step.name,
            self.record.attempts + 1,
            failure.text,
            exc_info=error,
        )
        return transition.failed(self.record, failure, self._step)

    def _open(self) -> Run[Any, Any]:
        record = self.record
        self._run = Run(
            data=self._workflow.decode(record.data, run_id=record.run_id),
            status=self._workflow.status(record.status),
            run_id=record.run_id,
            foreign_id=record.foreign_id,
            workflow=record.workflow,
            version=record.version,
            entered_version=record.entered_version,
            repeat=record.repeat,
            attempt=record.attempts + 1,
            resumed=record.resumed,
            headers=record.headers,
            created_at=record.created_at,
            entered_at=record.entered_at,
            cancelled=lambda: self._item.cancelled,
        )
        return self._run

    def _encode(self) -> bytes:
        assert self._run is not None
        return self._workflow.encode(self._run.data, self.record.data, run_id=self.record.run_id)


def checked_answer(workflow: Workflow[Any, Any], step: Step, answer: object) -> Decision:
    """The answer, if the step may give it.

    Raises:
        DefinitionError: it is no status of the workflow, or not among the declared ones.
    """
    # An IntEnum member equals and hashes like any other of its number: only its type tells.
    if isinstance(answer, IntEnum):
        if type(answer) is workflow.statuses and int(answer) in step.targets:
            return int(answer)
    elif isinstance(answer, _DIRECTIVES) and type(answer) in step.directives:
        return answer
    declared = [workflow.status(number).name for number in sorted(step.targets)]
    declared += sorted(f"{directive.__name__}()" for directive in step.directives)
    raise DefinitionError(
        f"step {step.name} ({step.where}) answered {_shown(answer)}, but it declares "
        + (", ".join(declared) or "nothing"),
        workflow=workflow.name,
        hint="Add it to the return annotation, or answer what is declared there",
    )


def _shown(answer: object) -> str:
    kind = type(answer).__name__  # of anything but an enum the type alone: it may hold data
    return f"{kind}.{answer.name}" if isinstance(answer, Enum) else f"a value of type {kind}"
