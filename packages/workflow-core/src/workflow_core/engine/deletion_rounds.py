"""Finishes deletions of data that were interrupted, whoever had begun them.

The record is emptied first, so what is left of an interrupted deletion is a run that says so by its
state, and copies of its data beside it. Whoever serves its workflow erases those and has the record
say that it is done; the verb, called again, does the very same.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from workflow_core.definition import Workflow
from workflow_core.engine.core import Core
from workflow_core.engine.gate import Gate
from workflow_core.engine.letter_erasing import forget_errors
from workflow_core.engine.rounds import RecordRounds
from workflow_core.engine.transition import Identity, state_event
from workflow_core.errors import AdapterUnavailableError, VersionConflictError, WorkflowError
from workflow_core.model import Record, RecordQuery, RunState, names
from workflow_core.ports import OUT_OF_REACH, Erasure, Write

__all__ = ["DeletionRounds", "erase_beside", "written_as_deleted"]

logger = logging.getLogger("workflow_core.engine")

_PAGE = 100


class DeletionRounds(RecordRounds):
    """One per workflow, as seldom as the reconciler.

    A run that cannot be finished holds up no other, and is tried again in the next round.
    """

    def __init__(self, workflow: Workflow[Any, Any], core: Core, gate: Gate) -> None:
        every = core.settings.reconcile_every
        super().__init__(
            f"{workflow.name} deletions", core.store, gate, every=every, clock=core.clock
        )
        self._workflow = workflow
        self._core = core

    def _new_round(self) -> RecordQuery:
        return RecordQuery(
            workflow=self._workflow.name,
            states=[RunState.REQUESTED_DATA_DELETED],
            # what is younger is most likely at work still
            updated_before=self._core.store.now() - self._core.settings.reconcile_age,
            limit=_PAGE,
        )

    def _see_to(self, records: Sequence[Record]) -> None:
        for record in records:
            self._finish(record)

    def _finish(self, record: Record) -> None:
        outcome: WorkflowError | None
        try:
            erase_beside(self._core, self._workflow, record)
            write = written_as_deleted(record, self._core.identity)
            outcome = self._core.journal.commit([write])[0]
        except AdapterUnavailableError:
            raise
        except WorkflowError as error:
            outcome = error
        if outcome is None:
            if self._core.observers is not None:
                after = RunState.DATA_DELETED
                self._core.observers.changed(self._workflow.name, record.state, after)
            logger.info("run %s: its interrupted deletion is finished", record.run_id)
        elif not isinstance(outcome, VersionConflictError):  # that one: whoever began it went on
            logger.error("run %s: its deletion cannot be finished: %s", record.run_id, outcome)


def erase_beside(core: Core, workflow: Workflow[Any, Any], record: Record) -> Erasure:
    """Erase all that is kept of the run's data beside its record. Twice is harmless.

    Letters are filed under the workflow whose work they are, so what its followers could not handle
    is looked for under their names.

    Raises:
        AdapterUnavailableError: some may be left: erase again.
    """
    beside = core.store.erase_copies(record.run_id)  # before the stream: it fills from the outbox
    published = _erase_published(core, workflow, record)
    for name in dict.fromkeys([workflow.name, *workflow.followers]):
        forget_errors(core, name, record.run_id)
    return Erasure(
        erased=[*beside.erased, *published.erased],
        remains=[*beside.remains, *published.remains],
    )


def _erase_published(core: Core, workflow: Workflow[Any, Any], record: Record) -> Erasure:
    if core.streamer is None:
        return Erasure(remains=[OUT_OF_REACH])
    known = {int(status) for status in workflow.statuses}
    been_at = {*record.passed, record.status}  # perhaps dropped from the code since
    topics = [names.status_topic(workflow.name, status) for status in sorted(known | been_at)]
    return core.streamer.erase_copies(
        record.run_id, [*topics, names.run_state_topic(workflow.name)]
    )


def written_as_deleted(record: Record, identity: Identity) -> Write:
    """The record says that all is gone, and the hooks are told."""
    after = record.replace(
        version=record.version + 1, write_id=identity.write_id(), state=RunState.DATA_DELETED
    )
    return Write(record=after, events=[state_event(after, identity)], search={})
