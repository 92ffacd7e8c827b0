"""The committer: commits finished work in batches, and settles what it commits."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta

from workflow_core.engine.journal import Journal
from workflow_core.engine.lane import Finished, Item
from workflow_core.engine.onward import next_event
from workflow_core.engine.process import Process
from workflow_core.engine.telling import of_record, tell_pause
from workflow_core.engine.transition import Failure
from workflow_core.engine.window import Window
from workflow_core.errors import VersionConflictError, WorkflowError
from workflow_core.model import Event
from workflow_core.ports import RecordStore

__all__ = ["Committer"]

logger = logging.getLogger("workflow_core.engine")

_NOW = timedelta(0)
_REFUSED_AGAIN = 30.0  # seconds before an item whose very failure is refused is looked at again


class Committer(Process):
    """One per process, for all its lanes. `poll` by one thread, `commit_finished` by any."""

    name = "committer"

    def __init__(self, window: Window, journal: Journal, store: RecordStore) -> None:
        self._window = window
        self._journal = journal
        self._store = store
        self._obsolete_copies: list[str] = []

    def poll(self, wait: timedelta) -> bool:
        """Commit one batch. When the store does not answer the outcomes are kept, not the steps."""
        self._drop_safety_copies()
        batch = self._window.outcomes.take(wait)
        if batch:
            self._commit(batch)
            self._drop_safety_copies()
        return bool(batch)

    def commit_finished(self) -> None:
        """By a worker: commit what is finished now. Where that fails it is left to `poll`."""
        batch = self._window.outcomes.take(_NOW)
        try:
            if batch:
                self._commit(batch)
        except Exception as error:  # it is given back: the committer meets it too, and tells
            logger.debug("left to the committer: %s", error)

    def _commit(self, batch: Sequence[Finished]) -> None:
        try:
            committed = self._journal.commit_told([finished.write for finished in batch])
        except BaseException:
            self._window.outcomes.give_back(batch)
            self._window.doubt()
            raise
        settled: list[Item] = []
        onward: dict[Item, Event] = {}
        for finished, outcome in zip(batch, committed.outcomes, strict=True):
            if outcome is None:
                finished.item.lane.changed(finished.before, finished.write)
                settled.append(finished.item)
                following = next_event(finished, committed.at)
                if following is not None:
                    onward[finished.item] = following
            elif isinstance(outcome, VersionConflictError):
                # Whoever moved the run on has filed the event of its new version.
                logger.debug(
                    "run %s was changed meanwhile: %s",
                    outcome.run_id,
                    outcome,
                    extra=_about(finished),
                )
                settled.append(finished.item)
            else:
                self._refused(finished, outcome)
        self._obsolete_copies += [item.safety_copy for item in settled if item.safety_copy]
        self._window.settle(settled, onward)

    def _drop_safety_copies(self) -> None:
        copies = list(self._obsolete_copies)
        if copies:
            self._store.delete_outbox_events(copies)
            del self._obsolete_copies[: len(copies)]

    def _refused(self, finished: Finished, outcome: WorkflowError) -> None:
        """The store will never keep this row: count it as a failed attempt, with the old data."""
        item, run_id = finished.item, finished.before.run_id
        if finished.refused:
            logger.error(
                "run %s: the store refuses even its failed attempt: %s",
                run_id,
                outcome,
                extra=_about(finished),
            )
            self._window.postpone(item, _REFUSED_AGAIN)
            return
        logger.error(
            "run %s: the store refuses its new version: %s",
            run_id,
            outcome,
            extra=_about(finished),
        )
        failure = item.lane.transition.failed(finished.before, Failure.of(outcome), item.step)
        item.lane.attempt_failed(item.step, outcome, failure)
        tell_pause(failure, item.lane.workflow)
        self._window.finish(item, finished.before, failure, refused=True)


def _about(finished: Finished) -> dict[str, object]:
    before = finished.before
    return of_record(before, finished.item.lane.workflow, attempt=before.attempts + 1)


def abandoned(items: Sequence[Item]) -> list[str]:
    """What a stop left undone, by name."""
    return [item.told for item in items]
