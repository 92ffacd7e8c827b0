"""The receivers of a process that follows the shards which it holds."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Generic, TypeVar

from workflow_core.engine.listening import Listening
from workflow_core.errors import ClosedError
from workflow_core.ports import Delivery, Receiver, Shards

__all__ = ["Receivers", "ack_all"]

logger = logging.getLogger("workflow_core.engine")

T = TypeVar("T")


class Receivers(Generic[T]):
    """One receiver for all shards held; when they change, the old one lives until it is free.

    Args:
        open_one: opens a receiver; given None where the stream balances its members itself.
        shards: their number, or None where the stream balances its members itself.
    """

    def __init__(
        self, open_one: Callable[[Shards | None], Receiver[T]], *, shards: int | None
    ) -> None:
        self._open = open_one
        self._shards = shards
        self._reading: frozenset[int] = frozenset()
        self._held: frozenset[int] = frozenset()
        self._retired: list[Receiver[T]] = []
        self._changed = threading.Condition()
        self.current: Receiver[T] | None = None
        """What to receive from; None: no shard is held."""

    # -- any thread: called by the keeper of roles ---------------------------------------------

    def hold(self, index: int) -> None:
        """Read this shard too."""
        with self._changed:
            self._held |= {index}
            self._changed.notify()

    def let_go(self, index: int) -> None:
        """Read this shard no more."""
        with self._changed:
            self._held -= {index}
            self._changed.notify()

    def is_free_of(self, index: int) -> bool:
        """Whether nothing of a shard that was let go is in hand any more."""
        with self._changed:
            return index not in self._reading and not self._retired

    def wake(self) -> None:
        """End a wait for shards."""
        with self._changed:
            self._changed.notify()

    # -- the process's thread ------------------------------------------------------------------

    @property
    def are_retiring(self) -> bool:
        """Whether an old receiver waits for what it handed out."""
        return bool(self._retired)

    def follow(self) -> bool:
        """Open another receiver where other shards are held; answers whether anything changed."""
        with self._changed:
            held = self._held
        if self._shards is None:
            if self.current is not None:
                return False
            self.current = self._open(None)
            return True
        if held == self._reading:
            return False
        fresh = self._open(Shards(count=self._shards, held=held)) if held else None
        with self._changed:
            if self.current is not None:
                self._retired.append(self.current)
            self.current = fresh
            self._reading = held
        return True

    def note(self, listening: Listening, *, in_vain: bool) -> None:
        """What a poll has come to: `in_vain` where it was handed nothing, with nothing in hand."""
        reads_all = self._shards is not None and len(self._reading) == self._shards
        in_vain = in_vain and not self._retired
        listening.note(self.current, reads_all=reads_all, in_vain=in_vain)

    def await_shards(self, wait: timedelta) -> None:
        """Wait until the shards change."""
        with self._changed:
            if self._held == self._reading:
                self._changed.wait(wait.total_seconds())

    def close_retired(self, in_use: Iterable[Receiver[T]]) -> None:
        """Close those old ones from which nothing is in hand."""
        if not self._retired:
            return
        used = set(in_use)
        done = [receiver for receiver in self._retired if receiver not in used]
        for receiver in done:
            receiver.close()
        with self._changed:
            self._retired = [receiver for receiver in self._retired if receiver not in done]

    def close(self) -> None:
        """Close them all; after the thread has ended."""
        for receiver in [*self._retired, *([self.current] if self.current else [])]:
            receiver.close()
        self._retired = []
        self.current = None


def ack_all(receipts: Iterable[tuple[Receiver[T], Delivery[T]]], who: str) -> None:
    """Ack each where it came from. What came from one that is closed by now comes again.

    Args:
        receipts: what, and from which receiver.
        who: does it, for the log.

    Raises:
        AdapterUnavailableError: some may come again; ack them all again.
    """
    by_receiver: dict[Receiver[T], list[Delivery[T]]] = defaultdict(list)
    for receiver, delivery in receipts:
        by_receiver[receiver].append(delivery)
    for receiver, deliveries in by_receiver.items():
        try:
            receiver.ack(deliveries)
        except ClosedError:
            logger.debug("%s: acked too late, the events come again", who)
