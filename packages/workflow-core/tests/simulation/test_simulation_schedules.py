"""Schedules where whatever can go wrong does: exactly one run a tick, also of purged runs.

Their functions take their time: while one is asked, the other members go on, settle the same tick,
let its run end and purge it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any, Literal

import pytest
from workflow_core import Missed, Run, Trigger, Workflow
from workflow_core.engine.schedule_state import restarted, state_of
from workflow_core.engine.schedule_turn import AT_ONCE, Attempt, Turn, Watch
from workflow_core.engine.schedules import Scheduler
from workflow_core.testing.simulation import InvariantError, Simulation

SEEDS = 32
BUDGET = 200  # seeds that a mutant has; most are caught by one of the first ten
MOVES = 150


class Status(IntEnum):
    BEGUN = 1
    DONE = 2


@dataclass
class Data:
    tick: str = ""


ReportRun = Run[Data, Status]


class Scenario:
    """A workflow with schedules of each kind, bound to one simulation at a time."""

    def __init__(self) -> None:
        self._simulation: Simulation | None = None
        self.workflow = Workflow("scheduled", Data, Status, ends=(Status.DONE,))

        @self.workflow.step(Status.BEGUN)
        def do(run: ReportRun) -> Literal[Status.DONE]:
            assert self._simulation is not None
            with self._simulation.body(run, Status.BEGUN):
                return Status.DONE

        @self.workflow.schedule("all", every=timedelta(seconds=3), missed=Missed.RUN_ALL)
        def run_all(tick: datetime) -> Trigger[Data] | None:
            return self._answer("all", tick)

        @self.workflow.schedule("once", every=timedelta(seconds=5), missed=Missed.RUN_ONCE)
        def run_once(tick: datetime) -> Trigger[Data] | None:
            return None if tick.minute % 2 else self._answer("once", tick)

        @self.workflow.schedule("skip", cron="* * * * *", tz="Asia/Tokyo", missed=Missed.SKIP)
        def skip(tick: datetime) -> Trigger[Data] | None:
            return self._answer("skip", tick)

    def simulate(self, seed: int) -> int:
        """Tell the seed's story; answers how many runs of its schedules there are in the end."""
        simulation = self._simulation = Simulation(seed, self.workflow, Data, moves=MOVES)
        simulation.run()
        return sum("tick" in record.headers for record in simulation.records())

    def _answer(self, name: str, tick: datetime) -> Trigger[Data]:
        simulation = self._simulation
        assert simulation is not None
        if not simulation.is_calm:
            simulation.meanwhile("schedules")
            if simulation.dice.random() < 0.2:
                raise ValueError("not now")
        return Trigger(f"{name} {tick.isoformat()}", Data(tick.isoformat()))


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return Scenario()


@pytest.fixture(params=["one holder", "all are holders"])
def holders(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether all members take themselves for the role's holder, as one that was frozen may."""
    if request.param == "all are holders":
        all_are_holders(monkeypatch)


def all_are_holders(patch: pytest.MonkeyPatch) -> None:
    def follow_role(watch: Watch) -> bool:
        if not watch.is_held:
            watch.look_at = AT_ONCE
        watch.is_held = True
        return True

    patch.setattr(Watch, "follow_role", follow_role)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Failing functions, lost roles and mutants complain a lot."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("holders")
@pytest.mark.parametrize("part", range(4))
def test_each_tick_begins_one_run_whatever_goes_wrong(scenario: Scenario, part: int) -> None:
    """What makes them fail is below."""
    begun = sum(scenario.simulate(seed) for seed in range(part, SEEDS, 4))
    assert begun  # else nothing was tried


Plant = Callable[[pytest.MonkeyPatch], None]
MUTANTS: dict[str, Plant] = {}


def mutant(plant: Plant) -> Plant:
    MUTANTS[plant.__name__] = plant
    return plant


@mutant
def begins_the_run_before_it_settles_the_tick(patch: pytest.MonkeyPatch) -> None:
    """The key of the tick is all that is left, and a purge takes it away."""
    all_are_holders(patch)
    patch.setattr(Scheduler, "_write_together", Scheduler._write_in_order)


@mutant
def settles_the_tick_before_it_begins_the_run(patch: pytest.MonkeyPatch) -> None:
    def write(scheduler: Scheduler, turns: Sequence[Turn]) -> list[Any]:
        journal = scheduler._core.journal
        outcomes = journal.commit([turn.write for turn in turns])
        won = [t for t, outcome in zip(turns, outcomes, strict=True) if outcome is None]
        journal.commit([turn.begin for turn in won if turn.begin is not None])
        return [(o, turn.look_at) for turn, o in zip(turns, outcomes, strict=True)]

    patch.setattr(Scheduler, "_write_together", write)
    patch.setattr(Scheduler, "_write_in_order", write)


@mutant
def begins_runs_of_ticks_that_others_settled(patch: pytest.MonkeyPatch) -> None:
    """Who loses the tick begins its run all the same."""

    def write(scheduler: Scheduler, turns: Sequence[Turn]) -> list[Any]:
        with scheduler._core.store.transaction() as transaction:
            outcomes = transaction.store_many([turn.write for turn in turns])
            transaction.store_many([turn.begin for turn in turns if turn.begin is not None])
        return [(o, turn.look_at) for turn, o in zip(turns, outcomes, strict=True)]

    patch.setattr(Scheduler, "_write_together", write)
    all_are_holders(patch)


@mutant
def forgets_the_ticks_of_an_outage(patch: pytest.MonkeyPatch) -> None:
    """Whoever takes the role over begins anew."""
    turn = Scheduler._turn

    def from_now(scheduler: Scheduler, watch: Any, record: Any, now: datetime) -> Turn | None:
        if record is not None and not getattr(watch, "seen", False):
            watch.seen = True
            state = state_of(record)
            write = restarted(record, state, watch.schedule, scheduler._core.identity, now)
            return Turn(watch, write, watch.schedule.recurrence.next(now))
        return turn(scheduler, watch, record, now)

    patch.setattr(Scheduler, "_turn", from_now)


@mutant
def counts_a_failed_attempt_as_settled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Attempt, "failed", lambda attempt, error: attempt.without_run(""))


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_mutant_is_caught(scenario: Scenario, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    MUTANTS[name](monkeypatch)
    for seed in range(BUDGET):
        try:
            scenario.simulate(seed)
        except InvariantError:
            return
    pytest.fail(f"an engine that {name.replace('_', ' ')} passes {BUDGET} seeds")
