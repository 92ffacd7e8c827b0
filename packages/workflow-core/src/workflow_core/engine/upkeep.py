"""Upkeep: deletes runs that ended long ago, where the settings say so."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from workflow_core.engine.gate import Gate
from workflow_core.engine.process import Process
from workflow_core.engine.settings import ENDED, EngineSettings
from workflow_core.model import RecordQuery, RunState
from workflow_core.ports import Clock, RecordStore, TimeoutStore

__all__ = ["Purge", "Retention", "ages"]

BATCH = 500
_EACH = 60.0  # seconds between two rounds
_REST = 2.0  # pause after a batch, as a multiple of the time that it took: others write too


class Purge:
    """Deletes ended runs, and what other stores keep of them.

    Args:
        store: where the runs are.
        timeouts: where their timers are; they are forgotten first, so that a crash in between
            leaves a run to be purged again, and never timers of a run that nobody knows.
    """

    def __init__(self, store: RecordStore, timeouts: TimeoutStore | None) -> None:
        self._store = store
        self._timeouts = timeouts

    def batch(self, workflow: str, states: Sequence[RunState], older_than: timedelta) -> int:
        """Delete some runs that ended `older_than` ago; answers how many, 0 when none is left.

        Raises:
            NotSupportedError: the record store cannot purge.
            AdapterUnavailableError: some may be gone: purge again.
        """
        query = RecordQuery(
            workflow=workflow,
            states=list(states),
            updated_before=self._store.now() - older_than,
            limit=BATCH,
        )
        return self._store.purge(query, doomed=self._doomed())

    def _doomed(self) -> Callable[[Sequence[str]], None] | None:
        if self._timeouts is None or self._timeouts.joins(self._store):
            return None  # they go with the record
        return self._timeouts.forget


class Retention(Process):
    """One per workflow; works while its gate is open, a batch per poll."""

    upkeep = True

    def __init__(
        self,
        workflow: str,
        purge: Purge,
        ages: Mapping[timedelta, Sequence[RunState]],
        *,
        gate: Gate,
        clock: Clock,
    ) -> None:
        self.name = f"{workflow} retention"
        self._workflow = workflow
        self._purge = purge
        self._ages = list(ages.items())
        self._gate = gate
        self._clock = clock
        self._next_round = clock.monotonic()

    def poll(self, wait: timedelta) -> bool:
        """Delete one batch, if a round is due."""
        began = self._clock.monotonic()
        if not self._gate.is_open or began < self._next_round:
            return False
        gone = self._purge_some()
        now = self._clock.monotonic()
        self._next_round = now + (_REST * (now - began) if gone else _EACH)
        return gone > 0

    def next_due(self) -> timedelta | None:
        """The next round."""
        if not self._gate.is_open:
            return None
        return timedelta(seconds=max(0.0, self._next_round - self._clock.monotonic()))

    def _purge_some(self) -> int:
        for age, states in self._ages:
            gone = self._purge.batch(self._workflow, states, age)
            if gone:
                return gone
        return 0


def ages(settings: EngineSettings) -> Mapping[timedelta, Sequence[RunState]]:
    """The states of runs to be purged, by the age at which they are; {}: none is."""
    found: dict[timedelta, list[RunState]] = {}
    for state in ENDED:
        age = settings.retention_of.get(state.name.lower(), settings.retention)
        if age is not None:
            found.setdefault(age, []).append(state)
    return found
