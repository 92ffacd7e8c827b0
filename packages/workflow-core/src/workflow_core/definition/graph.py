"""The graph of a definition: where runs begin, and all that is wrong with it at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import IntEnum
from typing import TypeVar

from workflow_core.definition.answers import Skip
from workflow_core.definition.steps import CallbackStep, Consumer, Step, TimeoutStep

__all__ = ["Graph"]

ConsumerT = TypeVar("ConsumerT", bound=Consumer)


class Graph:
    """Statuses and the ways between them.

    Args:
        statuses: the enum; its order decides where two statuses are equally good.
        consumers: every step, callback and timer.
        ends: statuses that complete a run.
        starts: statuses at which runs may begin, as far as they were named.
    """

    def __init__(
        self,
        statuses: type[IntEnum],
        consumers: Sequence[Consumer],
        ends: frozenset[int],
        starts: Sequence[int],
    ) -> None:
        self._names = {int(status): status.name for status in statuses}
        self._consumers = consumers
        self._consumed = {consumer.status for consumer in consumers}
        self._ends = ends
        self._named_starts = starts

    @property
    def start(self) -> int:
        """Where runs begin: the first named, else the first consumed that nothing leads to."""
        if self._named_starts:
            return self._named_starts[0]
        consumed = [status for status in self._names if status in self._consumed]
        led_to = self._led_to()
        first = [status for status in consumed if status not in led_to]
        return next(iter(first or consumed or self._names))

    def problems(self) -> list[str]:
        """Every problem, a sentence each."""
        if not self._consumers:
            return ["it has no steps. Was the module with its steps imported?"]
        return [
            *self._lost_targets(),
            *self._lost_starts(),
            *self._unreached(),
            *self._stranding_skips(),
        ]

    def settled(self, consumer: ConsumerT) -> ConsumerT:
        """The same; but one that was generated may not Skip where that would strand the run."""
        if consumer.annotated or self._goes_on_after(consumer):
            return consumer
        return replace(consumer, directives=consumer.directives - {Skip})

    def _lost_targets(self) -> Iterable[str]:
        for consumer in self._consumers:
            for target in sorted(consumer.targets - self._consumed - self._ends):
                yield (
                    f"{consumer.told} answers {self._names[target]}, which nothing consumes and"
                    " which is no end. Was the module with its step imported?"
                )

    def _lost_starts(self) -> Iterable[str]:
        for status in self._named_starts:
            if status not in self._consumed:
                yield f"runs are to begin at {self._names[status]}, which nothing consumes"

    def _unreached(self) -> Iterable[str]:
        """The first of each group of statuses that no run can get to, not all that follow it."""
        entries = self._named_starts or [self.start]
        reached = self._reach(entries)
        led_to = self._led_to()
        there = [status for status in self._names if status in self._consumed | self._ends]
        for status in sorted(there, key=lambda status: status in led_to):
            if status in reached:
                continue
            reached |= self._reach([status])
            if status in self._consumed:
                begin = ", ".join(self._names[entry] for entry in entries)
                yield (
                    f"no run gets to {self._names[status]}: runs begin at {begin}."
                    " If they may begin there too, name both in starts="
                )
            else:
                yield f"no run gets to the end {self._names[status]}: take it out of ends="

    def _stranding_skips(self) -> Iterable[str]:
        for consumer in self._consumers:
            skips = consumer.annotated and Skip in consumer.directives
            if skips and not self._goes_on_after(consumer):
                yield (
                    f"{consumer.told} may answer Skip, but {self._names[consumer.status]} has"
                    " no other callback or timer that could move the run on"
                )

    def _goes_on_after(self, skipping: Consumer) -> bool:
        # a callback can be called again and a step waits for its event; a timer fires only once
        if isinstance(skipping, CallbackStep):
            return True
        return any(
            other.status == skipping.status and other is not skipping
            for other in self._consumers
            if isinstance(skipping, TimeoutStep) or not isinstance(other, Step)
        )

    def _led_to(self) -> set[int]:
        return {
            target
            for consumer in self._consumers
            for target in consumer.targets
            if target != consumer.status
        }

    def _reach(self, entries: Iterable[int]) -> set[int]:
        leads: dict[int, set[int]] = {}
        for consumer in self._consumers:
            leads.setdefault(consumer.status, set()).update(consumer.targets)
        reached: set[int] = set()
        waiting = list(entries)
        while waiting:
            status = waiting.pop()
            if status not in reached:
                reached.add(status)
                waiting.extend(leads.get(status, ()))
        return reached
