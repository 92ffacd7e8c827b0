"""The rolling window: all that a process has received and not yet acknowledged.

::

    Reception ──admit──► queues by status ──claim──► Worker ──finish──► Committer ──settle──► acks
                              ▲                          │
                              └──── put back / postpone ─┘

Rules it keeps:

- One version of a run is in hand once: a second delivery of it only adds a receipt.
- Versions of one run are worked on one after the other: a second version waits for the first.
- Each step has at most ``concurrency`` bodies running in this process.
- Nothing waits long between its look-up and its start: a worker claims only as many items as it
  will have begun within ~50 ms, and what a slow body blocks is taken back and looked up again.
- Finished work is flushed when its chunk is done, the batch is full, or after ~20 ms.

Any thread may call any method.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import TypeAlias

from workflow_core.engine.lane import BATCH, FRESH, Chunk, Finished, Item, Lane, Receipt
from workflow_core.model import Event, Record
from workflow_core.ports import Clock, Delivery, Receiver, Write

__all__ = ["Window"]

Items: TypeAlias = Iterable[Item]

LANE_LIMIT = 2000  # items in hand per lane before it stops receiving
LOOK_AGAIN = 0.25  # seconds between look-ups of a record that has not arrived
FLUSH_AFTER = 0.02  # seconds a finished item may wait for others


class Window:
    """See the module's text.

    Args:
        clock: for ages, by its monotonic side.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._done = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._lanes: list[Lane] = []
        self._turns: deque[tuple[Lane, int]] = deque()
        self._items: dict[tuple[str, int, int], Item] = {}
        self._runs: dict[str, deque[Item]] = {}
        self._chunks: set[Chunk] = set()
        self._executing: set[Item] = set()
        self._postponed: list[tuple[float, Item]] = []
        self._finished: deque[Finished] = deque()
        self._idle_workers = 0
        self._closing = False
        self.on_crowded: Callable[[int], None] = lambda bodies: None
        """Called, without the lock, when every worker is in a slow body: so many more could run."""

    # -- reception -----------------------------------------------------------------------------

    def add_lane(self, lane: Lane) -> None:
        """Serve one more pool."""
        with self._lock:
            self._lanes.append(lane)
            self._turns.extend((lane, status) for status in lane.steps)

    def room(self, lane: Lane, wait: timedelta) -> int:
        """How many more items the lane may receive; waits for some room at most `wait`."""
        with self._lock:
            if lane.in_hand >= LANE_LIMIT or self._closing:
                self._room.wait(wait.total_seconds())
            return 0 if self._closing else max(0, LANE_LIMIT - lane.in_hand)

    def admit(
        self, lane: Lane, receiver: Receiver[Event], deliveries: Sequence[Delivery[Event]]
    ) -> None:
        """Take over deliveries; those that are not for this lane are done at once."""
        now = self._clock.monotonic()
        with self._lock:
            if self._closing:
                return
            for delivery in deliveries:
                receipt = (receiver, delivery)
                event = delivery.event
                if not lane.is_for_us(event):
                    lane.to_ack.append(receipt)
                    continue
                known = self._items.get((event.run_id, event.version, event.status))
                if known is not None:
                    known.receipts.append(receipt)
                    continue
                self._add(Item(lane, event, receipt, now))
            self._work.notify()
        self.ease()

    def _add(self, item: Item) -> None:
        event = item.event
        self._items[item.key] = item
        item.lane.in_hand += 1
        waiting = self._runs.get(event.run_id)
        if waiting is None:
            self._runs[event.run_id] = deque()
            item.lane.queues[event.status].append(item)
        else:
            waiting.append(item)

    def has(self, record: Record) -> bool:
        """Whether the run is in hand as it is."""
        with self._lock:
            return (record.run_id, record.version, record.status) in self._items

    def take_acks(self, lane: Lane) -> list[Receipt]:
        """Receipts of settled items, to be acked by the lane's reception."""
        with self._lock:
            receipts, lane.to_ack = lane.to_ack, []
            return receipts

    def give_back_acks(self, lane: Lane, receipts: Iterable[Receipt]) -> None:
        """They could not be acked now."""
        with self._lock:
            lane.to_ack[:0] = receipts

    def holds(self, receiver: Receiver[Event]) -> bool:
        """Whether anything in hand, or to be acked, came from this receiver."""
        with self._lock:
            return any(
                source is receiver for item in self._items.values() for source, _ in item.receipts
            ) or any(source is receiver for lane in self._lanes for source, _ in lane.to_ack)

    def crowded(self) -> bool:
        """Whether received work waits to be begun."""
        with self._lock:
            return self._could_begin() > 0

    def _could_begin(self) -> int:
        return sum(lane.could_begin() for lane in self._lanes)

    def ease(self) -> None:
        """Take back what a slow body blocks, and ask for workers if all are in slow bodies."""
        now = self._clock.monotonic()
        with self._lock:
            self._bring_back_postponed()
            for chunk in self._chunks:
                if chunk.pending and chunk.body_age(now) > FRESH:
                    self._requeue(chunk.take_back())
                    self._done.notify()
            # More threads help only where bodies wait for something; else they fight for Python.
            waits = [chunk.waits(now) for chunk in self._chunks]
            more = self._could_begin() if all(waits) and not self._closing else 0
            if more and self._idle_workers:
                self._work.notify()
                more = 0
        if more and waits:  # without any chunk the workers are on their way to claim one
            self.on_crowded(more)

    def take_excess(self, lane: Lane) -> list[tuple[Item, float]]:
        """Where the lane is full of one slow step's work: what would wait longest, and how long.

        It is the caller's now, to be settled or put back.
        """
        now = self._clock.monotonic()
        with self._lock:
            if lane.in_hand < LANE_LIMIT or self._closing:
                return []
            bodies = dict(lane.pace)
            for item in self._executing:
                if item.lane is lane:
                    status, age = item.event.status, now - item.started_at
                    bodies[status] = max(bodies.get(status, 0.0), age)
            return [
                entry
                for status, seconds in bodies.items()
                for entry in lane.excess(lane.steps[status], seconds)
            ]

    # -- workers -------------------------------------------------------------------------------

    def claim(self, wait: timedelta) -> Chunk | None:
        """Items of one step to be looked up and run; None when there are none within `wait`."""
        with self._lock:
            chunk = self._next_chunk()
            if chunk is None and wait:
                self._idle_workers += 1
                self._work.wait(wait.total_seconds())
                self._idle_workers -= 1
                chunk = self._next_chunk()
            return chunk

    def _next_chunk(self) -> Chunk | None:
        if self._closing:
            return None
        self._bring_back_postponed()
        for _ in range(len(self._turns)):
            self._turns.rotate(-1)
            lane, status = self._turns[-1]
            step = lane.steps[status]
            if lane.free(step) > 0 and lane.queues[status]:
                chunk = lane.take(step)
                self._chunks.add(chunk)
                return chunk
        return None

    def looked_up(self, chunk: Chunk, ready: Items, done: Items, later: Items) -> None:
        """Of a chunk's pending items these are to run, these done, these to be looked up again."""
        with self._lock:
            if self._closing:  # they were dropped with the entrance
                return
            chunk.pending = deque(ready)
            self._settle(done)
            due = self._clock.monotonic() + LOOK_AGAIN
            self._postponed.extend((due, item) for item in later)

    def begin(self, item: Item) -> bool:
        """Its body starts now; False: nothing is begun any more, put it back."""
        with self._lock:
            if self._closing:
                return False
            item.started_at = self._clock.monotonic()
            self._executing.add(item)
            return True

    def finish(
        self,
        item: Item,
        before: Record,
        write: Write,
        *,
        last: bool = True,
        refused: bool = False,
    ) -> None:
        """Its outcome is known; `last`: no other of its chunk will follow right away."""
        now = self._clock.monotonic()
        with self._lock:
            if item in self._executing:
                self._executing.discard(item)
                item.lane.learn(item.event.status, now - item.started_at)
            self._finished.append(Finished(item, before, write, now, refused))
            waiting = len(self._finished)  # the first one starts the time that it waits for others
            if last or waiting == 1 or waiting >= BATCH:
                self._done.notify()

    def end_chunk(self, chunk: Chunk) -> None:
        """The worker is through with it; async bodies may still be running."""
        with self._lock:
            self._chunks.discard(chunk)
            if not chunk.step.is_async:
                chunk.lane.running[chunk.step.status] -= 1
            self._done.notify()
            self._work.notify()

    def end_async(self, lane: Lane, status: int, count: int = 1) -> None:
        """So many async bodies, or items that were claimed for one, no longer run."""
        with self._lock:
            lane.running[status] -= count
            self._work.notify()

    def put_back(self, items: Sequence[Item]) -> None:
        """They were not begun: look them up again later, before all others."""
        with self._lock:
            self._requeue(items)

    def _requeue(self, items: Sequence[Item]) -> None:
        for item in reversed(items):
            if self._closing:
                self._forget(item)
                continue
            item.lane.queues[item.event.status].appendleft(item)
        self._work.notify()

    def postpone(self, item: Item, seconds: float) -> None:
        """Look it up again later: its record has not arrived yet."""
        with self._lock:
            if self._closing:
                self._forget(item)
            else:
                self._postponed.append((self._clock.monotonic() + seconds, item))

    def _bring_back_postponed(self) -> None:
        if not self._postponed:
            return
        now = self._clock.monotonic()
        self._requeue([item for due, item in self._postponed if due <= now])
        self._postponed = [(due, item) for due, item in self._postponed if due > now]

    # -- committer -----------------------------------------------------------------------------

    def take_finished(self, wait: timedelta) -> list[Finished]:
        """Outcomes to commit together: at most one per run. [] when none come within `wait`."""
        with self._lock:
            if not self._finished and wait:
                self._done.wait(wait.total_seconds())
            if wait and self._finished and self._more_come_soon():
                rest = self._finished[0].since + FLUSH_AFTER - self._clock.monotonic()
                if rest > 0:
                    self._done.wait(rest)
            return [self._finished.popleft() for _ in range(min(BATCH, len(self._finished)))]

    def _more_come_soon(self) -> bool:
        return len(self._finished) < BATCH and any(
            chunk.pending and not chunk.step.is_async for chunk in self._chunks
        )

    def give_back_finished(self, batch: Sequence[Finished]) -> None:
        """The store did not answer: commit them again, before all others."""
        with self._lock:
            self._finished.extendleft(reversed(batch))

    def settle(self, items: Items) -> None:
        """Their outcome is committed, or there is nothing to do for them: they may be acked."""
        with self._lock:
            self._settle(items)

    def _settle(self, items: Items) -> None:
        for item in items:
            self._drop(item)
            self._executing.discard(item)
            item.lane.to_ack.extend(item.receipts)
            waiting = self._runs[item.event.run_id]
            if waiting:
                follower = waiting.popleft()
                follower.lane.queues[follower.event.status].append(follower)
            else:
                del self._runs[item.event.run_id]
        self._room.notify_all()
        self._work.notify()

    # -- safety, stop --------------------------------------------------------------------------

    def executing(self, longer_than: float) -> list[Item]:
        """Items whose body has been running for so many seconds."""
        now = self._clock.monotonic()
        with self._lock:
            return [i for i in self._executing if now - i.started_at >= longer_than]

    def let_ack(self, item: Item) -> None:
        """A durable copy drives the item now: what was delivered may be acked at once."""
        with self._lock:
            item.lane.to_ack.extend(item.receipts)
            item.receipts = []

    def next_postponed(self) -> float | None:
        """When the first postponed item is due, by the monotonic clock."""
        with self._lock:
            return min((due for due, _ in self._postponed), default=None)

    def close_entrance(self) -> None:
        """Receive and begin nothing more. What waits to be begun is dropped: it comes again."""
        with self._lock:
            self._closing = True
            for chunk in self._chunks:
                for item in chunk.take_back():
                    self._forget(item)
            for lane in self._lanes:
                for queue in lane.queues.values():
                    while queue:
                        self._forget(queue.popleft())
            for _, item in self._postponed:
                self._forget(item)
            self._postponed.clear()
            for waiting in self._runs.values():
                while waiting:
                    self._drop(waiting.popleft())
            for condition in (self._work, self._done, self._room):
                condition.notify_all()

    def _forget(self, item: Item) -> None:
        self._drop(item)
        for follower in self._runs.pop(item.event.run_id):
            self._drop(follower)

    def _drop(self, item: Item) -> None:
        del self._items[item.key]
        item.lane.in_hand -= 1

    def in_hand(self) -> list[Item]:
        """All that is received and not settled."""
        with self._lock:
            return list(self._items.values())

    def wait_empty(self, timeout: timedelta) -> bool:
        """After `close_entrance`: wait until all that was begun is committed."""
        end = self._clock.monotonic() + timeout.total_seconds()
        while True:
            if not self.in_hand():
                return True
            rest = end - self._clock.monotonic()
            if rest <= 0:
                return False
            with self._lock:
                self._room.wait(min(rest, 0.05))
