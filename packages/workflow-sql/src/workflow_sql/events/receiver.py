"""One member's view of a stream.

What is read and acked belongs to one epoch of the database (`epochs`). In a new one a receiver
begins where the database's cursors stand, as if it had been opened just then. What it had handed
out and is not acked there it hands out again, and receipts of before mean nothing any more: what
was done about those events may be lost. One that is not asked any more, since another has taken
over its lanes, does not begin again: it only forgets what it was to save.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from typing import cast

from workflow_core.errors import AdapterError, ClosedError
from workflow_core.model import Event
from workflow_core.ports import Delivery, Receiver, in_forked_child

from workflow_sql.database import Database, Writing
from workflow_sql.events.cursors import Cursors, Fetched, Lane, Opening, Progress

__all__ = ["SqlReceiver"]

logger = logging.getLogger(__name__)

_AHEAD = 2_000  # ids beyond what was fetched that may be handed out before the next note of it
_PREFETCH = 128
_SAVE_EVERY = 1.0  # seconds
_SHOW_EVERY = 3_600.0  # seconds; a consumer not seen for days no longer holds up the trimming
_OVER = -1  # no epoch's number
_SPAN = 4_096  # ids looked at in one statement, at first
_WIDEST_SPAN = 1 << 22


class SqlReceiver(Receiver[Event]):
    """Reads the event table lane by lane, in order of id. One thread, except ``close``.

    What is done is kept in memory and saved about once a second and on closing. Ids are handed out
    once in an epoch; what was not acked lies between a lane's cursor and the position up to which
    was read.
    """

    def __init__(
        self,
        database: Database,
        cursors: Cursors,
        *,
        instance: str,
        open_here: Callable[[], Collection[str]],
        from_latest: bool,
        upkeep: Callable[[], None],
        forget: Callable[[SqlReceiver], object],
    ) -> None:
        self._database = database
        self._cursors = cursors
        self._instance = instance
        self._open_here = open_here
        self._from_latest = from_latest
        self._upkeep = upkeep
        self._closed = False
        self._forget = forget
        self._closing = threading.Lock()
        self._lock = threading.Lock()  # of all below, against close from another thread
        self.id = ""
        self._begin()
        in_forked_child(self._forked)

    def _begin(self) -> None:
        """Raises as `Database.transact`; then all is as it was."""
        id, open_here = str(uuid.uuid4()), self._open_here()
        opening, self._window_end, self._epoch = self._database.transact(
            "opening a receiver", lambda writing: self._open(writing, id, open_here)
        )
        self.id = id
        self._suspect_to = opening.suspect_to
        self._position = min(progress.done_to for progress in opening.lanes.values())
        self._span = _SPAN
        self._fetched: deque[Fetched] = deque()
        self._unacked: dict[int, Lane] = {}
        self._acked = {lane: set(progress.acked) for lane, progress in opening.lanes.items()}
        self._passed = {acked for ids in self._acked.values() for acked in ids}
        self._done_to = {lane: progress.done_to for lane, progress in opening.lanes.items()}
        self._furthest = max(self._done_to.values())
        self._unsaved: set[Lane] = set()
        self._save_at = 0.0
        self._show_at = time.monotonic() + _SHOW_EVERY

    def _open(
        self, writing: Writing, id: str, open_here: Collection[str]
    ) -> tuple[Opening, int, int]:
        head = self._database.marks(writing.cursor).events
        opening = self._cursors.open(
            writing,
            receiver=id,
            instance=self._instance,
            open_here=open_here,
            head=head,
            from_latest=self._from_latest,
            window_end=head + _AHEAD,
        )
        return opening, head + _AHEAD, writing.epoch

    # -- receiving -----------------------------------------------------------------------------

    def recv(self, timeout: timedelta) -> Delivery[Event] | None:
        """As `recv_many` of one."""
        deliveries = self.recv_many(1, timeout)
        return deliveries[0] if deliveries else None

    def recv_many(self, limit: int, timeout: timedelta) -> Sequence[Delivery[Event]]:
        """At rest no statement is made; a commit in this process wakes it at once."""
        end = time.monotonic() + timeout.total_seconds()
        self._check_open()
        self._database.watch.look(timeout.total_seconds())
        self._upkeep()
        while True:
            self._check_open()
            with self._lock:
                self._check_open()
                if self._epoch != self._database.epoch:
                    self._begin()
                self._save_if_due()
                deliveries = self._take(limit)
            now = time.monotonic()
            if deliveries or now >= end:
                return deliveries
            until = min(end, self._save_at) if self._unsaved else end
            self._database.watch.wait(self._has_news, max(until - now, 0))

    def _has_news(self) -> bool:
        return (
            self._closed
            or self._epoch != self._database.epoch
            or self._database.watch.marks.events > self._position
        )

    def _take(self, limit: int) -> list[Delivery[Event]]:
        while len(self._fetched) < limit and self._fetch(
            max(limit - len(self._fetched), _PREFETCH)
        ):
            pass
        take = self._fetched.popleft
        return [self._delivery(*take()) for _ in range(min(limit, len(self._fetched)))]

    def _delivery(self, id: int, lane: Lane, event: Event) -> Delivery[Event]:
        suspect = bool(self._suspect_to) and id <= self._suspect_to.get(lane, 0)
        return Delivery(event=event, receipt=(self._epoch, id), suspect=suspect)

    def _fetch(self, limit: int) -> bool:
        """Get more events; False when there are none."""
        head = self._database.watch.refresh().events
        if self._epoch != self._database.epoch:
            return False  # there are, but not behind this position
        while self._position < head:
            up_to = min(self._position + self._span, head)
            rows = self._cursors.fetch(self._position, up_to, limit)
            full = len(rows) == limit
            reached = rows[-1][0] if full else up_to
            if rows and reached > self._window_end:
                self._save(reached + _AHEAD)
            self._position = reached
            self._adapt_span(full, len(rows), limit)
            new = self._not_acked_before(rows)
            self._unacked.update([row[:2] for row in new])
            self._fetched.extend(new)
            if new:
                return True
        return False

    def _not_acked_before(self, rows: list[Fetched]) -> list[Fetched]:
        if rows and rows[0][0] <= self._furthest:  # lanes that had come further than others
            rows = [row for row in rows if row[0] > self._done_to[row[1]]]
        if not self._passed:
            return rows
        new = [row for row in rows if row[0] not in self._passed]
        self._passed.difference_update([row[0] for row in rows])
        return new

    def _adapt_span(self, full: bool, found: int, limit: int) -> None:
        # all that lies in a span is sorted before it is cut at the limit; a span with nothing in it
        # costs a look into each lane's index all the same
        if full:
            self._span = max(self._span // 2, limit)
        elif found < limit // 4:
            self._span = min(self._span * 2, _WIDEST_SPAN)

    # -- acking --------------------------------------------------------------------------------

    def ack(self, deliveries: Sequence[Delivery[Event]]) -> None:
        """Kept in memory, and saved here or in the next `recv_many` once a second has passed."""
        self._check_open()
        with self._lock:
            self._check_open()
            if not self._unsaved:
                self._save_at = time.monotonic() + _SAVE_EVERY
            for delivery in deliveries:
                epoch, id = cast(tuple[int, int], delivery.receipt)
                lane = self._unacked.pop(id, None) if epoch == self._epoch else None
                if lane is not None:
                    self._acked[lane].add(id)
                    self._unsaved.add(lane)
            self._save_if_due()

    def save(self) -> None:
        """Keep what was acked, now.

        Raises:
            AdapterUnavailableError: some may come again.
        """
        with self._lock:
            if self._unsaved and not self._closed:
                self._save(self._position + _AHEAD)

    def _save_if_due(self) -> None:
        now = time.monotonic()
        if (self._unsaved and now >= self._save_at) or now >= self._show_at:
            self._save(self._position + _AHEAD)

    def _save(self, window_end: int) -> None:
        progress = self._progress()
        kept = self._database.transact(
            "saving cursors", lambda writing: self._save_in(writing, progress, window_end)
        )
        if kept:
            self._saved(progress, window_end)
        else:
            self._forget_acks()

    def _save_in(self, writing: Writing, progress: dict[Lane, Progress], window_end: int) -> bool:
        """False: it is another epoch, where what the acks stand for may be lost."""
        self._database.marks(writing.cursor)  # sees whether the tables were set back
        if self._epoch != writing.epoch or self._epoch != self._database.epoch:
            return False
        self._cursors.save(writing, progress, self.id, window_end)
        return True

    def _forget_acks(self) -> None:
        self._unacked.clear()
        self._unsaved.clear()
        self._epoch = _OVER

    def _saved(self, progress: dict[Lane, Progress], window_end: int) -> None:
        for lane, (_, acked) in progress.items():
            self._acked[lane] = set(acked)
        self._unsaved.clear()
        self._window_end = window_end
        self._show_at = time.monotonic() + _SHOW_EVERY

    def _progress(self) -> dict[Lane, Progress]:
        first: dict[Lane, int] = {}
        for id, lane in self._unacked.items():  # in order of id: the first seen is the least
            first.setdefault(lane, id)
        progress = {}
        for lane in self._unsaved:
            done_to = first.get(lane, self._position + 1) - 1
            progress[lane] = Progress(
                done_to, sorted(id for id in self._acked[lane] if id > done_to)
            )
        return progress

    # -- closing -------------------------------------------------------------------------------

    def close(self) -> None:
        """Save, resign, and end a blocked call."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        self._database.watch.wake()
        self._forget(self)
        with self._lock:
            try:
                self._database.transact("closing a receiver", self._resign)
            except AdapterError as error:
                logger.warning("what was acked in the last second may come again: %s", error)

    def _resign(self, writing: Writing) -> None:
        self._save_in(writing, self._progress(), self._window_end)
        self._cursors.resign(writing, self.id)

    def _forked(self) -> None:
        """The receiver is the parent's; what the child inherited of it is closed."""
        self._closed = True
        self._closing, self._lock = threading.Lock(), threading.Lock()

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the receiver was closed", adapter="sql")
