"""Automatic resume: a run that was paused because it failed is tried again after a while.

The event that resumes it is filed with the pause, delayed: a nudge for a paused run, meant for the
lane that paused it. It says nothing to a run that has gone on, or that an operator has paused
since. Where so many resumes in a row have brought nothing the run waits for a person. A lost event
is filed again, round by round.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from workflow_core.engine.core import Core
from workflow_core.engine.gate import Gate
from workflow_core.engine.holding import Holding
from workflow_core.engine.lane import Lane
from workflow_core.engine.lookups import latest_versions, look_up
from workflow_core.engine.process import Process
from workflow_core.engine.steering import resumed_automatically
from workflow_core.engine.transition import resume_event
from workflow_core.model import Event, PauseKind, Record, RecordQuery, RunState, names

__all__ = ["Resuming", "ResumingRounds"]

_PAGE = 500


class Resuming(Holding):
    """Resumes what its lane's delayed events say.

    Args:
        lane: whose runs.
        core: the engine's.
    """

    def __init__(self, lane: Lane, core: Core) -> None:
        super().__init__()
        self._lane = lane
        self._core = core

    def wants(self, event: Event) -> bool:
        """A nudge for a run that was paused here."""
        return event.state is RunState.PAUSED and names.is_steps_consumer(
            self._lane.workflow.name, event.target
        )

    def see_to(self, events: Sequence[Event]) -> None:
        """Resume those that are still paused as they were."""
        found = look_up(self._core.store, latest_versions(events))
        meant = {(event.run_id, event.version) for event in events}
        at = self._core.clock.now()
        waiting = [
            record
            for record in found.values()
            if _is_waiting(record) and (record.run_id, record.version) in meant
        ]
        writes = [
            resumed_automatically(record, self._core.identity, self._lane.auto_resume, at)
            for record in waiting
        ]
        outcomes = self._core.journal.commit(writes)
        for before, write, outcome in zip(waiting, writes, outcomes, strict=True):
            if outcome is None:  # else who wrote in between has decided otherwise
                self._lane.changed(before, write)


class ResumingRounds(Process):
    """Files the event of a resume again where it must have been lost; a page per poll.

    Works while its gate is open, from its opening on and then as often as the reconciler.
    """

    upkeep = True

    def __init__(self, lane: Lane, core: Core, gate: Gate) -> None:
        self.name = f"{lane.name} resumes"
        self._lane = lane
        self._core = core
        self._gate = gate
        self._next_round = core.clock.monotonic()
        self._query: RecordQuery | None = None

    def poll(self, wait: timedelta) -> bool:
        """Look at one page, if a round is due."""
        if not self._gate.is_open:
            self._query = None
            return False
        if self._query is None:
            if self._core.clock.monotonic() < self._next_round:
                return False
            self._query = self._new_round(self._core.store.now())
        page = self._core.store.list_records(self._query)
        policy = self._lane.auto_resume
        self._core.journal.file(
            [
                resume_event(record, self._core.identity, self._lane.name)
                for record in page.items
                if _is_waiting(record) and record.auto_resumes < policy.at_most
            ]
        )
        if page.next is not None:
            self._query = self._query.replace(after=page.next)
        else:
            self._query = None
            every = self._core.settings.reconcile_every.total_seconds()
            self._next_round = self._core.clock.monotonic() + every
        return True

    def next_due(self) -> timedelta | None:
        """The next round."""
        if not self._gate.is_open:
            return None
        return timedelta(seconds=max(0.0, self._next_round - self._core.clock.monotonic()))

    def _new_round(self, now: datetime) -> RecordQuery:
        return RecordQuery(
            workflow=self._lane.workflow.name,
            statuses=self._lane.statuses,
            states=[RunState.PAUSED],
            updated_before=now - self._lane.auto_resume.after - self._core.settings.reconcile_age,
            limit=_PAGE,
        )


def _is_waiting(record: Record) -> bool:
    return record.state is RunState.PAUSED and record.pause_kind is PauseKind.AUTOMATIC
