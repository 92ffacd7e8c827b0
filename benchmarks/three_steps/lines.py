"""Bare statements on a server, as few for a batch as its database allows: the floor's own."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import psycopg
import pymysql
from sqlalchemy import make_url

__all__ = ["Line", "connect"]

Row = tuple[Any, ...]

_EMPTY = {
    "entered_version": "1",
    "repeats": "0",
    "attempts": "0",
    "last_error": "''",
    "reason": "''",
    "auto_resumes": "0",
    "skipped": "0",
    "passed": "''",
    "resumed": "''",
    "headers": "''",
}
_RECORD = (
    "run_id, foreign_id, write_id, data, created_at, updated_at, entered_at, workflow, status,"
    f" state, live, version, {', '.join(_EMPTY)}"
)
_SAME = f"'floor', 1, 1, 1, 1, {', '.join(_EMPTY.values())}"
_EVENT = (
    "part, event_id, topic, run_id, foreign_id, status, state, version, created_at, filed_at,"
    " workflow, kind, target, attempt, headers"
)
_EVENT_SAME = "'floor', 'entered', '', 0, ''"


class Line(ABC):
    """A connection; what is asked of it is one transaction until `commit`."""

    def __init__(self, connection: Any, prefix: str) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._records = f"{prefix}records"
        self._events = f"{prefix}events"

    @abstractmethod
    def insert_records(self, rows: Sequence[Row]) -> None:
        """Of (run id, foreign id, write id, data, now)."""

    @abstractmethod
    def insert_events(self, rows: Sequence[Row]) -> None:
        """Of (part, event id, topic, run id, foreign id, status, state, version, now)."""

    @abstractmethod
    def look_up(self, run_ids: Sequence[str]) -> Sequence[Row]:
        """(run id, foreign id, version, version of entry, data, passed) of each."""

    @abstractmethod
    def swap(self, rows: Sequence[Row]) -> None:
        """(run id, status, state, live, version, write id, data, now, passed): all have to win."""

    def execute(self, statement: str) -> None:
        """Anything else."""
        self._cursor.execute(statement)

    def commit(self) -> None:
        """Durable as the server is set up."""
        self._connection.commit()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._connection.close()


class PostgresLine(Line):
    """An array a column, and one statement."""

    def insert_records(self, rows: Sequence[Row]) -> None:
        self._cursor.execute(
            f"insert into {self._records} ({_RECORD}) select r, f, w, d, n, n, n, {_SAME}"
            " from unnest(%s::text[], %s::text[], %s::text[], %s::bytea[], %s::bigint[])"
            " as t (r, f, w, d, n)",
            _columns(rows),
            prepare=True,
        )

    def insert_events(self, rows: Sequence[Row]) -> None:
        self._cursor.execute(
            f"insert into {self._events} ({_EVENT}) select p, e, t, r, f, s, z, v, n, n,"
            f" {_EVENT_SAME} from unnest(%s::smallint[], %s::text[], %s::text[], %s::text[],"
            " %s::text[], %s::int[], %s::smallint[], %s::bigint[], %s::bigint[])"
            " as q (p, e, t, r, f, s, z, v, n)",
            _columns(rows),
            prepare=True,
        )

    def look_up(self, run_ids: Sequence[str]) -> Sequence[Row]:
        self._cursor.execute(
            "select run_id, foreign_id, version, entered_version, data, passed"
            f" from {self._records} where run_id = any(%s)",
            (list(run_ids),),
            prepare=True,
        )
        found: Sequence[Row] = self._cursor.fetchall()
        return found

    def swap(self, rows: Sequence[Row]) -> None:
        self._cursor.execute(
            f"update {self._records} set status = q.s, state = q.z, live = q.l, version = q.v,"
            " write_id = q.w, data = q.d, updated_at = q.n, entered_at = q.n,"
            " entered_version = q.v, attempts = 0, next_try_at = null, last_error = '',"
            " passed = q.p"
            " from unnest(%s::text[], %s::int[], %s::smallint[], %s::smallint[], %s::bigint[],"
            " %s::text[], %s::bytea[], %s::bigint[], %s::text[]) as q (r, s, z, l, v, w, d, n, p)"
            f" where {self._records}.run_id = q.r and {self._records}.version = q.v - 1",
            _columns(rows),
            prepare=True,
        )
        assert self._cursor.rowcount == len(rows)


class MysqlLine(Line):
    """Many rows in one insert; a join with the rows of a JSON text for the swap."""

    def insert_records(self, rows: Sequence[Row]) -> None:
        marks = f"(%s, %s, %s, %s, %s, %s, %s, {_SAME})"
        self._many(
            f"insert into {self._records} ({_RECORD}) values ",
            marks,
            ((r, f, w, d, n, n, n) for r, f, w, d, n in rows),
        )

    def insert_events(self, rows: Sequence[Row]) -> None:
        marks = f"(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, {_EVENT_SAME})"
        self._many(
            f"insert into {self._events} ({_EVENT}) values ",
            marks,
            ((*row, row[-1]) for row in rows),
        )

    def look_up(self, run_ids: Sequence[str]) -> Sequence[Row]:
        marks = ", ".join(["%s"] * len(run_ids))
        self._cursor.execute(
            "select run_id, foreign_id, version, entered_version, data, passed"
            f" from {self._records} where run_id in ({marks})",
            list(run_ids),
        )
        found: Sequence[Row] = self._cursor.fetchall()
        return found

    def swap(self, rows: Sequence[Row]) -> None:
        told = [[*row[:6], row[6].decode(), *row[7:]] for row in rows]
        self._cursor.execute(
            f"update {self._records} r join json_table(%s, '$[*]' columns ("
            " id varchar(36) path '$[0]', s int path '$[1]', z int path '$[2]',"
            " l int path '$[3]', v bigint path '$[4]', w char(16) path '$[5]',"
            " d longtext path '$[6]', n bigint path '$[7]', p text path '$[8]')) q"
            " on r.run_id = q.id and r.version = q.v - 1"
            " set r.status = q.s, r.state = q.z, r.live = q.l, r.version = q.v, r.write_id = q.w,"
            " r.data = q.d, r.updated_at = q.n, r.entered_at = q.n, r.entered_version = q.v,"
            " r.attempts = 0, r.next_try_at = null, r.last_error = '', r.passed = q.p",
            (json.dumps(told),),
        )
        assert self._cursor.rowcount == len(rows)

    def _many(self, head: str, marks: str, rows: Any) -> None:
        flat = [value for row in rows for value in row]
        count = len(flat) // marks.count("%s")
        self._cursor.execute(head + ", ".join([marks] * count), flat)


def connect(url: str, prefix: str) -> Line:
    """By the url's own driver."""
    parts = make_url(url)
    if parts.get_backend_name() == "postgresql":
        return PostgresLine(
            psycopg.connect(
                host=parts.host,
                port=parts.port,
                user=parts.username,
                password=parts.password,
                dbname=parts.database,
            ),
            prefix,
        )
    return MysqlLine(
        pymysql.connect(
            host=parts.host or "127.0.0.1",
            port=parts.port or 3306,
            user=parts.username,
            password=parts.password or "",
            database=parts.database,
        ),
        prefix,
    )


def _columns(rows: Sequence[Row]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
