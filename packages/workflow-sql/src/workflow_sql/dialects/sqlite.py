"""SQLite: one writer at a time, readers beside it, no server."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast

import msgspec
from sqlalchemy import URL, BigInteger, Connection, LargeBinary, Table, Text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import TypeDecorator
from workflow_core.errors import AdapterError, AdapterUnavailableError, ConfigurationError

from workflow_sql.dialects import sqlite_batches as batches
from workflow_sql.dialects.base import Change, Cursor, Dialect, Row, Select, Swap
from workflow_sql.dialects.connections import Connections
from workflow_sql.dialects.sqlite_connections import SqliteConnections
from workflow_sql.epochs import Epochs
from workflow_sql.horizon import Gap, Horizon, SqliteHorizon
from workflow_sql.schema import Kinds, Tables
from workflow_sql.settings import ConnectionSettings

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
    title = "SQLite"
    schemas = ""
    reserved = frozenset()
    kinds = Kinds(
        instant=_Microseconds(),
        id=Text(),
        name=Text(),
        label=Text(),
        words=Text(),
        data=LargeBinary(),
        options={},
        busy_options={},
        partial_indexes=True,
        ended_stored=None,
    )
    # what cannot be bound to a parameter at all is among them: it is refused for good
    driver_errors = (sqlite3.Error, DBAPIError, OverflowError, UnicodeEncodeError)
    upgrades_itself = True
    migrates_whole = True
    clock = ""
    claiming = ""  # whoever writes is alone
    locking = ""
    joins_by_range = True
    as_committed = ""

    def connections(  # noqa: D102 - see Dialect
        self, url: URL, settings: ConnectionSettings, prefix: str
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
        return SqliteConnections(
            url.database, synchronous=settings.synchronous, lock_timeout=settings.lock_timeout
        )

    def check(self, cursor: Cursor) -> None:
        """Nothing to see: there is no server."""

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

    def rows(  # noqa: D102
        self, cursor: Cursor, select: Select, parameters: Sequence[Any]
    ) -> Sequence[Row]:
        return batches.rows_of(cursor, select, parameters)

    def insert_absent(  # noqa: D102
        self, cursor: Cursor, table: Table, columns: tuple[str, ...], rows: Sequence[Row]
    ) -> list[bool]:
        return batches.insert_all(cursor, table.name, columns, rows)

    def insert_new(  # noqa: D102
        self, cursor: Cursor, table: Table, columns: tuple[str, ...], rows: Sequence[Row]
    ) -> None:
        batches.insert_new(cursor, table.name, columns, rows)

    def append(  # noqa: D102
        self, cursor: Cursor, table: Table, columns: tuple[str, ...], rows: Sequence[Row]
    ) -> None:
        batches.insert_new(cursor, table.name, columns, rows)

    def close_gap(self, cursor: Cursor, events: Table, gap: Gap, now: int) -> None:
        """There are none."""

    def delete_taken(self, cursor: Cursor, table: Table, ids: Sequence[str]) -> list[str]:  # noqa: D102
        return batches.delete_all(cursor, table.name, self.pack(ids))

    def update_taken(  # noqa: D102
        self, cursor: Cursor, table: Table, key: str, change: str, keys: Sequence[str]
    ) -> set[str]:
        cursor.execute(
            f"update {table.name} {change} and {self.within(key)} returning {key}",
            (self.pack(keys),),
        )
        return {row[0] for row in cursor.fetchall()}

    def compare_and_swap(  # noqa: D102
        self, cursor: Cursor, swap: Swap, rows: Sequence[Row]
    ) -> list[bool]:
        return batches.swap_all(cursor, swap, rows)

    def update_each(self, cursor: Cursor, change: Change, rows: Sequence[Row]) -> None:  # noqa: D102
        sql = _change(change)
        if change.not_beyond:
            limit = change.columns.index(change.not_beyond)
            rows = [(*row, row[limit]) for row in rows]
        cursor.executemany(sql, rows)

    def lock_migrations(self, cursor: Cursor, name: str) -> None:
        """Whoever writes is alone."""

    def has_table(self, cursor: Cursor, name: str) -> bool:  # noqa: D102
        cursor.execute("select 1 from sqlite_master where type = 'table' and name = ?", (name,))
        return cursor.fetchone() is not None

    def horizon(self, tables: Tables, epochs: Epochs) -> Horizon:  # noqa: D102
        return SqliteHorizon(tables)


@lru_cache(maxsize=256)
def _change(change: Change) -> str:
    kept = f"max(coalesce({change.rising}, 0), ?)"
    values = ", ".join(f"{c} = {kept if c == change.rising else '?'}" for c in change.columns)
    keys = " and ".join(f"{key} = ?" for key in change.keys)
    beyond = f" and {change.not_beyond} <= ?" if change.not_beyond else ""
    return f"update {change.table.name} set {values} where {keys} and {change.condition}{beyond}"


def _driver_error(error: BaseException) -> BaseException:
    return error.orig or error if isinstance(error, DBAPIError) else error


def _primary_code(error: BaseException) -> int | None:
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
