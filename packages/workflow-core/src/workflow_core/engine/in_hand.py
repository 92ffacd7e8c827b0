"""What a process has in hand: items by what they are about, and who waits for whom.

Not locked: the window calls it under its own lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from workflow_core.engine.lane import Item
from workflow_core.engine.onward import Settled
from workflow_core.model import Event, Record
from workflow_core.ports import Receiver

__all__ = ["InHand"]

_CROWD = 1000  # items of a lane beyond which runs wait for their events, as newcomers do


class InHand:
    """Each version of a run is here once, and of the versions of one run only the first may begin.

    The others stand in line behind it.
    """

    def __init__(self) -> None:
        self._items: dict[tuple[str, int, int], Item] = {}
        self._lines: dict[str, deque[Item] | None] = {}  # by run, where one is in hand
        self.settled = Settled()

    def find(self, event: Event) -> Item | None:
        """What is in hand of this very version."""
        return self._items.get((event.run_id, event.version, event.status))

    def has(self, record: Record) -> bool:
        """Whether the run is in hand as it is."""
        return (record.run_id, record.version, record.status) in self._items

    def holds(self, item: Item) -> bool:
        """Whether it is in hand, and was not dropped."""
        return self._items.get(item.key) is item

    def has_come_through(self, receiver: Receiver[Event]) -> bool:
        """Whether any of it, or of what it has gone onward from, came from this receiver."""
        return any(
            item.receiver is receiver or any(source is receiver for source, _ in item.receipts)
            for item in self._items.values()
        )

    def all(self) -> list[Item]:
        """Everything."""
        return list(self._items.values())

    def add(self, item: Item) -> bool:
        """Take it; answers whether it may begin: no other version of its run is in hand."""
        self._items[item.key] = item
        item.lane.in_hand += 1
        item.lane.at[item.event.status] += 1
        run_id = item.event.run_id
        if run_id not in self._lines:
            self._lines[run_id] = None
            return True
        line = self._lines[run_id]
        if line:
            line.append(item)
        else:
            self._lines[run_id] = deque([item])
        return False

    def move(self, item: Item, event: Event) -> None:
        """The first of its run stands for another version from now on.

        If that has arrived already, and stands in line, its receipts are the item's.
        """
        del self._items[item.key]
        item.event = event
        arrived = self._items.get(item.key)
        if arrived is not None:
            item.receipts += arrived.receipts
            line = self._lines[event.run_id]
            assert line is not None
            line.remove(arrived)
            self._drop(arrived)
        self._items[item.key] = item

    def release(self, item: Item, now: float, onward: Event | None = None) -> Item | None:
        """It is done with; answers the one that may begin now.

        That is who stands in line, or else what its run goes onward with.
        """
        self._drop(item)
        if not item.receipts:
            self.settled.note(item.key, now)
        run_id = item.event.run_id
        line = self._lines[run_id]
        if line:
            return line.popleft()
        del self._lines[run_id]
        lane, reading = item.lane, item.lane.reading
        if onward is None or reading is None or item.receiver is not reading.receiver:
            return None
        if lane.in_hand >= _CROWD:
            return None
        follower = Item(lane, onward, reading.receiver, now)
        self.add(follower)
        return follower

    def let_pass(self, items: Iterable[Item]) -> list[Item]:
        """Instead of each that is ahead of its record, an older version that stands in line behind.

        Where a store has lost its last writes, what drives the run is the older event, and it would
        wait for one of a version that never was.
        """
        return [self._older(item) for item in items]

    def _older(self, item: Item) -> Item:
        line = self._lines[item.event.run_id]
        older = min(line or (), key=lambda each: each.event.version, default=item)
        if line is None or older.event.version >= item.event.version:
            return item
        line.remove(older)
        line.appendleft(item)
        return older

    def forget(self, items: Iterable[Item]) -> None:
        """They are not begun here any more, nor is what stands in line behind them."""
        for item in items:
            self._drop(item)
            for follower in self._lines.pop(item.event.run_id) or ():
                self._drop(follower)

    def close(self, items: Iterable[Item]) -> None:
        """These are not begun any more, nor is anything that stands in line."""
        self.forget(items)
        for line in self._lines.values():
            while line:
                self._drop(line.popleft())

    def _drop(self, item: Item) -> None:
        del self._items[item.key]
        item.lane.in_hand -= 1
        item.lane.at[item.event.status] -= 1
