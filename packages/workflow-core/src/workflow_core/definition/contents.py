"""What has been added to a definition, and the rules that hold for each addition by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from types import MappingProxyType
from typing import Any

from workflow_core.definition.graph import Graph
from workflow_core.definition.retry import Retry
from workflow_core.definition.statuses import Statuses
from workflow_core.definition.steps import CallbackStep, Consumer, Step, TimeoutStep
from workflow_core.errors import DefinitionError

__all__ = ["Contents"]

_LONGEST_TIMER_NAME = 100  # it is part of a key, behind a run id and a version


class Contents:
    """Steps, callbacks and timers. Filled by one thread, then frozen.

    Args:
        statuses: the workflow's.
        ends: those that complete a run, so that nothing may consume them.
        starts: those at which runs may begin, as far as they were named.
        workflow: the workflow's name, for errors.
    """

    def __init__(
        self,
        statuses: Statuses[Any],
        ends: frozenset[int],
        starts: tuple[IntEnum, ...],
        workflow: str,
    ) -> None:
        self._statuses = statuses
        self._ends = ends
        self._starts = [int(start) for start in starts]
        self._workflow = workflow
        self._steps: dict[int, Step] = {}
        self.steps: Mapping[int, Step] = MappingProxyType(self._steps)
        self.callbacks: tuple[CallbackStep, ...] = ()
        self.timeouts: tuple[TimeoutStep, ...] = ()
        self.frozen = False

    def add_step(self, step: Step) -> None:
        """Add the one step of a status."""
        self._check_new(step)
        self._check_then(step, step.retry)
        if step.transaction and step.is_async:
            raise self._refusal(
                step,
                "transaction=True is for plain functions, as its connection is none for asyncio",
                "Make it a plain function; it runs in a thread",
            )
        there = self._steps.get(step.status)
        if there is not None:
            raise self._refusal(step, f"{there.told} consumes this status already")
        self._steps[step.status] = step

    def add_callback(self, callback: CallbackStep) -> None:
        """Add one of any number of callbacks of a status."""
        self._check_new(callback)
        self.callbacks += (callback,)

    def add_timeout(self, timeout: TimeoutStep) -> None:
        """Add one of any number of timers of a status, under a name of its own."""
        self._check_new(timeout)
        self._check_then(timeout, timeout.retry)
        if not 1 <= len(timeout.name) <= _LONGEST_TIMER_NAME:
            limits = f"1 to {_LONGEST_TIMER_NAME} characters"
            raise self._refusal(timeout, f"a timer's name has {limits}", "Give it one with name=")
        for other in self.timeouts:
            if (other.status, other.name) == (timeout.status, timeout.name):
                problem = f"this status has a timer named {timeout.name!r} already"
                raise self._refusal(timeout, problem, "Give one of them another with name=")
        self.timeouts += (timeout,)

    def start(self) -> int:
        """Where runs begin, by what is there so far."""
        return self._graph().start

    @property
    def starts(self) -> Sequence[int]:
        """Every status at which runs may begin, the usual one first."""
        return self._starts or [self.start()]

    def freeze(self) -> None:
        """Check the graph and take no more additions.

        Raises:
            DefinitionError: tells every problem of the graph; nothing is frozen.
        """
        graph = self._graph()
        problems = graph.problems()
        if len(problems) == 1:
            told = f"workflow {self._workflow!r}: {problems[0]}"
            raise DefinitionError(told, workflow=self._workflow)
        if problems:
            listed = "\n  ".join(problems)
            raise DefinitionError(
                f"{len(problems)} problems in {self._workflow!r}:\n  {listed}",
                workflow=self._workflow,
            )
        self._steps.update({status: graph.settled(step) for status, step in self._steps.items()})
        self.timeouts = tuple(graph.settled(timeout) for timeout in self.timeouts)
        self.frozen = True

    def _graph(self) -> Graph:
        consumers = [*self._steps.values(), *self.callbacks, *self.timeouts]
        return Graph(self._statuses.enum, consumers, self._ends, self._starts)

    def _check_new(self, consumer: Consumer) -> None:
        if self.frozen:
            raise self._refusal(
                consumer,
                "the workflow is in use and cannot be changed any more",
                "Import the modules with its steps before an engine is given the workflow",
            )
        if consumer.status in self._ends:
            raise self._refusal(consumer, "this status is one of ends=, where runs are complete")

    def _check_then(self, consumer: Consumer, retry: Retry) -> None:
        then = retry.then
        if then is None:
            return
        if type(then) is not self._statuses.enum:
            problem = f"Retry(then={type(then).__name__}.{then.name}) is no {self._statuses.name}"
            raise self._refusal(consumer, problem)
        if int(then) not in consumer.targets:
            problem = f"Retry(then={self._statuses.name}.{then.name}) is none of its targets"
            raise self._refusal(consumer, problem, "Name that status in its return annotation too")

    def _refusal(self, consumer: Consumer, problem: str, hint: str = "") -> DefinitionError:
        at = self._statuses.of_number(consumer.status).name
        return DefinitionError(
            f"{consumer.told} at {self._statuses.name}.{at}: {problem}",
            workflow=self._workflow,
            hint=hint,
        )
