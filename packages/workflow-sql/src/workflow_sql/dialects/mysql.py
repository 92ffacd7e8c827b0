"""MySQL 8.0.16 or newer and MariaDB 10.6 or newer, through PyMySQL."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pymysql
from sqlalchemy import URL, Column, Connection, Integer, Table
from sqlalchemy.dialects.mysql import LONGBLOB, MEDIUMTEXT
from sqlalchemy.dialects.mysql.reserved_words import RESERVED_WORDS_MARIADB, RESERVED_WORDS_MYSQL
from sqlalchemy.exc import DBAPIError
from workflow_core.errors import AdapterError, ConfigurationError

from workflow_sql.dialects import mysql_errors as errors
from workflow_sql.dialects import mysql_statements as statements
from workflow_sql.dialects.base import Change, Cursor, Dialect, Row, Swap
from workflow_sql.dialects.batches import chunks
from workflow_sql.dialects.connections import Connections
from workflow_sql.dialects.mysql_kinds import kinds_with
from workflow_sql.dialects.mysql_line import (
    CLOCK,
    MysqlCursor,
    MysqlLine,
    is_callers,
    spelled_cursor,
)
from workflow_sql.dialects.server_connections import ServerConnections
from workflow_sql.epochs import Epochs
from workflow_sql.horizon import Gap, Horizon, ServerHorizon
from workflow_sql.schema import Tables
from workflow_sql.settings import ConnectionSettings

__all__ = ["MariadbDialect", "MysqlDialect"]


class MysqlDialect(Dialect):
    """MySQL's ways. See `Dialect`."""

    name = "mysql"
    title = "MySQL"
    schemas = "a database"
    reserved = frozenset(RESERVED_WORDS_MYSQL)
    collation = "utf8mb4_0900_bin"  # the one that does not take "a " for "a"
    time_limit = ("max_execution_time", 0.001)
    server = "@@server_uuid"
    oldest = (8, 0, 16)
    kinds = kinds_with(collation)
    # what cannot be a parameter at all is among them: it is refused for good
    driver_errors = (pymysql.MySQLError, DBAPIError, OSError, OverflowError, UnicodeEncodeError)
    upgrades_itself = False
    migrates_whole = False
    clock = CLOCK
    claiming = " for update skip locked"
    locking = " for update"
    locking_these = "for update of r"  # and not the document that they are joined to
    joins_by_range = False
    as_committed = " lock in share mode"

    def connections(  # noqa: D102 - see Dialect
        self, url: URL, settings: ConnectionSettings, prefix: str
    ) -> Connections:
        if url.drivername not in (self.name, f"{self.name}+pymysql"):
            raise ConfigurationError(
                f"the url names the driver {url.get_driver_name()!r}, known is pymysql",
                adapter="sql",
                hint=f"Write it like {self.name}://user:password@host/database",
            )
        line = MysqlLine(url, settings, time_limit=self.time_limit, server=self.server)
        return ServerConnections(line, size=settings.pool_size, patience=settings.lock_timeout)

    def check(self, cursor: Cursor) -> None:  # noqa: D102
        cursor.execute("select version()")
        version = str(cursor.fetchone()[0])
        if ("MariaDB" in version) is not (self.name == "mariadb"):
            other = "mariadb" if self.name == "mysql" else "mysql"
            raise ConfigurationError(
                f"the server is no {self.title}", adapter="sql", hint=f"Write the url as {other}://"
            )
        if tuple(map(int, re.findall(r"\d+", version)[:3])) < self.oldest:
            needed = ".".join(map(str, self.oldest))
            raise ConfigurationError(
                f"the server is older than {self.title} {needed}", adapter="sql"
            )

    def describe(self, cursor: Cursor) -> str:  # noqa: D102
        cursor.execute("select version()")
        return f"{self.title} {str(cursor.fetchone()[0]).split('-')[0]}"

    # -- errors --------------------------------------------------------------------------------

    def translate(self, error: BaseException, doing: str) -> AdapterError:  # noqa: D102
        return errors.translate(error, doing)

    def is_contention(self, error: BaseException) -> bool:  # noqa: D102
        return errors.code_of(error) in errors.CONTENTION

    def only_reads(self, error: BaseException) -> bool:  # noqa: D102
        return errors.code_of(error) in errors.ONLY_READS

    # -- cursors -------------------------------------------------------------------------------

    def cursor(self, connection: Connection) -> Cursor:  # noqa: D102
        driver: Any = connection.connection.dbapi_connection
        if isinstance(driver, pymysql.connections.Connection):
            return MysqlCursor(driver)
        return spelled_cursor(driver)

    def driver_cursor(self, connection: object) -> Cursor | None:  # noqa: D102
        if isinstance(connection, pymysql.connections.Connection):
            return MysqlCursor(connection)
        return None

    def ensure_begun(self, connection: object, cursor: Cursor) -> bool:  # noqa: D102
        driver: Any = getattr(connection, "driver_connection", connection)
        begun = driver.server_status & pymysql.constants.SERVER_STATUS.SERVER_STATUS_IN_TRANS
        # without it the server begins one by itself with the next statement
        return bool(begun) or not driver.get_autocommit()

    # -- statements ----------------------------------------------------------------------------

    def within(self, column: str) -> str:  # noqa: D102
        return f"{column} in ?"

    def pack(self, values: Sequence[str | int]) -> Any:  # noqa: D102
        return tuple(values) or (None,)

    def insert_absent(  # noqa: D102
        self, cursor: Cursor, table: Table, columns: tuple[str, ...], rows: Sequence[Row]
    ) -> list[bool]:
        taken: list[bool] = []
        for part in chunks(rows, _sized(table, columns)):
            taken += self._insert_apart(cursor, table, columns, part)
        return taken

    def _insert_apart(
        self, cursor: Cursor, table: Table, columns: tuple[str, ...], rows: Sequence[Row]
    ) -> list[bool]:
        """Insert all at once; where some are there already, halve until it is known which."""
        several = len(rows) > 1
        if several:
            cursor.execute("savepoint workflow_insert")
        count = self._insert_counted(cursor, table, columns, rows)
        if count in (0, len(rows)) and (count or not several or not is_callers(cursor)):
            return [count > 0] * len(rows)
        cursor.execute("rollback to savepoint workflow_insert")
        half = len(rows) // 2
        return [
            *self._insert_apart(cursor, table, columns, rows[:half]),
            *self._insert_apart(cursor, table, columns, rows[half:]),
        ]

    def _insert_counted(
        self, cursor: Cursor, table: Table, columns: tuple[str, ...], rows: Sequence[Row]
    ) -> int:
        """How many were inserted; in a caller's transaction all, or 0: perhaps some could be.

        There rows found may count as rows changed. And the gaps that an "on duplicate key" locks
        under the servers' usual isolation level are where everybody else inserts.
        """
        if not is_callers(cursor):
            cursor.executemany(statements.insert_new(table, columns), rows)
            return cursor.rowcount
        try:
            cursor.executemany(statements.insert(table, columns), rows)
        except pymysql.IntegrityError as error:
            if errors.code_of(error) != errors.DUPLICATE:
                raise
            return 0  # the statement alone is undone
        return len(rows)

    def insert_new(  # noqa: D102
        self, cursor: Cursor, table: Table, columns: tuple[str, ...], rows: Sequence[Row]
    ) -> None:
        if is_callers(cursor):
            self.insert_absent(cursor, table, columns, rows)
            return
        for part in chunks(rows, _sized(table, columns)):
            cursor.executemany(statements.insert_new(table, columns), part)

    def append(  # noqa: D102
        self, cursor: Cursor, table: Table, columns: tuple[str, ...], rows: Sequence[Row]
    ) -> None:
        try:
            for part in chunks(rows, _sized(table, columns)):
                cursor.executemany(statements.insert(table, columns), part)
        except pymysql.IntegrityError as error:
            if errors.code_of(error) != errors.DUPLICATE:
                raise
            # this transaction came so late that its ids were closed: it needs new ones
            raise pymysql.OperationalError(errors.CONFLICT, "an id was closed") from error

    def close_gap(self, cursor: Cursor, events: Table, gap: Gap, now: int) -> None:  # noqa: D102
        # an insert would wait for a second at least for whoever has the id and has not committed
        cursor.execute(
            f"select id from {events.fullname} where id between ? and ? for update nowait", gap
        )
        there = {row[0] for row in cursor.fetchall()}
        names = tuple(column.name for column in events.columns)
        rows = [
            tuple(
                id if name == "id" else now if name.endswith("ed_at") else _nothing(events.c[name])
                for name in names
            )
            for id in range(gap.first, gap.last + 1)
            if id not in there
        ]
        if rows:
            cursor.executemany(statements.insert_new(events, names), rows)

    def delete_taken(self, cursor: Cursor, table: Table, ids: Sequence[str]) -> list[str]:  # noqa: D102
        there = self._lock(cursor, table, "id", ids)
        self.delete_of(cursor, table, "id", there)
        return there

    def delete_of(  # noqa: D102
        self, cursor: Cursor, table: Table, key: str, keys: Sequence[str]
    ) -> None:
        sql = f"delete r from {statements.keyed(table, key, self.collation)}"
        for document in self._keys(table, key, keys):
            cursor.execute(sql, (document,))

    def update_taken(  # noqa: D102
        self, cursor: Cursor, table: Table, key: str, change: str, keys: Sequence[str]
    ) -> set[str]:
        condition = change.rpartition(" where ")[2]
        there = self._lock(cursor, table, key, keys, condition)
        for packed in self.packs(there):
            cursor.execute(f"update {table.fullname} {change} and {self.within(key)}", (packed,))
        return set(there)

    def _lock(
        self, cursor: Cursor, table: Table, key: str, keys: Sequence[str], condition: str = "1 = 1"
    ) -> list[str]:
        """Those of the keys that are there; locked in one order over all writers."""
        sql = (
            f"select r.{key} from {statements.keyed(table, key, self.collation)}"
            f" where {condition} {self.locking_these}"
        )
        there: list[str] = []
        for document in self._keys(table, key, sorted(set(keys))):
            cursor.execute(sql, (document,))
            there += [row[0] for row in cursor.fetchall()]
        return there

    def _keys(self, table: Table, key: str, keys: Sequence[str]) -> list[str]:
        """The parameters of each statement that so many keys need."""
        batches = statements.keys(table, key, self.collation).batches([(each,) for each in keys])
        return [document for document, _ in batches]

    def compare_and_swap(  # noqa: D102
        self, cursor: Cursor, swap: Swap, rows: Sequence[Row]
    ) -> list[bool]:
        if "live" in swap.columns:
            live = swap.columns.index("live")
            if any(row[live] is not None for row in rows):  # may break a unique key: for itself
                return [self._swap_at_risk(cursor, swap, row) for row in rows]
        taken: list[bool] = []
        for document, part in statements.swapped(swap, self.collation).batches(rows):
            taken += self._swap_part(cursor, swap, document, part)
        return taken

    def _swap_part(
        self, cursor: Cursor, swap: Swap, document: str, rows: Sequence[Row]
    ) -> list[bool]:
        """Update all at once; where some do not match, only those that do."""
        several = len(rows) > 1
        if several:
            cursor.execute("savepoint workflow_swap")
        cursor.execute(statements.swapping(swap, self.collation), (document,))
        if cursor.rowcount in (0, len(rows)):
            return [cursor.rowcount > 0] * len(rows)
        # the count tells that some took, and a second look could not tell them from a write of
        # before whose answer was lost: once more, and nobody can change them any more
        cursor.execute("rollback to savepoint workflow_swap")
        found = statements.keyed(swap.table, "run_id", self.collation)
        [document] = self._keys(swap.table, "run_id", [row[-2] for row in rows])
        cursor.execute(
            f"select r.run_id, r.version from {found} where {swap.condition} {self.locking_these}",
            (document,),
        )
        standing = dict(cursor.fetchall())
        taken = [standing.get(row[-2]) == row[-1] for row in rows]
        those = [row for row, takes in zip(rows, taken, strict=True) if takes]
        for document, _ in statements.swapped(swap, self.collation).batches(those):
            cursor.execute(statements.swapping(swap, self.collation), (document,))
        return taken

    def _swap_at_risk(self, cursor: Cursor, swap: Swap, row: Row) -> bool:
        [(document, _)] = statements.swapped(swap, self.collation).batches([row])
        try:
            cursor.execute(statements.swapping(swap, self.collation), (document,))
        except pymysql.IntegrityError as error:
            if errors.code_of(error) != errors.DUPLICATE:
                raise
            return False  # the statement alone is undone
        return cursor.rowcount == 1

    def update_each(self, cursor: Cursor, change: Change, rows: Sequence[Row]) -> None:  # noqa: D102
        for document, _ in statements.changed(change, self.collation).batches(rows):
            cursor.execute(statements.changing(change, self.collation), (document,))

    def lock_migrations(self, cursor: Cursor, name: str) -> None:  # noqa: D102
        # the name counts for the whole server
        cursor.execute(
            "select get_lock(sha2(concat(coalesce(nullif(?, ''), database()), '/', ?), 224), 3600)",
            _parts(name),
        )
        if cursor.fetchone()[0] != 1:
            raise pymysql.err.OperationalError(1205, "another process migrates")
        cursor.execute("set session lock_wait_timeout = 2")

    def has_table(self, cursor: Cursor, name: str) -> bool:  # noqa: D102
        cursor.execute(
            "select 1 from information_schema.tables"
            " where table_schema = coalesce(nullif(?, ''), database()) and table_name = ?",
            _parts(name),
        )
        return cursor.fetchone() is not None

    def has_schema(self, cursor: Cursor, name: str) -> bool:  # noqa: D102
        cursor.execute("select 1 from information_schema.schemata where schema_name = ?", (name,))
        return cursor.fetchone() is not None

    def horizon(self, tables: Tables, epochs: Epochs) -> Horizon:  # noqa: D102
        return ServerHorizon(tables, epochs)


class MariadbDialect(MysqlDialect):
    """MariaDB's ways. See `Dialect`."""

    name = "mariadb"
    title = "MariaDB"
    reserved = frozenset(RESERVED_WORDS_MARIADB)
    collation = "utf8mb4_nopad_bin"
    time_limit = ("max_statement_time", 1.0)
    # replication wants each server to have a number of its own
    server = "concat_ws('/', @@hostname, @@port, @@server_id)"
    oldest = (10, 6, 0)
    locking_these = "for update"
    kinds = kinds_with(collation)


def _parts(name: str) -> tuple[str, str]:
    """The database, "" for the connection's own, and the table."""
    schema, _, table = name.rpartition(".")
    return schema, table


def _sized(table: Table, columns: tuple[str, ...]) -> list[int]:
    return [
        at
        for at, name in enumerate(columns)
        if isinstance(table.c[name].type, LONGBLOB | MEDIUMTEXT)
    ]


def _nothing(column: Column[Any]) -> int | str:
    return 0 if isinstance(column.type, Integer) else ""
