"""Deletion of a run's data, wherever a copy of it may be, with a receipt.

In this order, so that whoever is interrupted can begin again: the record is emptied and marked as
requested, then the copies beside it are erased, then the record says that it is done and the event
for the hooks is filed. A run that was left in between is found by its state, and finished by the
same call again, or by whoever serves its workflow (`DeletionRounds`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TypeVar

from workflow_core.definition import Workflow
from workflow_core.engine.core import Core
from workflow_core.engine.deletion_rounds import erase_beside, written_as_deleted
from workflow_core.engine.ledger import OwnLedger
from workflow_core.engine.patience import patiently
from workflow_core.engine.questions import check_workflow
from workflow_core.engine.transition import clean_text
from workflow_core.errors import (
    DecodeError,
    RunNotFoundError,
    RunStateError,
    VersionConflictError,
    WorkflowError,
)
from workflow_core.model import Record, RunState, Value
from workflow_core.model.texts import checked_text
from workflow_core.ports import Write

if TYPE_CHECKING:
    from workflow_core.engine.client import Client

__all__ = ["AsyncDeletionVerb", "DeletionReceipt", "DeletionVerb"]

T = TypeVar("T")
DataT = TypeVar("DataT")
StatusT = TypeVar("StatusT", bound=IntEnum)

_TRIES = 5
_NOTHING = b""  # no data type reads it
_REQUESTED = (RunState.REQUESTED_DATA_DELETED, RunState.DATA_DELETED)


class DeletionReceipt(Value, frozen=True, kw_only=True):
    """That a run's data was deleted, where, and what is out of reach."""

    workflow: str
    run_id: str
    at: datetime
    """By the store's clock."""
    who: str
    why: str
    kept: bool
    """Whether the workflow's own function let something stay."""
    erased: Sequence[str]
    """Every place that was emptied, a phrase each."""
    remains: Sequence[str]
    """What cannot be reached from here, and for how long it is there."""


class DeletionVerb:
    """Part of `Engine`. Any thread."""

    _core: Core

    if TYPE_CHECKING:

        def _check_open(self) -> None: ...

    def delete_data(
        self, workflow: Workflow[DataT, StatusT], run_id: str, *, who: str, why: str = ""
    ) -> DeletionReceipt:
        """Delete the data of a run that has ended, and every copy; the run itself stays.

        What may stay of it the workflow's `keep_after_deletion` says, otherwise nothing does.
        Errors, reasons, headers and search attributes go too. Again: erases again, harmlessly.

        Raises:
            RunNotFoundError: no such run of this workflow.
            RunStateError: it is live: cancel it first.
            AdapterUnavailableError: some may be left: call again. Once its record is emptied, the
                processes that serve the workflow finish it too.
        """
        self._check_open()
        check_workflow(workflow)
        workflow.check()
        checked_text(run_id, "a run id")
        record = self._empty(workflow, run_id, who, why)
        erasure = patiently(lambda: erase_beside(self._core, workflow, record), self._manual)
        at = patiently(self._core.store.now, self._manual)
        followers = [name for name in workflow.followers if name != workflow.name]
        if record.state is not RunState.DATA_DELETED:
            record = self._done(record)
        return DeletionReceipt(
            workflow=workflow.name,
            run_id=run_id,
            at=at,
            who=who,
            why=why,
            kept=record.data != _NOTHING,
            erased=[
                "the record: data, errors, reasons, headers",
                *erasure.erased,
                "dead letters about it: errors and headers",
                *(
                    f"dead letters of {name}, which follows it: errors and headers"
                    for name in followers
                ),
            ],
            remains=[*erasure.remains, *self._remains()],
        )

    @property
    def _manual(self) -> bool:
        return self._core.crew.manual

    def _empty(self, workflow: Workflow[Any, Any], run_id: str, who: str, why: str) -> Record:
        """The record, emptied: by this call or an earlier one."""
        lost: WorkflowError | None = None
        for _ in range(_TRIES):
            record = OwnLedger(self._core).lookup([run_id]).get(run_id)
            if record is None or record.workflow != workflow.name:
                raise RunNotFoundError(
                    f"workflow {workflow.name!r} has no run {run_id}",
                    workflow=workflow.name,
                    run_id=run_id,
                )
            if not record.state.is_finished:
                raise RunStateError(
                    f"run {run_id} is live, so its data is still needed",
                    workflow=workflow.name,
                    run_id=run_id,
                    hint="Cancel it first, or wait for its end",
                )
            if record.state in _REQUESTED:
                return record
            by = f"data deleted by {who}" + (f": {why}" if why else "")
            try:
                return self._write(
                    record,
                    state=RunState.REQUESTED_DATA_DELETED,
                    data=_what_stays(workflow, record),
                    last_error="",
                    reason=clean_text(by),
                    resumed=None,
                    headers={},
                )
            except VersionConflictError as error:
                lost = error
        assert lost is not None
        raise lost

    def _write(self, record: Record, **changes: Any) -> Record:
        write_id = self._core.identity.write_id()
        after = record.replace(version=record.version + 1, write_id=write_id, **changes)
        return self._committed(record, Write(record=after, search={}))

    def _done(self, record: Record) -> Record:
        try:
            return self._committed(record, written_as_deleted(record, self._core.identity))
        except VersionConflictError:
            now = OwnLedger(self._core).lookup([record.run_id]).get(record.run_id)
            if now is None or now.state is not RunState.DATA_DELETED:
                raise
            return now  # another call, or whoever serves the workflow, was quicker

    def _committed(self, before: Record, write: Write) -> Record:
        ledger = OwnLedger(self._core)
        ledger.saw([before])
        outcome = ledger.commit([write])[0]
        if outcome is not None:
            raise outcome
        return write.record

    def _remains(self) -> list[str]:
        remains = [
            "errors and headers in dead letters of workflows that follow it and are not declared in"
            " this process, until processes that serve those come to it, each ten minutes or so",
            "what was logged or sent elsewhere",
        ]
        if self._core.streamer is not None and not self._core.journal.joined:
            remains.append(
                "headers of events that were just on their way from the outbox to the stream:"
                " the same call again, a minute later, reaches them"
            )
        clerk = self._core.journal.clerk
        if clerk is not None and not clerk.joined:
            remains.append("errors of its timers, in the timeout store, until that forgets it")
        return remains


def _what_stays(workflow: Workflow[Any, Any], record: Record) -> bytes:
    try:
        data = workflow.decode(record.data, run_id=record.run_id)
    except DecodeError:  # what cannot be read cannot be sorted either
        return _NOTHING
    kept = workflow.after_deletion(data)
    return _NOTHING if kept is None else workflow.encode(kept, run_id=record.run_id)


class AsyncDeletionVerb:
    """Part of `AsyncEngine`."""

    _engine: Client

    if TYPE_CHECKING:

        async def _do(self, verb: Callable[[], T]) -> T: ...

    async def delete_data(
        self, workflow: Workflow[DataT, StatusT], run_id: str, *, who: str, why: str = ""
    ) -> DeletionReceipt:
        """As `Engine.delete_data`."""
        return await self._do(lambda: self._engine.delete_data(workflow, run_id, who=who, why=why))
