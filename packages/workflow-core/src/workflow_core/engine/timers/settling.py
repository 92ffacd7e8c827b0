"""Writes what timers come to: first the runs, then the timers' rows, all in batches."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from datetime import timedelta

from workflow_core.engine.core import Core
from workflow_core.engine.telling import of_record
from workflow_core.engine.timers.book import planned_key
from workflow_core.engine.timers.firing import Firing, Verdict
from workflow_core.errors import VersionConflictError, WorkflowError
from workflow_core.model import Record, RunState, Timeout
from workflow_core.ports import TimeoutStore

__all__ = ["Settling", "Sorted", "first_of_each_run", "is_of_stay"]

logger = logging.getLogger("workflow_core.engine")

_BATCH = 500
_TIDY_EACH = 5.0  # seconds between two rounds of forgetting
_REFUSED_AGAIN = timedelta(seconds=30)
_UNKNOWN_AGAIN = timedelta(minutes=1)
_NOW = timedelta(0)


@dataclass(slots=True)
class Sorted:
    """Due timers by what is to be done with them."""

    ready: list[Firing] = field(default_factory=list)
    gone: list[Timeout] = field(default_factory=list)
    """Their runs have left the stay, or are no more."""
    ended: list[str] = field(default_factory=list)
    """Runs among these of which nothing need be remembered."""
    paused: list[Timeout] = field(default_factory=list)
    unknown: list[Timeout] = field(default_factory=list)
    """Another version of the code has them; perhaps a process that runs it takes them up."""


class Settling:
    """For the poller, on its thread; `ended` and `give_back` may be called from any.

    What is interrupted between the run and the timer's row leaves the timer due: it then finds its
    run gone on, or is called once more.
    """

    def __init__(self, core: Core, timeouts: TimeoutStore) -> None:
        self._core = core
        self._timeouts = timeouts
        self._ended: deque[str] = deque()
        self._next_tidy = 0.0
        self._given_back = False
        self._unchecked: list[Timeout] = []  # parked, and their runs perhaps resumed meanwhile

    def settle(self, batch: Sequence[tuple[Firing, Verdict]]) -> None:
        """Commit the verdicts; of each run at most one has a write.

        Raises:
            AdapterUnavailableError: nobody knows how much is written: settle the same batch again.
        """
        if self._given_back:
            return
        moving = [(firing, verdict) for firing, verdict in batch if verdict.write is not None]
        writes = [verdict.write for _, verdict in moving if verdict.write is not None]
        outcomes = self._core.journal.commit(writes)
        kept = [verdict for _, verdict in batch if verdict.write is None]
        for (firing, verdict), outcome in zip(moving, outcomes, strict=True):
            if outcome is None:
                self._tell_change(firing, verdict)
                kept.append(verdict)
            elif isinstance(outcome, VersionConflictError):
                # If it was a mere retry the run is still there, and the timer is to fire: at once.
                logger.debug(
                    "run %s was changed meanwhile: %s",
                    outcome.run_id,
                    outcome,
                    extra=of_record(firing.record, firing.timers.workflow),
                )
                kept.append(Verdict(again=firing.timeout.replace(delay=_NOW)))
            else:
                kept.append(self._refused(firing, outcome))
        self._write_rows(kept, [firing for firing, verdict in batch if verdict.is_over])

    def _tell_change(self, firing: Firing, verdict: Verdict) -> None:
        if self._core.observers is not None and verdict.write is not None:
            before = firing.record
            after = verdict.write.record.state
            self._core.observers.changed(before.workflow, before.state, after)

    def _write_rows(self, verdicts: Sequence[Verdict], over: Sequence[Firing]) -> None:
        create = [verdict.create for verdict in verdicts if verdict.create is not None]
        if create:
            self._timeouts.create_many(self._by_delay(create))
            self._timeouts.reschedule_many(self._by_delay(create))
        drop = [verdict.drop for verdict in verdicts if verdict.drop is not None]
        if drop:  # a key that was never there could be created later
            self._timeouts.create_many(drop)
            self._timeouts.cancel_many([timeout.key for timeout in drop])
        if over:
            self._timeouts.complete_many([firing.timeout.key for firing in over])
        again = [verdict.again for verdict in verdicts if verdict.again is not None]
        if again:
            self._timeouts.reschedule_many(again)

    def _by_delay(self, timeouts: Sequence[Timeout]) -> list[Timeout]:
        """Those that are to be due at a time, by how long that is from now: never less."""
        now = self._core.store.now()
        return [t.replace(delay=max(_NOW, t.due_at - now)) for t in timeouts]

    def _refused(self, firing: Firing, outcome: WorkflowError) -> Verdict:
        """The store will never keep this row: count it as a failed attempt, with the old data."""
        verdict = firing.failed(outcome)
        if verdict.write is None:
            return verdict
        again = self._core.journal.commit([verdict.write])[0]
        if again is None or isinstance(again, VersionConflictError):
            return Verdict()
        logger.error(
            "%s: the store refuses even its pause: %s",
            firing.told,
            again,
            extra=of_record(firing.record, firing.timers.workflow),
        )
        return Verdict(again=firing.timeout.replace(delay=_REFUSED_AGAIN))

    # -- rows alone ----------------------------------------------------------------------------

    def set_aside(self, due: Sorted) -> None:
        """Those that are not to fire, or not here, or not now."""
        if logger.isEnabledFor(logging.DEBUG):
            _tell(due.gone, "its run has gone on")
            _tell(due.paused, "its run is paused")
        self.cancel(due.gone)
        self.ended(due.ended)
        self.park(due.paused)
        self.put_off(due.unknown, _UNKNOWN_AGAIN)

    def cancel(self, timeouts: Sequence[Timeout]) -> None:
        """They can never fire: their runs have gone on, or are no more."""
        keys = [timeout.key for timeout in timeouts]
        # with a plan goes what it was to come to: that would be due, and found so, in a century
        keys += [planned for timeout in timeouts if (planned := planned_key(timeout)) is not None]
        if keys:
            self._timeouts.cancel_many(keys)

    def park(self, timeouts: Sequence[Timeout]) -> None:
        """Their runs are paused: not due until the resume, and their attempts begin anew then."""
        if not timeouts:
            return
        tried = [timeout for timeout in timeouts if timeout.attempts]
        if tried:
            self._timeouts.reschedule_many(
                [timeout.replace(delay=_NOW, attempts=0) for timeout in tried]
            )
        self._unchecked += timeouts
        self._timeouts.park_many([timeout.key for timeout in timeouts])
        self._check_parked()

    def put_off(self, timeouts: Sequence[Timeout], delay: timedelta) -> None:
        """Due again later; they have not been tried."""
        if timeouts:
            self._timeouts.reschedule_many([timeout.replace(delay=delay) for timeout in timeouts])

    def give_back(self, timeouts: Sequence[Timeout]) -> None:
        """A stop has abandoned these: due at once, for others, and nothing is settled any more."""
        self._given_back = True
        self.put_off(timeouts, _NOW)

    def _check_parked(self) -> None:
        """A resume that came between the look and the parking found nothing to un-park."""
        runs = self._core.store.lookup_many([t.run_id for t in self._unchecked], primary=True)
        resumed = [
            timeout
            for timeout in self._unchecked
            if (record := runs.get(timeout.run_id)) is not None
            and is_of_stay(timeout, record)
            and record.state is not RunState.PAUSED
        ]
        if resumed:
            self._timeouts.create_many(resumed)
        self._unchecked = []

    # -- upkeep --------------------------------------------------------------------------------

    def ended(self, run_ids: Sequence[str]) -> None:
        """These runs have ended. Any thread."""
        self._ended.extend(run_ids)

    def tidy(self) -> bool:
        """Finish what was left, and forget closed timers of ended runs, now and then."""
        if self._unchecked:
            self._check_parked()
            return True
        if not self._ended:
            return False
        now = self._core.clock.monotonic()
        if len(self._ended) < _BATCH and now < self._next_tidy:
            return False
        self._next_tidy = now + _TIDY_EACH
        run_ids = [self._ended.popleft() for _ in range(min(_BATCH, len(self._ended)))]
        self._timeouts.forget(run_ids)
        return True


def is_of_stay(timeout: Timeout, record: Record) -> bool:
    """Whether the run is still in the stay that the timer belongs to."""
    return (
        record.entered_version == timeout.entered_version
        and record.status == timeout.status
        and not record.state.is_finished
    )


def _tell(timeouts: Sequence[Timeout], why: str) -> None:
    for timeout in timeouts:
        logger.debug(
            "workflow %r, run %s: timer %s does not fire: %s",
            timeout.workflow,
            timeout.run_id,
            timeout.name,
            why,
            extra={
                "workflow": timeout.workflow,
                "run_id": timeout.run_id,
                "process_name": "timers",
            },
        )


def first_of_each_run(due: Sequence[Timeout], besides: Set[str]) -> list[Timeout]:
    """What is due of the same run after it is due still when the first has fired."""
    first: dict[str, Timeout] = {}
    for timeout in due:
        if timeout.run_id not in besides:
            first.setdefault(timeout.run_id, timeout)
    return list(first.values())
