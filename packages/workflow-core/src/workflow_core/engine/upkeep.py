"""Upkeep: deletes runs that ended long ago, where the settings say so."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from workflow_core.engine.gate import Gate
from workflow_core.engine.process import Process
from workflow_core.model import RecordQuery, RunState
from workflow_core.ports import Clock, RecordStore

__all__ = ["ENDED", "Retention", "purge"]

ENDED = (RunState.COMPLETED, RunState.CANCELLED, RunState.DATA_DELETED)
_BATCH = 500
_EACH = 60.0  # seconds between two rounds


class Retention(Process):
    """One per workflow; works while its gate is open, a batch per poll."""

    upkeep = True

    def __init__(
        self, workflow: str, store: RecordStore, keep: timedelta, *, gate: Gate, clock: Clock
    ) -> None:
        self.name = f"{workflow} retention"
        self._workflow = workflow
        self._store = store
        self._keep = keep
        self._gate = gate
        self._clock = clock
        self._next_round = clock.monotonic()

    def poll(self, wait: timedelta) -> bool:
        """Delete one batch, if a round is due."""
        if not self._gate.is_open or self._clock.monotonic() < self._next_round:
            return False
        gone = purge(self._store, self._workflow, ENDED, self._keep, _BATCH)
        if gone < _BATCH:
            self._next_round = self._clock.monotonic() + _EACH
        return gone > 0

    def next_due(self) -> timedelta | None:
        """The next round."""
        if not self._gate.is_open:
            return None
        return timedelta(seconds=max(0.0, self._next_round - self._clock.monotonic()))


def purge(
    store: RecordStore,
    workflow: str,
    states: Sequence[RunState],
    older_than: timedelta,
    limit: int,
) -> int:
    """Delete at most `limit` runs that ended `older_than` ago; answers how many went."""
    return store.purge(
        RecordQuery(
            workflow=workflow,
            states=list(states),
            updated_before=store.now() - older_than,
            limit=limit,
        )
    )
