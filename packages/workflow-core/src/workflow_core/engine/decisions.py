"""What an operator's verb decides about a run, whether it is on one run or on many."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any, TypeAlias

from workflow_core.definition import Workflow
from workflow_core.engine.core import Core
from workflow_core.engine.steering import (
    by,
    cancelled_by,
    hurried_by,
    moved_by,
    paused_by_operator,
    resumed_by,
)
from workflow_core.engine.transition import Transition, time_to_wait
from workflow_core.errors import (
    InputError,
    RunEndedError,
    RunPausedError,
    RunStateError,
    UnknownStatusError,
)
from workflow_core.model import Record, RunState
from workflow_core.ports import Write

__all__ = ["Decide", "Decisions", "check_live", "goal_of"]

Decide: TypeAlias = Callable[[Record, Callable[[], datetime]], Write | None]
"""Given a live run's record and the store's clock: the write; None: it is so already.

Raises RunStateError where the verb does not fit the state.
"""

_NOW = timedelta(0)


def check_live(record: Record) -> None:
    """Refuse to steer what has ended.

    Raises:
        RunEndedError: it has.
    """
    if record.state.is_finished:
        raise RunEndedError(
            f"run {record.run_id} has ended: {record.state.name.lower()}",
            run_id=record.run_id,
            workflow=record.workflow,
        )


class Decisions:
    """One per engine. Any thread."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def pausing(self, reason: str, who: str) -> Decide:
        """What an operator paused already stays as it is."""
        told = by("paused", who, reason) if who else reason

        def decide(record: Record, now: Callable[[], datetime]) -> Write | None:
            # a back-off is not kept: its attempts begin anew with the resume
            rest = _NOW if record.attempts else time_to_wait(record, now)
            return paused_by_operator(record, self._core.identity, told, rest)

        return decide

    def resuming(self, who: str, why: str) -> Decide:
        """Paused runs only."""

        def decide(record: Record, now: Callable[[], datetime]) -> Write:
            if record.state is not RunState.PAUSED:
                raise RunStateError(
                    f"run {record.run_id} is not paused, it is {record.state.name.lower()}",
                    run_id=record.run_id,
                    workflow=record.workflow,
                )
            rest = time_to_wait(record, now)
            at = self._core.clock.now()
            return resumed_by(record, self._core.identity, who, why, at, rest)

        return decide

    def cancelling(self, reason: str, who: str) -> Decide:
        """Any live run."""
        told = by("cancelled", who, reason) if who else reason
        return lambda record, now: cancelled_by(record, self._core.identity, told)

    def hurrying(self, who: str, why: str) -> Decide:
        """Any live run that is not paused."""

        def decide(record: Record, now: Callable[[], datetime]) -> Write:
            if record.state is RunState.PAUSED:
                raise RunPausedError(
                    f"run {record.run_id} is paused",
                    run_id=record.run_id,
                    workflow=record.workflow,
                    hint="Resume it: that begins a new try",
                )
            waits = time_to_wait(record, now) > _NOW
            at = self._core.clock.now()
            return hurried_by(record, self._core.identity, who, why, at, waits=waits)

        return decide

    def moving(self, workflow: Workflow[Any, Any], status: object, who: str, why: str) -> Decide:
        """Any live run of the workflow.

        Raises:
            UnknownStatusError: none of its statuses, or one from where nothing would move it on.
        """
        goal = goal_of(workflow, status)
        transition = Transition(workflow, "", self._core.identity)

        def decide(record: Record, now: Callable[[], datetime]) -> Write:
            if record.workflow != workflow.name:
                raise InputError(
                    f"run {record.run_id} is one of {record.workflow!r}",
                    run_id=record.run_id,
                    workflow=workflow.name,
                )
            return moved_by(transition, record, goal, who, why, self._core.clock.now())

        return decide


def goal_of(workflow: Workflow[Any, Any], status: object) -> IntEnum:
    """The status as one that runs can be moved to; raises as `Decisions.moving`."""
    workflow.check()
    goal: IntEnum = workflow.parse_status(status)
    consumers = [*workflow.steps.values(), *workflow.callbacks, *workflow.timeouts]
    if not workflow.is_end(int(goal)) and all(c.status != int(goal) for c in consumers):
        raise UnknownStatusError(
            f"a run cannot be moved to {goal.name}, from where nothing would move it on",
            workflow=workflow.name,
            hint="Was the module with its step imported?",
        )
    return goal
