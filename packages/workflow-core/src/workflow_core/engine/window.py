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
- What a process may have died of is begun alone (`quarantine`).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TypeAlias

from workflow_core.engine.executing import Executing
from workflow_core.engine.in_hand import InHand
from workflow_core.engine.lane import FRESH, Chunk, Finished, Item, Lane, Receipt
from workflow_core.engine.outcomes import Outcomes
from workflow_core.engine.waiting import Waiting
from workflow_core.model import Event, Record
from workflow_core.ports import Clock, Delivery, Receiver, Write

__all__ = ["Window"]

Items: TypeAlias = Iterable[Item]
Onward: TypeAlias = Mapping[Item, Event]

LANE_LIMIT = 2000  # items in hand per lane before it stops receiving
LOOK_AGAIN = 0.25  # seconds between look-ups of a record that has not arrived
_NOWHERE: Onward = {}


class Window:
    """See the module's text. Any thread may call any method.

    Args:
        clock: for ages, by its monotonic side.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.lock = threading.Lock()  # for the fields of its lanes too
        self._work = threading.Condition(self.lock)
        self._room = threading.Condition(self.lock)
        self._in_hand = InHand()
        self._waiting = Waiting()
        self._chunks: set[Chunk] = set()
        self._executing = Executing()
        self.outcomes = Outcomes(self.lock, clock, self._chunks)
        self._idle_workers = 0
        self._closing = False
        self.on_crowded: Callable[[int], None] = lambda bodies: None
        """Called, without the lock, when every worker is in a slow body: so many more could run."""

    # -- reception -----------------------------------------------------------------------------

    def add_lane(self, lane: Lane) -> None:
        """Serve one more pool."""
        with self.lock:
            self._waiting.add_lane(lane)

    def room(self, lane: Lane, wait: timedelta) -> int:
        """How many more items the lane may receive; waits for some room at most `wait`."""
        with self.lock:
            if lane.in_hand >= LANE_LIMIT or self._closing:
                self._room.wait(wait.total_seconds())
            return 0 if self._closing else max(0, LANE_LIMIT - lane.in_hand)

    def admit(
        self, lane: Lane, receiver: Receiver[Event], deliveries: Sequence[Delivery[Event]]
    ) -> None:
        """Take over deliveries; those that are not for this lane are done at once."""
        now = self._clock.monotonic()
        with self.lock:
            if self._closing:
                return
            for delivery in deliveries:
                receipt = (receiver, delivery)
                event = delivery.event
                if not lane.is_for_us(event) or self._in_hand.settled.take(event, now):
                    lane.to_ack.append(receipt)
                    continue
                known = self._in_hand.find(event)
                if known is not None:
                    known.deliver(receipt)
                    continue
                item = Item(lane, event, receiver, now)
                item.deliver(receipt)
                if self._in_hand.add(item):
                    self._waiting.add(item)
            self._work.notify()
        self.ease()

    def has(self, record: Record) -> bool:
        """Whether the run is in hand as it is."""
        with self.lock:
            return self._in_hand.has(record)

    def take_acks(self, lane: Lane) -> list[Receipt]:
        """Receipts of settled items, to be acked by the lane's reception."""
        with self.lock:
            receipts, lane.to_ack = lane.to_ack, []
            return receipts

    def give_back_acks(self, lane: Lane, receipts: Iterable[Receipt]) -> None:
        """They could not be acked now."""
        with self.lock:
            lane.to_ack[:0] = receipts

    def holds(self, receiver: Receiver[Event]) -> bool:
        """Whether anything in hand, or to be acked, came from this receiver."""
        with self.lock:
            to_ack = (source for lane in self._waiting.lanes for source, _ in lane.to_ack)
            return receiver in to_ack or self._in_hand.has_come_through(receiver)

    def crowded(self) -> bool:
        """Whether received work waits to be begun."""
        with self.lock:
            return self._waiting.could_begin() > 0

    def ease(self) -> None:
        """Take back what a slow body blocks, and ask for workers if all are in slow bodies."""
        now = self._clock.monotonic()
        with self.lock:
            self._bring_back_postponed(now)
            for chunk in self._chunks:
                if chunk.pending and chunk.body_age(now) > FRESH:
                    self._requeue(chunk.take_back())
                    self.outcomes.call()
            # More threads help only where bodies wait for something; else they fight for Python.
            waits = [chunk.waits(now) for chunk in self._chunks]
            more = self._waiting.could_begin() if all(waits) and not self._closing else 0
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
        with self.lock:
            if lane.in_hand < LANE_LIMIT or self._closing:
                return []
            return lane.excess(self._executing.paces(lane, now))

    # -- workers -------------------------------------------------------------------------------

    def claim(self, wait: timedelta) -> Chunk | None:
        """Items of one step to be looked up and run; None when there are none within `wait`."""
        with self.lock:
            chunk = self._next_chunk()
            if chunk is None and wait:
                self._idle_workers += 1
                self._work.wait(min(wait.total_seconds(), self._waiting.until_due(self._clock)))
                self._idle_workers -= 1
                chunk = self._next_chunk()
            return chunk

    def _next_chunk(self) -> Chunk | None:
        if self._closing:
            return None
        now = self._clock.monotonic()
        self._bring_back_postponed(now)
        chunk = self._waiting.next_chunk(
            now,
            is_quiet=not (self._chunks or self._executing),
            computes=any(chunk.computes(now) for chunk in self._chunks),
        )
        if chunk is not None:
            chunk.claimed_at = now
            self._chunks.add(chunk)
        return chunk

    def looked_up(self, chunk: Chunk, ready: Items, done: Items, later: Items) -> None:
        """Of a chunk's pending items these are to run, these done, these to be looked up again."""
        with self.lock:
            if self._closing:  # they were dropped with the entrance
                return
            chunk.pending = deque(ready)
            self._waiting.set_apart(chunk)
            self._settle(done)
            later = self._in_hand.let_pass(later)
            self._waiting.postpone(self._clock.monotonic() + LOOK_AGAIN, later)

    def begin(self, item: Item, record: Record) -> bool:
        """Its body starts now on this record; False: nothing is begun any more, put it back."""
        with self.lock:
            now = self._clock.monotonic()
            if self._closing or not self._waiting.may_begin(item, now):
                return False
            item.record = record
            self._executing.begin(item, now)
            return True

    def returned(self, item: Item) -> bool:
        """Its body has returned; False: it was given up before, and what it answers is void."""
        with self.lock:
            self._ended(item)
            return self._executing.returned(item)

    def late(self, run_id: str) -> Item | None:
        """What of this run was given up, and has not returned from its body yet."""
        return self._executing.late(run_id)

    @property
    def has_late(self) -> bool:
        """Whether a body that was given up has not returned yet."""
        return self._executing.has_late

    def begun_as(self, item: Item, event: Event) -> bool:
        """It stands for this event's version from now on; False: the entrance's end dropped it."""
        with self.lock:
            if not self._closing:
                self._in_hand.move(item, event)
            return not self._closing

    def finish(
        self,
        item: Item,
        before: Record,
        write: Write,
        *,
        chunk: Chunk | None = None,
        refused: bool = False,
    ) -> None:
        """Its outcome is known; `chunk`: of this one, whose worker sees to it at its end."""
        with self.lock:
            self._ended(item)
            finished = Finished(item, before, write, self._clock.monotonic(), refused)
            self.outcomes.add(finished, chunk)

    def _ended(self, item: Item) -> None:
        """Its body runs no more, if it ever did."""
        self._waiting.ended(item)
        self._executing.end(item, self._clock)

    def end_chunk(self, chunk: Chunk) -> bool:
        """All of it has begun, or is put back; async bodies may still be running.

        Answers whether its worker is to commit what is finished before it is to `leave`: where that
        is little, and nothing waits to be begun, no thread need be woken for it.
        """
        with self.lock:
            if chunk.suspect is not None and chunk.suspect not in self._executing:
                self._waiting.ended(chunk.suspect)
            if not chunk.step.is_async:
                chunk.lane.running[chunk.step.status] -= 1
            commits = self.outcomes.are_few and not self._waiting.could_begin()
            if commits:
                chunk.body_since = self._clock.monotonic()  # it takes its time like a body
            self._work.notify()
            return commits

    def leave(self, chunk: Chunk) -> None:
        """The worker is through with it; what is finished and not committed is the committer's."""
        with self.lock:
            self._chunks.discard(chunk)
            if self.outcomes:
                self.outcomes.call()

    def end_async(self, lane: Lane, status: int, count: int = 1) -> None:
        """So many async bodies, or items that were claimed for one, no longer run."""
        with self.lock:
            lane.running[status] -= count
            self._work.notify()

    def put_back(self, items: Sequence[Item]) -> bool:
        """They were not begun: look them up again later, before all others. False: dropped."""
        with self.lock:
            return self._requeue(items)

    def _requeue(self, items: Sequence[Item]) -> bool:
        if self._closing:
            self._in_hand.forget(items)
            return False
        self._waiting.put_back(items)
        self._work.notify()
        return True

    def postpone(self, item: Item, seconds: float) -> None:
        """Look it up again later: its record has not arrived yet, or its transaction was lost."""
        with self.lock:
            self._ended(item)
            if self._closing:
                self._in_hand.forget([item])
            else:
                self._waiting.postpone(self._clock.monotonic() + seconds, [item])

    def _bring_back_postponed(self, now: float) -> None:
        if self._waiting.bring_back_postponed(now):
            self._work.notify()

    # -- committer -----------------------------------------------------------------------------

    def doubt(self) -> None:
        """A server did not answer: it may be another one when it does, and deliver again."""
        with self.lock:
            self._in_hand.settled.forget()

    def settle(self, items: Items, onward: Onward = _NOWHERE) -> None:
        """Their outcome is committed, or there is nothing to do for them: they may be acked.

        `onward`: the events with which runs of them go onward, if they still may.
        """
        with self.lock:
            self._settle(items, _NOWHERE if self._closing else onward)

    def _settle(self, items: Items, onward: Onward = _NOWHERE) -> None:
        now = self._clock.monotonic()
        for item in items:
            self._ended(item)
            if not self._in_hand.holds(item):  # a stop has dropped it: it comes again, and is stale
                continue
            item.lane.to_ack.extend(item.receipts)
            follower = self._in_hand.release(item, now, onward.get(item))
            if follower is not None:
                self._waiting.add(follower)
        self._room.notify_all()
        self._work.notify()

    # -- safety, stop --------------------------------------------------------------------------

    def executing(self, longer_than: float) -> list[Item]:
        """Items whose body has been running for so many seconds."""
        with self.lock:
            return self._executing.longer_than(longer_than, self._clock.monotonic())

    def give_up_overdue(self) -> list[Item]:
        """What has exceeded its step's timeout: the caller finishes it, its body no more."""
        with self.lock:
            overdue = self._executing.overdue(self._clock.monotonic())
            for item in overdue:
                self._ended(item)
                self._executing.give_up(item)
            return overdue

    def next_overdue(self) -> float | None:
        """When the next body exceeds its step's timeout, by the monotonic clock."""
        with self.lock:
            return self._executing.next_overdue()

    def let_ack(self, item: Item) -> None:
        """A durable copy drives the item now: what was delivered may be acked at once."""
        with self.lock:
            if item.receipts:  # else its event has not arrived, and would begin it elsewhere
                item.lane.to_ack.extend(item.receipts)
                item.receipts, item.receiver = (), None

    def next_due(self) -> float | None:
        """When time alone lets something begin, by the monotonic clock."""
        with self.lock:
            return self._waiting.next_due()

    def close_entrance(self) -> Items:
        """Begin nothing more. What waits is dropped; answers of it what is to be withdrawn."""
        with self.lock:
            self._closing = True
            pending = (item for chunk in self._chunks for item in chunk.take_back())
            dropped = [*pending, *self._waiting.close()]
            self._in_hand.close(dropped)
            self._work.notify_all()
            self._room.notify_all()
            self.outcomes.call()
            return [item for item in dropped if item.counted is not None]

    def in_hand(self) -> list[Item]:
        """All that is received and not settled."""
        with self.lock:
            return self._in_hand.all()

    def abandon(self) -> list[Item]:
        """Leave to others what is not finished; answers all that is received and not settled."""
        with self.lock:
            self._executing.abandon()
            return self._in_hand.all()

    def wait_empty(self, timeout: timedelta) -> bool:
        """After `close_entrance`: wait until all that was begun is committed."""
        end = self._clock.monotonic() + timeout.total_seconds()
        with self.lock:
            while self._in_hand.all() and (rest := end - self._clock.monotonic()) > 0:
                self._room.wait(min(rest, 0.05))
            return not self._in_hand.all()
