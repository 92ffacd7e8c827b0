"""Hooks and connectors in the simulation, and engines with one planted mistake in them."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import Any, Literal

import pytest
from workflow_core import (
    Call,
    ConnectorAnswer,
    ConnectorEvent,
    Pause,
    Retry,
    Run,
    RunView,
    Trigger,
    Workflow,
)
from workflow_core.engine.connectors import ConnectorOutlet
from workflow_core.engine.dead_letters import LetterReconciler
from workflow_core.engine.deletion import DeletionVerb
from workflow_core.engine.deletion_rounds import DeletionRounds
from workflow_core.engine.desk import Desk, Task
from workflow_core.engine.hooks import Deliveries
from workflow_core.engine.intake import Intake
from workflow_core.engine.letter_erasing import LetterErasing
from workflow_core.engine.letters import Letters
from workflow_core.errors import AdapterUnavailableError
from workflow_core.memory import MemoryRecordStore
from workflow_core.model import Record
from workflow_core.ports import Delivery, Erasure, Receiver, Write
from workflow_core.testing.simulation import DeliverySimulation, InvariantError

SEEDS = 40
BUDGET = 200  # seeds that a mutant has; the rarest flaw shows in one of thirteen
SECOND = timedelta(seconds=1)


class Status(IntEnum):
    BEGUN = 1
    WAITING = 2
    DONE = 3


@dataclass
class Data:
    calls: int = 0


class Scenario:
    """A workflow with hooks that fail at random, and a connector that is given anything."""

    values = (b"trigger", b"trigger", b"call", b"nothing", b"poison")

    def __init__(self) -> None:
        self._simulation: DeliverySimulation | None = None
        self._flow = self._define()

    def simulate(self, seed: int) -> DeliverySimulation:
        self._simulation = DeliverySimulation(
            seed,
            self._flow,
            Data,
            feeds={"foreign": self._event},
            triggers=lambda event: event.value == b"trigger",
            moves=200,
        )
        self._simulation.run()
        self._simulation.check_deliveries()
        return self._simulation

    def _event(self, dice: random.Random) -> tuple[str, bytes]:
        return f"foreign-{dice.randrange(6)}", dice.choice(self.values)

    def _may_fail(self, chance: float) -> None:
        assert self._simulation is not None
        if not self._simulation.is_calm and self._simulation.dice.random() < chance:
            raise ValueError("as the dice say")

    def _define(self) -> Workflow[Data, Status]:
        flow = Workflow(
            "delivering",
            Data,
            Status,
            ends=(Status.DONE,),
            retry=Retry(first=SECOND, maximum=4 * SECOND, pause_after=4),
        )

        @flow.step(Status.BEGUN)
        def begin(run: Run[Data, Status]) -> Literal[Status.WAITING, Status.DONE] | Pause:
            assert self._simulation is not None
            with self._simulation.body(run, Status.BEGUN):
                fate = self._simulation.dice.random()
                if self._simulation.is_calm or fate < 0.5:
                    return Status.DONE
                if fate > 0.9:  # so that there are errors of which a deletion leaves nothing
                    raise ValueError("as the dice say")
                return Pause("a while") if fate < 0.6 else Status.WAITING

        @flow.callback(Status.WAITING)
        def go_on(run: Run[Data, Status], by: int) -> Literal[Status.DONE]:
            run.data.calls += by
            return Status.DONE

        @flow.step(Status.WAITING, lag=20 * SECOND)
        def give_up(run: Run[Data, Status]) -> Literal[Status.DONE]:
            assert self._simulation is not None
            with self._simulation.body(run, Status.WAITING):
                return Status.DONE

        for verb in (flow.on_pause, flow.on_cancel, flow.on_complete, flow.on_data_deleted):
            quick, slow = f"{verb.__name__}, quick", f"{verb.__name__}, slow"

            def hear(run: RunView[Any, Status], name: str = quick) -> None:
                assert self._simulation is not None
                self._may_fail(0.4)
                with self._simulation.telling(name, run.run_id, run.version):
                    pass

            async def hear_slowly(run: RunView[Any, Status], name: str = slow) -> None:
                assert self._simulation is not None
                await asyncio.sleep(self._simulation.dice.random() * 8)
                hear(run, name)

            verb(name=quick)(hear)
            verb(name=slow)(hear_slowly)

        @flow.connector("foreign", parallel=3)
        def came(event: ConnectorEvent) -> ConnectorAnswer[Data]:
            assert self._simulation is not None
            self._may_fail(0.2)
            if event.value == b"poison":
                raise ValueError("poison")
            with self._simulation.handling(event):
                if event.value == b"trigger":
                    return Trigger(event.key, Data())
                return Call(go_on, 1, foreign_id=event.key) if event.value == b"call" else None

        return flow


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return Scenario()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Bodies fail all the time."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_nothing_is_forgotten_whatever_goes_wrong(scenario: Scenario) -> None:
    for seed in range(SEEDS):
        scenario.simulate(seed)


def test_seed_tells_the_same_story_again(scenario: Scenario) -> None:
    for seed in range(3):
        assert scenario.simulate(seed).story == scenario.simulate(seed).story


Plant = Callable[[pytest.MonkeyPatch], None]
MUTANTS: dict[str, Plant] = {}


def mutant(plant: Plant) -> Plant:
    MUTANTS[plant.__name__] = plant
    return plant


@mutant
def acks_before_it_handles(patch: pytest.MonkeyPatch) -> None:
    take_in = Intake._take_in

    def ack_and_take_in(intake: Intake[Any], receiver: Receiver[Any], d: Delivery[Any]) -> None:
        intake._to_ack.append((receiver, d))
        take_in(intake, receiver, d)

    patch.setattr(Intake, "_take_in", ack_and_take_in)


@mutant
def forgets_what_failed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Intake, "_outcome", lambda intake, task: None)


@mutant
def forgets_what_failed_for_the_last_time(patch: pytest.MonkeyPatch) -> None:
    outcome = Intake._outcome

    def drop_last(intake: Intake[Any], task: Task) -> Write | None:
        write = outcome(intake, task)
        return write if write is None or write.events or task.error is None else None

    patch.setattr(Intake, "_outcome", drop_last)


@mutant
def drops_outcomes_when_the_store_is_unavailable(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Desk, "give_back", lambda desk, tasks: None)


@mutant
def settles_when_the_store_is_unavailable(patch: pytest.MonkeyPatch) -> None:
    conclude = Intake._conclude

    def settle(intake: Intake[Any]) -> bool:
        finished = list(intake._desk._finished)
        try:
            return conclude(intake)
        except BaseException:
            intake._desk.take_finished()
            for task in finished:
                intake._done(task)
            raise

    patch.setattr(Intake, "_conclude", settle)


@mutant
def settles_with_the_first_hook_that_is_done(patch: pytest.MonkeyPatch) -> None:
    def done(intake: Intake[Any], task: Task) -> None:
        if task.parcel.identity in intake._in_hand:
            intake._settle(task.parcel)

    patch.setattr(Intake, "_done", done)


@mutant
def drops_events_when_their_runs_cannot_be_looked_up(patch: pytest.MonkeyPatch) -> None:
    open_parcels = Intake._open_parcels

    def drop(intake: Intake[Any]) -> None:
        try:
            open_parcels(intake)
        finally:
            intake._unopened = []

    patch.setattr(Intake, "_open_parcels", drop)


@mutant
def stop_acks_what_it_drops(patch: pytest.MonkeyPatch) -> None:
    close_entrance = Intake.close_entrance

    def ack_all(intake: Intake[Any]) -> None:
        close_entrance(intake)
        for parcel in list(intake._in_hand.values()):
            intake._to_ack += parcel.receipts

    patch.setattr(Intake, "close_entrance", ack_all)


@mutant
def letters_whose_event_is_lost_stay_lost(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LetterReconciler, "poll", lambda reconciler, wait: False)
    patch.setattr(LetterReconciler, "next_due", lambda reconciler: None)


@mutant
def letters_are_tried_again_by_nobody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Deliveries, "_again", lambda deliveries, parcels: [])


@mutant
def interrupted_deletions_are_finished_by_nobody(patch: pytest.MonkeyPatch) -> None:
    # by chance alone one of two hundred seeds interrupts one just there
    def interrupted(verb: DeletionVerb, record: Record) -> Record:
        raise AdapterUnavailableError("the mutant interrupts each")

    patch.setattr(DeletionVerb, "_done", interrupted)
    patch.setattr(DeletionRounds, "_finish", lambda rounds, record: None)


@mutant
def deletion_leaves_the_copies(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryRecordStore, "erase_copies", lambda store, run_id: Erasure())


@mutant
def errors_that_are_kept_during_a_deletion_stay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LetterErasing, "_see_to", lambda rounds, records: None)


@mutant
def triggers_without_a_key(patch: pytest.MonkeyPatch) -> None:
    def keyless(
        outlet: ConnectorOutlet, trigger: Trigger[Any], task: Task, number: int
    ) -> Trigger[Any]:
        return trigger

    patch.setattr(ConnectorOutlet, "_keyed", keyless)


@mutant
def takes_a_refused_trigger_for_done(patch: pytest.MonkeyPatch) -> None:
    commit = ConnectorOutlet.commit

    def forgiving(outlet: ConnectorOutlet, tasks: Sequence[Task]) -> None:
        commit(outlet, tasks)
        for task in tasks:
            task.error = None

    patch.setattr(ConnectorOutlet, "commit", forgiving)


@mutant
def letters_of_all_hooks_share_one_id(patch: pytest.MonkeyPatch) -> None:
    new = Letters._new

    def shared(letters: Letters, origin: Any, cause: Any) -> Any:
        one = new(letters, origin.replace(name="any"), cause)
        return new(letters, origin, cause).replace(run_id=one.run_id)

    patch.setattr(Letters, "_new", shared)


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_mutant_is_caught(scenario: Scenario, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    MUTANTS[name](monkeypatch)
    for seed in range(BUDGET):
        try:
            scenario.simulate(seed)
        except InvariantError:
            return
    pytest.fail(f"an engine that {name.replace('_', ' ')} passes {BUDGET} seeds")
