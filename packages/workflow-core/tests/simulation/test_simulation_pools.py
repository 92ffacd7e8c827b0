"""Pools, limits over all processes, and moves by operators, where whatever can go wrong does.

One pool has a step that may run once at a time over all processes, a status of which it has the
timer alone, and another whose step fails; the pool main has the rest. Operators move runs from
anywhere to anywhere.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from typing import Any, Literal

import pytest
from workflow_core import Engine, Repeat, Retry, Run, Workflow
from workflow_core.definition import Step
from workflow_core.engine.lane import Lane
from workflow_core.engine.slots import SlotDuty
from workflow_core.engine.transition import Transition
from workflow_core.errors import InputError
from workflow_core.model import Record, names
from workflow_core.ports import Write
from workflow_core.testing.simulation import InvariantError, Simulation

SEEDS = 48
PARTS = 4
BUDGET = 100  # seeds that a mutant has; each is caught by one of the first thirty
MOVES = 150
SECOND = timedelta(seconds=1)


class Status(IntEnum):
    CUT = 1
    RENDERED = 2
    GRADED = 3
    WAITING = 4
    SHOWN = 5


@dataclass
class Film:
    trail: list[int] = field(default_factory=list)
    """The version of each attempt that succeeded."""


FilmRun = Run[Film, Status]
SLOW = {"slow": [Status.RENDERED, Status.GRADED, Status.WAITING]}


class Busy(Simulation):
    """Many runs at a time."""

    _verbs = (*("trigger",) * 8, "pause", "resume", "interrupt", "cancel", "call")


class Scenario:
    """The workflow, bound to one simulation at a time."""

    def __init__(self) -> None:
        self._simulation: Simulation | None = None
        self.rendered = 0
        self.flow = Workflow(
            "films",
            Film,
            Status,
            ends=(Status.SHOWN,),
            starts=(Status.CUT, Status.RENDERED),
            retry=Retry(first=SECOND, maximum=2 * SECOND, pause_after=2),
            concurrency=4,
        )
        self._define()

    def simulate(self, seed: int) -> Simulation:
        """The seed's story, told; raises what is wrong with it."""
        self._simulation = simulation = Busy(
            seed,
            self.flow,
            Film,
            starts=[Status.RENDERED, Status.RENDERED, Status.CUT],
            calls=[self._release],
            moves=MOVES,
            pools=SLOW,
            move_to=list(Status),
        )
        simulation.run()
        for record in simulation.records():
            trail = self.flow.decode(record.data).trail
            assert trail == sorted(set(trail)), (seed, record.run_id, trail)
        return simulation

    def simulate_all(self, seeds: range) -> None:
        """Up to the first that fails."""
        for seed in seeds:
            self.simulate(seed)

    @property
    def now(self) -> Simulation:
        assert self._simulation is not None
        return self._simulation

    def _chance(self, of: float) -> bool:
        return not self.now.is_calm and self.now.dice.random() < of

    def _define(self) -> None:
        flow = self.flow

        @flow.step(Status.CUT)
        async def cut(run: FilmRun) -> Literal[Status.RENDERED]:
            with self.now.body(run, Status.CUT):
                await asyncio.sleep(2 if self._chance(0.3) else 0.1)
                run.data.trail.append(run.version)
                return Status.RENDERED

        @flow.step(Status.RENDERED, at_most=1)
        async def render(run: FilmRun) -> Literal[Status.GRADED, Status.WAITING]:
            with self.now.body(run, Status.RENDERED):
                self.rendered += 1
                await asyncio.sleep(8 if self._chance(0.5) else 2)
                if self._chance(0.2):
                    raise ValueError("out of colour")
                run.data.trail.append(run.version)
                return Status.GRADED if self._chance(0.6) else Status.WAITING

        @flow.step(Status.GRADED)
        def grade(run: FilmRun) -> Literal[Status.CUT, Status.WAITING] | Repeat:
            with self.now.body(run, Status.GRADED):
                if self._chance(0.4):
                    raise ValueError("too dark")
                if self._chance(0.2):
                    return Repeat(after=SECOND)
                run.data.trail.append(run.version)
                return Status.CUT if self._chance(0.2) else Status.WAITING

        @flow.timeout(Status.WAITING, after=5 * SECOND)
        def premiere(run: FilmRun) -> Literal[Status.SHOWN]:
            with self.now.firing(run, at_once=True):
                return Status.SHOWN

        @flow.callback(Status.WAITING)
        def release(run: FilmRun) -> Literal[Status.SHOWN, Status.CUT]:
            return Status.CUT if self._chance(0.3) else Status.SHOWN

        self._callback = release

    def _release(self, engine: Engine, run_id: str) -> None:
        engine.callback(self._callback, run_id)


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return Scenario()


@pytest.fixture(autouse=True)
def silence(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.CRITICAL, logger="workflow_core"):
        yield


@pytest.mark.parametrize("part", range(PARTS))
def test_invariants_hold_whatever_goes_wrong(scenario: Scenario, part: int) -> None:
    """What makes them fail is below."""
    joined = moved = 0
    scenario.rendered = 0
    for seed in range(part, SEEDS, PARTS):
        story = scenario.simulate(seed).story
        joined += sum("joins pool slow" in line for line in story)
        moved += sum(" is to move " in line for line in story)
    assert min(joined, moved, scenario.rendered) >= SEEDS // PARTS, "else nothing was tried"


def test_seed_tells_the_same_story_again(scenario: Scenario) -> None:
    assert scenario.simulate(1).story == scenario.simulate(1).story


@pytest.mark.parametrize(
    ("pools", "problem"),
    [
        ({"main": [Status.CUT]}, "pools= has 'main'"),
        ({"a": [Status.CUT], "b": [Status.CUT]}, "pools 'a' and 'b' both have CUT"),
        ({"a": [Status.SHOWN]}, "nothing to do for workflow 'films'"),
        ({"a": list(Status)}, "pool 'main' has nothing to do for workflow 'films'"),
    ],
)
def test_pools_that_cannot_be_served_are_refused(
    scenario: Scenario, pools: dict[str, list[IntEnum]], problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        Simulation(0, scenario.flow, Film, pools=pools)


# -- mutants ---------------------------------------------------------------------------------------


Plant = Callable[[pytest.MonkeyPatch], None]
MUTANTS: dict[str, tuple[Plant, str]] = {}


def mutant(says: str) -> Callable[[Plant], Plant]:
    def keep(plant: Plant) -> Plant:
        MUTANTS[plant.__name__] = plant, says
        return plant

    return keep


@mutant("bodies of RENDERED run at once, of 1 at most")
def limits_a_step_in_each_process_for_itself(patch: pytest.MonkeyPatch) -> None:
    def free(lane: Lane, step: Step) -> int:
        return min(step.concurrency, step.at_most or 99) - lane.running[step.status]

    patch.setattr(Lane, "free", free)


@mutant("bodies of RENDERED run at once, of 1 at most")
def gives_a_slot_up_while_its_body_runs(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SlotDuty, "is_ended", property(lambda duty: True))


@mutant("is stuck")
def keeps_its_slots_for_ever(patch: pytest.MonkeyPatch) -> None:
    """Members with runs of their own to work on never come to their turn."""
    patch.setattr(SlotDuty, "wants", lambda duty: True)


@mutant("has no driver")
def takes_a_pools_name_for_none(patch: pytest.MonkeyPatch) -> None:
    """What is to be tried again says for whom: nobody knows that name."""
    consumer = names.consumer

    def misnamed(workflow: str, pool: str) -> str:
        return consumer(workflow, pool) if pool == "main" else f"{workflow}-{pool}"

    patch.setattr(names, "consumer", misnamed)


@mutant("is stuck")
def lets_pools_share_their_roles(patch: pytest.MonkeyPatch) -> None:
    """Who holds a shard's role reads it for its own pool alone."""
    role = names.shard_role
    patch.setattr(
        names,
        "shard_role",
        lambda workflow, pool, index, count: role(workflow, "main", index, count),
    )


@mutant("has no driver")
def moves_a_run_without_an_event(patch: pytest.MonkeyPatch) -> None:
    moved = Transition.moved

    def without_event(transition: Transition, *args: Any) -> Write:
        return moved(transition, *args).replace(events=[])

    patch.setattr(Transition, "moved", without_event)


@mutant("has no driver")
def moves_a_run_with_the_event_of_its_old_version(patch: pytest.MonkeyPatch) -> None:
    """Whoever receives it drops it: the record is newer."""
    moved = Transition.moved

    def late(transition: Transition, record: Record, *args: Any) -> Write:
        write = moved(transition, record, *args)
        events = [
            filed.replace(event=filed.event.replace(version=record.version))
            for filed in write.events
        ]
        return write.replace(events=events)

    patch.setattr(Transition, "moved", late)


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_mutant_is_caught(scenario: Scenario, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    plant, says = MUTANTS[name]
    plant(monkeypatch)
    with pytest.raises(InvariantError, match=says):
        scenario.simulate_all(range(BUDGET))
