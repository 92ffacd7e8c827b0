"""A user's workflow in the simulation: time passes by what is due, and all runs have to end."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from enum import IntEnum
from typing import Any, TypeAlias

from workflow_core.definition import Callback, RunView, Trigger, Workflow
from workflow_core.engine import Engine
from workflow_core.engine.questions import view
from workflow_core.errors import InputError
from workflow_core.model import PauseKind, Record, RunState, names
from workflow_core.testing.simulation.deliveries import DeliverySimulation, Feed
from workflow_core.testing.simulation.faults import Chances
from workflow_core.testing.simulation.invariant_error import InvariantError
from workflow_core.testing.simulation.watched import watched

__all__ = ["Payload", "UsersSimulation", "World"]

Payload: TypeAlias = Callable[[random.Random], Any]
"""What a callback is given, as the dice say."""

_VERBS = ("trigger", "trigger", "call", "call", "call", "pause", "resume", "interrupt", "retry")
_AN_IDLE_WHILE = timedelta(seconds=35)  # for what only upkeep finds, such as lost events
_IDLE_WHILES = 4
_MOST_IDLE_WHILES = 300  # where a store does not tell what is due next
_RESUMES = 3  # of a run at the end, before it counts as stuck
_ROUNDS = 3000  # of the end, before it counts as endless
_LAST_ROUNDS = 60  # by then leftovers of ended runs are gone
_JITTER = timedelta(seconds=2)
_TICK = timedelta(milliseconds=1)
_NOW = timedelta(0)


class World:
    """What a user gives to a simulation, made once for all seeds.

    Args:
        workflow: what is begun from outside.
        beside: what is served beside it.
        trigger: a new run.
        payloads: what callbacks are given.
        events: what comes on the streams of connectors.
        may_wait: where runs may stay for ever.
        pools: statuses that members of their own work on.
        move_to: where operators move runs to.
        check: what must hold of each run in the end.
    """

    def __init__(
        self,
        workflow: Workflow[Any, Any],
        *,
        beside: Sequence[Workflow[Any, Any]],
        trigger: Callable[[random.Random], Trigger[Any]],
        payloads: Mapping[Callback[Any, Any, Any], Payload],
        events: Mapping[str, Feed],
        may_wait: Collection[IntEnum],
        pools: Mapping[str, Collection[IntEnum]],
        move_to: Collection[IntEnum],
        check: Callable[[RunView[Any, Any]], object],
    ) -> None:
        self.now: UsersSimulation | None = None
        self.trigger = trigger
        self.events = events
        self.may_wait = frozenset(may_wait)
        self.pools = pools
        self.move_to = sorted(move_to)  # a set's order is nothing that a seed could tell again
        self.check = check
        self.workflow, *self.beside = (watched(it, self._simulation) for it in (workflow, *beside))
        twins = {it.name: it for it in (self.workflow, *self.beside)}
        given = {callback.step: payload for callback, payload in payloads.items()}
        self.calls = [
            self._call(Callback(twins[it.name], step), given.get(step))
            for it in (workflow, *beside)
            for step in it.callbacks
        ]

    def _simulation(self) -> UsersSimulation:
        assert self.now is not None
        return self.now

    def _call(
        self, callback: Callback[Any, Any, Any], payload: Payload | None
    ) -> Callable[[Engine, str], None]:
        def call(engine: Engine, run_id: str) -> None:
            if payload is None:
                engine.callback(callback, run_id)
            else:
                engine.callback(callback, run_id, payload(self._simulation().dice))

        return call


class UsersSimulation(DeliverySimulation):
    """One seed of a user's workflow.

    Args:
        seed: decides everything.
        world: what the user gives.
        moves: how many random moves there are before calm returns.
    """

    _verbs = (*_VERBS, "cancel")

    def __init__(self, seed: int, world: World, *, moves: int) -> None:
        super().__init__(
            seed,
            world.workflow,
            dict,
            feeds=world.events,
            calls=world.calls,
            beside=world.beside,
            moves=moves,
            pools=world.pools,
            move_to=world.move_to,
        )
        world.now = self
        self._world = world
        self._resumed: Counter[str] = Counter()
        self.failure: Exception | None = None
        """What its run has raised."""

    @property
    def executions(self) -> int:
        """How often the body of a step was begun."""
        return self._executions.count

    def run(self) -> None:
        """Tell the whole story, and hold all runs to the user's check.

        Raises:
            InvariantError: an invariant of the engine, or of the deliveries, does not hold.
            Exception: whatever the user's check raises.
        """
        super().run()
        for record in self.records():
            if record.state not in (RunState.DATA_DELETED, RunState.REQUESTED_DATA_DELETED):
                flow = self._served[record.workflow]
                self._world.check(view(flow, record.run_id, record))
        self.check_deliveries()

    def ended(self, function: str, how: str) -> None:
        """A function of the user's has answered or raised."""
        self._tell(f"{function} {how}")

    def named(self, told: str) -> str:
        """The text with runs by their foreign ids, which people can tell apart."""
        seen: Counter[tuple[str, str]] = Counter()
        for run_id, record in self._records.runs.rows.items():
            if names.is_reserved(record.workflow):
                continue
            seen[record.workflow, record.foreign_id] += 1
            number = seen[record.workflow, record.foreign_id]
            told = told.replace(run_id, f"{record.foreign_id}#{number}")
        return told

    # -- moves ---------------------------------------------------------------------------------

    def _new(self) -> Trigger[Any]:
        return self._world.trigger(self.dice)

    def _let_time_pass(self) -> None:
        """A moment, or until about when something is due, be it a week."""
        due = self._next_due()
        if not due or due < _NOW or self.dice.random() < 0.6:
            super()._let_time_pass()
            return
        by = max(_TICK, due + _JITTER * self.dice.choice((-1, 0, 0, 1)) * self.dice.random())
        self._clock.advance(by)
        self._tell(f"{by} pass")

    def _next_due(self) -> timedelta | None:
        dues = []
        for member in self._members:
            faults = member.faults
            chances, faults.chances = faults.chances, Chances()  # it is us who ask
            dues.append(member.next_due(upkeep=False))
            faults.chances = chances
        return min((due for due in dues if due is not None), default=None)

    # -- the end -------------------------------------------------------------------------------

    def _come_to_an_end(self) -> None:
        """All goes well, nobody interferes; what was paused is resumed, until nothing is due."""
        self._tell("calm returns")
        self.is_calm = True
        self._chances = Chances()
        for member in self._members:
            member.faults.chances = self._chances
        idle, least = 0, _TICK
        for _ in range(_ROUNDS):
            self._sweep_until_quiet()
            self._pause_schedules()
            if self._resume_some():
                continue
            due = self._next_due()
            if due is None:
                idle += 1
                if idle > (_IDLE_WHILES if self._is_settled() else _MOST_IDLE_WHILES):
                    return
            # what is due and not done waits for something, such as a dead member's lease to end
            least = _TICK if due is not None and due > least else min(2 * least, _AN_IDLE_WHILE)
            self._clock.advance(_AN_IDLE_WHILE if due is None else max(due, least))
        raise InvariantError(f"it comes to no end: after {_ROUNDS} times something is still due")

    def _pause_schedules(self) -> None:
        """Else runs begin for ever; one is there to be paused once it was served."""
        for schedule in self._workflow.schedules:
            with suppress(InputError):
                self._members[0].engine.pause_schedule(
                    self._workflow.name, schedule, reason="the end"
                )

    def _resume_some(self) -> bool:
        resumed = False
        for record in self.records():
            if record.state is RunState.PAUSED and self._resumed[record.run_id] < _RESUMES:
                self._resumed[record.run_id] += 1
                self._members[0].engine.resume(record.run_id, who="the end")
                resumed = True
        return resumed

    def _is_settled(self) -> bool:
        return not any(self._why_stuck(r) for r in self.records()) and not self._forgotten()

    def _check_end(self) -> None:
        for record in self.records():
            if why := self._why_stuck(record):
                flow = self._served[record.workflow]
                stays = f"stays at {flow.status(record.status).name} for ever"
                raise InvariantError(f"run {record.run_id} of {flow.name!r} {stays}: {why}")

    def _why_stuck(self, record: Record) -> str:
        """Why it will never end, in words; "": it has, or may stay where it is."""
        if record.state.is_finished or record.pause_kind is PauseKind.STEP:
            return ""
        if self._served[record.workflow].status(record.status) in self._world.may_wait:
            return ""
        if record.state is RunState.PAUSED:
            return f"paused, {record.reason}; {record.last_error.partition(chr(10))[0]}"
        return (
            "no step, callback or timer has moved it on (where it may wait for ever, say so: "
            "may_wait=)"
        )

    def _let_timers_run_out(self) -> None:
        """Timers of runs that have ended go; those of runs that wait for ever may stay."""
        table = self._timers.timers
        for _ in range(_LAST_ROUNDS):
            live = any(not record.state.is_finished for record in self.records())
            if live or not (table._open or table._closed):
                return
            self._clock.advance(max(self._next_due() or _NOW, _AN_IDLE_WHILE))
            self._sweep_until_quiet()
        for timing in self._timing.values():
            timing.check_end()
