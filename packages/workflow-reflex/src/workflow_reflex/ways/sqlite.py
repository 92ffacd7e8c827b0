"""SQLite: one writer at a time, so ids become visible in order."""

from __future__ import annotations

import sqlite3
import time
from datetime import datetime

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool
from workflow_core.errors import ConfigurationError

from workflow_reflex.settings import ReflexSettings
from workflow_reflex.tables import Tables
from workflow_reflex.ways.base import Ways

__all__ = ["SqliteWays"]

_FIRST_PAUSE = 0.0005  # seconds between two tries to get the file's write lock
_LONGEST_PAUSE = 0.005
_REFUSED = {
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_RANGE,
}


class SqliteWays(Ways):
    """See `Ways`."""

    title = "SQLite"
    mark = "?"
    now = ""
    collation = None
    in_file = True
    leaves_holes = False
    contention = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
    missing = frozenset()
    denied = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH})
    duplicate = frozenset({sqlite3.SQLITE_CONSTRAINT})

    def engine(self, url: URL, settings: ReflexSettings) -> Engine:  # noqa: D102 - see Ways
        if not url.database or url.database == ":memory:":
            raise ConfigurationError(
                "a database in memory cannot be shared",
                adapter="reflex",
                hint="Write the url like sqlite:///orders.db",
            )
        self._patience = settings.lock_timeout.total_seconds()
        engine = create_engine(
            url.set(drivername="sqlite"),
            poolclass=QueuePool,
            pool_reset_on_return=None,
            pool_size=settings.pool_size,
            max_overflow=0,
            pool_timeout=settings.lock_timeout.total_seconds(),
            pool_use_lifo=True,
            hide_parameters=True,
            connect_args={"timeout": 0, "check_same_thread": False, "isolation_level": None},
        )

        @event.listens_for(engine, "connect")
        def prepare(driver: sqlite3.Connection, _: object) -> None:
            # readers beside the writer; and each commit waits for the disk
            self._patiently(driver, "pragma journal_mode = wal")
            driver.execute("pragma synchronous = full")
            driver.execute("pragma secure_delete = on")

        return engine

    def begin(self, connection: Connection) -> None:
        """Immediate: one that first reads and then wants to write would fail at once."""
        self._patiently(connection.connection.dbapi_connection, "begin immediate")

    def _patiently(self, driver: object, statement: str) -> None:
        # The pauses are short: SQLite's own grow to 100 ms, and would find the lock taken again by
        # a busy neighbour
        assert isinstance(driver, sqlite3.Connection)
        end = time.monotonic() + self._patience
        pause = _FIRST_PAUSE
        while True:
            try:
                driver.execute(statement)
            except sqlite3.OperationalError as error:
                if self.code(error) not in self.contention or time.monotonic() >= end:
                    raise
                time.sleep(pause)
                pause = min(pause * 1.5, _LONGEST_PAUSE)
            else:
                return

    def code(self, error: BaseException) -> object:
        """The primary one."""
        code = getattr(error, "sqlite_errorcode", None)
        return code & 0xFF if isinstance(code, int) else None

    def is_refusal(self, error: BaseException) -> bool:  # noqa: D102
        return self.code(error) in _REFUSED or isinstance(error, UnicodeEncodeError | OverflowError)

    def describe(self, connection: Connection) -> str:  # noqa: D102
        return f"SQLite {sqlite3.sqlite_version}"

    def stamp(self, moment: datetime) -> str:
        """As SQLAlchemy and SQLite's own functions have it."""
        return moment.replace(tzinfo=None).isoformat(" ", "microseconds")

    def fill(self, connection: Connection, tables: Tables, first: int, last: int) -> bool:  # noqa: D102
        raise NotImplementedError  # there are no holes

    def is_held(self, connection: Connection, tables: Tables, first: int, last: int) -> bool:  # noqa: D102
        raise NotImplementedError

    def upsert(self, tables: Tables, rows: int, now: str) -> str:  # noqa: D102
        return (
            f"insert into {tables.cursors} (id, last_event_id, updated_at) values "
            + ", ".join([f"(?, ?, {now})"] * rows)
            + " on conflict (id) do update set last_event_id = excluded.last_event_id,"
            " updated_at = excluded.updated_at"
            f" where {tables.cursors}.last_event_id < excluded.last_event_id"
        )
