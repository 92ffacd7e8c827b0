"""How PyMySQL is told what a connection is to do."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache
from typing import Any

import pymysql
from pymysql.constants import CLIENT, SERVER_STATUS
from pymysql.cursors import Cursor as DriverCursor
from sqlalchemy import URL, Connection, create_engine
from sqlalchemy.pool import NullPool
from workflow_core.errors import ConfigurationError, InputError

from workflow_sql.dialects.awaited import SpelledCursor
from workflow_sql.dialects.mysql_tls import with_tls
from workflow_sql.dialects.server_connections import ANSWER_GRACE, Line, Told
from workflow_sql.settings import ConnectionSettings

__all__ = ["CLOCK", "MysqlCursor", "MysqlLine", "spelled_cursor"]

CLOCK = "timestampdiff(microsecond, '1970-01-01', utc_timestamp(6))"
_KIN = ("pymysql", "aiomysql")  # the second is built on the first


class MysqlCursor(DriverCursor):  # type: ignore[misc]  # the driver has no types
    """Takes statements with "?" for parameters, and tuples for lists of them."""

    def execute(self, query: str, args: Any = None) -> Any:
        """As PyMySQL's."""
        if not args:  # what `executemany` has made of its rows comes this way too
            return super().execute(query)
        return super().execute(_formatted(query), tuple(args))

    def executemany(self, query: str, args: Any) -> Any:
        """As PyMySQL's: inserts go as one statement, all else row by row."""
        if query.startswith("insert"):
            return super().executemany(_formatted(query), list(args))
        for row in args:  # the driver would give `execute` what has been formatted already
            self.execute(query, row)
        return None


class _Connection(pymysql.connections.Connection):  # type: ignore[misc]  # the driver has no types
    """One that was made here, with a session as `MysqlLine` makes it."""

    server = ""
    """Which server it leads to, as that said itself."""


def is_callers(cursor: object) -> bool:
    """Whether it is a cursor on a connection that was not made here."""
    return not isinstance(getattr(cursor, "connection", None), _Connection)


def spelled_cursor(connection: Any) -> SpelledCursor:
    """The same on a caller's connection for asyncio code, or of another driver in PyMySQL's way.

    Raises:
        InputError: it is another driver's.
    """
    kind = type(getattr(connection, "driver_connection", connection)).__module__.partition(".")[0]
    if kind not in _KIN:
        raise InputError(
            f"the connection's driver is {kind}, known are {', '.join(_KIN)}",
            adapter="sql",
            hint="Make the engine with one of these drivers",
        )
    driver = getattr(connection, "driver_connection", connection)
    return SpelledCursor(connection.cursor(), driver.escape_string)


@lru_cache(maxsize=1024)
def _formatted(sql: str) -> str:
    return sql.replace("%", "%%").replace("?", "%s")


class MysqlLine(Line):
    """PyMySQL's connections. See `Line`.

    Args:
        url: where.
        settings: of the session.
        time_limit: the name of the variable that limits a statement's time, and its unit in
            seconds.
        server: an expression that differs from server to server.

    Raises:
        ConfigurationError: the url has options that the driver does not take.
    """

    errors = (pymysql.err.OperationalError, pymysql.err.InterfaceError, OSError)

    def __init__(
        self, url: URL, settings: ConnectionSettings, *, time_limit: tuple[str, float], server: str
    ) -> None:
        self._now = f"select {CLOCK}, {server}"
        limit = settings.statement_timeout.total_seconds()
        variable, unit = time_limit
        self._session = (
            "set session"
            # what does not fit is an error, and never cut to fit
            " sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,NO_ZERO_DATE,NO_ZERO_IN_DATE,"
            "ERROR_FOR_DIVISION_BY_ZERO',"
            " time_zone = '+00:00',"
            # ids of events follow one another: what is left out has to be looked into
            " auto_increment_increment = 1,"
            f" innodb_lock_wait_timeout = {math.ceil(settings.lock_timeout.total_seconds())},"
            f" {variable} = {limit / unit:.0f}"
        )
        try:
            self._engine = create_engine(
                url.set(drivername=f"{url.get_backend_name()}+pymysql"),
                creator=self._connect,
                poolclass=NullPool,
            )
            _, named = self._engine.dialect.create_connect_args(url)
        except ValueError:  # its text shows the value
            raise ConfigurationError(
                "the url has an option that should be a number, and is none", adapter="sql"
            ) from None
        _check_options(named)
        # SQLAlchemy would count rows found; it is rows changed that tell which insert took
        named["client_flag"] = named.get("client_flag", 0) & ~CLIENT.FOUND_ROWS
        self._arguments: dict[str, Any] = {
            "connect_timeout": 10,
            "read_timeout": limit + ANSWER_GRACE,
            "write_timeout": limit + ANSWER_GRACE,
            **with_tls(named),
            "charset": "utf8mb4",
            "autocommit": True,
        }

    def open(self) -> Connection:  # noqa: D102 - see Line
        return self._engine.connect()

    def _connect(self) -> Any:
        driver = _Connection(**self._arguments)
        try:
            with MysqlCursor(driver) as cursor:
                cursor.execute(self._session)
                # one transaction sees what others have committed meanwhile, and locks no gaps
                cursor.execute("set session transaction isolation level read committed")
            driver.server = self.ask(driver).server
        except BaseException:
            driver.close()
            raise
        return driver

    def socket(self, driver: Any) -> int:  # noqa: D102
        return int(driver._sock.fileno())

    def server(self, driver: Any) -> str:  # noqa: D102
        return str(driver.server)

    def ask(self, driver: Any) -> Told:  # noqa: D102
        with MysqlCursor(driver) as cursor:
            return self._told(cursor)

    def begin(self, driver: Any, patience: timedelta) -> Told:  # noqa: D102
        with MysqlCursor(driver) as cursor:
            cursor.execute("start transaction read write")
            return self._told(cursor)

    def _told(self, cursor: MysqlCursor) -> Told:
        cursor.execute(self._now)
        now, server = cursor.fetchone()
        return Told(int(now), str(server))

    def commit(self, driver: Any) -> None:  # noqa: D102
        driver.commit()

    def rollback(self, driver: Any) -> None:  # noqa: D102
        driver.rollback()

    def in_transaction(self, driver: Any) -> bool:  # noqa: D102
        return bool(driver.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS)

    def is_sound(self, driver: Any) -> bool:  # noqa: D102
        return bool(driver.open) and driver.get_autocommit() and not self.in_transaction(driver)


def _check_options(named: Mapping[str, Any]) -> None:
    unknown = named.keys() - inspect.signature(pymysql.connections.Connection).parameters.keys()
    if unknown:
        raise ConfigurationError(
            f"the url has options that PyMySQL does not know: {', '.join(sorted(unknown))}",
            adapter="sql",
            hint="Known are those of PyMySQL's connect(), such as ssl_ca and read_timeout",
        )
