"""Schedules: begins runs by the clock, each tick once, whoever comes to it how often.

A tick is settled by a compare-and-swap on the schedule's record (`schedule_state`), and the run
that it begins is written in the same transaction: there is none without the other, whoever is
killed, frozen or superseded when. A store without transactions is told of the run first, under an
idempotency key made of the tick, and then of the tick: there the key keeps a tick that is come to
twice from beginning two runs, for as long as the first one is kept.

Times are the store's. Between ticks nothing is read or written, but that the store is asked for
its time once a minute.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from workflow_core.definition import Workflow
from workflow_core.engine.core import Core
from workflow_core.engine.gate import Gate
from workflow_core.engine.lag import StoreTime
from workflow_core.engine.process import Process
from workflow_core.engine.schedule_state import begun, plan, restarted, state_of
from workflow_core.engine.schedule_turn import AT_ONCE, Attempt, Turn, Watch, keyed
from workflow_core.engine.triggers import Triggers
from workflow_core.errors import DecodeError, VersionConflictError
from workflow_core.logs import About
from workflow_core.model import Record, RunState, names
from workflow_core.ports import Capability, Outcome, Write

__all__ = ["Scheduler", "scheduler"]

logger = logging.getLogger("workflow_core.engine")

_Result: TypeAlias = tuple[Outcome, datetime | None]  # and when to look again, if it is stored

_BATCH = 500
_NOW = timedelta(0)
_UNREADABLE = timedelta(minutes=1)  # until what cannot be read or written is looked at again


def scheduler(
    core: Core, workflows: Sequence[Workflow[Any, Any]], gate: Callable[[str], Gate]
) -> list[Scheduler]:
    """The process for all schedules of these workflows; none where they have no schedule."""
    watches: list[Watch] = []
    for workflow in workflows:
        if workflow.schedules:
            role = gate(names.schedules_role(workflow.name))
            watches += [Watch(workflow, known, role) for known in workflow.schedules.values()]
    return [Scheduler(core, watches)] if watches else []


class Scheduler(Process):
    """One per process, for all schedules of the workflows that it serves."""

    name = "schedules"
    upkeep = True

    def __init__(self, core: Core, watches: Sequence[Watch]) -> None:
        self._core = core
        self._watches = list(watches)
        self._time = StoreTime(core.store, core.clock)
        self._triggers = Triggers(core)
        self._ended = threading.Event()
        self._asking: Watch | None = None
        self._has_transactions = Capability.TRANSACTIONS in core.store.capabilities

    @property
    def doing(self) -> str:
        """The schedule whose function is asked what to begin."""
        watch = self._asking
        return "" if watch is None else watch.told

    def poll(self, wait: timedelta) -> bool:
        """Settle what is due, one tick of each schedule; or wait for the next."""
        held = self._held()
        rest = self._rest(held)
        if rest is None or rest > _NOW:
            self._ended.wait((wait if rest is None else min(wait, rest)).total_seconds())
            return False
        now = self._time.ask()
        due = [watch for watch in held if watch.look_at is not None and watch.look_at <= now]
        turns = self._turns(due[:_BATCH], now)
        if turns:
            self._write(turns)
        return bool(turns)

    def next_due(self) -> timedelta | None:
        """The next tick that may be this process's."""
        return self._rest(self._held())

    def wake(self) -> None:
        """End a wait for good: only a stop does."""
        self._ended.set()

    def _held(self) -> list[Watch]:
        return [watch for watch in self._watches if watch.follow_role()]

    def _rest(self, held: Sequence[Watch]) -> timedelta | None:
        """How long until one of these is to be looked at; None: never."""
        look_at = min((w.look_at for w in held if w.look_at is not None), default=None)
        if look_at is None or look_at is AT_ONCE:
            return None if look_at is None else _NOW
        return max(_NOW, look_at - self._time.now())

    # -- what is to be done ------------------------------------------------------------------------

    def _turns(self, due: Sequence[Watch], now: datetime) -> list[Turn]:
        if not due:
            return []
        records = self._core.store.lookup_many([watch.run_id for watch in due], primary=True)
        turns = [self._turn(watch, records.get(watch.run_id), now) for watch in due]
        return [turn for turn in turns if turn is not None]

    def _turn(self, watch: Watch, record: Record | None, now: datetime) -> Turn | None:
        """What to write; None: nothing, and the watch knows when to look again."""
        schedule, identity = watch.schedule, self._core.identity
        recurs = schedule.recurrence
        if record is None:
            return Turn(watch, begun(watch.workflow, schedule, identity, now), recurs.next(now))
        if record.state is not RunState.RUNNING:
            # Looked at again when it would be due, as nobody tells us when it is resumed.
            watch.look_at = recurs.next(now)
            return None
        try:
            state = state_of(record)
        except DecodeError as error:
            logger.error("%s stands still: %s", watch.told, error, extra=watch.fields)
            watch.look_at = now + _UNREADABLE
            return None
        if state.told != recurs.told:
            logger.info(
                "%s was changed from %s to %s",
                watch.told,
                state.told,
                recurs.told,
                extra=watch.fields,
            )
            return Turn(watch, restarted(record, state, schedule, identity, now), recurs.next(now))
        if record.next_try_at is not None and record.next_try_at > now:
            watch.look_at = record.next_try_at
            return None
        planned = plan(schedule, state.settled, now)
        if planned is None:
            watch.look_at = recurs.next(state.settled)
            return None
        return self._ask(Attempt(watch, record, state, planned, now, identity))

    def _ask(self, attempt: Attempt) -> Turn:
        """Ask the schedule's function what to begin."""
        watch, tick = attempt.watch, attempt.plan.tick
        if tick is None:
            return attempt.without_run("missed: nobody was there at its time")
        self._asking = watch
        try:
            with About(watch.fields):
                answer = watch.schedule.body(tick.astimezone(watch.schedule.recurrence.zone))
            if answer is None:
                return attempt.without_run("its function answered None")
            trigger = keyed(answer, watch.schedule, tick)
            begin = self._triggers.first_version(watch.workflow, trigger, attempt.now)
        except BaseException as error:  # whatever the function raises is its failed attempt
            return attempt.failed(error)
        finally:
            self._asking = None
        return attempt.with_run(begin)

    # -- doing it ----------------------------------------------------------------------------------

    def _write(self, turns: Sequence[Turn]) -> None:
        """Raises AdapterUnavailableError: nobody knows; the next poll looks again."""
        write = self._write_together if self._has_transactions else self._write_in_order
        for turn, (outcome, look_at) in zip(turns, write(turns), strict=True):
            watch = turn.watch
            if outcome is None:
                watch.look_at = look_at
                if turn.left_out:
                    policy = watch.schedule.missed
                    logger.warning(
                        "%s, %s: %s ticks missed",
                        watch.told,
                        policy,
                        turn.left_out,
                        extra=watch.fields,
                    )
            elif isinstance(outcome, VersionConflictError):
                watch.look_at = AT_ONCE  # paused, or another process was quicker
            else:
                logger.error("%s cannot be written: %s", watch.told, outcome, extra=watch.fields)
                watch.look_at = self._time.now() + _UNREADABLE

    def _write_together(self, turns: Sequence[Turn]) -> list[_Result]:
        """Ticks and runs in one transaction: a run is begun by whoever settles its tick."""
        journal = self._core.journal
        look_at = {turn: turn.look_at for turn in turns}
        new_runs: list[Write] = []
        with self._core.store.transaction() as transaction:
            outcomes = transaction.store_many([turn.write for turn in turns])
            won = [t for t, outcome in zip(turns, outcomes, strict=True) if outcome is None]
            runs = [(turn, turn.begin) for turn in won if turn.begin is not None]
            stored = journal.store_joined(transaction, [run for _, run in runs]) if runs else []
            corrections: list[Write] = []
            for (turn, run), outcome in zip(runs, stored, strict=True):
                if outcome is None:
                    new_runs.append(run)
                elif turn.attempt is not None:
                    settled = turn.write.record
                    write, look_at[turn] = turn.attempt.concluded(settled, run, outcome)
                    corrections.append(write)
            if corrections:
                transaction.store_many(corrections)
        for run in new_runs:
            journal.announce_within(run, filed=True)
        self._tell(new_runs)
        return [(o, look_at[turn]) for turn, o in zip(turns, outcomes, strict=True)]

    def _tell(self, begun: Sequence[Write]) -> None:
        if self._core.observers is not None:
            for run in begun:
                self._core.observers.changed(run.record.workflow, None, run.record.state)

    def _write_in_order(self, turns: Sequence[Turn]) -> list[_Result]:
        """First the runs, under their ticks' keys, and then the ticks."""
        runs = [turn.begin for turn in turns if turn.begin is not None]
        outcomes = self._core.journal.commit(runs)
        self._tell([run for run, it in zip(runs, outcomes, strict=True) if it is None])
        became = iter(outcomes)
        writes: list[Write] = []
        look_at: list[datetime | None] = []
        for turn in turns:
            write, at = turn.write, turn.look_at
            if turn.begin is not None and turn.attempt is not None:
                write, at = turn.attempt.concluded(turn.attempt.record, turn.begin, next(became))
            writes.append(write)
            look_at.append(at)
        return list(zip(self._core.journal.commit(writes), look_at, strict=True))
