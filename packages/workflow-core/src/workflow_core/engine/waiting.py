"""What waits to be begun: by lane and status, postponed, or in quarantine; and whose turn it is.

Not locked: the window calls it under its own lock.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence

from workflow_core.engine.lane import Chunk, Item, Lane
from workflow_core.engine.quarantine import Quarantine
from workflow_core.ports import Clock

__all__ = ["Waiting"]


class Waiting:
    """Steps take turns, so that none waits for another's backlog."""

    def __init__(self) -> None:
        self.lanes: list[Lane] = []
        self._turns: deque[tuple[Lane, int]] = deque()
        self._postponed: list[tuple[float, Item]] = []
        self._quarantine = Quarantine()

    def add_lane(self, lane: Lane) -> None:
        """Its steps take turns with all others."""
        self.lanes.append(lane)
        self._turns.extend((lane, status) for status in lane.steps)

    # -- coming --------------------------------------------------------------------------------

    def add(self, item: Item) -> None:
        """It may begin when all that came before it has."""
        item.lane.queues[item.event.status].append(item)

    def put_back(self, items: Iterable[Item]) -> None:
        """They were not begun; before all others."""
        for item in reversed(list(items)):
            item.lane.queues[item.event.status].appendleft(item)

    def postpone(self, due: float, items: Iterable[Item]) -> None:
        """They are looked up again at this time of the monotonic clock."""
        self._postponed.extend((due, item) for item in items)

    def set_apart(self, chunk: Chunk) -> None:
        """What is gravely suspect in a chunk that was looked up is begun alone."""
        suspects = [item for item in chunk.pending if item.must_be_alone]
        if suspects and not chunk.is_alone:
            chunk.pending = deque(item for item in chunk.pending if not item.must_be_alone)
            self._quarantine.add(suspects)

    # -- going ---------------------------------------------------------------------------------

    def next_chunk(self, now: float, *, is_quiet: bool, computes: bool) -> Chunk | None:
        """What is to be begun next.

        Args:
            now: by the monotonic clock.
            is_quiet: nothing is running.
            computes: a worker is busy with quick bodies. A second one beside it would only fight it
                for Python's lock, which makes each of them slower than both together are now.
        """
        return self._next_suspect(now, is_quiet) or self._next_ordinary(now, computes)

    def _next_suspect(self, now: float, is_quiet: bool) -> Chunk | None:
        item = self._quarantine.take(
            now,
            is_quiet=is_quiet,
            has_room=lambda item: item.lane.free(item.step) > 0,
            others=any(lane.could_begin() for lane in self.lanes),
        )
        return None if item is None else item.lane.take_alone(item)

    def _next_ordinary(self, now: float, computes: bool) -> Chunk | None:
        if self._quarantine.keeps_back(now):
            return None
        for _ in range(len(self._turns)):
            self._turns.rotate(-1)
            lane, status = self._turns[-1]
            step = lane.steps[status]
            if computes and lane.is_quick(step):
                continue
            if lane.free(step) > 0 and lane.queues[status]:
                self._quarantine.others_began()
                return lane.take(step)
        return None

    def may_begin(self, item: Item, now: float) -> bool:
        """Whether its body may begin, as it was claimed; False: a suspect is to be alone."""
        if self._quarantine.keeps_back(now, item):
            return False
        self._quarantine.begin(item, now)
        return True

    def ended(self, item: Item) -> None:
        """What was claimed has ended, or is not begun after all."""
        self._quarantine.end(item)

    def bring_back_postponed(self, now: float) -> bool:
        """Those whose time has come wait with the others; answers whether there were any."""
        due = [item for due, item in self._postponed if due <= now]
        if due:
            self.put_back(due)
            self._postponed = [(due, item) for due, item in self._postponed if due > now]
        return bool(due)

    # -- as it is ------------------------------------------------------------------------------

    def could_begin(self) -> int:
        """How many bodies could begin at once."""
        suspects = 0 if self._quarantine.is_empty else 1
        return suspects + sum(lane.could_begin() for lane in self.lanes)

    def next_due(self) -> float | None:
        """When time alone lets something begin, by the monotonic clock."""
        dues = [due for due, _ in self._postponed]
        alone = self._quarantine.next_due()
        return min(dues if alone is None else [*dues, alone], default=None)

    def until_due(self, clock: Clock) -> float:
        """The same as seconds from now; infinite where only something else lets anything begin."""
        due = self.next_due()
        return math.inf if due is None else max(0.0, due - clock.monotonic())

    def close(self) -> Sequence[Item]:
        """Nothing is begun any more; answers all that waited."""
        items = [item for _, item in self._postponed] + self._quarantine.clear()
        for lane in self.lanes:
            lane.is_stopping = True
            for queue in lane.queues.values():
                items += queue
                queue.clear()
        self._postponed.clear()
        return items
