"""What must hold for schedules: each tick begins one run at most, and none is lost."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from workflow_core.definition import Missed, Schedule, Workflow
from workflow_core.engine.schedule_state import MOST_MADE_UP, ScheduleState, record_id, state_of
from workflow_core.memory import MemoryDatabase
from workflow_core.model import Record, RunState
from workflow_core.testing.simulation.invariant_error import InvariantError

__all__ = ["TickInvariant"]


class TickInvariant:
    """Watches the runs that schedules begin, purged ones too, and how the schedules go on.

    Args:
        workflow: what is served; the functions of its schedules give each tick its own foreign id.
        records: the database with the runs.
    """

    def __init__(self, workflow: Workflow[Any, Any], records: MemoryDatabase) -> None:
        self._workflow = workflow
        self._records = records
        self._runs: dict[tuple[str, str], str] = {}  # (schedule, tick) → run id
        self._purged: set[tuple[str, str]] = set()
        self._known: dict[str, Record] = {}

    def check(self, now: datetime) -> None:
        """Raises InvariantError for the first tick that begins two runs, or none."""
        if not self._workflow.schedules:
            return
        self._look_at_runs(now)
        for schedule in self._workflow.schedules.values():
            record = self._records.runs.rows.get(record_id(self._workflow.name, schedule.name))
            if record is not None:
                before = self._known.get(schedule.name)
                if before is not None and before.version != record.version:
                    self._check_progress(schedule, before, record)
                self._known[schedule.name] = record

    def _look_at_runs(self, now: datetime) -> None:
        present: set[tuple[str, str]] = set()
        for record in self._records.runs.rows.values():
            tick = record.headers.get("tick")
            if tick is None or record.workflow != self._workflow.name:
                continue
            key = (record.headers["schedule"], tick)
            if key in self._purged:
                raise InvariantError(f"tick {key} begins a run again after the purge of its run")
            if self._runs.setdefault(key, record.run_id) != record.run_id or key in present:
                raise InvariantError(f"tick {key} begins two runs")
            if datetime.fromisoformat(tick) > now:
                raise InvariantError(f"tick {key} begins a run before its time, at {now}")
            present.add(key)
        self._purged |= self._runs.keys() - present

    def _check_progress(self, schedule: Schedule, before: Record, after: Record) -> None:
        if before.state is RunState.PAUSED:
            return  # what was due in a pause is not made up for
        then, now = state_of(before), state_of(after)
        if now.settled < then.settled:
            raise InvariantError(f"schedule {schedule.name} goes back to {now.settled}")
        for tick in self._owed(schedule, then, now):
            if (schedule.name, tick.isoformat()) not in self._runs and not now.note:
                raise InvariantError(f"tick {tick} of {schedule.name} begins no run")

    @staticmethod
    def _owed(schedule: Schedule, then: ScheduleState, now: ScheduleState) -> list[datetime]:
        due = schedule.recurrence.latest(then.settled, now.settled, most=MOST_MADE_UP)
        return due if schedule.missed is Missed.RUN_ALL else due[-1:]
