"""Suspects: what a dead process had in hand says that it begins before it does.

A body that kills its process cannot be counted afterwards, and nobody marks each start for this.
So what is written ahead depends on how much an event is suspected of (`suspicion`):

- What a dead process merely *held* may be thousands of runs, nearly all of them innocent. They are
  begun like all else, a chunk at a time, under a mark: one write for the whole chunk, that makes
  each a version of its own whose event says *tried*. It counts nothing.
- What was *tried* when its process died is one of a chunk. It is begun alone (`quarantine`), and
  its attempt is counted before: written as a failed one with the event of its next try, which says
  *begun*. The answer that comes after all replaces it.
- What had *begun* alone and did not come back finds its attempt counted, and the run is paused
  once it was the last (`Retry`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from workflow_core.engine.journal import Journal
from workflow_core.engine.lane import Chunk, Item
from workflow_core.engine.suspicion import Suspicion, suspected, suspicion_of
from workflow_core.engine.telling import of_record
from workflow_core.engine.transition import Failure
from workflow_core.engine.window import Window
from workflow_core.errors import (
    AdapterUnavailableError,
    ProcessDiedError,
    VersionConflictError,
    WorkflowError,
)
from workflow_core.model import Record
from workflow_core.ports import Write

__all__ = ["Suspects", "take_back", "withdraw"]

logger = logging.getLogger("workflow_core.engine")

_DIED = "a process died that had the run in hand"


class Suspects:
    """Any thread."""

    def __init__(self, window: Window, journal: Journal) -> None:
        self._window = window
        self._journal = journal

    def write_ahead(self, chunk: Chunk, records: Mapping[Item, Record]) -> Mapping[Item, Record]:
        """Mark or count what is suspect in the chunk; answers on which records its items run.

        What is not to run after all has left the chunk.

        Raises:
            AdapterUnavailableError: nobody knows what is written: look the runs up again.
        """
        return self._count(chunk, records) if chunk.is_alone else self._mark(chunk, records)

    # -- marking -------------------------------------------------------------------------------

    def _mark(self, chunk: Chunk, records: Mapping[Item, Record]) -> Mapping[Item, Record]:
        held = [item for item in chunk.pending if suspicion_of(item.event)]
        if not held:
            return records
        ahead = {item: item.counted for item in held if item.counted is not None}
        marks = {
            item: chunk.lane.transition.repeated(records[item], reason=_DIED)
            for item in held
            if item not in ahead
        }
        writes = {item: _saying(Suspicion.TRIED, write) for item, write in marks.items()}
        outcomes = self._journal.commit(list(writes.values()))
        for (item, write), outcome in zip(writes.items(), outcomes, strict=True):
            if isinstance(outcome, VersionConflictError):
                chunk.leave_out(item)
                self._window.postpone(item, 0.0)  # to be looked up again
            elif outcome is not None:
                _tell_refused(records[item], outcome)
            elif self._begins_as(item, write, write.record):
                ahead[item] = write.record
            else:  # a stop has dropped it meanwhile, which is to cost nothing
                withdraw([item], self._journal)
        return {**records, **ahead}

    # -- counting ------------------------------------------------------------------------------

    def _count(self, chunk: Chunk, records: Mapping[Item, Record]) -> Mapping[Item, Record]:
        item = next(chunk.take(), None)
        if item is None:
            return {}
        try:
            record = self._counted(item, records[item])
        except BaseException:
            self._window.put_back([item])
            raise
        if record is None:
            return {}
        chunk.pending.append(item)
        return {item: record}

    def _counted(self, item: Item, record: Record) -> Record | None:
        transition, step, attempts = item.lane.transition, item.step, record.attempts
        if attempts and suspicion_of(item.event) is Suspicion.BEGUN:
            died = ProcessDiedError(
                f"attempt {attempts} of {step.name} has not ended: its process died",
                hint="See how that ended: a segmentation fault, no memory left?",
            )
            if step.retry.gives_up(attempts, died):
                write = transition.given_up(record, Failure.of(died), step, attempts)
                logger.error("run %s is given up: %s", record.run_id, died)
                item.lane.attempt_failed(step, died, write)
                self._window.finish(item, record, write)
                return None
        unknown = ProcessDiedError(
            f"attempt {attempts + 1} runs alone, since {_DIED}",
            hint="Where this stays, the process of that attempt has died too",
        )
        write = _saying(Suspicion.BEGUN, transition.begun(record, Failure.of(unknown), step))
        outcome = self._journal.commit([write])[0]
        if isinstance(outcome, VersionConflictError):
            self._window.postpone(item, 0.0)  # to be looked up again
            return None
        if outcome is not None:
            _tell_refused(record, outcome)
            return record
        counted = write.record.replace(attempts=attempts, last_error=record.last_error)
        self._begins_as(item, write, counted)  # a stop does not reach it here: it is put back then
        return counted

    def _begins_as(self, item: Item, write: Write, record: Record) -> bool:
        """Its body is to run on this record; False: a stop has come before it."""
        item.counted = record
        (filed,) = write.events
        return self._window.begun_as(item, filed.event)


def withdraw(items: Iterable[Item], journal: Journal) -> None:
    """A stop ends these attempts, or comes before them: nothing is held against their runs.

    Raises:
        AdapterUnavailableError: some may have been counted, or be suspect still.
    """
    counted = [(item, item.counted) for item in items if item.counted is not None]
    journal.commit([item.lane.transition.repeated(record) for item, record in counted])


def take_back(items: Iterable[Item], journal: Journal) -> None:
    """As `withdraw`, where a stop must go on whatever comes of it."""
    try:
        withdraw(items, journal)
    except AdapterUnavailableError as error:
        logger.warning("some runs are begun alone at their next try, and counted: %s", error)


def _saying(suspicion: Suspicion, write: Write) -> Write:
    (filed,) = write.events
    return write.replace(events=[filed.replace(event=suspected(filed.event, suspicion))])


def _tell_refused(record: Record, outcome: WorkflowError) -> None:
    logger.error(
        "run %s: that its step begins cannot be written: %s",
        record.run_id,
        outcome,
        extra=of_record(record),
    )
