"""What a schedule's turn comes to: which writes, and when to look at it again. No I/O."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

from workflow_core.definition import Retry, Schedule, Trigger, Workflow
from workflow_core.engine.gate import Gate
from workflow_core.engine.schedule_state import Plan, ScheduleState, changed, record_id
from workflow_core.engine.transition import Failure, Identity
from workflow_core.errors import InputError, RunInProgressError, VersionConflictError
from workflow_core.model import UNSTAMPED, Record
from workflow_core.ports import Outcome, Write

__all__ = ["AT_ONCE", "Attempt", "Turn", "Watch", "Written", "keyed"]

logger = logging.getLogger("workflow_core.engine")

AT_ONCE = UNSTAMPED
"""A time to look again that has passed, by any clock."""
_RETRY = Retry()  # from a second to five minutes, for as long as it takes

Written: TypeAlias = tuple[Write, datetime | None]
"""A write, and when to look again once it is stored; None: there will be nothing to do."""


@dataclass(eq=False)
class Watch:
    """A schedule that this process may look after, and when it is to look next."""

    workflow: Workflow[Any, Any]
    schedule: Schedule
    gate: Gate
    is_held: bool = False
    look_at: datetime | None = None
    """By the store's clock; None: it will never be due."""

    def __post_init__(self) -> None:
        self.run_id = record_id(self.workflow.name, self.schedule.name)
        self.told = f"schedule {self.schedule.name!r} of workflow {self.workflow.name!r}"
        self.fields = {"workflow": self.workflow.name, "schedule": self.schedule.name}
        """What log lines about it are about."""

    def follow_role(self) -> bool:
        """Whether this process is to look after it; it looks at once when that begins."""
        if self.gate.is_open and not self.is_held:
            self.look_at = AT_ONCE
        self.is_held = self.gate.is_open
        return self.is_held


@dataclass(frozen=True, eq=False)
class Turn:
    """What is to be written for a schedule now."""

    watch: Watch
    write: Write
    """The schedule's record; where a run is begun, as if that were sure to be stored."""
    look_at: datetime | None
    begin: Write | None = None
    """The run."""
    attempt: Attempt | None = None
    left_out: str = ""


@dataclass(frozen=True, eq=False)
class Attempt:
    """An attempt to settle the ticks of a plan.

    Args:
        record: the schedule's, as it was read.
        state: what the record told.
        plan: what is to be done.
        now: by the store's clock.
    """

    watch: Watch
    record: Record
    state: ScheduleState
    plan: Plan
    now: datetime
    identity: Identity

    def without_run(self, note: str) -> Turn:
        """Settle them, and begin no run."""
        write, look_at = self._settled(self.record, note=note)
        return Turn(self.watch, write, look_at, left_out=self.plan.left_out)

    def with_run(self, begin: Write) -> Turn:
        """Settle them, and begin this run."""
        write, look_at = self.concluded(self.record, begin, None)
        return Turn(self.watch, write, look_at, begin, self, self.plan.left_out)

    def failed(self, error: BaseException) -> Turn:
        """Try again later."""
        write, look_at = self._failed(self.record, error)
        return Turn(self.watch, write, look_at)

    def concluded(self, after: Record, begin: Write, outcome: Outcome) -> Written:
        """The write after the record `after`, for what became of the run."""
        if isinstance(outcome, RunInProgressError):
            note = f"run {outcome.live_run_id} of the same foreign id was still in progress"
            logger.warning(
                "%s: tick %s begins no run: %s",
                self.watch.told,
                self.plan.tick,
                note,
                extra=self.watch.fields,
            )
            return self._settled(after, note=note)
        if outcome is None or isinstance(outcome, VersionConflictError):
            # A conflict: the run was begun under the tick's key already.
            return self._settled(after, run_id=begin.record.run_id)
        return self._failed(after, outcome)

    def _settled(self, after: Record, *, run_id: str = "", note: str = "") -> Written:
        next_tick = self.watch.schedule.recurrence.next(self.plan.settled)
        state = self.state.replace(
            settled=self.plan.settled,
            next_tick=next_tick,
            last_tick=self.plan.tick or self.plan.settled,
            last_run_id=run_id,
            note=note,
        )
        return changed(after, state, self.identity), next_tick

    def _failed(self, after: Record, error: BaseException) -> Written:
        failure = Failure.of(error)
        attempts = self.record.attempts + 1
        delay = _RETRY.delay(attempts, self.identity.entropy)
        logger.warning(
            "%s failed at tick %s on attempt %d, next try in %.1f s: %s",
            self.watch.told,
            self.plan.tick,
            attempts,
            delay.total_seconds(),
            failure.text,
            exc_info=error,
            extra={**self.watch.fields, "attempt": attempts},
        )
        write = changed(
            after,
            self.state,
            self.identity,
            attempts=attempts,
            error=failure.text,
            retry_in=delay,
        )
        return write, self.now + delay


def keyed(trigger: object, schedule: Schedule, tick: datetime) -> Trigger[Any]:
    """The trigger under a key made of the tick, and saying where it comes from.

    Raises:
        InputError: it is no Trigger, or has a key of its own.
    """
    if not isinstance(trigger, Trigger):
        raise InputError(
            f"the function of a schedule answers a Trigger or None, not a {type(trigger).__name__}"
        )
    if trigger.idempotency_key is not None:
        raise InputError("the key of a scheduled run is its tick: leave idempotency_key= out")
    at = tick.astimezone(UTC).isoformat()
    return dataclasses.replace(
        trigger,
        idempotency_key=f"_schedule/{schedule.name}/{at}",
        headers={"schedule": schedule.name, "tick": at, **trigger.headers},
    )
