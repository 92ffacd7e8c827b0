"""PostgreSQL 12 or newer, through psycopg."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import URL, BigInteger, Connection, LargeBinary, Table, Text
from sqlalchemy.dialects.postgresql.base import RESERVED_WORDS
from sqlalchemy.exc import DBAPIError
from workflow_core.errors import AdapterError, AdapterUnavailableError, ConfigurationError

from workflow_sql.dialects.base import Change, Cursor, Dialect, Row, Swap
from workflow_sql.dialects.connections import Connections
from workflow_sql.dialects.postgres_arrays import columns_of, texts
from workflow_sql.dialects.postgres_connections import PostgresConnections
from workflow_sql.dialects.postgres_line import (
    CLOCK,
    USUAL_PLANS,
    PostgresCursor,
    PostgresLine,
    awaited_cursor,
    having_new_ids,
    later,
    send_now,
)
from workflow_sql.dialects.postgres_statements import (
    appending,
    changing,
    closing_gap,
    inserting,
    revives,
    swapping,
)
from workflow_sql.epochs import Epochs
from workflow_sql.horizon import Gap, Horizon, ServerHorizon
from workflow_sql.schema import Kinds, Tables
from workflow_sql.settings import ConnectionSettings

__all__ = ["PostgresDialect"]

_ONLY_READS = "25006"
_OLDEST = 120_000  # the first with generated columns and a choice of how to plan
_EXACT = Text(collation="C")
_LONGEST_NAME = 63

# what others' locks do to a transaction: again from its start it may go well
_CONTENTION = {
    "40001": "it conflicts with another transaction",
    "40P01": "it was chosen to end a deadlock",
    "55P03": "a lock was not to be had in time",
}
# further conditions that are nobody's fault, by the first two letters of their code
_UNAVAILABLE = {
    "08": ("the connection broke", "See that the server can be reached"),
    "28": ("the server does not let this user in", "Look at the user and the password of the url"),
    "3D": ("there is no such database", "Create it, or correct the url"),
    "42": ("the tables are not as they should be", "Look at the schema's version and at rights"),
    "53": ("the server has run out of something", "Look at its disk, memory and connections"),
    "57": ("the server ended it", "It is shutting down, starting, or the statement took too long"),
    "58": ("the server's system failed", "Look into the server's log"),
    "XX": ("the server failed", "Look into the server's log"),
    "25": ("the server only reads now", "See that the url leads to the primary"),
}
# by words of libpq's, and of the server's where they are not translated
_CONNECTING = {
    "authentication failed": _UNAVAILABLE["28"],
    "no pg_hba.conf entry": _UNAVAILABLE["28"],
    "no password supplied": _UNAVAILABLE["28"],
    "invalid connection option": ("the url has an option unknown to libpq", "Correct the url"),
    "certificate": (
        "the server and this process do not agree on TLS",
        "See that sslrootcert in the url is the file of who signed the server's certificate, and"
        " that it was made out to the url's host",
    ),
    "SSL": ("the server and this process do not agree on TLS", "Look at sslmode in the url"),
    "sslmode": ("the url has an unknown sslmode", "verify-full looks at the server's certificate"),
}
_UNREACHABLE = (
    "no connection to the server, or it broke",
    "See that the server runs and that the url leads to it",
)


class PostgresDialect(Dialect):
    """PostgreSQL's ways. See `Dialect`."""

    name = "postgresql"
    title = "PostgreSQL"
    schemas = "a schema"
    reserved = frozenset(RESERVED_WORDS)
    kinds = Kinds(
        instant=BigInteger(),
        id=_EXACT,
        name=_EXACT,
        label=_EXACT,
        words=_EXACT,
        data=LargeBinary(),
        options={},
        # room for an update beside the row's old version, and a tidying that keeps up with a queue
        busy_options={
            "postgresql_with": {
                "fillfactor": 70,
                "autovacuum_vacuum_scale_factor": 0.02,
                "autovacuum_analyze_scale_factor": 0.05,
                "autovacuum_vacuum_cost_delay": 0,
            }
        },
        partial_indexes=True,
        ended_stored=True,
    )
    # what cannot be a parameter at all is among them: it is refused for good
    driver_errors = (psycopg.Error, DBAPIError, OSError, UnicodeEncodeError)
    upgrades_itself = False
    migrates_whole = True
    clock = CLOCK
    claiming = " for update skip locked"
    locking = " for update"
    joins_by_range = False
    as_committed = " for share"

    def connections(  # noqa: D102 - see Dialect
        self, url: URL, settings: ConnectionSettings, prefix: str
    ) -> Connections:
        if url.drivername not in ("postgresql", "postgresql+psycopg"):
            raise ConfigurationError(
                f"the url names the driver {url.get_driver_name()!r}, known is psycopg",
                adapter="sql",
                hint="Write it like postgresql://user:password@host/database",
            )
        return PostgresConnections(
            PostgresLine(url, settings),
            size=settings.pool_size,
            patience=settings.lock_timeout,
            channel=_channel(settings.schema, prefix),
        )

    def check(self, cursor: Cursor) -> None:  # noqa: D102
        cursor.execute("select current_setting('server_version_num')::int")
        if cursor.fetchone()[0] < _OLDEST:
            raise ConfigurationError("the server is older than PostgreSQL 12", adapter="sql")
        cursor.execute("select current_setting('server_encoding')")
        encoding = cursor.fetchone()[0]
        if encoding != "UTF8":
            raise ConfigurationError(
                f"the database keeps texts as {encoding}, which cannot hold all",
                adapter="sql",
                hint="Create it with the encoding UTF8",
            )

    def describe(self, cursor: Cursor) -> str:  # noqa: D102
        cursor.execute("select current_setting('server_version')")
        return f"PostgreSQL {cursor.fetchone()[0].split(' ')[0]}"

    # -- errors --------------------------------------------------------------------------------

    def translate(self, error: BaseException, doing: str) -> AdapterError:  # noqa: D102
        cause = _driver_error(error)
        state = _state(cause)
        if state in _CONTENTION:
            return AdapterUnavailableError(
                f"{doing} failed: {_CONTENTION[state]}",
                adapter="sql",
                hint="Keep transactions short",
            )
        if state[:2] in _UNAVAILABLE:
            what, hint = _UNAVAILABLE[state[:2]]
            return AdapterUnavailableError(f"{doing} failed: {what}", adapter="sql", hint=hint)
        if state or isinstance(cause, psycopg.DataError | UnicodeEncodeError):
            return AdapterError.of("sql", cause, doing=doing)
        what, hint = _unreachable(cause)
        return AdapterUnavailableError(f"{doing} failed: {what}", adapter="sql", hint=hint)

    def is_contention(self, error: BaseException) -> bool:  # noqa: D102
        return _state(_driver_error(error)) in _CONTENTION

    def only_reads(self, error: BaseException) -> bool:  # noqa: D102
        return _state(_driver_error(error)) == _ONLY_READS

    # -- cursors -------------------------------------------------------------------------------

    def cursor(self, connection: Connection) -> Cursor:  # noqa: D102
        driver: Any = connection.connection.dbapi_connection
        if isinstance(driver, psycopg.Connection):
            return PostgresCursor(driver)
        return awaited_cursor(getattr(driver, "driver_connection", driver))

    def driver_cursor(self, connection: object) -> Cursor | None:  # noqa: D102
        return PostgresCursor(connection) if isinstance(connection, psycopg.Connection) else None

    def lend(self, cursor: Cursor) -> None:  # noqa: D102
        if isinstance(cursor, PostgresCursor):
            send_now(cursor)
        cursor.execute(USUAL_PLANS)

    def ensure_begun(self, connection: object, cursor: Cursor) -> bool:  # noqa: D102
        driver: Any = getattr(connection, "driver_connection", connection)
        # without it the driver begins one by itself before the next statement
        return not driver.autocommit or driver.info.transaction_status != TransactionStatus.IDLE

    # -- statements ----------------------------------------------------------------------------

    def within(self, column: str) -> str:  # noqa: D102
        return f"{column} = any(?)"

    def pack(self, values: Sequence[str | int]) -> Any:  # noqa: D102
        return texts([str(value) for value in values])

    def insert_absent(  # noqa: D102
        self, cursor: Cursor, table: Table, columns: tuple[str, ...], rows: Sequence[Row]
    ) -> list[bool]:
        inserted: set[str] = set()
        for sql, values, _ in inserting(table, columns, rows):
            cursor.execute(f"{sql} returning {columns[0]}", values)
            inserted.update(row[0] for row in cursor.fetchall())
        return [row[0] in inserted for row in rows]

    def insert_new(  # noqa: D102
        self, cursor: Cursor, table: Table, columns: tuple[str, ...], rows: Sequence[Row]
    ) -> None:
        for sql, values, _ in inserting(table, columns, rows):
            cursor.execute(sql, values)

    def append(  # noqa: D102
        self, cursor: Cursor, table: Table, columns: tuple[str, ...], rows: Sequence[Row]
    ) -> None:
        with having_new_ids():
            for sql, values, _ in appending(table, columns, rows):
                cursor.execute(sql, values)

    def later(self, cursor: Cursor) -> Cursor:  # noqa: D102
        return later(cursor)

    def close_gap(self, cursor: Cursor, events: Table, gap: Gap, now: int) -> None:  # noqa: D102
        cursor.execute("set local lock_timeout = '50ms'")
        cursor.execute(closing_gap(events), (now, now, gap.first, gap.last))

    def delete_taken(self, cursor: Cursor, table: Table, ids: Sequence[str]) -> list[str]:  # noqa: D102
        # An array, which is put together once. As "in (select …)", where the table is taken to be
        # all but empty, as a queue's often is, all are locked again for each row that is deleted.
        sql = (
            f"delete from {table.fullname} where id = any(array(select id from {table.fullname}"
            f" where {self.within('id')} order by id for update)) returning id"
        )
        taken: list[str] = []
        for packed in self.packs(sorted(ids)):
            cursor.execute(sql, (packed,))
            taken += [row[0] for row in cursor.fetchall()]
        return taken

    def update_taken(  # noqa: D102
        self, cursor: Cursor, table: Table, key: str, change: str, keys: Sequence[str]
    ) -> set[str]:
        sql = f"update {table.fullname} {change} and {self.within(key)} returning {key}"
        taken: set[str] = set()
        for packed in self.packs(keys):
            cursor.execute(sql, (packed,))
            taken.update(row[0] for row in cursor.fetchall())
        return taken

    def compare_and_swap(  # noqa: D102
        self, cursor: Cursor, swap: Swap, rows: Sequence[Row]
    ) -> list[bool]:
        taken: set[str] = set()
        for sql, values, part in swapping(swap, rows):
            if "live" in swap.columns and revives(swap, part):
                taken.update(self._swap_at_risk(cursor, sql, values))
            else:
                taken.update(_swap_now(cursor, sql, values))
        return [row[-2] in taken for row in rows]

    def _swap_at_risk(self, cursor: Cursor, sql: str, values: Sequence[Any]) -> set[str]:
        """For rows that may break a unique key, which undoes all since the last savepoint."""
        cursor.execute("savepoint workflow_swap")
        try:
            taken = _swap_now(cursor, sql, values)
        except psycopg.errors.UniqueViolation:
            cursor.execute("rollback to savepoint workflow_swap")
            taken = set()
        cursor.execute("release savepoint workflow_swap")
        return taken

    def update_each(self, cursor: Cursor, change: Change, rows: Sequence[Row]) -> None:  # noqa: D102
        names = (*change.columns, *change.keys)
        for values, _ in columns_of(change.table, names).batches(rows):
            cursor.execute(changing(change), values)

    def lock_migrations(self, cursor: Cursor, name: str) -> None:  # noqa: D102
        cursor.execute("select set_config('lock_timeout', '0', true)")
        cursor.execute("select pg_advisory_xact_lock(hashtextextended(?, 0))", (name,))
        cursor.fetchall()
        cursor.execute("set local lock_timeout = '2s'")

    def has_table(self, cursor: Cursor, name: str) -> bool:  # noqa: D102
        cursor.execute("select to_regclass(?) is not null", (name,))
        return bool(cursor.fetchone()[0])

    def has_schema(self, cursor: Cursor, name: str) -> bool:  # noqa: D102
        cursor.execute("select to_regnamespace(?) is not null", (name,))
        return bool(cursor.fetchone()[0])

    def horizon(self, tables: Tables, epochs: Epochs) -> Horizon:  # noqa: D102
        return ServerHorizon(tables, epochs)


def _channel(schema: str, prefix: str) -> str:
    """One for each schema, so that a process is not woken for what is none of its own."""
    name = f"{schema}.{prefix}news" if schema else f"{prefix}news"
    if len(name) > _LONGEST_NAME:
        return f"workflow.{sha256(name.encode()).hexdigest()[:32]}"
    return name


def _swap_now(cursor: Cursor, sql: str, values: Sequence[Any]) -> set[str]:
    cursor.execute(sql, values)
    return {row[0] for row in cursor.fetchall()}


def _unreachable(cause: BaseException) -> tuple[str, str]:
    """What went wrong where there is no code, and what to do: to connect, libpq has words alone."""
    words = str(cause)
    for known, answer in _CONNECTING.items():
        if known in words:
            return answer
    return _UNREACHABLE


def _driver_error(error: BaseException) -> BaseException:
    return error.orig or error if isinstance(error, DBAPIError) else error


def _state(error: BaseException) -> str:
    return getattr(error, "sqlstate", None) or ""
