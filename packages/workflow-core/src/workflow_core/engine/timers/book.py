"""Which timers there are, and what a write does to them. Pure.

A timer with ``fires_at`` is armed as a *plan* first, due at once: a row that stands for the
question when it fires, so that the user's function never runs in a commit, and is retried like any
other. Its answer is the timer itself, under the timer's own key. Who arms late cannot know how far
that has come, so both are created: the timer at a time that never comes, which the answer corrects.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from workflow_core.definition import TimeoutStep, Workflow
from workflow_core.model import Event, EventKind, Record, Timeout, names
from workflow_core.ports import Write

__all__ = ["MARK", "NEVER", "TimerBook", "WorkflowTimers", "planned_key"]

MARK = "workflow-timers"
"""A header of an event, not of its run: the timers that were armed with the write, by name."""

_NOW = timedelta(0)
NEVER = timedelta(days=36_500)
"""The delay of a timer whose time is yet to be asked."""
_ARMING = (EventKind.ENTERED, EventKind.RESUMED, EventKind.NUDGE)


class WorkflowTimers:
    """The timers of one workflow."""

    def __init__(self, workflow: Workflow[Any, Any]) -> None:
        self.workflow = workflow
        self.by_status: dict[int, tuple[TimeoutStep, ...]] = {}
        for step in workflow.timeouts:
            self.by_status[step.status] = (*self.by_status.get(step.status, ()), step)
        self._marks = {
            status: "\n".join(sorted(step.name for step in steps))
            for status, steps in self.by_status.items()
        }

    def step(self, timeout: Timeout) -> TimeoutStep | None:
        """The timer's entry in the definition; None: this version of the code has none."""
        steps = self.by_status.get(timeout.status, ())
        return next((step for step in steps if step.name == timeout.name), None)

    # -- what a write does ---------------------------------------------------------------------

    def armed_by(self, write: Write) -> list[Timeout]:
        """What is to be armed with a write: all of a status that it enters."""
        record = write.record
        if record.entered_version != record.version or not record.state.is_driven:
            return []
        begins = _NOW
        if record.version == 1 and write.retry_in is not None:
            begins = self._beyond_lag(record.status, write.retry_in)
        return [
            self._timer(step, record, begins + (step.after or _NOW))
            for step in self.by_status.get(record.status, ())
        ]

    def cancelled_by(self, record: Record) -> list[str]:
        """The keys of what can never fire any more once this record is written."""
        if record.state.is_finished and record.entered_version != record.version:
            return self.keys(record.run_id, record.status, record.entered_version)
        if record.entered_version != record.version or not record.passed:
            return []
        # the stay before this one is the one that was entered last
        status, version = max(record.passed.items(), key=lambda left: left[1])
        return self.keys(record.run_id, status, version)

    def marked(self, event: Event) -> Event:
        """The event, saying that all timers of its status are armed."""
        mark = self._marks.get(event.status)
        if mark is None or event.kind is not EventKind.ENTERED:
            return event
        return event.replace(headers={**event.headers, MARK: mark})

    # -- what is armed later -------------------------------------------------------------------

    def is_to_arm(self, event: Event) -> bool:
        """Whether timers may have to be armed before this event is done.

        A writer that knows other timers than we do (another version of the code) marks other names.
        """
        mark = self._marks.get(event.status)
        return mark is not None and event.kind in _ARMING and event.headers.get(MARK) != mark

    def of_stay(self, record: Record, now: datetime) -> list[Timeout]:
        """All timers of the stay that the record tells, by the store's present; un-parked too."""
        if not record.state.is_driven:
            return []
        begun = self.begun_at(record)
        timers: list[Timeout] = []
        for step in self.by_status.get(record.status, ()):
            timer = self._timer(step, record, max(_NOW, begun + (step.after or _NOW) - now))
            timers.append(timer)
            if step.fires_at is not None:
                timers.append(self.planned(timer, NEVER))
        return timers

    def begun_at(self, record: Record) -> datetime:
        """From when timers count: the entry, but for a run that is to start later its start."""
        if record.version > 1 or record.next_try_at is None:
            return record.entered_at
        start = record.next_try_at - record.entered_at
        return record.entered_at + self._beyond_lag(record.status, start)

    def keys(self, run_id: str, status: int, entered_version: int) -> list[str]:
        """The keys of all timers of a stay."""
        return [
            key
            for step in self.by_status.get(status, ())
            for key in _keys(step, run_id, entered_version)
        ]

    def planned(self, timeout: Timeout, delay: timedelta) -> Timeout:
        """The timer that a plan comes to, due after `delay`."""
        key = names.timer_key(timeout.run_id, timeout.entered_version, timeout.name)
        return timeout.replace(key=key, delay=delay, attempts=0, error="")

    def _timer(self, step: TimeoutStep, record: Record, delay: timedelta) -> Timeout:
        return Timeout(
            key=_keys(step, record.run_id, record.entered_version)[-1],
            workflow=record.workflow,
            run_id=record.run_id,
            status=record.status,
            entered_version=record.entered_version,
            name=step.name,
            delay=delay,
        )

    def _beyond_lag(self, status: int, delay: timedelta) -> timedelta:
        """The delay of a start; what is no longer than the step's lag is that lag and no start."""
        step = self.workflow.steps.get(status)
        return delay if step is None or delay > step.lag else _NOW


def _keys(step: TimeoutStep, run_id: str, entered_version: int) -> Sequence[str]:
    """The timer's key, and last the one under which it is armed."""
    key = names.timer_key(run_id, entered_version, step.name)
    if step.fires_at is None:
        return [key]
    return [key, names.timer_plan_key(run_id, entered_version, step.name)]


class TimerBook:
    """The timers of all workflows that this engine has met. Any thread."""

    def __init__(self) -> None:
        self._by_name: dict[str, WorkflowTimers] = {}

    def learn(self, workflow: Workflow[Any, Any]) -> None:
        """A definition that is used here; checked, so that it does not change any more."""
        if not workflow.timeouts:
            return
        known = self._by_name.get(workflow.name)
        if known is None or known.workflow is not workflow:
            self._by_name[workflow.name] = WorkflowTimers(workflow)

    def of(self, workflow: str) -> WorkflowTimers | None:
        """The timers of a workflow; None: it has none, or is not known here."""
        return self._by_name.get(workflow)

    def __bool__(self) -> bool:
        return bool(self._by_name)


def planned_key(timeout: Timeout) -> str | None:
    """The key of the timer that this plan is to come to; None: it is no plan."""
    stay = (timeout.run_id, timeout.entered_version, timeout.name)
    return names.timer_key(*stay) if timeout.key == names.timer_plan_key(*stay) else None
