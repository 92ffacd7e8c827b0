"""What the waiter asks of a record, and how a record is shown to the user."""

from __future__ import annotations

from datetime import timedelta
from enum import IntEnum
from typing import Any

from workflow_core.definition import RunView, Workflow
from workflow_core.engine.waiter import Question
from workflow_core.errors import DecodeError, InputError, RunEndedError, RunNotFoundError
from workflow_core.model import Record, RunState

__all__ = ["check_timeout", "check_workflow", "ended", "reached", "shown", "view"]


def reached(workflow: Workflow[Any, Any], run_id: str, status: IntEnum) -> Question:
    """Is it at the status, or past it? Raises RunEndedError when it never will be."""
    wanted = int(status)

    def is_there(record: Record) -> bool:
        return record.status == wanted or wanted in record.passed

    def answer(record: Record | None) -> RunView[Any, Any] | None:
        seen = view(workflow, run_id, record)
        assert record is not None
        if is_there(record):
            return seen
        if record.state.is_finished:
            raise RunEndedError(
                f"run {run_id} has ended at {seen.status.name}, {record.state.name.lower()}, "
                f"and never was at {status.name}",
                workflow=workflow.name,
                run_id=run_id,
            )
        return None

    return Question(lambda record: is_there(record) or record.state.is_finished, answer)


def ended(workflow: Workflow[Any, Any], run_id: str) -> Question:
    """Has it ended?"""

    def answer(record: Record | None) -> RunView[Any, Any] | None:
        seen = view(workflow, run_id, record)
        return seen if seen.state.is_finished else None

    return Question(lambda record: record.state.is_finished, answer)


def view(workflow: Workflow[Any, Any], run_id: str, record: Record | None) -> RunView[Any, Any]:
    """The record as the user sees it.

    Raises:
        RunNotFoundError: there is none, or it is another workflow's.
        DecodeError: its data is not of the workflow's type.
    """
    if record is None or record.workflow != workflow.name:
        raise RunNotFoundError(
            f"workflow {workflow.name!r} has no run {run_id}",
            workflow=workflow.name,
            run_id=run_id,
            hint=f"It is a run of {record.workflow!r}" if record is not None else "",
        )
    if not record.data and record.state in (
        RunState.DATA_DELETED,
        RunState.REQUESTED_DATA_DELETED,
    ):
        raise DecodeError(
            f"the data of run {run_id} was deleted", workflow=workflow.name, run_id=run_id
        )
    return shown(workflow, record, workflow.decode(record.data, run_id=run_id))


def shown(
    workflow: Workflow[Any, Any], record: Record, data: Any, *, stale: bool = False
) -> RunView[Any, Any]:
    """The record with its data decoded."""
    return RunView(
        workflow=record.workflow,
        run_id=record.run_id,
        foreign_id=record.foreign_id,
        status=workflow.status(record.status),
        state=record.state,
        version=record.version,
        data=data,
        reason=record.reason,
        last_error=record.last_error,
        attempts=record.attempts,
        created_at=record.created_at,
        updated_at=record.updated_at,
        next_try_at=record.next_try_at,
        stale=stale,
    )


def check_workflow(workflow: object) -> None:
    """Refuse what is no definition, such as a workflow's name.

    Raises:
        InputError: it is none.
    """
    if not isinstance(workflow, Workflow):
        raise InputError(
            f"a workflow is wanted here, not a value of type {type(workflow).__name__}",
            hint="Give the Workflow object that your steps are declared on",
        )


def check_timeout(timeout: object) -> None:
    """Refuse a bare number: nobody could know its unit.

    Raises:
        InputError: it is no timedelta.
    """
    if not isinstance(timeout, timedelta):
        raise InputError(
            f"timeout is a timedelta, e.g. timedelta(seconds=2), not a {type(timeout).__name__}"
        )
