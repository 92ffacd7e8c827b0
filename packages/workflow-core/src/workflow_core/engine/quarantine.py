"""Quarantine: grave suspects are begun one by one, and for a while nothing begins beside them.

A process may have died of a suspect (`suspicion`). So it begins when nothing else runs here, and
has the process to itself: if it dies again, nobody else does. Neither may last: a step that runs
for minutes does not keep a suspect waiting, and a suspect that runs for minutes keeps nobody
waiting. What was begun among others when the process died gets a moment, since there may be
hundreds of it and nearly all of it is innocent; what was begun alone, and did not come back, gets
seconds. Between two suspects ordinary work has its turn. What a dead process merely had in hand
does not come here: it is begun like all else, under a mark (`suspects`).

Not locked: the window calls it under its own lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from workflow_core.engine.lane import Item
from workflow_core.engine.suspicion import Suspicion, suspicion_of

__all__ = ["Quarantine"]

_MOMENT = 0.1  # seconds
_SECONDS = 5.0


class Quarantine:
    """Those that wait, and the one that runs alone."""

    def __init__(self) -> None:
        self._waiting: deque[Item] = deque()
        self._asked_at: float | None = None  # since when ordinary work is kept back for the first
        self._alone: Item | None = None
        self._moment = 0.0  # seconds that it is granted
        self._until = 0.0  # so long nothing begins beside it
        self._others_first = False

    def add(self, items: Iterable[Item]) -> None:
        """They are looked up, and wait for their turn."""
        self._waiting.extend(items)

    @property
    def is_empty(self) -> bool:
        """Whether none waits."""
        return not self._waiting

    def take(
        self, now: float, *, is_quiet: bool, has_room: Callable[[Item], bool], others: bool
    ) -> Item | None:
        """The next one, if it is its turn. `others`: ordinary work could begin now."""
        if self._alone is not None and now >= self._until:
            self.end(self._alone)
        if self._alone is not None or (self._others_first and others):
            return None
        item = next((item for item in self._waiting if has_room(item)), None)
        if item is None:
            return None
        if self._asked_at is None:
            self._asked_at = now
        if not is_quiet and now - self._asked_at < _patience(item):
            return None
        self._waiting.remove(item)
        self._asked_at = None
        self._alone, self._moment = item, _patience(item)
        self._until = float("inf")  # until it begins
        return item

    def keeps_back(self, now: float, item: Item | None = None) -> bool:
        """Whether ordinary work, or this item, is not to begin now."""
        if item is not None and item is self._alone:
            return False
        is_alone = self._alone is not None and now < self._until
        return is_alone or self._asked_at is not None

    def others_began(self) -> None:
        """Ordinary work has had its turn."""
        self._others_first = False

    def begin(self, item: Item, now: float) -> None:
        """Its body begins."""
        if item is self._alone:
            self._until = now + self._moment

    def end(self, item: Item) -> None:
        """It has ended, or is not begun after all."""
        if item is self._alone:
            self._alone, self._others_first = None, True

    def next_due(self) -> float | None:
        """When time alone lets something begin, by the monotonic clock."""
        if self._alone is not None and self._until < float("inf"):
            return self._until
        if self._alone is None and self._asked_at is not None:
            return self._asked_at + max(_patience(item) for item in self._waiting)
        return None

    def clear(self) -> list[Item]:
        """Nothing begins any more; answers those that waited."""
        items = list(self._waiting)
        self._waiting.clear()
        self._asked_at = None
        return items


def _patience(item: Item) -> float:
    return _SECONDS if suspicion_of(item.event) is Suspicion.BEGUN else _MOMENT
