"""One member's view of the events."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from typing import Generic, TypeVar, cast

from sqlalchemy import Connection
from workflow_core.errors import AdapterError, ClosedError
from workflow_core.ports import Delivery, Receiver, in_forked_child

from workflow_reflex.cursors import Cursors, Opening
from workflow_reflex.log import Log
from workflow_reflex.names import Lane
from workflow_reflex.wire import Entry

__all__ = ["ReflexReceiver"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_AHEAD = 2_000  # ids beyond what was read that may be handed out before the next note of it
_SAVE_EVERY = 1.0  # seconds
_FOREIGN = 10_000  # ids passed before a cursor is moved though there was nothing to ack
_SPANS = 10  # of about a thousand rows, before others may have their turn
_PASSES_FOR = 0.5  # seconds that a call goes on in rows of others, however short its timeout
_SHORT = 0.1  # seconds; who waits for less wants to know what is there now


class ReflexReceiver(Receiver[T], Generic[T]):
    """Reads the log in order and hands out what is of its lanes. One thread, except ``close``.

    Done is kept in memory and saved about once a second and on closing. Rows of others are passed
    over once: the cursors go on with them, about each ten thousand ids and on closing.

    Args:
        log: the table.
        cursors: of this receiver.
        read: the lane of a row and what is handed out for it; None: it is nobody's here.
        from_latest: new topics begin behind what is there now.
        open_here: the marks of this process's other receivers.
        forget: called with it once it is closed.

    Raises:
        AdapterUnavailableError: no answer.
    """

    def __init__(
        self,
        log: Log,
        cursors: Cursors,
        *,
        read: Callable[[Entry], tuple[Lane, T] | None],
        from_latest: bool,
        open_here: Collection[str],
        forget: Callable[[ReflexReceiver[T]], object],
    ) -> None:
        self._log = log
        self._cursors = cursors
        self._read = read
        self._forget = forget
        self._closed = False
        self._closing = threading.Lock()
        self._lock = threading.Lock()  # of all below, against close from another thread
        head = log.head()
        self._window_end = head + _AHEAD
        opening: Opening = log.database.transact(
            "opening a receiver",
            lambda connection: cursors.open(
                connection,
                start=head if from_latest else 0,
                window_end=self._window_end,
                open_here=open_here,
            ),
        )
        self._done_to = dict(opening.done_to)  # as saved
        self._suspect_to = opening.suspect_to
        self._position = min(self._done_to.values())
        self._furthest = max(self._done_to.values())
        self._fetched: deque[tuple[int, Lane, T]] = deque()
        self._unacked: dict[int, Lane] = {}
        self._touched: set[Lane] = set()
        self._save_at = 0.0
        self._saved_position = self._position
        in_forked_child(self._forked)

    @property
    def mark(self) -> str:
        """Its row that tells how far may be handed out."""
        return self._cursors.mark

    # -- receiving -----------------------------------------------------------------------------

    def recv(self, timeout: timedelta) -> Delivery[T] | None:
        """As `recv_many` of one."""
        deliveries = self.recv_many(1, timeout)
        return deliveries[0] if deliveries else None

    def recv_many(self, limit: int, timeout: timedelta) -> Sequence[Delivery[T]]:
        """At rest it makes no statement of its own; a commit in this process wakes it."""
        seconds = timeout.total_seconds()
        begin = time.monotonic()
        end = begin + seconds
        while True:
            seen = self._log.changes
            with self._lock:
                self._check_open()
                self._save_if_due()
                goes_on = self._fill(limit, looks=seconds < _SHORT)
                deliveries = self._take(limit)
            now = time.monotonic()
            if goes_on and not deliveries and now < max(end, begin + _PASSES_FOR):
                continue  # so far there were rows of others
            if deliveries or now >= end:
                return deliveries
            until = min(end, self._save_at) if self._touched else end
            self._log.wait(seen, max(until - now, 0))

    def _take(self, limit: int) -> list[Delivery[T]]:
        take = self._fetched.popleft
        return [self._delivery(*take()) for _ in range(min(limit, len(self._fetched)))]

    def _fill(self, limit: int, *, looks: bool) -> bool:
        """Read on until there is enough, or so much that others want their turn; False: all."""
        for _ in range(_SPANS):
            if len(self._fetched) >= limit:
                return True
            if not self._fetch(looks=looks):
                return False
        return True

    def _delivery(self, id: int, lane: Lane, event: T) -> Delivery[T]:
        suspect = bool(self._suspect_to) and id <= self._suspect_to.get(lane[1], 0)
        return Delivery(event=event, receipt=id, suspect=suspect)

    def _fetch(self, *, looks: bool) -> bool:
        """Read on; False when there is nothing more."""
        entries, reached = self._log.read(self._position, look=looks)
        if reached <= self._position:
            return False
        mine = self._of_mine(entries)
        if mine and reached > self._window_end:
            self._save(window_end=reached + _AHEAD)
        self._unacked.update([row[:2] for row in mine])
        self._fetched.extend(mine)
        self._position = reached
        return True

    def _of_mine(self, entries: Sequence[Entry]) -> list[tuple[int, Lane, T]]:
        mine = []
        for entry in entries:
            found = self._read(entry)
            if found is None:
                continue
            lane, event = found
            if entry.id <= self._furthest and entry.id <= self._done_to[lane]:
                continue  # this lane had come further than others
            mine.append((entry.id, lane, event))
        return mine

    # -- acking --------------------------------------------------------------------------------

    def ack(self, deliveries: Sequence[Delivery[T]]) -> None:
        """Kept in memory, and saved here or in the next `recv_many` once a second has passed."""
        with self._lock:
            self._check_open()
            if not self._touched:
                self._save_at = time.monotonic() + _SAVE_EVERY
            for delivery in deliveries:
                lane = self._unacked.pop(cast(int, delivery.receipt), None)
                if lane is not None:
                    self._touched.add(lane)
            self._save_if_due()

    def save(self) -> None:
        """Keep what was acked, now.

        Raises:
            AdapterUnavailableError: some may come again.
        """
        with self._lock:
            if not self._closed:
                self._save(all_lanes=True)

    def _save_if_due(self) -> None:
        if self._position - self._saved_position >= _FOREIGN:
            self._save(all_lanes=True)
        elif self._touched and time.monotonic() >= self._save_at:
            self._save()

    def _save(self, *, window_end: int | None = None, all_lanes: bool = False) -> None:
        window_end = self._position + _AHEAD if window_end is None else window_end
        progress = self._progress(self._cursors.lanes if all_lanes else self._touched)
        self._log.database.transact(
            "saving cursors",
            lambda connection: self._keep(connection, progress, window_end),
        )
        self._done_to.update(progress)
        self._touched.clear()
        self._window_end = window_end
        if all_lanes:
            self._saved_position = self._position

    def _keep(self, connection: Connection, progress: dict[Lane, int], window_end: int) -> None:
        floor = min((self._done_to | progress).values())
        self._cursors.save(connection, progress, floor=floor, window_end=window_end)

    def _progress(self, lanes: Sequence[Lane] | set[Lane]) -> dict[Lane, int]:
        """Where these lanes' cursors are to be, of those that have come further."""
        first: dict[Lane, int] = {}
        for id, lane in self._unacked.items():  # in order of id: the first seen is the least
            first.setdefault(lane, id)
        progress = {lane: first.get(lane, self._position + 1) - 1 for lane in lanes}
        return {lane: done for lane, done in progress.items() if done > self._done_to[lane]}

    # -- closing -------------------------------------------------------------------------------

    def close(self) -> None:
        """Save, resign, and end a blocked call."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        self._log.wake()
        self._forget(self)
        with self._lock:
            try:
                self._log.database.transact("closing a receiver", self._resign)
            except AdapterError as error:
                logger.warning("what was acked in the last second may come again: %s", error)

    def _resign(self, connection: Connection) -> None:
        self._keep(connection, self._progress(self._cursors.lanes), self._window_end)
        self._cursors.resign(connection)

    def _forked(self) -> None:
        """The receiver is the parent's; what the child inherited of it is closed."""
        self._closed = True
        self._lock = threading.Lock()

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the receiver was closed", adapter="reflex")
