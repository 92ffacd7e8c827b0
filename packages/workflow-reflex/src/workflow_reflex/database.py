"""One database as this process sees it: what the adapters over the same tables share."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnectionError
from workflow_core.errors import AdapterUnavailableError, ClosedError
from workflow_core.ports import Clock, Closable, SystemClock, in_forked_child, leave_to_parent

from workflow_reflex.atrest import AtRest
from workflow_reflex.settings import ReflexSettings
from workflow_reflex.tables import tables_of
from workflow_reflex.ways import driver_error, ways_for
from workflow_reflex.wire import utc

__all__ = ["Database", "create_tables"]

T = TypeVar("T")

_MOST_TRIES = 10
_PAUSE = 0.005  # seconds before the second try, at most; twice that before each next one
_LONGEST_PAUSE = 0.25
_DRIVERS = (SQLAlchemyError, UnicodeEncodeError, OverflowError, OSError)


class Database(Closable):
    """Connections, and the errors that come of them. Any thread; made anew in a forked child.

    Nothing is connected before it is needed. Each statement is committed by itself, but for those
    within `transact`.

    Args:
        settings: where, and how.
        clock: what to stamp and compare by; None: the server's, for SQLite the machine's.

    Raises:
        ConfigurationError: the url cannot be used.
    """

    def __init__(self, settings: ReflexSettings, *, clock: Clock | None = None) -> None:
        self.ways, self._url = ways_for(settings.url)
        self._settings = settings
        self.clock = clock if clock is not None or self.ways.now else SystemClock()
        self._closed = False
        self._at_rest = AtRest(settings.lock_timeout.total_seconds()) if self.ways.in_file else None
        self._open()
        self.tables = tables_of(settings, self._engine.dialect, self.ways.collation)
        in_forked_child(self._forked)

    def _open(self) -> None:
        self._engine = self.ways.engine(self._url, self._settings)
        self._returning = threading.Lock()
        self._are_made = not self.ways.in_file

    def __repr__(self) -> str:
        return f"<Database {self.ways.title} {self.tables.events}>"

    @property
    def dialect_name(self) -> str:
        """SQLAlchemy's name for the database."""
        return self._engine.dialect.name

    # -- time ----------------------------------------------------------------------------------

    def stamp(self) -> datetime | None:
        """What rows are to be stamped with; None: the server does it."""
        return None if self.clock is None else self.clock.now()

    def stamped(self) -> tuple[str, tuple[Any, ...]]:
        """The present as part of a statement, and the parameters that it needs."""
        now = self.stamp()
        return (self.ways.now, ()) if now is None else (self.ways.mark, (self.ways.stamp(now),))

    def now(self) -> datetime:
        """The present. Raises AdapterUnavailableError: no answer."""
        if self.clock is not None:
            return self.clock.now()
        with self.reading("reading the clock") as connection:
            return utc(connection.exec_driver_sql(f"select {self.ways.now}").scalar_one())

    # -- reading and writing -------------------------------------------------------------------

    @contextmanager
    def reading(self, doing: str) -> Iterator[Connection]:
        """A connection that only reads.

        Args:
            doing: what for, as errors say it: "receiving events".

        Raises:
            AdapterUnavailableError: no answer, or all connections are in use.
            ClosedError: the database was closed.
        """
        with self.told(doing), self._connected() as connection:
            yield connection

    def transact(
        self, doing: str, work: Callable[[Connection], T], *, patience: timedelta | None = None
    ) -> T:
        """What `work` answers in a transaction of its own.

        Where others were in the way the whole is done again, some times; never a part of it.

        Args:
            doing: as errors say it.
            work: may be called several times.
            patience: no further try begins after it; None: the lock timeout.

        Raises:
            AdapterUnavailableError: nobody knows whether it was committed, or others were in the
                way for too long.
            AdapterError: a value is refused for good.
            ClosedError: the database was closed.
        """
        longest = self._settings.lock_timeout if patience is None else patience
        end = time.monotonic() + longest.total_seconds()
        for tries in range(1, _MOST_TRIES + 1):
            try:
                with self.told(doing), self._connected() as connection:
                    return self._within(connection, work)
            except AdapterUnavailableError as error:
                last = tries == _MOST_TRIES or time.monotonic() >= end
                if last or not self.ways.is_contention(error.__cause__):
                    raise
            time.sleep(random.uniform(0, min(_PAUSE * 2**tries, _LONGEST_PAUSE)))
        raise AssertionError  # the last try raises

    def _within(self, connection: Connection, work: Callable[[Connection], T]) -> T:
        self.ways.begin(connection)
        try:
            answer = work(connection)
            connection.commit()
        except BaseException:
            self._undo(connection)
            raise
        return answer

    def _undo(self, connection: Connection) -> None:
        try:
            connection.rollback()
        except SQLAlchemyError:
            with suppress(SQLAlchemyError):
                connection.invalidate()  # it goes back to no pool with a transaction open

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        self._check_open()
        with self._at_rest.call() if self._at_rest is not None else nullcontext():
            self._make_tables()
            connection = self._engine.connect()
            try:
                yield connection
            finally:
                with self._returning:
                    if self._closed:
                        connection.invalidate()  # the pool that it came from is gone
                    connection.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the database was closed", adapter="reflex")

    def _make_tables(self) -> None:
        if not self._are_made:
            self.tables.metadata.create_all(self._engine)
            self._are_made = True

    def create_tables(self) -> None:
        """Make those of the two tables that are missing. Raises as `transact`."""
        with self.told("making the tables"):
            self.tables.metadata.create_all(self._engine)

    @contextmanager
    def told(self, doing: str) -> Iterator[None]:
        """Turn the driver's errors into ours."""
        try:
            yield
        except NoConnectionError as error:
            raise AdapterUnavailableError(
                f"{doing} failed: all connections of this process are in use",
                adapter="reflex",
                hint="Raise the setting pool_size",
            ) from error
        except _DRIVERS as error:
            if self._closed:
                raise ClosedError(f"{doing}: the database was closed", adapter="reflex") from error
            cause = driver_error(error)
            failure = self.ways.translate(cause, doing)
            if self.ways.code(cause) in self.ways.duplicate:
                # an id was filled meanwhile: the transaction needs new ones
                failure = AdapterUnavailableError(
                    f"{doing} failed: it came so late that its ids were filled", adapter="reflex"
                )
            raise failure from cause

    # -- whole ---------------------------------------------------------------------------------

    def check_health(self) -> str:
        """Asks for the version, and looks whether the tables are there. Raises as `reading`."""
        tables = self.tables
        with self.reading("checking the database") as connection:
            described = self.ways.describe(connection)
            for table in (tables.events, tables.cursors):
                connection.exec_driver_sql(f"select 1 from {table} where 1 = 0").all()
        return f"{described}, tables {tables.events} and {tables.cursors}"

    def close(self) -> None:
        """Close all connections. Twice is harmless."""
        with self._returning:
            self._closed = True
            self._engine.dispose()

    def _forked(self) -> None:
        leave_to_parent(self._engine)
        if self._at_rest is not None:
            self._at_rest.restart()
        self._open()


def create_tables(settings: ReflexSettings) -> None:
    """Make those of the two tables that are missing, as they are described in docs/reflex.md.

    Raises:
        ConfigurationError: the url cannot be used.
        AdapterUnavailableError: no answer, or this user may not make tables.
    """
    with Database(settings) as database:
        database.create_tables()
