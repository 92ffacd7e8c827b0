"""What must hold at every moment, and at the end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any

from workflow_core.definition import Run, Workflow
from workflow_core.memory import MemoryDatabase
from workflow_core.model import Record, names
from workflow_core.testing.simulation.invariant_error import InvariantError
from workflow_core.testing.simulation.member import Member
from workflow_core.testing.simulation.pools import Pools

__all__ = ["DriveInvariant", "Executions", "Limits", "check_end", "check_one_is_live"]


_LONG = timedelta(seconds=20)  # a body that takes longer may have been copied


class DriveInvariant:
    """Each live run at a status with a step, not skipped, has its current version somewhere.

    That is in an outbox row, in an event that will be handed out, or in hand of a living member.
    An event that a living member's receiver has handed out, and that is neither acked nor in hand,
    is leaked: it comes again only when that receiver is closed.

    Args:
        workflows: what is served, by name.
        records: the database with runs and outbox.
        stream: the database with events.
        pools: by whom.
    """

    def __init__(
        self,
        workflows: Mapping[str, Workflow[Any, Any]],
        records: MemoryDatabase,
        stream: MemoryDatabase,
        pools: Pools,
    ) -> None:
        self._workflows = workflows
        self._records = records
        self._stream = stream
        self._pools = pools
        self._lost: dict[str, int] = {}

    def lose(self, run_id: str, version: int) -> None:
        """The event of this version was lost on its way: only the reconciler can know."""
        self._lost[run_id] = max(version, self._lost.get(run_id, 0))

    def check(self, members: Iterable[Member]) -> None:
        """Raises InvariantError for the first run without a driver."""
        living = list(members)
        rows: set[tuple[str, int]] | None = None
        for record in self._records.runs.rows.values():
            if not self._needs_a_driver(record):
                continue
            run_id, version = record.run_id, record.version
            if any(member.holds(record) for member in living) or self._travels(record):
                continue
            if rows is None:
                rows = {(r.event.run_id, r.event.version) for r in self._records.outbox.rows()}
            if (run_id, version) not in rows:
                raise InvariantError(
                    f"run {run_id} has no driver at version {version}: {told(record)}"
                )

    def _needs_a_driver(self, record: Record) -> bool:
        return (
            record.state.is_driven
            and not record.skipped
            and record.workflow in self._workflows
            and record.status in self._workflows[record.workflow].steps
            and self._lost.get(record.run_id) != record.version
        )

    def _travels(self, record: Record) -> bool:
        topic = names.status_topic(record.workflow, record.status)
        consumer = self._pools.consumer(record.workflow, record.status)
        waiting = self._stream.log.waiting(topic, consumer, record.run_id)
        return any(event.version == record.version for event in waiting)


class Executions:
    """Who executed what: an attempt runs once, at its time, by the step of its status.

    It may run again when the member that ran it has died, or was stopped before it could commit,
    or when the transaction that the body shared with its transition was lost. A run is worked on by
    one member of a pool at a time; of another pool one may begin, once it has moved on.
    """

    def __init__(self, records: MemoryDatabase, pools: Pools) -> None:
        self._records = records
        self._pools = pools
        self._last: dict[tuple[str, int], _Execution] = {}
        self._running: dict[tuple[str, str], _Execution] = {}
        self.count = 0

    def begin(self, run: Run[Any, Any], status: IntEnum, member: Member, now: datetime) -> None:
        """Raises InvariantError where the body of the step of this status should not have begun."""
        key = (run.run_id, run.version)
        self.count += 1
        if run.status is not status:
            raise InvariantError(f"run {run.run_id} is at {run.status!r}, not at {status!r}")
        record = self._records.runs.rows[run.run_id]
        here = (run.run_id, self._pools.of(run.workflow, status))
        other = self._running.get(here)
        if other is not None and other.excludes(member, now):
            raise InvariantError(
                f"run {run.run_id} is executed by {other.member.name} and {member.name}"
            )
        before = self._last.get(key)
        if before is not None and before.excludes(member, now):
            raise InvariantError(f"run {run.run_id} is executed twice at version {run.version}")
        due = record.next_try_at
        is_counted = record.attempts >= run.attempt  # ahead: what is due then is its next try
        if record.version == run.version and not is_counted and due is not None and now < due:
            raise InvariantError(f"run {run.run_id} is executed {due - now} before its time")
        self._last[key] = self._running[here] = _Execution(member, now, self.count)

    def excuse(self, member: Member) -> None:
        """The store failed `member` in the middle of a body or right after it: it may run again."""
        last = [each for each in self._last.values() if each.member is member]
        if last:
            max(last, key=lambda each: each.number).excused = True

    def end(self, run: Run[Any, Any], member: Member, now: datetime) -> None:
        """The body has ended."""
        ended = self._last.get((run.run_id, run.version))
        if ended is None:  # purged meanwhile: an operator had ended it
            return
        if ended.member is member:
            ended.ended = now
        here = (run.run_id, member.pool)
        if self._running.get(here) is ended:
            del self._running[here]

    def forget_purged(self) -> None:
        """Runs that are gone may come again under the same idempotency key."""
        rows = self._records.runs.rows
        self._last = {key: last for key, last in self._last.items() if key[0] in rows}
        self._running = {key: it for key, it in self._running.items() if key[0] in rows}


class Limits:
    """Of a step no more than `at_most` bodies run at once, in all living members together.

    Args:
        workflows: what is served, by name.
    """

    def __init__(self, workflows: Mapping[str, Workflow[Any, Any]]) -> None:
        self._workflows = workflows
        self._running: dict[tuple[str, int], list[tuple[Member, Run[Any, Any]]]] = defaultdict(list)

    def begin(self, run: Run[Any, Any], status: IntEnum, member: Member) -> None:
        """Raises InvariantError where this body is one too many."""
        most = self._workflows[run.workflow].steps[status].at_most
        running = self._running[run.workflow, status]
        running.append((member, run))
        living = [of for of, _ in running if of.is_alive]
        if most is not None and len(living) > most:
            by = ", ".join(of.name for of in living)
            raise InvariantError(
                f"{len(living)} bodies of {status.name} run at once, of {most} at most: by {by}"
            )

    def end(self, run: Run[Any, Any], status: IntEnum) -> None:
        """The body has ended."""
        running = self._running[run.workflow, status]
        running[:] = [each for each in running if each[1] is not run]


@dataclass(eq=False)
class _Execution:
    member: Member
    since: datetime
    number: int
    excused: bool = False
    ended: datetime | None = None

    def excludes(self, member: Member, now: datetime) -> bool:
        """Whether `member` may not work on the run while this goes on, nor on this version after.

        The shard of a body that takes so long that a copy drives its run is not kept back: what
        then comes for the run, such as a second event, or one of a new version after an operator's
        doing, is another member's to work on.
        """
        took_long = (self.ended or now) - self.since > _LONG
        if self.excused:
            return False
        return self.member.is_alive and not (took_long and member is not self.member)


def check_one_is_live(records: MemoryDatabase) -> None:
    """Raises InvariantError where a workflow has two live runs of one foreign id."""
    live: dict[tuple[str, str], str] = {}
    for record in records.runs.rows.values():
        if record.state.is_live:
            other = live.setdefault((record.workflow, record.foreign_id), record.run_id)
            if other != record.run_id:
                raise InvariantError(
                    f"runs {other} and {record.run_id} of {record.foreign_id!r} live at once"
                )


def check_end(records: MemoryDatabase) -> None:
    """When all is over: every run has ended, and its history has no holes."""
    for record in records.runs.rows.values():
        if names.is_reserved(record.workflow):
            continue
        if not record.state.is_finished:
            raise InvariantError(f"run {record.run_id} is stuck: {told(record)}")
        versions = [entry.version for entry in records.runs.history(record.run_id)]
        if versions != list(range(1, record.version + 1)):
            raise InvariantError(f"run {record.run_id} has holes in its history: {versions}")


def told(record: Record) -> str:
    """Where a run stands, in words."""
    return (
        f"status {record.status}, {record.state.name.lower()}, version {record.version}, "
        f"{record.attempts} failed attempts, next try {record.next_try_at}"
    )
