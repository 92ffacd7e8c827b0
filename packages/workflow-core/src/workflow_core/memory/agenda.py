"""What is due when: the order behind the outbox and the timers."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice

from workflow_core.memory.sorted_keys import SortedKeys

__all__ = ["Agenda", "earliest"]

_STALE_AT_LEAST = 64  # fewer dead entries are not worth a rebuild


class _Entry:
    __slots__ = ("due", "hidden", "number", "visible")

    def __init__(self, due: datetime, visible: datetime, number: int) -> None:
        self.due = due
        self.visible = visible
        self.number = number
        self.hidden = True


class Agenda:
    """Ids, each with the time at which it is due and the time until which it is hidden.

    What is hidden waits in a heap, what is not stands in order of due time, so that neither a look
    at what is due nor one at what comes next walks over the rest. What leaves the agenda early
    leaves a dead entry in the heap; when most are dead it is rebuilt. Not thread-safe.
    """

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._hidden: list[tuple[datetime, int, str]] = []
        self._due: SortedKeys[tuple[datetime, int, str]] = SortedKeys()
        self._stale = 0

    def __bool__(self) -> bool:
        return bool(self._entries)

    def put(self, id_: str, number: int, *, due: datetime, visible: datetime) -> None:
        """Enter an id that is not there yet; of equal due times the smaller number goes first."""
        self._entries[id_] = _Entry(due, visible, number)
        heapq.heappush(self._hidden, (visible, number, id_))

    def hide(self, id_: str, until: datetime) -> None:
        """Hide the id until then, or until it is due, whatever is later."""
        entry = self._entries[id_]
        number = entry.number
        self.discard(id_)
        self.put(id_, number, due=entry.due, visible=max(entry.due, until))

    def rename(self, id_: str, new: str) -> None:
        """The same under another id, in its place."""
        entry = self._entries[id_]
        self.discard(id_)
        self.put(new, entry.number, due=entry.due, visible=entry.visible)

    def discard(self, id_: str) -> None:
        """Forget the id, if it is there."""
        entry = self._entries.pop(id_, None)
        if entry is None:
            return
        if not entry.hidden:
            self._due.discard((entry.due, entry.number, id_))
            return
        self._stale += 1
        if self._stale > _STALE_AT_LEAST and 2 * self._stale > len(self._hidden):
            self._rebuild()

    def due(self, now: datetime) -> Iterator[tuple[datetime, int, str]]:
        """(due time, number, id) of all that is due and not hidden, earliest due first."""
        self._surface(now)
        return self._due.after(None)

    def soon(self, now: datetime, until: datetime, most: int) -> list[tuple[datetime, int, str]]:
        """As `due`, and what will be due and not hidden by `until`: `most` of these at most."""
        found = list(islice(self.due(now), most))
        coming: list[tuple[datetime, int, str]] = []
        while self._hidden and self._hidden[0][0] <= until and len(coming) < most:
            item = heapq.heappop(self._hidden)
            if self._is_alive(item):
                coming.append(item)
            else:
                self._stale -= 1
        for item in coming:
            heapq.heappush(self._hidden, item)
        return (found + coming)[:most]

    def due_of(self, id_: str) -> datetime:
        """When the id is due."""
        return self._entries[id_].due

    def next(self, now: datetime) -> datetime | None:
        """When the next one is due and not hidden: not after ``now`` if one is, None if none is."""
        self._surface(now)
        if self._due:
            return now
        while self._hidden and not self._is_alive(self._hidden[0]):
            heapq.heappop(self._hidden)
            self._stale -= 1
        return self._hidden[0][0] if self._hidden else None

    def backlog(self, now: datetime, most: int) -> tuple[int, int, datetime | None]:
        """How many are due and how many are not, of `most` at most, and when the first was due."""
        times = [entry.due for entry in islice(self._entries.values(), most)]
        due = [time for time in times if time <= now]
        return len(due), len(times) - len(due), min(due, default=None)

    def _surface(self, now: datetime) -> None:
        while self._hidden and self._hidden[0][0] <= now:
            item = heapq.heappop(self._hidden)
            if self._is_alive(item):
                _, number, id_ = item
                entry = self._entries[id_]
                entry.hidden = False
                self._due.add((entry.due, number, id_))
            else:
                self._stale -= 1

    def _is_alive(self, item: tuple[datetime, int, str]) -> bool:
        visible, number, id_ = item
        entry = self._entries.get(id_)
        return (
            entry is not None
            and entry.hidden
            and entry.number == number
            and entry.visible == visible
        )

    def _rebuild(self) -> None:
        self._hidden = [
            (entry.visible, entry.number, id_)
            for id_, entry in self._entries.items()
            if entry.hidden
        ]
        heapq.heapify(self._hidden)
        self._stale = 0


def earliest(agendas: Iterable[Agenda], now: datetime, *, limit: int) -> list[str]:
    """The ids over all these agendas that are due, earliest due first, at most ``limit``."""
    merged = heapq.merge(*(agenda.due(now) for agenda in agendas))
    return [id_ for _, _, id_ in islice(merged, limit)]
