"""The events table as a log that this process reads once, whoever of its receivers looks at it.

A server numbers rows when they are inserted and shows them when they are committed: id 12 may be
visible before 11, and a reader that went on to 12 would never see 11. So nobody goes beyond a hole.
A hole is nearly always a transaction that is about to commit. One that is older than a moment is
looked into: where nobody holds an id any more, a noop is put there, which closes it for all readers
and for good, Go's among them; several fillers come to the same. Where somebody holds one, all wait.
A writer that comes so late that its id has been filled starts its transaction anew.

Ids before the first row of the table are no hole to fill: whoever looks after the table has deleted
what was there. But a transaction whose ids lie shortly before the first row is waited for.

The last rows are kept in memory, so that ten receivers at the end of the table cost no more than
one. One thread looks for new ones while somebody waits: often while something goes on, seldom at
rest; who commits in this process wakes it. It is also the filler, and belongs to no receiver.
"""

from __future__ import annotations

import logging
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import NamedTuple

from workflow_core.errors import AdapterError
from workflow_core.ports import AdapterContext, Clock, Closable, in_forked_child

from workflow_reflex.database import Database
from workflow_reflex.holes import Holes
from workflow_reflex.settings import ReflexSettings
from workflow_reflex.wire import Entry

__all__ = ["Log", "Span"]

logger = logging.getLogger(__name__)

_AT_ONCE = 1_000  # rows in one statement
_KEPT = 10_000  # rows
_KEPT_BYTES = 16 << 20  # of their metadata
_OFTEN = 0.02  # seconds between two looks while there is news
_SLOWER = 1.5  # from one look to the next, while there is none
_HOPE = 0.002  # between two looks while a commit of this process is awaited
_HOPED_FOR = 0.2  # for so long
_ATTENTION = 5.0  # seconds; who waited lately will wait again


class Span(NamedTuple):
    """What was read."""

    entries: Sequence[Entry]
    reached: int
    """All that lies between where it began and here was read, and there is no hole in it."""


class Log(Closable):
    """Reads the table in order. Any thread; made anew in a forked child.

    Args:
        database: where.
        at_rest: between two looks, at most.
    """

    def __init__(self, database: Database, at_rest: timedelta) -> None:
        self.database = database
        self._at_rest = at_rest.total_seconds()
        self._often = min(_OFTEN, self._at_rest)
        tables = database.tables
        self._question = (
            f"select {tables.id}, {tables.foreign_id}, {tables.timestamp}, {tables.type},"
            f" {tables.content} from {tables.events} where {tables.id} > {database.ways.mark}"
            f" order by {tables.id} limit {_AT_ONCE}"
        )
        self._ids = f"select {tables.id} from {tables.events}"
        self._closed = False
        self._start()
        in_forked_child(self._start)

    def _start(self) -> None:
        self.holes = Holes(self.database)
        self._lock = threading.Lock()  # of the rows kept
        self._kept: list[Entry] = []
        self._kept_ids: list[int] = []
        self._kept_bytes = 0
        self._kept_after = -1  # of what follows it all up to the end is kept; -1: nothing yet
        self._end = -1
        self._news = threading.Condition()
        self.changes = 0
        """Grows with each change that a waiting call cares for."""
        self._waiting = 0
        self._attended_until = 0.0
        self._look_at = 0.0
        self._hoping_until = 0.0
        self._thread: threading.Thread | None = None

    @classmethod
    def over(cls, settings: ReflexSettings, clock: Clock | None) -> Log:
        """One over the tables of these settings."""
        return cls(Database(settings, clock=clock), settings.poll_at_rest)

    @classmethod
    def shared(cls, settings: ReflexSettings, context: AdapterContext) -> Log:
        """The one log of all adapters over these tables in this context."""
        # as a key: what it is about, and not how the adapter calls its own settings
        about = tuple(
            tuple(sorted(value.items())) if name == "columns" else value
            for name, value in vars(settings).items()
            if name in ReflexSettings.__dataclass_fields__
        )
        return context.shared(
            ("workflow-reflex", about),
            lambda: cls.over(settings, context.clock),
        )

    # -- reading -------------------------------------------------------------------------------

    def read(self, after: int, *, limit: int = _AT_ONCE, look: bool = False) -> Span:
        """Rows behind `after`, in order, up to a hole; none: there is nothing more for now.

        Args:
            after: an id behind which the caller has read nothing.
            limit: about so many rows.
            look: ask the database though all that is known of was read.

        Raises:
            AdapterUnavailableError: no answer.
        """
        after = max(after, self.holes.nothing_up_to)
        with self._lock:
            if self._kept_after <= after < self._end:
                first = bisect_right(self._kept_ids, after)
                entries = self._kept[first : first + limit]
                return Span(entries, entries[-1].id if entries else self._end)
            if after == self._end and not look:
                return Span((), after)
            if after >= self._end:
                return self._read_on(after)
        return self._read_behind(after)

    def _read_on(self, after: int) -> Span:
        """At the end of what is known: these rows are kept."""
        span = self._read_behind(after)
        if after > self._end:
            self._kept, self._kept_ids, self._kept_bytes = [], [], 0
            self._kept_after = after
        self._kept += span.entries
        self._kept_ids += [entry.id for entry in span.entries]
        self._kept_bytes += sum(len(entry.metadata) for entry in span.entries)
        self._end = span.reached
        if span.entries:
            self._tell()  # whoever came for them: others wait for them too
        if len(self._kept) > 2 * _KEPT or self._kept_bytes > _KEPT_BYTES:
            self._forget_oldest()
        return span

    def _forget_oldest(self) -> None:
        stays = len(self._kept) // 2
        self._kept_after = self._kept_ids[-stays - 1]
        self._kept, self._kept_ids = self._kept[-stays:], self._kept_ids[-stays:]
        self._kept_bytes = sum(len(entry.metadata) for entry in self._kept)

    def _read_behind(self, after: int) -> Span:
        with self.database.reading("receiving events") as connection:
            rows = connection.exec_driver_sql(self._question, (after,)).all()
        entries = [Entry(*row) for row in rows]
        whole = self._up_to_hole(after, entries)
        if whole < len(entries):
            before = entries[whole - 1].id if whole else after
            self.holes.found(before, [entry.id for entry in entries[whole:]])
            self._attend()
            entries = entries[:whole]
        return Span(entries, entries[-1].id if entries else after)

    def _up_to_hole(self, after: int, entries: Sequence[Entry]) -> int:
        """How many of the rows follow one another."""
        if not self.database.ways.leaves_holes:
            return len(entries)
        # ids only grow: where one is where it would be without a hole, so are all before it
        low, high = 0, len(entries)
        while low < high:
            middle = (low + high) // 2
            if entries[middle].id == after + 1 + middle:
                low = middle + 1
            else:
                high = middle
        return low

    def head(self) -> int:
        """The id up to which all that is committed now can be passed without missing anything.

        Raises:
            AdapterUnavailableError: no answer.
        """
        ways, tables = self.database.ways, self.database.tables
        with self.database.reading("looking for the end of the events") as connection:
            greatest = connection.exec_driver_sql(f"select max({tables.id}) from {tables.events}")
            last = greatest.scalar_one() or 0
            if not ways.leaves_holes or not last:
                return int(last)
            # a transaction that is yet to commit has an id close to the end
            rows = connection.exec_driver_sql(
                f"{self._ids} where {tables.id} > {ways.mark} order by {tables.id}",
                (last - _AT_ONCE,),
            ).all()
        ids = [row[0] for row in rows]
        for before, after in pairwise(ids):
            if after != before + 1:
                return int(before)
        return int(ids[-1])

    # -- waiting -------------------------------------------------------------------------------

    def wake(self) -> None:
        """Something was committed in this process, or a receiver was closed: look again."""
        with self._news:
            self.changes += 1
            self._look_at = 0.0
            self._news.notify_all()

    def _tell(self) -> None:
        with self._news:
            self.changes += 1
            self._news.notify_all()

    def hope(self) -> None:
        """Something is about to be committed in this process, by somebody who does not tell."""
        with self._news:
            self._hoping_until = time.monotonic() + _HOPED_FOR
            self._look_at = 0.0
            self._news.notify_all()

    def wait(self, seen: int, timeout: float) -> None:
        """Block until `changes` is no longer what was `seen`, or for `timeout` seconds."""
        with self._news:
            self._waiting += 1
            try:
                self._look_on()
                self._news.wait_for(lambda: self.changes != seen or self._closed, timeout)
            finally:
                self._waiting -= 1
                self._attended_until = time.monotonic() + _ATTENTION

    def close(self) -> None:
        """End the thread, all waits and the connections. Twice is harmless."""
        with self._news:
            self._closed = True
            self.changes += 1
            self._news.notify_all()
        self.database.close()

    # -- the thread ----------------------------------------------------------------------------

    def _attend(self) -> None:
        """There is a hole: the thread sees to it, whoever waits."""
        with self._news:
            self._look_on()
            self._news.notify_all()

    def _look_on(self) -> None:
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(
                target=self._look_after, name="workflow-reflex-log", daemon=True
            )
            self._thread.start()
        elif self._waiting == 1:
            self._news.notify_all()

    def _look_after(self) -> None:
        pause = self._often
        while self._wait_until(self._is_wanted):
            now = time.monotonic()
            if now < self._look_at:
                self._wait_until(lambda: time.monotonic() >= self._look_at, self._look_at - now)
                continue
            before = self._end
            self._look_at = now + pause  # a wake from here on counts
            self._look()
            is_news = self._end != before
            pause = self._often if is_news else min(pause * _SLOWER, self._at_rest)
            with self._news:
                self._look_at = min(self._look_at, time.monotonic() + self._pause(pause))
        self._thread = None

    def _pause(self, usual: float) -> float:
        if time.monotonic() < self._hoping_until:
            return _HOPE
        return min(usual, self._often) if self.holes.are_open else usual

    def _is_wanted(self) -> bool:
        return self._waiting > 0 or self.holes.are_open or time.monotonic() < self._attended_until

    def _wait_until(self, ready: Callable[[], bool], timeout: float | None = None) -> bool:
        """False: closed."""
        with self._news:
            self._news.wait_for(lambda: self._closed or ready(), timeout)
            return not self._closed

    def _look(self) -> None:
        try:
            if self._end >= 0:
                self.read(self._end, look=True)
            if self.holes.close_old():
                self.wake()
        except AdapterError as error:
            logger.debug("the events cannot be looked at, tried again: %s", error)
        except Exception:  # a thread that ended would leave all who wait without news
            logger.exception("looking at the events failed, tried again")
