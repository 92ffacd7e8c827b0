"""The workflow that is simulated: every kind of step and answer, at random."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Literal

import pytest
from workflow_core import Cancel, Engine, Pause, Repeat, Retry, Run, Skip, Workflow
from workflow_core.testing.simulation import Simulation


class Status(IntEnum):
    BEGUN = 1
    ASLEEP = 2
    REPEATING = 3
    LATE = 4
    GIVEN_UP = 5
    DONE = 6
    REFUSED = 7
    WAITING = 8


@dataclass
class Data:
    trail: list[int] = field(default_factory=list)
    """The version of each attempt that succeeded."""
    reminders: list[int] = field(default_factory=list)
    """The version of each reminder that was kept."""


DataRun = Run[Data, Status]
SECOND = timedelta(seconds=1)
STARTS = (Status.BEGUN, Status.BEGUN, Status.WAITING)


class Scenario:
    """The workflow, bound to one simulation at a time."""

    def __init__(self) -> None:
        self._simulation: Simulation | None = None
        self._flow = self._define()
        self._calls = self._add_waiting()

    def simulate(self, seed: int, *, moves: int = 250) -> Simulation:
        """The seed's story, told; raises what is wrong with it."""
        self._simulation = Simulation(
            seed, self._flow, Data, starts=STARTS, calls=self._calls, moves=moves
        )
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
            data = self._flow.decode(record.data)
            for trail in (data.trail, data.reminders):
                assert trail == sorted(set(trail)), (simulation.seed, record.run_id, trail)

    def _define(self) -> Workflow[Data, Status]:
        flow = Workflow(
            "simulated",
            Data,
            Status,
            ends=(Status.DONE, Status.REFUSED),
            starts=(Status.BEGUN, Status.WAITING),
            retry=Retry(first=SECOND, maximum=4 * SECOND, pause_after=2),
            concurrency=2,
        )

        def body(run: DataRun, status: Status) -> AbstractContextManager[None]:
            assert self._simulation is not None
            return self._simulation.body(run, status)

        @flow.step(Status.BEGUN)
        def begin(run: DataRun) -> Literal[Status.ASLEEP, Status.REPEATING, Status.WAITING]:
            with body(run, Status.BEGUN):
                run.data.trail.append(run.version)
                if self._chance(0.3):
                    raise ValueError("begun in vain")
                if self._chance(0.4):
                    return Status.WAITING
                return Status.ASLEEP if self._chance(0.5) else Status.REPEATING

        @flow.step(Status.ASLEEP, concurrency=3, timeout=40 * SECOND)
        async def sleep(run: DataRun) -> Literal[Status.LATE] | Pause:
            with body(run, Status.ASLEEP):
                run.data.trail.append(run.version)
                # the longest outlive their delivery, a copy in the outbox takes its place; and of
                # them some exceed their time
                longest = 50 if self._chance(0.5) else 35
                await asyncio.sleep(
                    longest if self._chance(0.15) else 2 if self._chance(0.5) else 0.1
                )
                if self._chance(0.3):
                    raise ValueError("slept badly")
                return Pause("so tired") if self._chance(0.1) else Status.LATE

        @flow.step(Status.REPEATING, transaction=True)
        def repeat(run: DataRun) -> Literal[Status.LATE, Status.BEGUN] | Repeat | Cancel:
            with body(run, Status.REPEATING):
                run.data.trail.append(run.version)
                if self._chance(0.7):
                    run.connection.check_open()
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

    def _add_waiting(self) -> Sequence[Callable[[Engine, str], None]]:
        """A status without a step, timers beside steps, and callbacks; answers the calls."""
        flow = self._flow

        def firing(run: DataRun, *, at_once: bool = True) -> AbstractContextManager[None]:
            assert self._simulation is not None
            return self._simulation.firing(run, at_once=at_once)

        @flow.timeout(Status.WAITING, after=5 * SECOND)
        def expire(run: DataRun) -> Literal[Status.LATE, Status.WAITING] | Pause:
            with firing(run):
                run.data.trail.append(run.version)
                if self._chance(0.3):
                    raise ValueError("expired in vain")
                if self._chance(0.1):
                    return Pause("to be looked at")
                return Status.WAITING if self._chance(0.3) else Status.LATE

        @flow.timeout(Status.WAITING, after=SECOND)
        def remind(run: DataRun) -> Literal[Status.LATE] | Skip | Repeat:
            with firing(run):
                if self._chance(0.2):
                    raise ValueError("not reminded")
                if self._chance(0.5):
                    run.data.reminders.append(run.version)
                    return Repeat(after=SECOND)
                return Skip()

        def soon(run: DataRun, now: datetime) -> datetime | None:
            if self._chance(0.2):
                raise ValueError("no idea when")
            return None if self._chance(0.3) else now + 3 * SECOND

        @flow.timeout(Status.WAITING, fires_at=soon)
        async def doze(run: DataRun) -> Literal[Status.LATE] | Skip:
            with firing(run, at_once=False):
                await asyncio.sleep(2 if self._chance(0.5) else 0.1)
                run.data.trail.append(run.version)
                return Status.LATE if self._chance(0.5) else Skip()

        @flow.timeout(Status.REPEATING, after=4 * SECOND)
        def cut_short(run: DataRun) -> Literal[Status.LATE]:
            with firing(run):
                run.data.trail.append(run.version)
                return Status.LATE

        @flow.callback(Status.WAITING)
        def call(run: DataRun, answer: int) -> Literal[Status.LATE, Status.BEGUN] | Skip | Repeat:
            if answer == 0:
                return Skip()
            run.data.trail.append(run.version)
            if answer == 1:
                return Repeat()
            return Status.BEGUN if answer == 2 else Status.LATE

        @flow.callback(Status.REPEATING)
        def interfere(run: DataRun) -> Literal[Status.LATE] | Repeat:
            run.data.trail.append(run.version)
            return Repeat() if self._chance(0.7) else Status.LATE

        def call_with(answer: int) -> Callable[[Engine, str], None]:
            return lambda engine, run_id: engine.callback(call, run_id, answer)

        return [
            *[call_with(answer) for answer in range(4)],
            lambda engine, run_id: engine.callback(interfere, run_id),
        ]


@pytest.fixture(scope="session")
def scenario() -> Scenario:
    return Scenario()


@pytest.fixture
def simulate(scenario: Scenario) -> Callable[..., Simulation]:
    """Tells the story of a seed."""
    return scenario.simulate
