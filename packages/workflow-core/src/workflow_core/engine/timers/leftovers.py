"""Forgets, round by round, the timers of runs that have ended, where nobody else has.

Usually the process that ends a run forgets its timers a few seconds later (`settling`). One that
dies before leaves them, and so does one that has no poller or no timeout store, such as a client
whose callback ends a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from workflow_core.engine.core import Core
from workflow_core.engine.gate import Gate
from workflow_core.engine.rounds import RecordRounds, Rounds
from workflow_core.engine.timers.book import WorkflowTimers
from workflow_core.model import UNSTAMPED, Record, RecordQuery, RunState
from workflow_core.ports import TimeoutStore

__all__ = ["ClosedRounds", "LeftoverRounds"]

_PAGE = 500
_CANCELLED_BEFORE = timedelta(days=1)


class LeftoverRounds(RecordRounds):
    """Forgets the timers of cancelled runs.

    They are parked if their run was paused, so nobody would ever find them due. It is looked for
    what was cancelled within a day before the start, and since.
    """

    def __init__(
        self, timers: WorkflowTimers, core: Core, timeouts: TimeoutStore, gate: Gate
    ) -> None:
        name, every = f"{timers.workflow.name} timers' leftovers", core.settings.reconcile_every
        super().__init__(name, core.store, gate, every=every, clock=core.clock)
        self._timers = timers
        self._timeouts = timeouts
        self._age = core.settings.reconcile_age
        self._since: datetime | None = None
        self._until = UNSTAMPED

    def _new_round(self) -> RecordQuery:
        self._until = self._store.now() - self._age  # what is younger is most likely in hand still
        return RecordQuery(
            workflow=self._timers.workflow.name,
            statuses=sorted(self._timers.by_status),
            states=[RunState.CANCELLED],
            updated_after=self._since or self._until - _CANCELLED_BEFORE,
            updated_before=self._until,
            limit=_PAGE,
        )

    def _see_to(self, records: Sequence[Record]) -> None:
        if records:
            self._timeouts.forget([record.run_id for record in records])

    def _round_ended(self) -> None:
        self._since = self._until - self._age


class ClosedRounds(Rounds):
    """Forgets closed timers of runs that have ended or are gone.

    Goes by the timers and not by the runs: of those that have ended there is no end. What is closed
    of a live run is remembered, so that it is not armed again.
    """

    def __init__(self, workflow: str, core: Core, timeouts: TimeoutStore, gate: Gate) -> None:
        name, every = f"{workflow} closed timers", core.settings.reconcile_every
        super().__init__(name, gate, every=every, clock=core.clock)
        self._workflow = workflow
        self._store = core.store
        self._timeouts = timeouts
        self._age = core.settings.reconcile_age
        self._after: str | None = None

    def _begin(self) -> None:
        self._after = None

    def _go_on(self) -> bool:
        page = self._timeouts.closed_runs(self._workflow, after=self._after)
        if page.items:
            before = self._store.now() - self._age  # what is younger is most likely in hand still
            found = self._store.lookup_many(page.items, primary=True)
            over = [run_id for run_id in page.items if _is_over(found.get(run_id), before)]
            if over:
                self._timeouts.forget(over)
        self._after = page.next
        return page.next is not None


def _is_over(record: Record | None, before: datetime) -> bool:
    return record is None or (record.state.is_finished and record.updated_at < before)
