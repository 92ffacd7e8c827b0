"""Arms what no write has armed, from events on their way and round by round."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta

from workflow_core.engine.core import Core
from workflow_core.engine.gate import Gate
from workflow_core.engine.holding import Holding
from workflow_core.engine.lookups import latest_versions, look_up
from workflow_core.engine.rounds import RecordRounds
from workflow_core.engine.timers.book import WorkflowTimers
from workflow_core.model import Event, Record, RecordQuery, RunState, Timeout
from workflow_core.ports import RecordStore, TimeoutStore

__all__ = ["Arming", "ArmingRounds", "arm"]

logger = logging.getLogger("workflow_core.engine")

_PAGE = 500


def arm(
    timeouts: TimeoutStore, timers: Sequence[Timeout], expect: Callable[[timedelta], None]
) -> None:
    """Arm them, un-park those that are parked, and tell when the first is due.

    Raises:
        AdapterUnavailableError: nobody knows which are armed: arm them again.
    """
    if timers:
        timeouts.create_many(timers)
        expect(min(timeout.delay for timeout in timers))


class Arming(Holding):
    """Arms timers for what a lane has received, before anybody acks it.

    Args:
        timers: the lane's workflow's.
        store: where the runs are.
        timeouts: where timers are kept.
        expect: told how soon the first of those that were armed is due.
    """

    def __init__(
        self,
        timers: WorkflowTimers,
        store: RecordStore,
        timeouts: TimeoutStore,
        expect: Callable[[timedelta], None],
    ) -> None:
        super().__init__()
        self._timers = timers
        self._store = store
        self._timeouts = timeouts
        self._expect = expect

    def wants(self, event: Event) -> bool:
        """An event of a stay whose writer may not have armed its timers."""
        return self._timers.is_to_arm(event)

    def see_to(self, events: Sequence[Event]) -> None:
        """Arm, whatever the event's version: a retry may have been written since in this stay."""
        found = look_up(self._store, latest_versions(events))
        told = {(event.run_id, event.status) for event in events}
        records = [record for record in found.values() if (record.run_id, record.status) in told]
        if records:
            now = self._store.now()
            timers = [timer for record in records for timer in self._timers.of_stay(record, now)]
            arm(self._timeouts, timers, self._expect)


class ArmingRounds(RecordRounds):
    """Arms what is missing, of all runs of a workflow. Arming what is armed changes nothing."""

    def __init__(
        self,
        timers: WorkflowTimers,
        core: Core,
        timeouts: TimeoutStore,
        expect: Callable[[timedelta], None],
        gate: Gate,
    ) -> None:
        name, every = f"{timers.workflow.name} timers' reconciler", core.settings.reconcile_every
        super().__init__(name, core.store, gate, every=every, clock=core.clock)
        self._timers = timers
        self._timeouts = timeouts
        self._expect = expect

    def _new_round(self) -> RecordQuery:
        return RecordQuery(
            workflow=self._timers.workflow.name,
            statuses=sorted(self._timers.by_status),
            states=[RunState.INITIATED, RunState.RUNNING],
            limit=_PAGE,
        )

    def _see_to(self, records: Sequence[Record]) -> None:
        if not records:
            return
        now = self._store.now()
        timers = [timer for record in records for timer in self._timers.of_stay(record, now)]
        arm(self._timeouts, timers, self._expect)
