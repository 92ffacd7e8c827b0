"""The bodies that run now, and those that were given up and have not returned yet.

Nobody can end a plain function from outside. So one that exceeds its step's timeout is *late*: its
attempt has failed and its answer counts no more, but it keeps its thread and its place among the
step's ``concurrency`` until it returns, and no other body of its run begins here beside it. Once a
stop has abandoned what runs, no answer counts.

Not locked: the window calls it under its own lock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from workflow_core.engine.lane import Item, Lane, Pace
from workflow_core.ports import Clock

__all__ = ["Executing"]

_FORESEEN = 10  # times what a body has taken that it tells something about


class Executing:
    """See the module's text."""

    def __init__(self) -> None:
        self._items: set[Item] = set()
        self._late: dict[str, Item] = {}  # by run
        self._abandoned = False

    def __bool__(self) -> bool:
        return bool(self._items)

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def __contains__(self, item: Item) -> bool:
        return item in self._items

    def begin(self, item: Item, now: float) -> None:
        """Its body begins."""
        item.started_at = now
        self._items.add(item)

    def end(self, item: Item, clock: Clock) -> None:
        """It runs no more, if it ever did."""
        if item in self._items:
            self._items.discard(item)
            item.lane.learn(item.event.status, clock.monotonic() - item.started_at)

    def longer_than(self, seconds: float, now: float) -> list[Item]:
        """What has been running for so long."""
        return [item for item in self._items if now - item.started_at >= seconds]

    def paces(self, lane: Lane, now: float) -> dict[int, Pace]:
        """What a body takes, by status: the mean, or what the slowest now has taken.

        A body that has not returned may only be held up for once, by a pause of the machine as
        well: it tells nothing about a time many times as long.
        """
        paces = {status: Pace(mean, math.inf) for status, mean in lane.pace.items()}
        for item in self._items:
            if item.lane is lane:
                status, age = item.event.status, now - item.started_at
                if status not in paces or age > paces[status].body:
                    paces[status] = Pace(age, _FORESEEN * age)
        return paces

    # -- timeouts ------------------------------------------------------------------------------

    def overdue(self, now: float) -> list[Item]:
        """What has exceeded its step's timeout."""
        return [item for item in self._limited() if now >= _end(item)]

    def next_overdue(self) -> float | None:
        """When the next body exceeds it, by the monotonic clock."""
        return min((_end(item) for item in self._limited()), default=None)

    def give_up(self, item: Item) -> None:
        """Its answer counts no more."""
        item.timed_out = True
        self._late[item.event.run_id] = item

    def returned(self, item: Item) -> bool:
        """Its body has returned; answers whether its answer counts."""
        if not item.timed_out:
            return not self._abandoned
        if self._late.get(item.event.run_id) is item:
            del self._late[item.event.run_id]
        return False

    def abandon(self) -> None:
        """No answer counts any more: a stop has left them to others, who may have begun already."""
        self._abandoned = True

    def late(self, run_id: str) -> Item | None:
        """What was given up of this run and has not returned."""
        return self._late.get(run_id)

    @property
    def has_late(self) -> bool:
        """Whether any was given up that has not returned."""
        return bool(self._late)

    def _limited(self) -> Iterable[Item]:
        return (item for item in self._items if item.step.timeout is not None)


def _end(item: Item) -> float:
    assert item.step.timeout is not None
    return item.started_at + item.step.timeout.total_seconds()
