"""A user's workflow with the simulation around each of its functions."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import IntEnum
from inspect import isawaitable
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from workflow_core.definition import Connector, Step, TimeoutStep, Workflow
from workflow_core.definition.hooks import Hook

if TYPE_CHECKING:
    from workflow_core.testing.simulation.users import UsersSimulation

__all__ = ["watched"]

DeclaredT = TypeVar("DeclaredT", Step, TimeoutStep, Hook, Connector)

Around: TypeAlias = Callable[[Any], AbstractContextManager[None]]
"""Given what a function is called with: what is entered around it."""


def watched(
    workflow: Workflow[Any, Any], simulation: Callable[[], UsersSimulation]
) -> Workflow[Any, Any]:
    """The same definition, whose functions tell a simulation that they are called.

    Args:
        workflow: the user's, checked; it stays as it is.
        simulation: the one that goes on now.
    """
    twin = copy.copy(workflow)
    contents, outlets = copy.copy(workflow._contents), copy.copy(workflow._outlets)

    def step(each: Step) -> Step:
        status = workflow.status(each.status)
        return _with(simulation, each, lambda run: simulation().body(run, status))

    def timer(each: TimeoutStep) -> TimeoutStep:
        return _with(
            simulation, each, lambda run: simulation().firing(run, at_once=not each.is_async)
        )

    def hook(name: str) -> Around:
        return lambda run: simulation().telling(name, run.run_id, run.version)

    def event(given: Any) -> AbstractContextManager[None]:
        return simulation().handling(given)

    contents._steps = {status: step(each) for status, each in workflow.steps.items()}
    contents.steps = twin.steps = MappingProxyType(contents._steps)
    contents.timeouts = tuple(timer(each) for each in workflow.timeouts)
    outlets.hooks = tuple(_with(simulation, each, hook(each.name)) for each in workflow.hooks)
    outlets.connectors = tuple(
        _with(simulation, each, event if each.follows is None else lambda run: nullcontext())
        for each in workflow.connectors
    )
    twin._contents, twin._outlets = contents, outlets
    return twin


def _with(
    simulation: Callable[[], UsersSimulation], declared: DeclaredT, around: Around
) -> DeclaredT:
    """What was declared, with this around its body."""
    inner = declared.body

    @contextmanager
    def telling(first: Any) -> Iterator[list[object]]:
        answers: list[object] = []
        try:
            with around(first):
                yield answers
        except Exception as error:
            simulation().ended(declared.name, f"raises {type(error).__name__}")
            raise
        simulation().ended(declared.name, f"answers {_told(answers[0])}")

    def plain(first: Any, *rest: Any) -> Any:
        with telling(first) as answers:
            answers.append(inner(first, *rest))
        return answers[0]

    async def awaited(first: Any, *rest: Any) -> Any:
        with telling(first) as answers:
            answer = inner(first, *rest)
            answers.append(await answer if isawaitable(answer) else answer)
        return answers[0]

    return dataclasses.replace(declared, body=awaited if declared.is_async else plain)


def _told(answer: object) -> str:
    return answer.name if isinstance(answer, IntEnum) else type(answer).__name__
