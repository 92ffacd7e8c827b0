"""Taking out of the event table what nobody needs any more."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta

from workflow_core.errors import AdapterUnavailableError
from workflow_core.ports import in_forked_child

from workflow_sql.database import Database
from workflow_sql.dialects import Cursor
from workflow_sql.events.cursors import Lane
from workflow_sql.instants import later, span

__all__ = ["Trimming"]

logger = logging.getLogger(__name__)

_EVERY = timedelta(minutes=1)
_PATIENCE = timedelta(seconds=0.5)
_AT_ONCE = 1_000  # rows in one transaction, so that others can write in between
_FORGOTTEN = timedelta(days=7)  # a consumer not seen for so long holds nothing up


class Trimming:
    """Deletes events that all consumers have done with, once they are old enough.

    What no consumer reads goes by age alone; a consumer that was not seen for a week is said so in
    the log and then counts as none. One process at a time does it, about once a minute. Any thread.
    """

    def __init__(self, database: Database, trim_after: timedelta) -> None:
        self._database = database
        self._after = trim_after
        self._next_look = 0
        self._up_to: dict[Lane, int] = {}
        self._epoch = database.epoch  # in which it was found
        self._begin()
        in_forked_child(self._begin)
        self._warned: set[str] = set()
        tables = database.tables
        self._events = tables.events.fullname
        self._installation = tables.installation.fullname
        self._cursors = tables.cursors.fullname
        self._consumers = tables.consumers.fullname
        # from topic to topic by the index, without looking at what lies between
        next_topic = f"select min(e.topic) from {self._events} e where e.topic > t.topic"
        self._lanes = (
            "with recursive"
            f" t (topic) as (select min(topic) from {self._events}"
            f"  union all select ({next_topic}) from t where t.topic is not null),"
            " p (part) as (select 0 union all select part + 1 from p where part + 1 < ?)"
            " select topic, part,"
            f"  (select min(id) from {self._events} e where e.topic = t.topic and e.part = p.part)"
            " from t cross join p where topic is not null"
        )
        self._delete = f"delete from {self._events} where topic = ? and part = ? and id <= ?"
        self._first = (
            f"select id from {self._events} where topic = ? and part = ? and id <= ?"
            " order by id limit ?"
        )

    def _begin(self) -> None:
        self._turn = threading.Lock()

    def trim_if_due(self) -> None:
        """Do a small part of the work, if there is any and no other process does it."""
        if not self._up_to and self._database.now() < self._next_look:
            return
        if not self._turn.acquire(blocking=False):
            return  # another receiver of this process is at it
        try:
            # where others are in the way it can wait: those who receive cannot
            with suppress(AdapterUnavailableError):
                self._go_on()
        finally:
            self._turn.release()

    def _go_on(self) -> None:
        if self._up_to:
            self._delete_some(self._up_to)
            return
        self._next_look = later(self._database.now(), _EVERY)
        if self._database.watch.marks.events and self._is_mine():
            self._up_to = self._find()

    def trim(self) -> int:
        """Delete all that can go; answers how many rows went.

        Raises:
            AdapterUnavailableError: no answer; what went stays gone.
        """
        up_to = self._find()
        gone = 0
        while up_to:
            gone += self._delete_some(up_to)
        return gone

    def _find(self) -> dict[Lane, int]:
        """Up to which id each lane can go, where that is anything."""
        self._epoch = self._database.epoch
        with self._database.reading("looking for events to trim") as cursor:
            old = self._last_old(cursor)
            floors = self._floors(cursor)
            cursor.execute(self._lanes, (self._database.installation.partitions,))
            firsts = cursor.fetchall()
        found = {}
        for topic, part, first in firsts:
            last = min(old, floors.get((topic, part), old))
            if first is not None and first <= last:
                found[topic, part] = last
        return found

    def _is_mine(self) -> bool:
        with self._database.reading("looking whether to trim") as cursor:
            cursor.execute(f"select trim_at from {self._installation}")
            if cursor.fetchone()[0] > self._database.now():
                return False
        with self._database.writing("taking the turn to trim", timeout=_PATIENCE) as writing:
            writing.cursor.execute(
                f"update {self._installation} set trim_at = ? where trim_at <= ?",
                (later(writing.now, _EVERY), writing.now),
            )
            return writing.cursor.rowcount == 1

    def _last_old(self, cursor: Cursor) -> int:
        """The last id that is old enough: ids grow with time, so halving finds it."""
        limit = self._database.now() - span(self._after)
        low, high = 0, self._database.marks(cursor).events
        while low < high:
            middle = (low + high) // 2 + 1
            # the next one that is there: there are holes
            cursor.execute(
                f"select filed_at from {self._events} where id >= ? order by id limit 1", (middle,)
            )
            row = cursor.fetchone()
            if row is None or row[0] > limit:
                high = middle - 1
            else:
                low = middle
        return low

    def _floors(self, cursor: Cursor) -> Mapping[Lane, int]:
        """How far each lane is done by all consumers that count."""
        forgotten = self._database.now() - span(_FORGOTTEN)
        cursor.execute(f"select name from {self._consumers} where seen_at <= ?", (forgotten,))
        self._warn([name for (name,) in cursor.fetchall()])
        cursor.execute(
            f"select c.topic, c.part, min(c.done_to) from {self._cursors} c"
            f" join {self._consumers} k on k.name = c.consumer"
            " where k.seen_at > ? group by c.topic, c.part",
            (forgotten,),
        )
        return {(topic, part): done_to for topic, part, done_to in cursor.fetchall()}

    def _warn(self, forgotten: list[str]) -> None:
        for name in forgotten:
            if name not in self._warned:
                self._warned.add(name)
                logger.warning(
                    "consumer %r was not seen for %d days: its events are no longer kept",
                    name,
                    _FORGOTTEN.days,
                )

    def _delete_some(self, up_to: dict[Lane, int]) -> int:
        """One transaction's worth; lanes that are done with are taken out of `up_to`."""
        gone = 0
        with self._database.writing("trimming events", timeout=_PATIENCE) as writing:
            if writing.epoch != self._epoch:  # the cursors may be back where they were before
                up_to.clear()
            for (topic, part), last in list(up_to.items()):
                wanted = _AT_ONCE - gone
                writing.cursor.execute(self._first, (topic, part, last, wanted))
                ids = [row[0] for row in writing.cursor.fetchall()]
                if ids:
                    # whoever reads the horizon from the table must not find a gap behind it
                    self._database.horizon.keep(writing.cursor, at_least=ids[-1])
                    writing.cursor.execute(self._delete, (topic, part, ids[-1]))
                    gone += len(ids)
                if gone >= _AT_ONCE:
                    break
                del up_to[topic, part]
        return gone
