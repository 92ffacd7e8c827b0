"""Hindsight: a run as it was when an event was written, seen when the run may have moved on."""

from __future__ import annotations

from typing import Any

from workflow_core.definition import RunView, Workflow
from workflow_core.engine.questions import shown
from workflow_core.errors import DecodeError, RunNotFoundError
from workflow_core.model import Event, HistoryEntry, Record, RunState
from workflow_core.ports import Capability, RecordStore

__all__ = ["Hindsight"]


class Hindsight:
    """Any thread.

    Args:
        workflow: whose runs they are.
        store: where they and their history are.
    """

    def __init__(self, workflow: Workflow[Any, Any], store: RecordStore) -> None:
        self._workflow = workflow
        self._store = store
        self._has_history = Capability.HISTORY in store.capabilities

    def view(self, event: Event, record: Record) -> RunView[Any, Any]:
        """The run as it was, as far as the store can tell.

        Args:
            event: what tells of the change.
            record: the run as it is.

        Raises:
            DecodeError: its data is not of the workflow's type.
            AdapterUnavailableError: no answer.
        """
        if record.version == event.version:
            return shown(self._workflow, record, self._decoded(record))
        then = self._entry(event)
        stale = then is None or then.data is None
        record = record.replace(status=event.status, state=event.state, version=event.version)
        if then is not None:
            record = record.replace(
                reason=then.reason,
                last_error=then.error,
                attempts=then.attempts,
                updated_at=then.at,
                next_try_at=None,
                data=record.data if then.data is None else then.data,
            )
        return shown(self._workflow, record, self._decoded(record), stale=stale)

    def _entry(self, event: Event) -> HistoryEntry | None:
        """The version that the event tells of, where the store keeps it."""
        if not self._has_history:
            return None
        try:
            entries = self._store.history(event.run_id)
        except RunNotFoundError:
            return None
        return next((entry for entry in entries if entry.version == event.version), None)

    def _decoded(self, record: Record) -> object:
        try:
            return self._workflow.decode(record.data, run_id=record.run_id)
        except DecodeError:
            if record.state is RunState.DATA_DELETED:  # what is left need not be of the data type
                return None
            raise
