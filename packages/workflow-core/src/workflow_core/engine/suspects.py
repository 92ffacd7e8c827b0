"""Suspects: an attempt that a process may die of is counted before it begins.

A body that kills its process cannot be counted afterwards. So the attempt is written first, as a
failed one with the event of its next try; the answer that comes after all replaces it. If none
comes, that event finds the attempt counted, and the run paused once it was the last (`Retry`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from workflow_core.engine.journal import Journal
from workflow_core.engine.lane import Chunk, Item
from workflow_core.engine.suspicion import Suspicion, suspected, suspicion_of
from workflow_core.engine.transition import Failure
from workflow_core.engine.window import Window
from workflow_core.errors import ProcessDiedError, VersionConflictError
from workflow_core.model import Record

__all__ = ["Suspects", "withdraw"]

logger = logging.getLogger("workflow_core.engine")


class Suspects:
    """Any thread."""

    def __init__(self, window: Window, journal: Journal) -> None:
        self._window = window
        self._journal = journal

    def count(self, chunk: Chunk, records: Mapping[Item, Record]) -> Mapping[Item, Record]:
        """Count the attempt of the chunk's one item, if it is to run; answers what is to run now.

        Raises:
            AdapterUnavailableError: nobody knows whether it was counted: look the run up again.
        """
        item = next(chunk.take(), None)
        if item is None:
            return {}
        try:
            record = self._count(item, records[item])
        except BaseException:
            self._window.put_back([item])
            raise
        if record is None:
            return {}
        chunk.pending.append(item)
        return {item: record}

    def _count(self, item: Item, record: Record) -> Record | None:
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
            f"attempt {attempts + 1} runs alone, since a process died that had the run in hand",
            hint="Where this stays, the process of that attempt has died too",
        )
        write = transition.begun(record, Failure.of(unknown), step)
        (filed,) = write.events
        filed = filed.replace(event=suspected(filed.event, Suspicion.BEGUN))
        outcome = self._journal.commit([write.replace(events=[filed])])[0]
        if isinstance(outcome, VersionConflictError):
            self._window.postpone(item, 0.0)  # to be looked up again
            return None
        if outcome is not None:
            logger.error("run %s: an attempt cannot be counted: %s", record.run_id, outcome)
            return record
        self._window.begun_as(item, filed.event)
        item.counted = write.record.replace(attempts=attempts, last_error=record.last_error)
        return item.counted


def withdraw(items: Iterable[Item], journal: Journal) -> None:
    """A stop ends these attempts, or comes before them: they do not count.

    Raises:
        AdapterUnavailableError: some may have been counted.
    """
    counted = [(item, item.counted) for item in items if item.counted is not None]
    journal.commit([item.lane.transition.withdrawn(record) for item, record in counted])
