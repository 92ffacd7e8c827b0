"""How far each consumer has come, in the database.

A lane is one part of one topic. For each consumer and lane the table keeps ``done_to``: all events
up to this id are done; and ``acked``: those beyond it that are done too. A row of the receivers'
table tells how far an open receiver may have handed out: it goes when the receiver is closed, so
that one which is still there when a lane changes hands belonged to a process that vanished, unless
it is one of the process that takes the lane.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import msgspec
from workflow_core.model import Event

from workflow_sql.database import Database, Writing
from workflow_sql.dialects import Change, Row, Select
from workflow_sql.rows import EVENT_COLUMNS, event_of

__all__ = ["Cursors", "Fetched", "Lane", "Opening", "Progress"]

Lane: TypeAlias = tuple[str, int]
"""A topic and the number of one of its parts."""

_acked = msgspec.json.Decoder(list[int]).decode


class Progress(NamedTuple):
    """How far a lane has come."""

    done_to: int
    acked: Sequence[int]


class Opening(NamedTuple):
    """What a new receiver starts from."""

    lanes: Mapping[Lane, Progress]
    suspect_to: Mapping[Lane, int]
    """Up to which id a lane's events may have been in the hands of a process that vanished."""


Fetched: TypeAlias = tuple[int, Lane, Event]
"""An event's place, its lane, itself."""


class Cursors:
    """The statements about one consumer's cursors in these parts of these topics. Any thread."""

    def __init__(
        self, database: Database, consumer: str, topics: Sequence[str], parts: Sequence[int]
    ) -> None:
        tables = database.tables
        self._database = database
        self._consumer = consumer
        self._topics = tuple(dict.fromkeys(topics))
        self._held = frozenset(parts)
        self._tables = tables
        self._cursors = tables.cursors.fullname
        self._receivers = tables.receivers.fullname
        self._consumers = tables.consumers.fullname
        self._come_further = Change(
            tables.cursors,
            ("done_to", "acked"),
            ("consumer", "topic", "part"),
            not_beyond="done_to",
        )
        mask = sum(1 << part for part in parts)
        topics_marks = ", ".join("?" * len(self._topics))
        self._mine = f"consumer = ? and topic in ({topics_marks}) and ((? >> part) & 1) = 1"
        self._me = (consumer, *self._topics, mask)
        self._known = (
            f"select topic, part, done_to, acked, receiver from {self._cursors}"
            f" where consumer = ? and topic in ({topics_marks})"
        )
        # from each lane its own range of the index; the ids beyond the caller's are never touched
        if database.dialect.joins_by_range:
            these = (
                f"from {self._cursors} c join {tables.events.fullname} e"
                " on e.topic = c.topic and e.part = c.part"
                " and e.id > case when c.done_to > ? then c.done_to else ? end and e.id <= ?"
                f" where c.consumer = ? and c.topic in ({topics_marks}) and ((? >> c.part) & 1) = 1"
            )
        else:
            held = ", ".join(map(str, sorted(self._held)))
            these = (
                f"from {tables.events.fullname} e where e.topic in ({topics_marks})"
                f" and e.part in ({held or 'null'}) and e.id > ? and e.id <= ?"
            )
        self._fetch = Select(
            ("e.id", "e.part", "e.event_id", *(f"e.{column}" for column in EVENT_COLUMNS)),
            f"{these} order by e.id limit ?",
        )

    def open(
        self,
        writing: Writing,
        *,
        receiver: str,
        instance: str,
        open_here: Collection[str],
        head: int,
        from_latest: bool,
        window_end: int,
    ) -> Opening:
        """Register the consumer and take over its lanes.

        From a receiver in `open_here` too: it is this process's, which reads other lanes from now
        on and has not vanished with what it has in hand.
        """
        cursor = writing.cursor
        self._see(writing)
        cursor.execute(self._known, (self._consumer, *self._topics))
        known = {(row[0], row[1]): row for row in cursor.fetchall()}
        start = head if from_latest else 0
        # all parts of a new topic, not only those held: for the others too it starts here
        fresh = [
            (self._consumer, topic, part, start, "")
            for topic in self._topics
            for part in range(self._database.installation.partitions)
            if (topic, part) not in known
        ]
        if fresh:
            self._database.dialect.insert_new(
                cursor,
                self._tables.cursors,
                ("consumer", "topic", "part", "done_to", "acked"),
                fresh,
            )
        suspect_to = self._left_behind(writing, known, head, open_here)
        self._database.dialect.insert_new(
            cursor,
            self._tables.receivers,
            ("id", "consumer", "instance", "window_end"),
            [(receiver, self._consumer, instance, window_end)],
        )
        cursor.execute(
            f"update {self._cursors} set receiver = ? where {self._mine}", (receiver, *self._me)
        )
        cursor.execute(
            f"delete from {self._receivers} where consumer = ?"
            f" and id not in (select receiver from {self._cursors}"
            "  where consumer = ? and receiver is not null)",
            (self._consumer, self._consumer),
        )
        lanes = {
            (topic, part): _progress(known.get((topic, part)), start)
            for topic in self._topics
            for part in self._held
        }
        return Opening(lanes, suspect_to)

    def fetch(self, after: int, up_to: int, limit: int) -> list[Fetched]:
        """Events of the lanes with ids in (after, up_to], in order of id."""
        dialect = self._database.dialect
        wanted: tuple[Any, ...] = (*self._topics, after, up_to, limit)
        if dialect.joins_by_range:
            wanted = (after, after, up_to, *self._me, limit)
        with self._database.reading("receiving events") as cursor:
            rows = dialect.rows(cursor, self._fetch, wanted)
        return [(row[0], (row[3], row[1]), event_of(row[2], row[3:])) for row in rows]

    def save(
        self, writing: Writing, progress: Mapping[Lane, Progress], receiver: str, window_end: int
    ) -> None:
        """Keep how far the lanes have come; a lane that has come further by now is left alone."""
        self._see(writing)  # first, as on opening, lest the two wait for each other
        self._database.dialect.update_each(
            writing.cursor,
            self._come_further,
            [
                (done_to, _acked_text(acked), self._consumer, topic, part)
                for (topic, part), (done_to, acked) in sorted(progress.items())
            ],
        )
        writing.cursor.execute(
            f"update {self._receivers} set window_end = ? where id = ?", (window_end, receiver)
        )
        self._database.horizon.keep(writing.cursor)

    def resign(self, writing: Writing, receiver: str) -> None:
        """A clean end: what comes again is not suspect."""
        writing.cursor.execute(f"delete from {self._receivers} where id = ?", (receiver,))

    def _see(self, writing: Writing) -> None:
        # an update first: nearly always the row is there
        seen = (writing.now, self._consumer)
        writing.cursor.execute(f"update {self._consumers} set seen_at = ? where name = ?", seen)
        if writing.cursor.rowcount == 0:
            self._database.dialect.insert_new(
                writing.cursor, self._tables.consumers, ("name", "seen_at"), [seen[::-1]]
            )

    def _left_behind(
        self, writing: Writing, known: Mapping[Lane, Row], head: int, open_here: Collection[str]
    ) -> dict[Lane, int]:
        writing.cursor.execute(
            f"select id, window_end from {self._receivers} where consumer = ?", (self._consumer,)
        )
        rows = writing.cursor.fetchall()
        open_ones: dict[str, int] = {id: end for id, end in rows if id not in open_here}
        return {
            lane: min(open_ones[row[4]], head)  # what came later was in nobody's hands yet
            for lane, row in known.items()
            if lane[1] in self._held and row[4] in open_ones
        }


def _progress(row: Row | None, start: int) -> Progress:
    if row is None:
        return Progress(start, ())
    return Progress(row[2], _acked(row[3]) if row[3] else ())


def _acked_text(acked: Iterable[int]) -> str:
    ids = list(acked)
    return msgspec.json.encode(ids).decode() if ids else ""
