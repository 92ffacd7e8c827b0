"""The fields of log lines: what `workflow_core.logs` calls a run, an event, a workflow."""

from __future__ import annotations

import logging
from typing import Any

from workflow_core.definition import Workflow
from workflow_core.errors import UnknownStatusError
from workflow_core.model import Event, PauseKind, Record, RunState
from workflow_core.ports import Write

__all__ = ["of_event", "of_record", "tell_pause"]

logger = logging.getLogger("workflow_core.engine")


def of_record(
    record: Record, workflow: Workflow[Any, Any] | None = None, **more: object
) -> dict[str, object]:
    """The fields of a run as it was read; its status by name where the definition is at hand."""
    return {
        "workflow": record.workflow,
        "run_id": record.run_id,
        "foreign_id": record.foreign_id,
        "status": _status(record.status, workflow),
        "run_state": record.state.name.lower(),
        "version": record.version,
        **more,
    }


def of_event(
    event: Event, workflow: Workflow[Any, Any] | None = None, **more: object
) -> dict[str, object]:
    """The fields of what an event says of its run."""
    return {
        "workflow": event.workflow,
        "run_id": event.run_id,
        "foreign_id": event.foreign_id,
        "status": _status(event.status, workflow),
        "version": event.version,
        "event_id": event.id,
        **more,
    }


def tell_pause(write: Write, workflow: Workflow[Any, Any]) -> Write:
    """The write of a failed attempt; says so where it gives up."""
    record = write.record
    if record.state is RunState.PAUSED and record.pause_kind is PauseKind.AUTOMATIC:
        logger.warning(
            "workflow %r, run %s is paused: %s",
            record.workflow,
            record.run_id,
            record.reason,
            extra=of_record(record, workflow),
        )
    return write


def _status(number: int, workflow: Workflow[Any, Any] | None) -> str | int:
    if workflow is None:
        return number
    try:
        name: str = workflow.status(number).name
    except UnknownStatusError:  # other code's
        return number
    return name
