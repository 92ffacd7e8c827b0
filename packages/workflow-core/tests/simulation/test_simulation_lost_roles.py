"""Roles that are lost while their holder lives: frozen, or unable to renew its lease.

Whoever loses a shard goes on with what it has in hand, and somebody else begins the same: that is
allowed. All else holds as ever: each transition is made once, and no run is left behind.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any, Literal

import pytest
from workflow_core import Retry, Run, Workflow
from workflow_core.engine.keeper import Keeper
from workflow_core.engine.reception import Reception
from workflow_core.memory.event_log import partition_of
from workflow_core.memory.role_book import Member as Holder
from workflow_core.model import names
from workflow_core.ports import Lease
from workflow_core.testing.simulation import InvariantError, Simulation
from workflow_core.testing.simulation.invariants import Executions
from workflow_core.testing.simulation.member import Member

SEEDS = 40
PARTS = 4
BUDGET = 40  # seeds that a mutant has; each is caught by one of the first ten
MOVES = 200
SECOND = timedelta(seconds=1)
LOSS = 0.06  # how likely it is that a move is the loss of a role


class Status(IntEnum):
    PLACED = 1
    BAKED = 2
    EATEN = 3


@dataclass
class Cake:
    trail: list[int] = field(default_factory=list)
    """The version of each attempt that succeeded."""


CakeRun = Run[Cake, Status]


@dataclass
class Loss:
    """Of a member's role, until nothing is read any more for it."""

    member: Member
    lease: Lease
    receivers: list[Any]

    @property
    def is_noticed(self) -> bool:
        return self.lease not in self.member._serving._keeper._held.values()

    @property
    def is_over(self) -> bool:
        reading = [r._receiver for r in self.member._serving._receptions]
        return self.is_noticed and not any(r in self.receivers for r in reading if r is not None)


class Forgiving(Executions):
    """What somebody has in hand who lost its role may be executed elsewhere too."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.forgiven: set[tuple[str, int]] = set()
        self._begun: dict[str, tuple[str, int]] = {}

    def begin(self, run: Run[Any, Any], status: IntEnum, member: Member, now: datetime) -> None:
        key = (run.run_id, run.version)
        if key in self.forgiven or self._begun.get(run.run_id) in self.forgiven:
            self._running.pop((run.run_id, self._pools.of(run.workflow, status)), None)
        if key in self.forgiven:
            self._last.pop(key, None)
        self._begun[run.run_id] = key
        super().begin(run, status, member, now)


class Losing(Simulation):
    """Members lose roles."""

    def __init__(self, seed: int, workflow: Workflow[Any, Any]) -> None:
        super().__init__(seed, workflow, Cake, moves=MOVES)
        self._executions = self._forgiving = Forgiving(self._records, self._pools)
        self._losses: list[Loss] = []
        self.lost = 0

    def _move(self) -> None:
        if self.dice.random() < LOSS:
            self._lose_a_role()
        super()._move()

    def _lose_a_role(self) -> None:
        member = self.dice.choice(self._members)
        held = member._serving._keeper._held
        if not held:
            return
        lease = held[self.dice.choice(sorted(held))]
        book = self._records.roles
        with self._records.lock:
            grant = book._grants[lease.role]
            # as if somebody had held it who vanished: free for anyone, and told to nobody
            grant.member, grant.ends_at = Holder("nobody", self._records.lock), self._clock.now()
        lease.lost.set()
        self.lost += 1
        self._tell(f"{member.name} loses {lease.role}")
        receivers = [r._receiver for r in member._serving._receptions if r._receiver is not None]
        self._losses.append(Loss(member, lease, receivers))
        self._forgive()

    def _do(self, member: Member, what: str, act: Callable[[], object]) -> bool:
        useful = super()._do(member, what, act)
        for loss in self._losses:
            if loss.member is member and what == Keeper.name and not loss.is_noticed:
                raise InvariantError(f"{member.name} overlooks that it lost {loss.lease.role}")
        return useful

    def _check(self) -> None:
        self._forgive()
        super()._check()

    def _forgive(self) -> None:
        for loss in self._losses:
            here = loss.member._serving._window._in_hand._items
            self._forgiving.forgiven |= {
                (run_id, version) for run_id, version, _ in here if _is_of(loss.lease, run_id)
            }
        self._losses = [loss for loss in self._losses if not loss.is_over]


def _is_of(lease: Lease, run_id: str) -> bool:
    shard = names.shard_of(lease.role)
    return shard is not None and partition_of(run_id) % shard[2] == shard[1]


class Scenario:
    """The workflow, bound to one simulation at a time."""

    def __init__(self) -> None:
        self._simulation: Losing | None = None
        again = Retry(first=SECOND, maximum=SECOND, pause_after=3)
        flow = Workflow("cakes", Cake, Status, ends=(Status.EATEN,), retry=again, concurrency=3)
        self._flow = flow

        @flow.step(Status.PLACED)
        async def bake(run: CakeRun) -> Literal[Status.BAKED]:
            with self.now.body(run, Status.PLACED):
                run.data.trail.append(run.version)
                await asyncio.sleep(3 if self._chance(0.5) else 0.1)
                return Status.BAKED

        @flow.step(Status.BAKED)
        def eat(run: CakeRun) -> Literal[Status.EATEN]:
            with self.now.body(run, Status.BAKED):
                run.data.trail.append(run.version)
                if self._chance(0.2):
                    raise ValueError("too hot")
                return Status.EATEN

    def simulate(self, seed: int) -> Losing:
        """The seed's story, told; raises what is wrong with it."""
        self._simulation = Losing(seed, self._flow)
        self._simulation.run()
        for record in self._simulation.records():
            trail = self._flow.decode(record.data).trail
            assert trail == sorted(set(trail)), (seed, record.run_id, trail)
        return self._simulation

    def simulate_all(self, seeds: range) -> None:
        """Up to the first that fails."""
        for seed in seeds:
            self.simulate(seed)

    @property
    def now(self) -> Losing:
        assert self._simulation is not None
        return self._simulation

    def _chance(self, of: float) -> bool:
        return not self.now.is_calm and self.now.dice.random() < of


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return Scenario()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Failing functions, lost roles and mutants complain a lot."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("part", range(PARTS))
def test_each_transition_is_made_once_when_roles_are_lost(scenario: Scenario, part: int) -> None:
    """What makes them fail is below."""
    lost = sum(scenario.simulate(seed).lost for seed in range(part, SEEDS, PARTS))
    assert lost  # else nothing was tried


Plant = Callable[[pytest.MonkeyPatch], None]
MUTANTS: dict[str, Plant] = {}


def mutant(plant: Plant) -> Plant:
    MUTANTS[plant.__name__] = plant
    return plant


@mutant
def overlooks_what_it_lost(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Keeper, "_end_lost", lambda keeper: False)


@mutant
def acks_what_it_has_of_a_shard_that_it_lost(patch: pytest.MonkeyPatch) -> None:
    let_go = Reception.let_go

    def ack_and_let_go(reception: Reception, index: int) -> None:
        for item in reception._window._in_hand._items.values():
            reception._lane.to_ack.extend(item.receipts)
        let_go(reception, index)

    patch.setattr(Reception, "let_go", ack_and_let_go)


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_mutant_is_caught(scenario: Scenario, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    MUTANTS[name](monkeypatch)
    with pytest.raises(InvariantError):
        scenario.simulate_all(range(BUDGET))
