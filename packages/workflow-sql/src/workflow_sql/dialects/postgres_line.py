"""How psycopg is told what a connection is to do."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from typing import Any, Self

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row
from psycopg.types.numeric import Int8Dumper
from sqlalchemy import URL, Connection, create_engine
from sqlalchemy.pool import NullPool
from workflow_core.errors import AdapterError, InputError

from workflow_sql.dialects.awaited import AwaitedCursor
from workflow_sql.dialects.base import Cursor, Row
from workflow_sql.dialects.server_connections import ANSWER_GRACE, Line, Told
from workflow_sql.settings import ConnectionSettings

__all__ = [
    "CLOCK",
    "USUAL_PLANS",
    "PostgresCursor",
    "PostgresLine",
    "awaited_cursor",
    "having_new_ids",
    "later",
    "send_now",
]

CLOCK = "(extract(epoch from clock_timestamp()) * 1000000)::bigint"
# which of the servers, and since when: a number, since how a time is written is the session's
_SERVER = "(extract(epoch from pg_postmaster_start_time()) * 1000000)::bigint"
NOW = f"select {CLOCK}, {_SERVER}"
# Row by row in the batch's order, by index: it is the order in which the rows are locked, and with
# two orders two processes wait for each other. What users do in a transaction is planned as usual.
_PLANNERS = ("enable_hashjoin", "enable_mergejoin", "enable_seqscan")
_OUR_PLANS = "; ".join(f"set local {planner} = off" for planner in _PLANNERS)
USUAL_PLANS = "; ".join(f"set local {planner} = default" for planner in _PLANNERS)
_CAN_PIPELINE = psycopg.Pipeline.is_supported()
_DEFAULTS: dict[str, Any] = {
    "application_name": "workflow",
    "connect_timeout": 10,
    # a connection whose other end is gone without a word is noticed within a minute
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


class PostgresCursor(psycopg.RawCursor[Row]):
    """Takes statements with "?" for parameters; numbers are always bigint, rows always tuples.

    One type for all numbers because a statement is prepared anew for other types of parameters.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        super().__init__(connection, row_factory=tuple_row)
        # a caller's connection has its own idea of numbers, which stays as it is
        if not getattr(connection, "is_of_workflow", False):
            self.adapters.register_dumper(int, Int8Dumper)

    def execute(self, sql: Any, parameters: Any = None, **options: Any) -> Self:  # type: ignore[override]  # one shape for all drivers
        """As psycopg's."""
        return super().execute(_numbered(sql), parameters or None, **options)

    def executemany(self, sql: Any, rows: Any, **options: Any) -> None:  # type: ignore[override]  # the same
        """As psycopg's: all in one round trip."""
        super().executemany(_numbered(sql), rows, **options)


def awaited_cursor(connection: object) -> AwaitedCursor:
    """The same on a caller's connection for asyncio code.

    Raises:
        InputError: it is another driver's.
    """
    if not isinstance(connection, psycopg.AsyncConnection):
        raise InputError(
            f"the connection's driver is {type(connection).__module__}, known is psycopg",
            adapter="sql",
            hint="Make the async engine with postgresql+psycopg://…",
        )
    cursor = psycopg.AsyncRawCursor(connection, row_factory=tuple_row)
    cursor.adapters.register_dumper(int, Int8Dumper)
    return AwaitedCursor(cursor, _numbered)


@lru_cache(maxsize=1024)
def _numbered(sql: str) -> bytes:
    first, *others = sql.split("?")
    return "".join([first, *(f"${at}{part}" for at, part in enumerate(others, 1))]).encode()


class _Connection(psycopg.Connection[Any]):
    """Waits for no answer for ever.

    A server that stands still keeps its connections open and its system says that all has arrived:
    neither the server's own time limits nor the network's notice.
    """

    is_of_workflow = True
    patience = math.inf
    """Seconds that an answer may take."""
    is_pooled = False
    """Whether each transaction may be another server process's."""
    server = ""
    """Which one it leads to, as that said itself."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.unsent: list[tuple[str, Sequence[Any]]] = []
        """Statements of the open transaction that go with its commit."""

    def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
        """As psycopg's. Raises OperationalError: no answer; the connection is closed."""
        return super().wait(
            self._until(time.monotonic() + self.patience, gen), *arguments, **options
        )

    def _until(self, end: float, gen: Any) -> Generator[Any, Any, Any]:
        ready = None
        while True:
            try:
                wanted = gen.send(ready)
            except StopIteration as answer:
                return answer.value
            ready = yield wanted  # comes back ten times a second, and whenever something came
            if not ready and time.monotonic() > end:
                gen.close()
                self.pgconn.finish()
                raise psycopg.OperationalError("the server does not answer")


class _Later:
    """A cursor whose statements are sent together with the commit."""

    rowcount = -1

    def __init__(self, connection: _Connection) -> None:
        self._unsent = connection.unsent

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        self._unsent.append((sql, parameters))

    def executemany(self, sql: str, rows: Any) -> None:
        self._unsent += [(sql, row) for row in rows]

    def fetchone(self) -> Any:
        raise psycopg.ProgrammingError("nobody waits for an answer")

    def fetchall(self) -> Sequence[Any]:
        raise psycopg.ProgrammingError("nobody waits for an answer")

    def close(self) -> None:
        """What is to be sent is still sent."""


def later(cursor: Cursor) -> Cursor:
    """See `Dialect.later`; a pooler is spared it."""
    connection = getattr(cursor, "connection", None)
    if isinstance(connection, _Connection) and not connection.is_pooled and _CAN_PIPELINE:
        return _Later(connection)
    return cursor


def send_now(cursor: PostgresCursor) -> None:
    """What was to go with the commit; raises the driver's errors."""
    with having_new_ids():
        for sql, values in _taken_from(cursor.connection):
            cursor.execute(sql, values)


@contextmanager
def having_new_ids() -> Iterator[None]:
    """A transaction that comes so late that its events' ids were closed needs new ones.

    Raises:
        SerializationFailure: it is to be begun anew.
    """
    try:
        yield
    except psycopg.errors.UniqueViolation as error:
        raise psycopg.errors.SerializationFailure("an id was closed") from error


def _taken_from(driver: psycopg.Connection[Any]) -> list[tuple[str, Sequence[Any]]]:
    if not isinstance(driver, _Connection):
        return []
    unsent, driver.unsent[:] = list(driver.unsent), []
    return unsent


class PostgresLine(Line):
    """psycopg's connections. See `Line`."""

    errors = (psycopg.OperationalError, psycopg.InterfaceError, OSError)

    def __init__(self, url: URL, settings: ConnectionSettings) -> None:
        self._lock_timeout = settings.lock_timeout
        self._answer_within = settings.statement_timeout.total_seconds() + ANSWER_GRACE
        self._session: dict[str, str] = {
            "lock_timeout": _milliseconds(settings.lock_timeout),
            "statement_timeout": _milliseconds(settings.statement_timeout),
            "timezone": "UTC",
            "default_transaction_isolation": "read committed",
            # a plan made while a table is young would be kept when it has grown; to plan a
            # statement anew takes some 40 microseconds
            "plan_cache_mode": "force_custom_plan",
            # to compile a statement takes longer than any of ours, and with scans switched off
            # (below) the planner takes the update of a table of one row for an expensive one
            "jit": "off",
        }
        self._engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            creator=self._connect,
            poolclass=NullPool,
            use_native_hstore=False,  # it would be asked for with each connection
        )
        self._arguments = self._engine.dialect.create_connect_args(url)

    def open(self) -> Connection:  # noqa: D102 - see Line
        return self._engine.connect()

    def connect(self) -> _Connection:
        """A connection of the driver's own, each of whose statements is committed by itself."""
        positional, named = self._arguments
        driver = _Connection.connect(*positional, **{**_DEFAULTS, **named}, autocommit=True)
        driver.patience = self._answer_within
        return driver

    def _connect(self) -> psycopg.Connection[Any]:
        driver = self.connect()
        try:
            driver.adapters.register_dumper(int, Int8Dumper)
            with PostgresCursor(driver) as cursor:
                # a pooler makes up the process's number, and what is set would be left to others
                own = driver.info.backend_pid
                setting = f"set_config(?, ?, pg_backend_pid() <> {own})"
                cursor.execute(
                    f"select pg_backend_pid(), {_SERVER},"
                    f" {', '.join([setting] * len(self._session))}",
                    [text for each in self._session.items() for text in each],
                    prepare=False,
                )
                pid, server, *_ = cursor.fetchall()[0]
                driver.is_pooled = pid != own
                driver.server = str(server)
            if driver.is_pooled:
                driver.prepare_threshold = None  # the next process knows of no such statement
        except BaseException:
            driver.close()
            raise
        return driver

    def socket(self, driver: psycopg.Connection[Any]) -> int:  # noqa: D102
        return driver.fileno()

    def server(self, driver: psycopg.Connection[Any]) -> str:  # noqa: D102
        return str(getattr(driver, "server", ""))

    def ask(self, driver: psycopg.Connection[Any]) -> Told:  # noqa: D102
        with PostgresCursor(driver) as cursor:
            return _told(cursor.execute(NOW).fetchall())

    def begin(self, driver: psycopg.Connection[Any], patience: timedelta) -> Told:  # noqa: D102
        _taken_from(driver)  # of one that somebody else has ended
        begin = f"begin isolation level read committed; {NOW}; {_OUR_PLANS}"
        if getattr(driver, "is_pooled", False):
            begin = "; ".join(
                [begin, *(f"set local {k} = '{v}'" for k, v in self._session.items())]
            )
        if patience < self._lock_timeout:
            begin = f"{begin}; set local lock_timeout = '{_milliseconds(patience)}'"
        with PostgresCursor(driver) as cursor:
            cursor.execute(begin)  # in one round trip
            cursor.nextset()
            return _told(cursor.fetchall())

    def commit(self, driver: psycopg.Connection[Any]) -> None:  # noqa: D102
        if driver.pgconn.transaction_status == TransactionStatus.INERROR:
            # the server would answer "rollback" to a commit, and the driver call that a success
            driver.rollback()
            raise AdapterError(
                "an error within has undone the transaction",
                adapter="sql",
                hint="Let the error pass, or use a savepoint around what may fail",
            )
        unsent = _taken_from(driver)
        if not unsent:
            driver.commit()
            return
        with having_new_ids(), driver.pipeline(), PostgresCursor(driver) as cursor:
            for sql, values in unsent:
                cursor.execute(sql, values)
            cursor.execute("commit")

    def rollback(self, driver: psycopg.Connection[Any]) -> None:  # noqa: D102
        _taken_from(driver)
        driver.rollback()

    def in_transaction(self, driver: psycopg.Connection[Any]) -> bool:  # noqa: D102
        status = driver.pgconn.transaction_status
        return status not in (TransactionStatus.IDLE, TransactionStatus.UNKNOWN)

    def is_sound(self, driver: psycopg.Connection[Any]) -> bool:  # noqa: D102
        return (
            not driver.closed
            and driver.autocommit
            and driver.pgconn.transaction_status == TransactionStatus.IDLE
        )


def _milliseconds(duration: timedelta) -> str:
    return f"{max(1, round(duration.total_seconds() * 1_000))}ms"


def _told(rows: Sequence[Row]) -> Told:
    now, server = rows[0]
    return Told(int(now), str(server))
