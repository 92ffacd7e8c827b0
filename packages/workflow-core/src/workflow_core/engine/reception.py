"""Reception: receives a lane's events, and acks what is done."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta

from workflow_core.engine.journal import Journal
from workflow_core.engine.lane import BATCH, Lane
from workflow_core.engine.process import Process
from workflow_core.engine.transition import Identity, file_again
from workflow_core.engine.window import Window
from workflow_core.errors import ClosedError
from workflow_core.model import Event
from workflow_core.ports import Delivery, EventStreamer, Receiver, Shards

__all__ = ["Reception"]

logger = logging.getLogger("workflow_core.engine")

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
    ) -> None:
        self.name = f"{lane.name} reception"
        self._lane = lane
        self._window = window
        self._streamer = streamer
        self._journal = journal
        self._identity = identity
        self._shards = shards
        self._may_receive = may_receive
        self._receiver: Receiver[Event] | None = None
        self._reading: frozenset[int] = frozenset()
        self._retired: list[Receiver[Event]] = []
        self._held: frozenset[int] = frozenset()
        self._changed = threading.Condition()
        self._closing = False

    def poll(self, wait: timedelta) -> bool:
        """Ack what is done, then receive one batch."""
        self._follow_shards()
        acked = self._ack()
        self._close_retired()
        crowded = self._window.crowded()
        received = self._receive(min(wait, _WHILE_BUSY) if crowded or self._retired else wait)
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
        with self._changed:
            self._held -= {index}
            self._changed.notify()

    def is_free_of(self, index: int) -> bool:
        """Whether nothing of a shard that was let go is in hand any more. Any thread."""
        with self._changed:
            return index not in self._reading and not self._retired

    # -- stop ----------------------------------------------------------------------------------

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

    def _receive(self, wait: timedelta) -> bool:
        if self._receiver is None:
            self._await_shards(wait)
            return False
        if not self._may_receive():
            self._await_publisher(wait)
            return False
        room = self._window.room(self._lane, wait)
        if not room:
            return self._make_room()
        deliveries = self._receiver.recv_many(min(room, BATCH), wait)
        if deliveries:
            self._window.admit(self._lane, self._receiver, deliveries)
        return bool(deliveries)

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
        by_receiver: dict[Receiver[Event], list[Delivery[Event]]] = defaultdict(list)
        for receiver, delivery in receipts:
            by_receiver[receiver].append(delivery)
        for receiver, deliveries in by_receiver.items():
            try:
                receiver.ack(deliveries)
            except ClosedError:
                logger.debug("%s: acked too late, the events come again", self.name)
            except BaseException:
                self._window.give_back_acks(self._lane, receipts)  # twice is harmless
                raise
        return bool(receipts)

    def _close_retired(self) -> None:
        if not self._retired:
            return
        done = [r for r in self._retired if not self._window.holds(r)]
        for receiver in done:
            receiver.close()
        with self._changed:
            self._retired = [r for r in self._retired if r not in done]
