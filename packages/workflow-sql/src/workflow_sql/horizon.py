"""Up to where the event table is settled: all ids are committed, or will never be.

A server numbers rows when they are inserted and shows them when they are committed: id 12 may be
visible before 11. A reader that went on to 12 would never see 11. So all readers of a database stay
behind one horizon: the last id up to which there is no gap.

A gap is nearly always a transaction that is about to commit. One that is older than a moment is
looked into: if nobody holds the id it belongs to a transaction that was rolled back, and a row that
means nothing is put there, which closes it for all readers and for good. If somebody holds it, it
stays open. A writer that comes so late that its id has been closed starts its transaction anew.

Each process reckons the horizon from what it sees; the table keeps one that is far enough on for a
new process to begin with, and never less than what was trimmed.

What a process has reckoned holds only while the table is what it was reckoned from. So each look
sees whether the last settled event is the one that it was: the number alone would be another's
where the table was set back and has grown since. One that is not there was trimmed, if the table
says that it is settled up to there. Else the epoch is over (`epochs`), and the horizon begins anew.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from workflow_core.errors import AdapterUnavailableError

from workflow_sql.epochs import Epochs
from workflow_sql.schema import Tables

if TYPE_CHECKING:
    from workflow_sql.dialects.base import Cursor

__all__ = ["Gap", "Horizon", "Marks", "ServerHorizon", "SqliteHorizon"]

_OLD = 0.2  # seconds; a transaction that commits does so long before
_FEW = 64  # events looked at one by one: what is new in most looks
_WALK = 10_000  # ids looked at to find a gap among many
_CLOSED_AT_ONCE = 1_000
_KEPT_EVERY = 1_000  # ids


class Marks(NamedTuple):
    """Numbers that grow with what waiting calls care for."""

    events: int
    """All events up to this id are settled: committed, or never to be."""
    role_changes: int


class Gap(NamedTuple):
    """Ids that nobody can see."""

    first: int
    last: int


class Horizon(ABC):
    """Reads the marks. Any thread."""

    @abstractmethod
    def read(self, cursor: Cursor) -> Marks:
        """As they stand now, in one statement if it can be. Raises the driver's errors."""

    @property
    def is_held_up(self) -> bool:
        """Whether a gap is in the way, so that time alone may move the horizon."""
        return False

    def old_gap(self) -> Gap | None:
        """A gap that it is time to look into."""
        return None

    def keep(self, cursor: Cursor, *, at_least: int = 0) -> None:  # noqa: B027 - SQLite need not
        """Write down how far it has come, if it has come far, in the cursor's transaction.

        Args:
            cursor: where.
            at_least: write it down if it is less far so far. What is trimmed must lie behind it.
        """


class SqliteHorizon(Horizon):
    """One writer: an id that is visible has no smaller one still to come."""

    def __init__(self, tables: Tables) -> None:
        self._query = (
            "select coalesce((select seq from sqlite_sequence"
            f" where name = '{tables.events.name}'), 0), role_changes"
            f" from {tables.installation.fullname}"
        )

    def read(self, cursor: Cursor) -> Marks:
        """One statement."""
        cursor.execute(self._query)
        return Marks(*cursor.fetchone())


class ServerHorizon(Horizon):
    """See the module."""

    def __init__(self, tables: Tables, epochs: Epochs) -> None:
        self._epochs = epochs
        events, installation = tables.events.fullname, tables.installation.fullname
        # With the event at the horizon itself, which tells whether the table is still the same.
        # Neither joined nor counted: to plan that took PostgreSQL longer than all else in it.
        self._next = (
            f"select role_changes, settled, '' from {installation} union all"
            f" (select -1, id, event_id from {events} where id >= ? order by id limit {_FEW})"
        )
        # Counted between two ends: of a table without statistics, which a new one is, PostgreSQL
        # takes a third to be beyond one, and goes through it all.
        self._count = (
            f"select e.greatest, (select count(*) from {events} where id > ? and id <= e.greatest),"
            f" (select event_id from {events} where id = e.greatest)"
            f" from (select max(id) as greatest from {events}) e"
        )
        self._walk = f"select id, event_id from {events} where id > ? order by id limit {_WALK}"
        self._keep = f"update {installation} set settled = ? where settled < ?"
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._epoch = self._epochs.number
        self._settled = 0
        self._last: str | None = None  # the id of the event there; None: not known
        self._kept = 0
        self._gap: Gap | None = None
        self._gap_seen_at = 0.0

    def read(self, cursor: Cursor) -> Marks:
        """One statement, another where many events are new, and another at a gap among many."""
        with self._lock:
            if self._epoch != self._epochs.number:
                self._begin()
            while True:
                kept, role_changes, events = self._look(cursor)
                last = events.pop(0)[1] if events and events[0][0] == self._settled else None
                if self._is_set_back(kept, last):
                    self._epochs.end(self._epoch, "the database was set back")
                    self._begin()
                    continue
                if kept <= self._settled:
                    break
                # another process has come further, and what lies behind may be trimmed
                self._settled, self._last = kept, None
            self._kept = kept
            if self._last is None:
                self._last = last
            if len(events) < _FEW - 1:
                self._go_along(events)
            elif not self._is_whole(cursor):
                cursor.execute(self._walk, (self._settled,))
                self._go_along(cursor.fetchall())
            return Marks(self._settled, role_changes)

    def _look(self, cursor: Cursor) -> tuple[int, int, list[tuple[int, str]]]:
        """What is kept, the changes of roles, and the event at the horizon with the next ones."""
        cursor.execute(self._next, (self._settled,))
        rows = sorted(cursor.fetchall(), key=itemgetter(1))
        own = [(kept, changes) for changes, kept, _ in rows if changes >= 0]
        if not own:
            raise AdapterUnavailableError("the tables are being restored", adapter="sql")
        return *own[0], [(id, event_id) for changes, id, event_id in rows if changes < 0]

    def _is_whole(self, cursor: Cursor) -> bool:
        """Whether all that is there is settled, which then is noted."""
        cursor.execute(self._count, (self._settled,))
        greatest, number, newest = cursor.fetchone()
        is_whole: bool = greatest is not None and greatest - self._settled == number
        if is_whole:
            self._settled, self._last, self._gap = greatest, newest, None
        return is_whole

    def _is_set_back(self, kept: int, last: str | None) -> bool:
        if kept < self._kept:
            return True
        is_trimmed = last is None and kept >= self._settled
        return self._last is not None and last != self._last and not is_trimmed

    def _go_along(self, events: Sequence[tuple[int, str]]) -> None:
        """Up to the first gap."""
        gap = None
        for id, event_id in events:
            if id != self._settled + 1:
                gap = Gap(self._settled + 1, id - 1)
                break
            self._settled, self._last = id, event_id
        # one whose beginning was filled is still as old
        if gap is None or self._gap is None or gap.last != self._gap.last:
            self._gap_seen_at = time.monotonic()
        self._gap = gap

    @property
    def is_held_up(self) -> bool:
        """Whether there is a gap."""
        return self._gap is not None

    def old_gap(self) -> Gap | None:
        """At most a thousand ids of it."""
        with self._lock:
            gap = self._gap
            if gap is None or time.monotonic() - self._gap_seen_at < _OLD:
                return None
            return Gap(gap.first, min(gap.last, gap.first + _CLOSED_AT_ONCE - 1))

    def keep(self, cursor: Cursor, *, at_least: int = 0) -> None:
        """One statement, now and then."""
        settled = self._settled
        if settled - self._kept >= _KEPT_EVERY or self._kept < at_least:
            cursor.execute(self._keep, (settled, settled))
            # not before it is committed: whoever reads it from the table will say so
