"""The workflow that is simulated: every kind of step and answer, at random."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from typing import Literal

import pytest
from workflow_core import Cancel, Pause, Repeat, Retry, Run, Workflow
from workflow_core.testing.simulation import Simulation


class Status(IntEnum):
    BEGUN = 1
    ASLEEP = 2
    REPEATING = 3
    LATE = 4
    GIVEN_UP = 5
    DONE = 6
    REFUSED = 7


@dataclass
class Data:
    trail: list[int] = field(default_factory=list)
    """The version of each attempt that succeeded."""


DataRun = Run[Data, Status]
SECOND = timedelta(seconds=1)


class Scenario:
    """The workflow, bound to one simulation at a time."""

    def __init__(self) -> None:
        self._simulation: Simulation | None = None
        self._flow = self._define()

    def simulate(self, seed: int, *, moves: int = 250) -> Simulation:
        """The seed's story, told; raises what is wrong with it."""
        self._simulation = Simulation(seed, self._flow, Data, moves=moves)
        self._simulation.run()
        self._check_trails(self._simulation)
        return self._simulation

    def _chance(self, of: float) -> bool:
        simulation = self._simulation
        assert simulation is not None
        return not simulation.is_calm and simulation.dice.random() < of

    def _check_trails(self, simulation: Simulation) -> None:
        """What a step saved is there once, whatever was executed how often."""
        for record in simulation.records():
            trail = self._flow.decode(record.data).trail
            assert trail == sorted(set(trail)), (simulation.seed, record.run_id, trail)

    def _define(self) -> Workflow[Data, Status]:
        flow = Workflow(
            "simulated",
            Data,
            Status,
            ends=(Status.DONE, Status.REFUSED),
            retry=Retry(first=SECOND, maximum=4 * SECOND, pause_after=4),
            concurrency=2,
        )

        def body(run: DataRun, status: Status) -> AbstractContextManager[None]:
            assert self._simulation is not None
            return self._simulation.body(run, status)

        @flow.step(Status.BEGUN)
        def begin(run: DataRun) -> Literal[Status.ASLEEP, Status.REPEATING]:
            with body(run, Status.BEGUN):
                run.data.trail.append(run.version)
                if self._chance(0.3):
                    raise ValueError("begun in vain")
                return Status.ASLEEP if self._chance(0.5) else Status.REPEATING

        @flow.step(Status.ASLEEP, concurrency=3)
        async def sleep(run: DataRun) -> Literal[Status.LATE] | Pause:
            with body(run, Status.ASLEEP):
                run.data.trail.append(run.version)
                # the longest outlives its delivery: a copy in the outbox takes its place
                await asyncio.sleep(50 if self._chance(0.1) else 2 if self._chance(0.5) else 0.1)
                if self._chance(0.3):
                    raise ValueError("slept badly")
                return Pause("so tired") if self._chance(0.1) else Status.LATE

        @flow.step(Status.REPEATING)
        def repeat(run: DataRun) -> Literal[Status.LATE, Status.BEGUN] | Repeat | Cancel:
            with body(run, Status.REPEATING):
                run.data.trail.append(run.version)
                if self._chance(0.3):
                    return Repeat(after=SECOND if self._chance(0.5) else timedelta(0))
                if self._chance(0.1):
                    return Cancel("that was enough")
                return Status.BEGUN if self._chance(0.2) else Status.LATE

        @flow.step(
            Status.LATE,
            lag=SECOND,
            retry=Retry(first=SECOND, pause_after=2, then=Status.GIVEN_UP),
        )
        def be_late(
            run: DataRun,
        ) -> Literal[Status.DONE, Status.LATE, Status.BEGUN, Status.GIVEN_UP]:
            with body(run, Status.LATE):
                run.data.trail.append(run.version)
                if self._chance(0.3):
                    raise ValueError("too late")
                if self._chance(0.3):
                    return Status.LATE
                return Status.BEGUN if self._chance(0.3) else Status.DONE

        @flow.step(Status.GIVEN_UP)
        def give_up(run: DataRun) -> Literal[Status.REFUSED]:
            with body(run, Status.GIVEN_UP):
                run.data.trail.append(run.version)
                return Status.REFUSED

        return flow


@pytest.fixture(scope="session")
def scenario() -> Scenario:
    return Scenario()


@pytest.fixture
def simulate(scenario: Scenario) -> Callable[..., Simulation]:
    """Tells the story of a seed."""
    return scenario.simulate
