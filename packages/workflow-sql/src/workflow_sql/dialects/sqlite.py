"""SQLite: one writer at a time, readers beside it, no server."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Any, cast

import msgspec
from sqlalchemy import URL, BigInteger, Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import TypeDecorator
from workflow_core.errors import AdapterError, AdapterUnavailableError, ConfigurationError

from workflow_sql.dialects.base import Connections, Cursor, Dialect, Row, Swap
from workflow_sql.dialects.sqlite_connections import SqliteConnections
from workflow_sql.schema import Tables
from workflow_sql.settings import Synchronous

__all__ = ["SqliteDialect"]

_OLDEST = (3, 35)  # the first with "returning", which is also past the last bugs with partial keys

# primary result codes of SQLite: what happened, and what to do about it
_UNAVAILABLE = {
    sqlite3.SQLITE_BUSY: ("another writer holds the database", "Keep transactions short"),
    sqlite3.SQLITE_LOCKED: ("another statement holds the table", "Keep transactions short"),
    sqlite3.SQLITE_FULL: ("the disk or the database is full", "Make room; nothing was kept of it"),
    sqlite3.SQLITE_IOERR: ("the disk failed", "Look into the system's log"),
    sqlite3.SQLITE_READONLY: (
        "the database may not be written",
        "Look at the permissions of the file and of its folder",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "the database file cannot be opened",
        "See that its folder exists and may be written",
    ),
    sqlite3.SQLITE_CORRUPT: ("the database file is damaged", "Restore it from a backup"),
    sqlite3.SQLITE_NOTADB: ("the file is no SQLite database", "Look at the path in the url"),
}
_REFUSED = {
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_RANGE,
}


class _Microseconds(TypeDecorator[int]):
    """A point in time: whole microseconds since 1970, UTC."""

    impl = BigInteger
    cache_ok = True


class SqliteDialect(Dialect):
    """SQLite 3.35 or newer, in WAL mode."""

    name = "sqlite"
    instant = _Microseconds()
    # what cannot be bound to a parameter at all is among them: it is refused for good
    driver_errors = (sqlite3.Error, DBAPIError, OverflowError, UnicodeEncodeError)
    upgrades_itself = True

    def connections(  # noqa: D102 - see Dialect
        self, url: URL, *, synchronous: Synchronous, lock_timeout: timedelta
    ) -> Connections:
        if sqlite3.sqlite_version_info < _OLDEST:
            raise ConfigurationError(
                f"Python's SQLite is {sqlite3.sqlite_version}, too old",
                adapter="sql",
                hint="Use a Python whose SQLite is 3.35 or newer",
            )
        if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
            raise ConfigurationError(
                "the url names no SQLite file",
                adapter="sql",
                hint="Write it like sqlite:///orders.db; the adapter memory keeps all in memory",
            )
        if url.query:
            raise ConfigurationError(
                f"the url has options that SQLite does not take here: {', '.join(url.query)}",
                adapter="sql",
            )
        return SqliteConnections(url.database, synchronous=synchronous, lock_timeout=lock_timeout)

    def describe(self, cursor: Cursor) -> str:  # noqa: D102
        cursor.execute("select sqlite_version()")
        return f"SQLite {cursor.fetchone()[0]}"

    def translate(self, error: BaseException, doing: str) -> AdapterError:  # noqa: D102
        cause = _driver_error(error)
        code = _primary_code(cause)
        if code in _UNAVAILABLE:
            what, hint = _UNAVAILABLE[code]
            return AdapterUnavailableError(f"{doing} failed: {what}", adapter="sql", hint=hint)
        if code in _REFUSED or not isinstance(cause, sqlite3.OperationalError):
            return AdapterError.of("sql", cause, doing=doing)
        return AdapterUnavailableError.of("sql", cause, doing=doing)

    def is_contention(self, error: BaseException) -> bool:  # noqa: D102
        return _primary_code(_driver_error(error)) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)

    def cursor(self, connection: Connection) -> Cursor:  # noqa: D102
        # not by way of the pool's proxy, which would cost as much as a look-up
        driver: Any = connection.connection.dbapi_connection
        return cast(Cursor, driver.cursor())

    def driver_cursor(self, connection: object) -> Cursor | None:  # noqa: D102
        if isinstance(connection, sqlite3.Connection):
            return connection.cursor()
        return None

    def ensure_begun(self, connection: object, cursor: Cursor) -> bool:  # noqa: D102
        driver: Any = getattr(connection, "driver_connection", connection)
        if driver.in_transaction:
            return True
        if driver.isolation_level is None:
            return False
        # by hand: what the driver would begin by itself is not begun by a savepoint, whose release
        # would then commit; and a transaction that reads first may find itself unable to write
        cursor.execute("begin immediate")
        return True

    def within(self, column: str) -> str:  # noqa: D102
        return f"{column} in (select value from json_each(?))"

    def pack(self, values: Sequence[str | int]) -> Any:  # noqa: D102
        return msgspec.json.encode(values).decode()

    def insert_absent(  # noqa: D102
        self, cursor: Cursor, table: str, columns: tuple[str, ...], rows: Sequence[Row]
    ) -> list[bool]:
        return self.update_each(cursor, _insert(table, columns), rows)

    def delete_taken(self, cursor: Cursor, table: str, ids: Sequence[str]) -> list[str]:  # noqa: D102
        cursor.execute(
            f"delete from {table} where {self.within('id')} returning id", (self.pack(ids),)
        )
        return [row[0] for row in cursor.fetchall()]

    def update_each(  # noqa: D102
        self, cursor: Cursor, sql: str, rows: Sequence[Row]
    ) -> list[bool]:
        # no round trip is lost by going one by one, and each tells whether it took
        execute = cursor.execute
        return [execute(sql, row).rowcount == 1 for row in rows]

    def compare_and_swap(  # noqa: D102
        self, cursor: Cursor, swap: Swap, rows: Sequence[Row]
    ) -> list[bool]:
        return self.update_each(cursor, _update(swap), rows)

    def insert_new(  # noqa: D102
        self, cursor: Cursor, table: str, columns: tuple[str, ...], rows: Sequence[Row]
    ) -> None:
        cursor.executemany(_insert(table, columns), rows)

    def has_table(self, cursor: Cursor, name: str) -> bool:  # noqa: D102
        cursor.execute("select 1 from sqlite_master where type = 'table' and name = ?", (name,))
        return cursor.fetchone() is not None

    def marks_query(self, tables: Tables) -> str:  # noqa: D102
        # one writer: an id that is visible has no smaller one still to come
        return (
            "select coalesce((select seq from sqlite_sequence"
            f" where name = '{tables.events.name}'), 0), role_changes"
            f" from {tables.installation.name}"
        )


@lru_cache(maxsize=256)
def _insert(table: str, columns: tuple[str, ...]) -> str:
    marks = ", ".join("?" * len(columns))
    return f"insert into {table} ({', '.join(columns)}) values ({marks}) on conflict do nothing"


@lru_cache(maxsize=256)
def _update(swap: Swap) -> str:
    values = ", ".join(f"{column} = ?" for column in swap.columns)
    return (
        f"update or ignore {swap.table} set {values}"
        f" where run_id = ? and version = ? and {swap.condition}"
    )


def _driver_error(error: BaseException) -> BaseException:
    return error.orig or error if isinstance(error, DBAPIError) else error


def _primary_code(error: BaseException) -> int | None:
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
