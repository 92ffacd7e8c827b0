"""Waiting never misses, where whatever can go wrong does.

Somebody waits, in any process, for a status that a run will reach, has passed, or never reaches, or
for its end. Whatever is answered is true, and in the end all who wait in a living process are
answered: by its own commits or by polling, for what others commit.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import Any, Literal

import pytest
from workflow_core import Retry, Run, RunView, Workflow
from workflow_core.engine.questions import view
from workflow_core.engine.waiter import Question, Waiter
from workflow_core.errors import RunEndedError, StoppedError
from workflow_core.model import Record
from workflow_core.testing.simulation import InvariantError, Simulation
from workflow_core.testing.simulation.member import Member

SEEDS = 40
PARTS = 4
BUDGET = 40  # seeds that a mutant has; each is caught by one of the first ten
MOVES = 150
SECOND = timedelta(seconds=1)
LATEST = 60  # seconds until the slowest poll


class Status(IntEnum):
    PLACED = 1
    PAID = 2
    SHIPPED = 3
    REFUSED = 4


@dataclass
class Nothing:
    pass


NothingRun = Run[Nothing, Status]


@dataclass(frozen=True)
class Wait:
    """Somebody's in a process, for a status of a run; None: for its end."""

    member: Member
    run_id: str
    status: Status | None
    answer: Future[RunView[Nothing, Status]]


class Waiting(Simulation):
    """People wait as well."""

    def __init__(self, seed: int, workflow: Workflow[Any, Any]) -> None:
        super().__init__(seed, workflow, Nothing, moves=MOVES)
        self.waits: list[Wait] = []
        self._unjudged: list[Wait] = []

    def _let_somebody_act(self) -> None:
        records = self.records()
        if not records or self.dice.random() < 0.5:
            super()._let_somebody_act()
            return
        run_id = self.dice.choice(records).run_id
        status = self.dice.choice((None, *Status))
        member = self.dice.choice(self._members)
        self._tell(f"somebody waits at {member.name} for {status!r} of {run_id}")
        answer = member.engine.expect(self._workflow, run_id, status)
        wait = Wait(member, run_id, status, answer)
        self.waits.append(wait)
        self._unjudged.append(wait)

    def _check(self) -> None:
        super()._check()
        done = [wait for wait in self._unjudged if wait.answer.done()]
        self._unjudged = [wait for wait in self._unjudged if not wait.answer.done()]
        for wait in done:
            self._judge(wait, self._records.runs.rows[wait.run_id])

    def _judge(self, wait: Wait, record: Record) -> None:
        error = wait.answer.exception()
        was_there = wait.status is None or wait.status in (record.status, *record.passed)
        if isinstance(error, StoppedError) and wait not in self._of_living():
            return
        if isinstance(error, RunEndedError) and record.state.is_finished and not was_there:
            return
        if error is None and was_there and (wait.status or record.state.is_finished):
            return
        told = error or wait.answer.result()
        raise InvariantError(f"who waits for {wait.status!r} of {wait.run_id} is told {told}")

    def _check_end(self) -> None:
        super()._check_end()
        for _ in range(LATEST):
            self._clock.advance(SECOND)
            self._sweep_until_quiet()
        for wait in self._of_living():
            if not wait.answer.done():
                raise InvariantError(
                    f"somebody waits for ever at {wait.member.name} for {wait.status!r} of a run"
                    f" that has ended, {wait.run_id}"
                )

    def _of_living(self) -> list[Wait]:
        return [wait for wait in self.waits if wait.member.is_alive]


class Scenario:
    """The workflow, bound to one simulation at a time."""

    def __init__(self) -> None:
        self._simulation: Waiting | None = None
        again = Retry(first=SECOND, maximum=SECOND, pause_after=2)
        flow = Workflow(
            "waited for", Nothing, Status, ends=(Status.SHIPPED, Status.REFUSED), retry=again
        )
        self._flow = flow

        @flow.step(Status.PLACED)
        def pay(run: NothingRun) -> Literal[Status.PAID, Status.REFUSED]:
            with self.now.body(run, Status.PLACED):
                return Status.REFUSED if self._chance(0.3) else Status.PAID

        @flow.step(Status.PAID)
        def ship(run: NothingRun) -> Literal[Status.SHIPPED]:
            with self.now.body(run, Status.PAID):
                if self._chance(0.3):
                    raise ConnectionError("no carrier")
                return Status.SHIPPED

    def simulate(self, seed: int) -> Waiting:
        """The seed's story, told; raises what is wrong with it."""
        self._simulation = Waiting(seed, self._flow)
        self._simulation.run()
        return self._simulation

    def simulate_all(self, seeds: range) -> None:
        """Up to the first that fails."""
        for seed in seeds:
            self.simulate(seed)

    @property
    def now(self) -> Waiting:
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
def test_whoever_waits_is_told_the_truth_whatever_goes_wrong(scenario: Scenario, part: int) -> None:
    """What makes them fail is below."""
    answered = 0
    for seed in range(part, SEEDS, PARTS):
        waits = scenario.simulate(seed).waits
        answered += sum(wait.answer.done() and not wait.answer.exception() for wait in waits)
    assert answered  # else nothing was tried


Plant = Callable[[pytest.MonkeyPatch], None]
MUTANTS: dict[str, Plant] = {}


def mutant(plant: Plant) -> Plant:
    MUTANTS[plant.__name__] = plant
    return plant


@mutant
def hears_of_its_own_commits_alone(patch: pytest.MonkeyPatch) -> None:
    """Subscribes, and neither reads nor polls."""
    ask = Waiter.ask

    def ask_and_wait(waiter: Waiter, run_id: str, question: Question) -> Future[Any]:
        answer = ask(waiter, run_id, question)
        waiter._fresh.discard(run_id)
        return answer

    def choose(waiter: Waiter, wait: timedelta) -> tuple[list[str], bool]:
        run_ids = list(waiter._fresh)
        waiter._fresh.clear()
        return run_ids, False

    patch.setattr(Waiter, "ask", ask_and_wait)
    patch.setattr(Waiter, "_choose", choose)


@mutant
def forgets_who_asked_before(patch: pytest.MonkeyPatch) -> None:
    ask = Waiter.ask

    def ask_alone(waiter: Waiter, run_id: str, question: Question) -> Future[Any]:
        waiter._asked.pop(run_id, None)
        return ask(waiter, run_id, question)

    patch.setattr(Waiter, "ask", ask_alone)


@mutant
def overlooks_a_status_that_has_passed(patch: pytest.MonkeyPatch) -> None:
    def reached(workflow: Workflow[Any, Any], run_id: str, status: IntEnum) -> Question:
        def answer(record: Record | None) -> RunView[Any, Any] | None:
            seen = view(workflow, run_id, record)
            if seen.status is status:
                return seen
            if seen.state.is_finished:
                raise RunEndedError("it never was there", run_id=run_id)
            return None

        return Question(lambda record: True, answer)

    patch.setattr("workflow_core.engine.client.reached", reached)


@mutant
def answers_by_what_it_has_read_before(patch: pytest.MonkeyPatch) -> None:
    """Never looks at a run a second time."""
    known: dict[str, Record] = {}
    answer = Waiter._answer

    def answer_as_before(waiter: Waiter, run_id: str, record: Record | None) -> bool:
        if record is not None:
            record = known.setdefault(run_id, record)
        return answer(waiter, run_id, record)

    patch.setattr(Waiter, "_answer", answer_as_before)


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_mutant_is_caught(scenario: Scenario, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    MUTANTS[name](monkeypatch)
    with pytest.raises(InvariantError, match="waits"):
        scenario.simulate_all(range(BUDGET))
