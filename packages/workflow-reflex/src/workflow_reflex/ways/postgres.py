"""PostgreSQL, through psycopg."""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from workflow_core.errors import ConfigurationError

from workflow_reflex.settings import ReflexSettings
from workflow_reflex.tables import Tables
from workflow_reflex.ways.base import GRACE, Ways, driver_error
from workflow_reflex.wire import NOOP_KEY, NOOP_TYPE

__all__ = ["PostgresWays"]

_LONGEST_LIFE = 1_800  # seconds; so that all processes find a new server behind an old name
_SHORT = "100ms"  # to wait for who holds an id: the answer is no sooner than it is asked again
_LOCKED = "55P03"


class _Connection(psycopg.Connection[Any]):
    """Waits for no answer for ever.

    A server that stands still keeps its connections open, and its system says that all has arrived:
    neither the server's own time limits nor the network's notice.
    """

    patience = math.inf
    """Seconds that an answer may take."""

    def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
        """As psycopg's. Raises OperationalError: no answer; the connection is closed."""
        return super().wait(self._limited(gen), *arguments, **options)

    def _limited(self, gen: Any) -> Generator[Any, Any, Any]:
        end = time.monotonic() + self.patience
        ready = None
        try:
            while True:
                ready = yield gen.send(ready)  # now and then it comes back without anything
                if not ready and time.monotonic() > end:
                    gen.close()
                    self.pgconn.finish()
                    raise psycopg.OperationalError("the server does not answer")
        except StopIteration as answer:
            return answer.value


class PostgresWays(Ways):
    """See `Ways`."""

    title = "PostgreSQL"
    mark = "%s"
    now = "timezone('utc', clock_timestamp())"
    collation = None
    in_file = False
    leaves_holes = True
    contention = frozenset({"40001", "40P01", _LOCKED})
    missing = frozenset({"42P01", "42703", "3D000", "3F000"})
    denied = frozenset({"42501", "28000", "28P01"})
    duplicate = frozenset({"23505"})

    def engine(self, url: URL, settings: ReflexSettings) -> Engine:  # noqa: D102 - see Ways
        if url.drivername not in ("postgresql", "postgresql+psycopg"):
            raise ConfigurationError(
                f"the url names the driver {url.get_driver_name()!r}, known is psycopg",
                adapter="reflex",
                hint="Write it like postgresql://user:password@host/database",
            )
        usual: dict[str, object] = {
            "application_name": "workflow",
            "connect_timeout": 10,
            # a connection whose other end is gone without a word is noticed within a minute
            "keepalives_idle": 20,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
        }
        limits = {
            "lock_timeout": settings.lock_timeout,
            "statement_timeout": settings.statement_timeout,
        }
        options = " ".join(
            f"-c {name}={max(1, round(limit.total_seconds() * 1_000))}"
            for name, limit in limits.items()
        )
        engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            isolation_level="AUTOCOMMIT",  # transactions are begun by hand
            pool_reset_on_return=None,
            pool_size=settings.pool_size,
            max_overflow=0,
            pool_timeout=settings.lock_timeout.total_seconds(),
            pool_pre_ping=True,
            pool_recycle=_LONGEST_LIFE,
            pool_use_lifo=True,
            hide_parameters=True,
            use_native_hstore=False,  # it would be asked for with each connection
            connect_args={
                **{name: value for name, value in usual.items() if name not in url.query},
                "options": f"{url.query.get('options', '')} -c timezone=UTC {options}",
            },
        )
        patience = settings.statement_timeout.total_seconds() + GRACE

        @event.listens_for(engine, "do_connect")
        def connect(_: object, __: object, arguments: Any, options: Any) -> _Connection:
            driver = _Connection.connect(*arguments, **options)
            driver.patience = patience
            return driver

        return engine

    def begin(self, connection: Connection) -> None:  # noqa: D102
        connection.exec_driver_sql("begin isolation level read committed")

    def code(self, error: BaseException) -> object:  # noqa: D102
        return error.sqlstate if isinstance(error, psycopg.Error) else None

    def is_refusal(self, error: BaseException) -> bool:  # noqa: D102
        return isinstance(
            error,
            psycopg.DataError | psycopg.IntegrityError | UnicodeEncodeError | OverflowError,
        )

    def describe(self, connection: Connection) -> str:  # noqa: D102
        version = connection.exec_driver_sql("show server_version").scalar_one()
        return f"PostgreSQL {str(version).split()[0]}"

    def fill(self, connection: Connection, tables: Tables, first: int, last: int) -> bool:
        """An insert waits for whoever has inserted the same id and not committed it."""
        try:
            connection.exec_driver_sql(f"set local lock_timeout = '{_SHORT}'")
            connection.exec_driver_sql(
                f"insert into {tables.events}"
                f" ({tables.id}, {tables.foreign_id}, {tables.type}, {tables.timestamp})"
                " overriding system value"
                f" select id, '{NOOP_KEY}', {NOOP_TYPE}, {self.now}"
                " from generate_series(%s::bigint, %s::bigint) id on conflict do nothing",
                (first, last),
            )
        except DBAPIError as error:
            if self.code(driver_error(error)) != _LOCKED:
                raise
            return False
        return True

    def is_held(self, connection: Connection, tables: Tables, first: int, last: int) -> bool:
        """There is no looking at what is not committed: so fill, and take it back."""
        filled = self.fill(connection, tables, first, last)
        connection.rollback()
        return not filled

    def upsert(self, tables: Tables, rows: int, now: str) -> str:  # noqa: D102
        return (
            f"insert into {tables.cursors} as c (id, last_event_id, updated_at) values "
            + ", ".join([f"(%s, %s, {now})"] * rows)
            + " on conflict (id) do update set last_event_id = excluded.last_event_id,"
            " updated_at = excluded.updated_at where c.last_event_id < excluded.last_event_id"
        )
