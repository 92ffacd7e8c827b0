"""The inbox: what a member has received, between the thread that polls and those who work.

The poller puts messages in, the engine takes deliveries out and acks them in any order. A
partition that is taken away vanishes from here with all that was not handed out; what was handed
out goes on being worked on, and its acks count for nothing any more.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from typing import Generic, NamedTuple, TypeAlias, TypeVar, cast

from workflow_core.errors import AdapterError, ClosedError
from workflow_core.ports import Delivery

from workflow_kafka.offsets import Partition

__all__ = ["Hungry", "Inbox", "Key", "Place", "Received"]

T = TypeVar("T")
Key: TypeAlias = tuple[str, int]


class Place(NamedTuple):
    """Where a member begins in a partition."""

    topic: str
    number: int
    start: int
    suspect_to: int


class Received(NamedTuple, Generic[T]):
    """One message; ``item`` is None where there is nothing to hand out."""

    key: Key
    offset: int
    item: T | None


class Hungry(NamedTuple):
    """A partition of which the next message is asked for, and for how long by now."""

    key: Key
    offset: int
    seconds: float


class Inbox(Generic[T]):
    """Any thread.

    Args:
        limit: items waiting to be handed out beyond which there is no room.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._changed = threading.Condition()
        self._waiting: deque[Delivery[T]] = deque()
        self._partitions: dict[Key, Partition] = {}
        self._former: dict[Key, Partition] = {}
        self._trouble: AdapterError | None = None
        self._is_troubled = False
        self._acked = False
        self._closed = False
        self._full_at = time.monotonic()  # when it was seen to be full, at last

    # -- the engine's side ---------------------------------------------------------------------

    def take(self, limit: int, timeout: timedelta) -> list[Delivery[T]]:
        """Wait for the first; then what is there.

        Raises:
            ClosedError: it was closed.
            AdapterUnavailableError: the poller met trouble, told once.
        """
        with self._changed:
            if not self._may_go_on() and timeout:
                wait = min(timeout.total_seconds(), threading.TIMEOUT_MAX)
                self._changed.wait_for(self._may_go_on, wait)
            self._check_open()
            if not self._waiting and self._trouble is not None:
                trouble, self._trouble = self._trouble, None
                raise trouble
            was_full = len(self._waiting) >= self._limit
            taken = [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]
            if was_full:
                self._full_at = time.monotonic()
                self._changed.notify_all()
            return taken

    def ack(self, deliveries: Iterable[Delivery[T]]) -> None:
        """These are done, unless their partition is another member's by now.

        Raises:
            ClosedError: it was closed.
        """
        with self._changed:
            self._check_open()
            for delivery in deliveries:
                partition, offset = cast("tuple[Partition, int]", delivery.receipt)
                self._acked |= partition.finish(offset)
            self._changed.notify_all()

    def close(self) -> bool:
        """End blocked calls; False if it was closed before."""
        with self._changed:
            was_open, self._closed = not self._closed, True
            self._waiting.clear()
            self._changed.notify_all()
            return was_open

    def hungry(self) -> list[Hungry]:
        """What it asks for, and in vain for how long; nothing while it is full or closed.

        Not since it was full at last, as what is there then waits its turn, and not since before a
        partition was ours.
        """
        with self._changed:
            if self._closed or self._room() <= 0:
                return []
            now = time.monotonic()
            return [
                Hungry(partition.key, partition.next, now - max(partition.fed_at, self._full_at))
                for partition in self._partitions.values()
            ]

    # -- the poller's side ---------------------------------------------------------------------

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def room(self, wait: float) -> int:
        """How many more may come in; waits so many seconds for there to be some."""
        with self._changed:
            self._changed.wait_for(lambda: self._room() > 0 or self._closed, wait)
            return self._room()

    def pause(self, seconds: float) -> None:
        """Wait, but not beyond the closing."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed, seconds)

    def put(self, received: Sequence[Received[T]]) -> None:
        """In the order in which they came; of partitions that are not ours any more none."""
        with self._changed:
            self._is_troubled = False
            for key, offset, item in received:
                partition = self._partitions.get(key)
                if partition is None:
                    continue
                if offset < partition.next:  # the topic was deleted and made anew
                    partition = self._partitions[key] = Partition(*key, offset)
                partition.receive(offset)
                partition.fed_at = time.monotonic()
                if item is None:
                    self._acked |= partition.finish(offset)
                    continue
                suspect = offset < partition.suspect_to
                receipt = (partition, offset)
                self._waiting.append(Delivery(event=item, receipt=receipt, suspect=suspect))
            self._changed.notify_all()

    def fail(self, trouble: AdapterError) -> None:
        """Let whoever receives know; once, until all is well again.

        The member recovers by itself: told again and again, the engine would wait longer and
        longer, and in the end longer than the trouble lasts.
        """
        with self._changed:
            if not self._is_troubled:
                self._is_troubled = True
                self._trouble = trouble
                self._changed.notify_all()

    def assign(self, places: Iterable[Place]) -> list[Partition]:
        """These partitions are ours now.

        One that was ours before goes on where it was, as what it handed out is still being worked
        on; unless its committed offset says that it was moved meanwhile, back or far ahead.
        """
        with self._changed:
            self._is_troubled = False
            assigned = []
            for topic, number, start, suspect_to in places:
                former = self._former.pop((topic, number), None)
                if former is not None and former.committed <= start <= former.next:
                    partition = former
                    partition.skip_to(start)
                else:
                    partition = Partition(topic, number, start)
                partition.committed = start
                partition.suspect_to = suspect_to
                partition.fed_at = time.monotonic()
                self._partitions[partition.key] = partition
                assigned.append(partition)
            return assigned

    def withdraw(self, keys: Collection[Key], patience: float) -> None:
        """Hand out nothing more of these, and wait for what is in hand, at most so many seconds."""
        with self._changed:
            leaving = [self._partitions[key] for key in keys if key in self._partitions]
            self._take_back(leaving)
            self._changed.wait_for(
                lambda: self._closed or not any(partition.in_hand for partition in leaving),
                patience,
            )

    def drop(self, keys: Collection[Key]) -> None:
        """These are not ours any more."""
        with self._changed:
            leaving = [self._partitions[key] for key in keys if key in self._partitions]
            self._take_back(leaving)
            for partition in leaving:
                del self._partitions[partition.key]
                if partition.in_hand:
                    self._former[partition.key] = partition

    def held(self, keys: Collection[Key] | None = None) -> list[Partition]:
        """Our partitions, all or of these."""
        with self._changed:
            if keys is None:
                return list(self._partitions.values())
            return [self._partitions[key] for key in keys if key in self._partitions]

    def progress(self, partitions: Iterable[Partition]) -> list[tuple[Partition, int]]:
        """Up to where each is done."""
        with self._changed:
            self._acked = False
            return [(partition, partition.safe) for partition in partitions]

    @property
    def has_news(self) -> bool:
        """Whether anything was acked since `progress` was asked for."""
        return self._acked

    # ------------------------------------------------------------------------------------------

    def _room(self) -> int:
        return self._limit - len(self._waiting)

    def _may_go_on(self) -> bool:
        return bool(self._waiting) or self._closed or self._trouble is not None

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the event receiver was closed", adapter="kafka")

    def _take_back(self, leaving: Sequence[Partition]) -> None:
        """What waits here of these partitions was never handed out."""
        if not leaving:
            return
        stay: deque[Delivery[T]] = deque()
        for delivery in self._waiting:
            partition, offset = cast("tuple[Partition, int]", delivery.receipt)
            if partition in leaving:
                partition.give_back(offset)
            else:
                stay.append(delivery)
        self._waiting = stay
        self._changed.notify_all()
