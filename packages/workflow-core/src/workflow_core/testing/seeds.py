"""`simulate`: a user's workflow on a simulated cluster where whatever can go wrong does."""

from __future__ import annotations

import logging
import random
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from types import FrameType
from typing import Any, TypeVar

from workflow_core.definition import Callback, RunView, Trigger, Workflow
from workflow_core.engine.decisions import goal_of
from workflow_core.errors import InputError
from workflow_core.testing.simulation.deliveries import Feed
from workflow_core.testing.simulation.pools import Pools
from workflow_core.testing.simulation.users import Payload, UsersSimulation, World

__all__ = ["SeedFailedError", "Simulated", "simulate"]

DataT = TypeVar("DataT")
StatusT = TypeVar("StatusT", bound=IntEnum)

_UNREPEATED = (
    "Told again, this seed takes another course: the workflow, or what it calls, takes chance or "
    "time from elsewhere than the dice and the run (random, uuid4, datetime.now, a set's order …)"
)


class SeedFailedError(AssertionError):
    """A seed of `simulate` has failed; what failed is its ``__cause__``, the story its note.

    Attributes:
        seed: which.
        story: what happened, move by move, runs by their foreign ids.
    """

    def __init__(self, message: str, seed: int, story: Sequence[str]) -> None:
        super().__init__(message)
        self.seed = seed
        self.story = story


@dataclass(frozen=True)
class Simulated:
    """What was simulated, to be sure that it was not nothing.

    Attributes:
        seeds: stories told.
        runs: runs that were left at their ends.
        executions: how often the body of a step was begun.
    """

    seeds: int
    runs: int
    executions: int


def _begin_nothing(dice: random.Random) -> object:
    """Nothing of the user's is to be made anew."""


def _expect_nothing(run: RunView[Any, Any]) -> object:
    """The user expects nothing of a run."""


def simulate(
    workflow: Workflow[DataT, StatusT],
    *,
    seeds: Iterable[int],
    trigger: Callable[[random.Random], Trigger[DataT]],
    payloads: Mapping[Callback[Any, Any, Any], Payload] | None = None,
    events: Mapping[str, Feed] | None = None,
    beside: Sequence[Workflow[Any, Any]] = (),
    may_wait: Collection[IntEnum] = (),
    pools: Mapping[str, Collection[IntEnum]] | None = None,
    move_to: Collection[StatusT] = (),
    prepare: Callable[[random.Random], object] = _begin_nothing,
    check: Callable[[RunView[Any, Any]], object] = _expect_nothing,
    moves: int = 100,
) -> Simulated:
    """Tell the stories of these seeds: random members, faults, time, callers and operators.

    Each is one cluster in memory, on one thread and a clock of its own, no real time passes. Up to
    three members serve. Calls of adapters fail or kill their member, before or after their effect;
    events are lost, doubled and come late; members' clocks are off by up to an hour. Meanwhile
    runs are triggered, called back, paused, resumed, retried, cancelled and deleted. Then calm
    returns: what is paused is resumed, time passes until nothing is due, and every run has to have
    ended. An exception in a function of the workflow is a failed attempt, as ever.

    Args:
        workflow: the definition; its functions are used as they are, and may not do input or
            output: stand something in for what they call.
        seeds: each decides everything, ``range(1000)`` say.
        trigger: a new run. A few foreign ids, drawn often, meet each other.
        payloads: for each callback with a payload, what makes one; those without are just called.
        events: for each connector that is to be fed, what makes a key and a value.
        beside: workflows that are served too, such as those that follow each other.
        may_wait: statuses at which runs may stay for ever, waiting or paused. Those that a step
            has paused by its own answer may stay anywhere.
        pools: statuses that members of their own work on, by the pool's name, as in ``serving``;
            the pool ``main`` has the rest.
        move_to: statuses to which operators move runs of ``workflow``, wherever those are.
        prepare: called before each seed, to make what functions call anew; its dice may be kept,
            to fail at random.
        check: called with each run in the end, but for those whose data was deleted; raises where
            what must hold does not.
        moves: how many moves there are before calm returns; a hundred take some 20 ms.

    Raises:
        SeedFailedError: at the first seed that fails, with its story.
        InputError: a callback with a payload has no maker in ``payloads``, or an entry there, or in
            ``events``, is of none of the workflows; or ``pools`` cannot be served so.
        UnknownStatusError: ``move_to`` has what is no status of the workflow, or nothing would move
            a run on from there.
        DefinitionError: a workflow is declared wrongly.
    """
    workflows = [workflow, *beside]
    for each in workflows:
        each.check()
    _check_given(workflows, payloads or {}, events or {})
    Pools(workflows, pools or {})
    for status in move_to:
        goal_of(workflow, status)
    world = World(
        workflow,
        beside=beside,
        trigger=trigger,
        payloads=payloads or {},
        events=events or {},
        may_wait=may_wait,
        pools=pools or {},
        move_to=move_to,
        check=check,
    )

    def tell(seed: int) -> UsersSimulation:
        story = UsersSimulation(seed, world, moves=moves)
        prepare(story.dice)
        story.failure = _failure_of(story)
        return story

    told = runs = executions = 0
    with _silence():
        for seed in seeds:
            story = tell(seed)
            if story.failure is not None:
                replay = _call_of(sys._getframe(1), workflow, seed)
                raise _failed(story, replay, tell(seed)) from story.failure
            told, runs = told + 1, runs + len(story.records())
            executions += story.executions
    return Simulated(told, runs, executions)


def _failure_of(story: UsersSimulation) -> Exception | None:
    try:
        story.run()
    except Exception as failure:
        return failure
    return None


def _failed(story: UsersSimulation, replay: str, again: UsersSimulation) -> SeedFailedError:
    seed, failure = story.seed, story.failure
    assert failure is not None
    failure.__notes__ = []  # the story, with bare run ids
    what = story.named(str(failure)) or type(failure).__name__
    lines = [story.named(line) for line in story.story]
    error = SeedFailedError(f"seed {seed}: {what}; replay with {replay}", seed, lines)
    if again.story != story.story:
        error.add_note(_UNREPEATED)
    error.add_note(f"The story of seed {seed}:")
    error.add_note("\n".join(lines))
    return error


def _call_of(frame: FrameType, workflow: Workflow[Any, Any], seed: int) -> str:
    """How the caller writes this, as far as one can tell."""
    known = {**frame.f_globals, **frame.f_locals}
    variable = next((name for name, value in known.items() if value is workflow), "workflow")
    return f"simulate({variable}, seeds=[{seed}])"


def _check_given(
    workflows: Sequence[Workflow[Any, Any]],
    payloads: Mapping[Callback[Any, Any, Any], Payload],
    events: Mapping[str, Feed],
) -> None:
    steps = {id(step): step for workflow in workflows for step in workflow.callbacks}
    for callback in payloads:
        if id(callback.step) not in steps:
            raise InputError(f"payloads= has {callback!r}, which is none of the workflows'")
    given = {id(callback.step) for callback in payloads}
    for key, step in steps.items():
        if step.payload_type is not None and key not in given:
            raise InputError(
                f"callback {step.told} takes a payload, and payloads= has nothing that makes one",
                hint=f"payloads={{{step.name}: lambda dice: …}}",
            )
    connectors = {
        connector.name
        for workflow in workflows
        for connector in workflow.connectors
        if connector.follows is None
    }
    for name in events:
        if name not in connectors:
            raise InputError(f"events= has {name!r}, which is no connector of the workflows")


@contextmanager
def _silence() -> Iterator[None]:
    """Failing attempts by the thousand are in the story, and not in the log."""
    logger = logging.getLogger("workflow_core")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)
