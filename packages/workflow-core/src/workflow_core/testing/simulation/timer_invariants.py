"""What must hold of timers: each is somewhere, and fires for its own stay, at its time."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from workflow_core.definition import Run, Workflow
from workflow_core.engine.timers.book import WorkflowTimers
from workflow_core.memory import MemoryDatabase
from workflow_core.model import Event, Record, names
from workflow_core.testing.simulation.invariant_error import InvariantError
from workflow_core.testing.simulation.member import Member
from workflow_core.testing.simulation.pools import Pools

__all__ = ["TimerInvariants"]


class TimerInvariants:
    """Each live run at a status with timers has each of them: armed, closed, or yet to be armed.

    Yet to be armed: an event of its stay that says so is in the outbox, in the stream, or held by a
    living member. A parked timer of a run that is not paused waits for such an event too. Where
    timers are written with the runs, none outlives its stay.

    Args:
        workflow: what is served.
        records: the database with runs and outbox.
        stream: the database with events.
        timers: the database with timers.
        pools: who works on which status.
    """

    def __init__(
        self,
        workflow: Workflow[Any, Any],
        records: MemoryDatabase,
        stream: MemoryDatabase,
        timers: MemoryDatabase,
        pools: Pools,
    ) -> None:
        self._workflow = workflow
        self._records = records
        self._stream = stream
        self._table = timers.timers
        self._joined = timers is records
        self._timers = WorkflowTimers(workflow)
        self._pools = pools
        self._lost: dict[str, int] = {}
        self.somebody_died = False
        """From then on a timer may be left parked, until the next round of arming."""

    def lose(self, event: Event) -> None:
        """This event was lost on its way: its timers are armed by the next round."""
        self._lost[event.run_id] = max(event.version, self._lost.get(event.run_id, 0))

    def check(self, members: Iterable[Member]) -> None:
        """Raises InvariantError for the first timer that nobody will ever let fire."""
        living = list(members)
        if self._joined:
            self._check_left()
        for record in self._records.runs.rows.values():
            is_ours = record.workflow == self._workflow.name and record.state.is_driven
            if not is_ours or record.status not in self._timers.by_status:
                continue
            missing = [step.name for step in self._missing(record)]
            if missing and not self._is_to_be_armed(record, living):
                raise InvariantError(
                    f"run {record.run_id}, version {record.version}, has lost its timers"
                    f" {', '.join(missing)}"
                )

    def begin(self, run: Run[Any, Any], now: datetime, *, at_once: bool) -> None:
        """A timer's function is called. Raises InvariantError where it should not have been.

        Args:
            run: as the function sees it.
            now: the true time.
            at_once: whether its run was looked up in this very moment.
        """
        record = self._records.runs.rows[run.run_id]
        (step,) = [s for s in self._timers.by_status[run.status] if s.name == run.timer]
        if at_once and record.entered_version != run.entered_version:
            raise InvariantError(f"timer {run.timer} of {run.run_id} fires for another stay")
        if step.after is not None and now < run.entered_at + step.after:
            raise InvariantError(f"timer {run.timer} of {run.run_id} fires before its time")

    def check_end(self) -> None:
        """All runs have ended long ago and all timers are due: nothing is kept of any."""
        if self._table._open:
            raise InvariantError(f"timers are left: {', '.join(sorted(self._table._open))}")
        if self._table._closed:
            keys = ", ".join(sorted(self._table._closed))
            raise InvariantError(f"closed timers of ended runs are left: {keys}")

    def _check_left(self) -> None:
        ours = [t for t in self._table._open.values() if t.workflow == self._workflow.name]
        for timeout in ours:
            step = self._timers.step(timeout)
            if step is None or step.after is None:
                continue  # the answer when it fires may come when its stay is over
            record = self._records.runs.rows.get(timeout.run_id)
            if record is None:
                raise InvariantError(f"timer {timeout.key} is armed for a run that is not there")
            if record.state.is_finished or record.entered_version != timeout.entered_version:
                raise InvariantError(
                    f"run {record.run_id} has left the stay of its timer {timeout.key}"
                )

    def _missing(self, record: Record) -> list[Any]:
        missing = []
        for step in self._timers.by_status[record.status]:
            key = names.timer_key(record.run_id, record.entered_version, step.name)
            plan = names.timer_plan_key(record.run_id, record.entered_version, step.name)
            known = [k for k in (key, plan) if k in self._table._open or k in self._table._closed]
            parked = [k for k in known if k in self._table._open and self._table._open[k].parked]
            if not known or (parked and not self.somebody_died):
                missing.append(step)
        return missing

    def _is_to_be_armed(self, record: Record, living: list[Member]) -> bool:
        if self._lost.get(record.run_id, 0) >= record.entered_version:
            return True
        topic = names.status_topic(record.workflow, record.status)
        consumer = self._pools.consumer(record.workflow, record.status)
        events = self._stream.log.waiting(topic, consumer, record.run_id)
        events += [row.event for row in self._records.outbox.rows()]
        events += [event for member in living for event in member.held]
        return any(
            event.run_id == record.run_id
            and record.entered_version <= event.version <= record.version
            and self._timers.is_to_arm(event)
            for event in events
        )
