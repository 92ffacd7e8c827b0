"""Reception: receives a lane's events, and acks what is done."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial

from workflow_core.engine.holding import Holding
from workflow_core.engine.journal import Journal
from workflow_core.engine.lane import BATCH, Lane, Reading
from workflow_core.engine.listening import Listening
from workflow_core.engine.observers import Observers
from workflow_core.engine.process import Process
from workflow_core.engine.receivers import ack_all
from workflow_core.engine.transition import Identity, file_again
from workflow_core.engine.window import Window
from workflow_core.errors import AdapterUnavailableError
from workflow_core.model import Event, EventSkipped, Record, SkipReason
from workflow_core.ports import Clock, Delivery, EventStreamer, Receiver, Shards

__all__ = ["Reception"]

_NOW = timedelta(0)
_LONGEST_DELAY = 600.0  # seconds; other members may have made the backlog shorter by then
_WHILE_BUSY = timedelta(milliseconds=50)  # how often it is looked whether a body is slow


class Reception(Process):
    """One per lane. It reads the shards that this process holds, through one receiver.

    When the shards change a new receiver is opened; the old one hands out nothing more, and is
    closed when all that came from it is acked. What both hand out is in hand once.

    Args:
        lane: what it receives for.
        shards: the number of shards, or None where the streamer balances its members itself.
        may_receive: asked before each receive; False while events cannot be published fast enough.
        clock: for how long it has received nothing.
        holdings: hold deliveries back until they have seen to them.

    Attributes:
        listening: how it receives.
    """

    def __init__(
        self,
        lane: Lane,
        window: Window,
        streamer: EventStreamer,
        *,
        journal: Journal,
        identity: Identity,
        shards: int | None,
        may_receive: Callable[[], bool],
        clock: Clock,
        holdings: Sequence[Holding] = (),
    ) -> None:
        self.name = f"{lane.name} reception"
        self._lane = lane
        self._window = window
        self._streamer = streamer
        self._journal = journal
        self._identity = identity
        self._shards = shards
        self._may_receive = may_receive
        self.listening = Listening(self.name, clock, partial(streamer.lag, lane.topics, lane.name))
        self._holdings = holdings
        self._receiver: Receiver[Event] | None = None
        self._reading: frozenset[int] = frozenset()
        self._retired: list[Receiver[Event]] = []
        self._clock = clock
        self._held: frozenset[int] = frozenset()
        self._changed = threading.Condition()
        self._listened = False  # at its last poll, and there was nothing
        self._closing = False

    def poll(self, wait: timedelta) -> bool:
        """Ack what is done, then receive one batch."""
        try:
            return self._poll(wait)
        except AdapterUnavailableError:
            self._window.doubt()
            raise

    def _poll(self, wait: timedelta) -> bool:
        self._follow_shards()
        acked = self._ack()
        self._close_retired()
        crowded = self._window.crowded()
        received = self._receive(min(wait, _WHILE_BUSY) if crowded or self._retired else wait)
        reads_all = self._shards is not None and len(self._reading) == self._shards
        self.listening.note(self._receiver, reads_all=reads_all, in_vain=self._listened)
        self._release()
        if crowded and not received:
            self._window.ease()
        return acked or received

    # -- shards; called by the keeper of roles -------------------------------------------------

    def hold(self, index: int) -> None:
        """Read this shard too. Any thread."""
        with self._changed:
            self._held |= {index}
            self._changed.notify()

    def let_go(self, index: int) -> None:
        """Read this shard no more. Any thread."""
        with self._window.lock:
            self._lane.reading = None  # nothing goes onward until it reads what is left
        with self._changed:
            self._held -= {index}
            self._changed.notify()

    def is_free_of(self, index: int) -> bool:
        """Whether nothing of a shard that was let go is in hand any more. Any thread."""
        with self._changed:
            return index not in self._reading and not self._retired

    # -- stop ----------------------------------------------------------------------------------

    def has(self, record: Record) -> bool:
        """Whether an event of the run as it is, is held back. Any thread."""
        return any(holding.has(record) for holding in self._holdings)

    def wake(self) -> None:
        """End a wait for shards."""
        with self._changed:
            self._changed.notify()

    def close(self) -> None:
        """Ack what is done and close all receivers; after its thread has ended."""
        try:
            self._ack()
        finally:
            for receiver in [*self._retired, *([self._receiver] if self._receiver else [])]:
                receiver.close()
            self._retired = []
            self._receiver = None

    # ------------------------------------------------------------------------------------------

    def _follow_shards(self) -> None:
        with self._changed:
            held = self._held
        if self._shards is None:
            if self._receiver is None:
                self._receiver = self._streamer.new_receiver(self._lane.topics, self._lane.name)
            return
        if held == self._reading:
            return
        fresh = None
        if held:
            shards = Shards(count=self._shards, held=held)
            fresh = self._streamer.new_receiver(self._lane.topics, self._lane.name, shards=shards)
        with self._changed:
            if self._receiver is not None:
                self._retired.append(self._receiver)
            self._receiver = fresh
            self._reading = held
        with self._window.lock:
            since = self._clock.monotonic()
            self._lane.reading = Reading(fresh, since) if fresh is not None else None

    def _receive(self, wait: timedelta) -> bool:
        self._listened = False
        if self._receiver is None:
            self._await_shards(wait)
            return False
        if any(holding.is_full for holding in self._holdings):
            return False
        if not self._may_receive():
            self._await_publisher(wait)
            return False
        room = self._window.room(self._lane, wait)
        if not room:
            return self._make_room()
        deliveries = self._receiver.recv_many(min(room, BATCH), wait)
        if deliveries:
            self._admit(self._receiver, deliveries)
        self._listened = not (deliveries or self._lane.in_hand or self._retired)
        return bool(deliveries)

    def _admit(self, receiver: Receiver[Event], deliveries: Sequence[Delivery[Event]]) -> None:
        for holding in self._holdings:
            deliveries = holding.hold(receiver, deliveries)
        if self._lane.observers is not None:
            self._tell_filtered(self._lane.observers, deliveries)
        self._window.admit(self._lane, receiver, deliveries)

    def _tell_filtered(self, observers: Observers, deliveries: Sequence[Delivery[Event]]) -> None:
        lane = self._lane
        others = Counter(d.event.status for d in deliveries if not lane.is_for_us(d.event))
        for status, count in others.items():
            step = lane.steps.get(status)
            if step is not None:  # else it is a status of timers alone, read to arm them
                observers.tell(
                    EventSkipped(
                        workflow=lane.workflow.name,
                        process=lane.process_of(step),
                        reason=SkipReason.NOT_OURS,
                        count=count,
                    )
                )

    def _release(self) -> None:
        """What was held goes on, once it is seen to."""
        for holding in self._holdings:
            for receiver, deliveries in holding.release():
                self._window.admit(self._lane, receiver, deliveries)

    def _make_room(self) -> bool:
        """A slow step's backlog must not keep the lane's other steps from their work.

        What would wait for long is filed again, to come back about when it is its turn.
        """
        excess = self._window.take_excess(self._lane)
        items = [item for item, _ in excess]
        try:
            for start in range(0, len(excess), BATCH):
                self._journal.file(
                    [
                        file_again(
                            item.event,
                            self._identity,
                            delay=timedelta(seconds=min(seconds, _LONGEST_DELAY)),
                        )
                        for item, seconds in excess[start : start + BATCH]
                    ]
                )
        except BaseException:
            self._window.put_back(items)
            raise
        self._window.settle(items)
        return bool(excess)

    def _await_shards(self, wait: timedelta) -> None:
        with self._changed:
            if self._held == self._reading:
                self._changed.wait(wait.total_seconds())

    def _await_publisher(self, wait: timedelta) -> None:
        with self._changed:
            self._changed.wait(min(wait, _WHILE_BUSY).total_seconds())

    def _ack(self) -> bool:
        receipts = self._window.take_acks(self._lane)
        try:
            ack_all(receipts, self.name)
        except BaseException:
            self._window.give_back_acks(self._lane, receipts)  # twice is harmless
            raise
        return bool(receipts)

    def _close_retired(self) -> None:
        if not self._retired:
            return
        done = [r for r in self._retired if not self._holds(r)]
        for receiver in done:
            receiver.close()
        with self._changed:
            self._retired = [r for r in self._retired if r not in done]

    def _holds(self, receiver: Receiver[Event]) -> bool:
        held = any(holding.holds(receiver) for holding in self._holdings)
        return held or self._window.holds(receiver)
