"""One execution of a step's body on one run: from the record to the write that it comes to."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from enum import Enum, IntEnum
from inspect import isawaitable, iscoroutine
from typing import Any, TypeAlias, cast

from workflow_core.definition import Cancel, Consumer, Pause, Repeat, Run, Skip, Workflow
from workflow_core.engine.lane import Item
from workflow_core.engine.searching import searchable
from workflow_core.engine.telling import of_record, tell_pause
from workflow_core.engine.transition import Decision, Failure
from workflow_core.errors import DefinitionError
from workflow_core.logs import About
from workflow_core.model import Record
from workflow_core.ports import Write

__all__ = ["Execution", "checked_answer", "open_run"]

logger = logging.getLogger("workflow_core.engine")

Connect: TypeAlias = Callable[[], Any]

_DIRECTIVES = (Pause, Cancel, Skip, Repeat)


class Execution:
    """Decodes, calls the body, checks its answer, and says what is to be written.

    Whatever goes wrong in it is a failed attempt of this run and of no other.

    Args:
        item: what is in hand.
        record: the run as it was looked up.
        connect: opens the step's transaction; None for a step without.

    Attributes:
        error: what made it a failed attempt, once it is one.
    """

    __slots__ = ("_connect", "_run", "_step", "_workflow", "error", "item", "record")

    def __init__(self, item: Item, record: Record, connect: Connect | None = None) -> None:
        self.item = item
        self.record = record
        self.error: BaseException | None = None
        self._connect: dict[str, Any] = {} if connect is None else {"connect": connect}
        self._workflow = item.lane.workflow
        self._step = item.step
        self._run: Run[Any, Any] | None = None

    def run(self) -> Write:
        """Call a sync body."""
        try:
            with About(run := self._open()):
                answer = self._step.body(run)
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
        transition = self.item.lane.transition
        if error is None:
            try:
                decision = checked_answer(self._workflow, self._step, answer)
                write = transition.answered(self.record, decision, self._encode)
                return searchable(write, self._workflow, self._data, self.record)
            except Exception as wrong:  # an undeclared answer, or data that cannot be encoded
                error = wrong
        self.error = error
        failure = Failure.of(error)
        logger.warning(
            "workflow %r, run %s: step %s failed on attempt %d: %s",
            self.record.workflow,
            self.record.run_id,
            self._step.name,
            self.record.attempts + 1,
            failure.text,
            exc_info=error,
            extra=of_record(self.record, self._workflow, attempt=self.record.attempts + 1),
        )
        write = transition.failed(self.record, failure, self._step)
        self.item.lane.attempt_failed(self._step, error, write)
        return tell_pause(write, self._workflow)

    @property
    def about(self) -> Run[Any, Any] | None:
        """What lines of the body are about, once it was called."""
        return self._run

    def _open(self) -> Run[Any, Any]:
        self._run = open_run(
            self._workflow,
            self.record,
            attempt=self.record.attempts + 1,
            cancelled=lambda: self.item.cancelled,
            stopping=lambda: self.item.lane.is_stopping,
            **self._connect,
        )
        return self._run

    @property
    def _data(self) -> Any:
        assert self._run is not None
        return self._run.data

    def _encode(self) -> bytes:
        return self._workflow.encode(self._data, self.record.data, run_id=self.record.run_id)


def open_run(
    workflow: Workflow[Any, Any],
    record: Record,
    *,
    attempt: int,
    repeat: int | None = None,
    timer: str = "",
    callback: str = "",
    **ties: Any,
) -> Run[Any, Any]:
    """The run as a body sees it; `ties` are what keeps it in touch with its engine.

    `repeat` is how often this body has answered Repeat; None: it is the step, as the record tells.

    Raises:
        DecodeError: its data is not of the workflow's type.
        UnknownStatusError: its status is none of the workflow's.
    """
    return Run(
        data=workflow.decode(record.data, run_id=record.run_id),
        status=workflow.status(record.status),
        run_id=record.run_id,
        foreign_id=record.foreign_id,
        workflow=record.workflow,
        version=record.version,
        entered_version=record.entered_version,
        repeat=record.repeat if repeat is None else repeat,
        attempt=attempt,
        resumed=record.resumed,
        headers=record.headers,
        created_at=record.created_at,
        entered_at=record.entered_at,
        timer=timer,
        callback=callback,
        **ties,
    )


def checked_answer(workflow: Workflow[Any, Any], step: Consumer, answer: object) -> Decision:
    """The answer, if the step, callback or timer may give it.

    Raises:
        DefinitionError: it is no status of the workflow, or not among the declared ones.
    """
    # An IntEnum member equals and hashes like any other of its number: only its type tells.
    if isinstance(answer, IntEnum):
        if type(answer) is workflow.statuses and int(answer) in step.targets:
            return int(answer)
    elif isinstance(answer, _DIRECTIVES) and type(answer) in step.directives:
        return answer
    if isawaitable(answer):
        raise _not_awaited(workflow, step, answer)
    declared = [workflow.status(number).name for number in sorted(step.targets)]
    declared += sorted(f"{directive.__name__}()" for directive in step.directives)
    raise DefinitionError(
        f"{step.kind} {step.told} answered {_shown(answer)}, but it declares "
        + (", ".join(declared) or "nothing"),
        workflow=workflow.name,
        hint="Add it to the return annotation, or answer what is declared there",
    )


def _not_awaited(workflow: Workflow[Any, Any], step: Consumer, answer: object) -> DefinitionError:
    """The body has called an async function, and answers what is still to be awaited."""
    if iscoroutine(answer):
        answer.close()  # else Python warns, at some later moment, of what was never awaited
    return DefinitionError(
        f"{step.kind} {step.told} answered {_shown(answer)}, which nobody awaits",
        workflow=workflow.name,
        hint="Await it there" if step.is_async else "Make it an async function, and await it there",
    )


def _shown(answer: object) -> str:
    kind = type(answer).__name__  # of anything but an enum the type alone: it may hold data
    return f"{kind}.{answer.name}" if isinstance(answer, Enum) else f"a value of type {kind}"
