"""How far each consumer has come, in Reflex's table of cursors.

A lane is one part of one topic, and each lane of a consumer has a cursor of its own: all events of
the lane up to its number are done. So topics may be added to a consumer and the number of shards
may change. Cursors only go forward, whoever writes them, and however late.

Go keeps one cursor for a consumer, under its bare name, since a consumer there reads one topic.
Where such a one is found under the name of a consumer that reads one topic here too, its lanes
begin there; and a receiver that has all parts of its one topic moves it along with them. So a
consumer that moves from Go to Python, or back, misses nothing.

A row more for each open receiver tells up to where it may have handed out. It goes when the
receiver is closed, so that one which is still there when its parts change hands belonged to a
process that vanished.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection

from workflow_reflex.database import Database
from workflow_reflex.names import PARTS, Lane, cursor_id, mark_prefix
from workflow_reflex.ways import AT_ONCE

__all__ = ["Cursors", "Opening"]

_MARK_LENGTH = 4  # hexadecimal digits of a set of parts


class Opening(NamedTuple):
    """What a new receiver starts from."""

    done_to: Mapping[Lane, int]
    suspect_to: Mapping[int, int]
    """Up to which id a part's events may have been in the hands of a process that vanished."""


class Cursors:
    """The statements about one receiver's cursors. Any thread.

    Args:
        database: where.
        consumer: the name, in its namespace.
        topics: those that it reads, in their namespace.
        parts: those that it holds.
    """

    def __init__(
        self, database: Database, consumer: str, topics: Sequence[str], parts: Sequence[int]
    ) -> None:
        self._database = database
        self._consumer = consumer
        self._parts = frozenset(parts)
        topics = tuple(dict.fromkeys(topics))
        self.lanes: Sequence[Lane] = [(topic, part) for topic in topics for part in sorted(parts)]
        """Those that are held."""
        self._ids = {
            (topic, part): cursor_id(consumer, (topic, part))
            for topic in topics
            for part in range(PARTS)
        }
        self._go_id = consumer if len(topics) == 1 and len(consumer) <= 255 else None
        self._marks = mark_prefix(consumer)
        self.mark = self._mark_of(self._parts)
        """Where it is told how far may be handed out."""

    def _mark_of(self, parts: frozenset[int]) -> str:
        mask = sum(1 << part for part in parts)
        return f"{self._marks}{mask:0{_MARK_LENGTH}x}/{uuid.uuid4()}"

    def stored(self, connection: Connection) -> dict[Lane, int]:
        """The cursors that there are, of all parts of the topics."""
        found = self._look_up(connection, list(self._ids.values()))
        return {lane: found[id] for lane, id in self._ids.items() if id in found}

    def open(
        self, connection: Connection, *, start: int, window_end: int, open_here: Collection[str]
    ) -> Opening:
        """Make the cursors that are missing, and take over the parts.

        Args:
            connection: an open transaction.
            open_here: marks of this process's receivers, which have not vanished.
            start: where topics begin that are new to the consumer.
            window_end: up to where may be handed out without saying so again.
        """
        known = self.stored(connection)
        if self._go_id is not None and not known:
            start = self._look_up(connection, [self._go_id]).get(self._go_id, start)
        # all parts of a new topic, not only those held: for the others too it starts here
        self._move(connection, {id: start for lane, id in self._ids.items() if lane not in known})
        suspect_to = self._take_over(connection, open_here)
        self._move(connection, {self.mark: window_end})
        return Opening({lane: known.get(lane, start) for lane in self.lanes}, suspect_to)

    def save(
        self, connection: Connection, done_to: Mapping[Lane, int], *, floor: int, window_end: int
    ) -> None:
        """Keep how far lanes have come.

        Args:
            connection: an open transaction.
            done_to: of those that have come further.
            floor: how far all lanes have come.
            window_end: up to where may be handed out without saying so again.
        """
        moved = {self._ids[lane]: done for lane, done in done_to.items()}
        if moved and self._go_id is not None and len(self._parts) == PARTS:
            moved[self._go_id] = floor
        self._move(connection, moved)
        tables, mark = self._database.tables, self._database.ways.mark
        # only where it is still there: whoever has taken the parts over has taken it away
        connection.exec_driver_sql(
            f"update {tables.cursors} set last_event_id = {mark} where id = {mark}",
            (window_end, self.mark),
        )

    def resign(self, connection: Connection) -> None:
        """A clean end: what comes again is not suspect."""
        self._delete(connection, self.mark)

    def _take_over(self, connection: Connection, open_here: Collection[str]) -> dict[int, int]:
        """Of receivers that were not closed, what they had of these parts."""
        tables, mark = self._database.tables, self._database.ways.mark
        pattern = self._marks.replace("!", "!!").replace("%", "!%").replace("_", "!_") + "%"
        rows = connection.exec_driver_sql(
            f"select id, last_event_id from {tables.cursors} where id like {mark} escape '!'",
            (pattern,),
        ).all()
        suspect_to: dict[int, int] = {}
        for id, window_end in rows:
            told = str(id).removeprefix(self._marks).partition("/")[0]
            theirs = {part for part in range(PARTS) if int(told, 16) >> part & 1}
            if not theirs & self._parts:
                continue
            for part in theirs & self._parts if id not in open_here else ():
                suspect_to[part] = max(suspect_to.get(part, 0), window_end)
            self._delete(connection, id)
            if rest := frozenset(theirs - self._parts):  # whoever takes over these has to know
                self._move(connection, {self._mark_of(rest): window_end})
        return suspect_to

    def _look_up(self, connection: Connection, ids: Sequence[str]) -> dict[str, int]:
        tables, ways = self._database.tables, self._database.ways
        found: dict[str, int] = {}
        for at in range(0, len(ids), AT_ONCE):
            part = ids[at : at + AT_ONCE]
            rows = connection.exec_driver_sql(
                f"select id, last_event_id from {tables.cursors}"
                f" where id in ({ways.marks(len(part))})",
                tuple(part),
            ).all()
            found.update((id, done) for id, done in rows)
        return found

    def _move(self, connection: Connection, to: Mapping[str, int]) -> None:
        """In one order, lest two receivers wait for each other."""
        now, stamp = self._database.stamped()
        rows = sorted(to.items())
        for at in range(0, len(rows), AT_ONCE // 2):
            part = rows[at : at + AT_ONCE // 2]
            values: list[Any] = []
            for row in part:
                values += (*row, *stamp)
            connection.exec_driver_sql(
                self._database.ways.upsert(self._database.tables, len(part), now), tuple(values)
            )

    def _delete(self, connection: Connection, id: str) -> None:
        tables, mark = self._database.tables, self._database.ways.mark
        connection.exec_driver_sql(f"delete from {tables.cursors} where id = {mark}", (id,))
