"""A process's connections to a database server."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection
from workflow_core.errors import AdapterError

from workflow_sql.dialects.connections import Begun, Connections
from workflow_sql.dialects.pool import Held, Pool
from workflow_sql.dialects.server_clock import ServerClock, elapsed
from workflow_sql.epochs import Epochs

__all__ = ["ANSWER_GRACE", "Line", "ServerConnections", "Told"]

ANSWER_GRACE = 10.0
"""Seconds that an answer may be late, after the server's own limit, before it counts as gone."""

_CONTROL = 2  # connections for leases and the like, which must not wait for the users' work


class Told(NamedTuple):
    """What a server says of itself."""

    now: int
    """Its clock in microseconds."""
    server: str
    """Which one it is: another server says something else."""


class Line(ABC):
    """What a driver's connection to a server can be told. Any thread, one at a time for each."""

    errors: tuple[type[Exception], ...]
    """What the driver raises where the connection may be the cause."""

    @abstractmethod
    def open(self) -> Connection:
        """A new connection, each of whose statements is committed by itself.

        Raises the driver's errors.
        """

    @abstractmethod
    def socket(self, driver: Any) -> int:
        """The number of its socket. Raises the driver's errors: it has none any more."""

    @abstractmethod
    def server(self, driver: Any) -> str:
        """What it said of itself when the connection was opened."""

    @abstractmethod
    def ask(self, driver: Any) -> Told:
        """What it says now; also tells that it answers."""

    @abstractmethod
    def begin(self, driver: Any, patience: timedelta) -> Told:
        """Begin a transaction that waits for locks up to `patience`."""

    @abstractmethod
    def commit(self, driver: Any) -> None:
        """Commit.

        Raises:
            AdapterError: an error within has undone the transaction.
            Exception: the driver's errors: nobody knows.
        """

    @abstractmethod
    def rollback(self, driver: Any) -> None:
        """Roll back."""

    @abstractmethod
    def in_transaction(self, driver: Any) -> bool:
        """Whether a transaction is open, of which the server may have lost what was done."""

    @abstractmethod
    def is_sound(self, driver: Any) -> bool:
        """Whether it is open and idle, as far as can be told without asking."""


class ServerConnections(Connections):
    """Two pools: one for work, a small one for what must go on though the other is drained.

    Args:
        line: how to speak to the server.
        size: connections for work, at most.
        patience: how long to wait for one.
    """

    knows_all = False

    def __init__(self, line: Line, *, size: int, patience: timedelta) -> None:
        self._line = line
        self._patience = patience.total_seconds()
        self.on_news: Callable[[], object] = lambda: None
        """Called when other processes may have committed something."""
        self.on_epoch: Callable[[], object] = lambda: None
        """Called when a new epoch has begun."""
        self.epochs = Epochs(self._epoch_began)
        self._work = self._pool_of(size)
        self._control = self._pool_of(_CONTROL)
        self._start()

    def _pool_of(self, size: int) -> Pool:
        return Pool(
            size,
            open=self._open,
            is_current=lambda held: held.epoch == self.epochs.number or not self.has_one_server,
            socket=self._line.socket,
            ping=self._line.ask,
        )

    def _open(self) -> Held:
        connection = self._line.open()
        server = self._line.server(connection.connection.dbapi_connection)
        epoch = self.epochs.met(server) if self.has_one_server else self.epochs.number
        return Held(connection, server=server, epoch=epoch)

    def _epoch_began(self) -> None:
        self._clock = ServerClock()  # another server's may differ
        self.beat()
        self.on_epoch()

    def _start(self) -> None:
        self._clock = ServerClock()
        self._writing: dict[Connection, tuple[Held, Pool]] = {}
        self._commits = itertools.count(1)
        self._pulse = 0

    def _pool(self, urgent: bool) -> Pool:
        return self._control if urgent else self._work

    # -- reading -------------------------------------------------------------------------------

    @contextmanager
    def reading(self, *, urgent: bool = False) -> Iterator[Connection]:  # noqa: D102 - see Connections
        pool = self._pool(urgent)
        held = pool.take(self._patience)
        healthy = False
        try:
            yield held.connection
            if held.connection.in_transaction():
                held.connection.rollback()
            healthy = self._line.is_sound(held.driver)
        except AdapterError:
            healthy = self._line.is_sound(held.driver)
            raise
        finally:
            pool.give(held, healthy=healthy)

    @contextmanager
    def alone(self) -> Iterator[Connection]:  # noqa: D102
        held = self._open()
        try:
            yield held.connection
        finally:
            held.drop()

    def now(self) -> int:  # noqa: D102
        known = self._clock.now()
        if known is None:
            with self.reading(urgent=True) as connection:
                asked_at = elapsed()
                known = self._line.ask(connection.connection.dbapi_connection).now
                self._clock.read(known, asked_at)
        return known

    # -- writing -------------------------------------------------------------------------------

    def begin(self, timeout: timedelta, *, urgent: bool) -> Begun:  # noqa: D102
        pool = self._pool(urgent)
        held = pool.take(timeout.total_seconds())
        try:
            asked_at = elapsed()
            told = self._line.begin(held.driver, timeout)
        except BaseException as error:
            pool.give(held, healthy=False)
            if not isinstance(error, self._line.errors):
                raise
            # nothing was done yet: a connection that died in the pool is nobody's failure
            held = pool.take(timeout.total_seconds())
            try:
                asked_at = elapsed()
                told = self._line.begin(held.driver, timeout)
            except BaseException:
                pool.give(held, healthy=False)
                raise
        if told.server != held.server:  # a pooler stands between, and leads elsewhere now
            held.server, held.epoch = told.server, self.epochs.met(told.server)
        self._clock.read(told.now, asked_at)
        self._writing[held.connection] = held, pool
        return Begun(held.connection, told.now, held.epoch)

    def begin_anew(self, connection: Connection, timeout: timedelta) -> int:  # noqa: D102
        held, _ = self._writing[connection]
        self._line.rollback(held.driver)
        told = self._line.begin(held.driver, timeout)
        if told.server != held.server:
            raise ConnectionError("another server answers now")
        return told.now

    def single(self, *, urgent: bool) -> AbstractContextManager[Connection]:  # noqa: D102
        return self.reading(urgent=urgent)  # where each statement is committed by itself too

    def end(self, connection: Connection, *, commit: bool) -> None:  # noqa: D102
        held, pool = self._writing.pop(connection)
        healthy = False
        try:
            if commit:
                self._commit(held)
            elif self._line.in_transaction(held.driver):
                self._line.rollback(held.driver)
            if connection.in_transaction():  # SQLAlchemy's idea of it, since it was lent
                connection.rollback()
            healthy = self._line.is_sound(held.driver)
        finally:
            pool.give(held, healthy=healthy)
        if commit:
            self.beat()

    def _commit(self, held: Held) -> None:
        if not self._line.in_transaction(held.driver):
            raise AdapterError(
                "the transaction was ended while it was lent",
                adapter="sql",
                hint="Leave its commit or rollback to the one who lent it",
            )
        self._line.commit(held.driver)

    # -- news ----------------------------------------------------------------------------------

    @property
    def rhythm(self) -> tuple[float, float]:  # noqa: D102
        return (0.02, 4.0)

    def beat(self) -> None:  # noqa: D102
        self._pulse = next(self._commits)

    def pulse(self) -> Hashable:  # noqa: D102
        if self._work.is_closed:
            raise ConnectionError("closed")
        return self._pulse

    # -- whole ---------------------------------------------------------------------------------

    def scrub(self) -> bool:  # noqa: D102
        return True  # what a server leaves in its files is not for its clients to overwrite

    def forsake(self) -> None:  # noqa: D102
        self._work.forsake()
        self._control.forsake()
        self._start()

    def close(self) -> None:  # noqa: D102
        self._work.close()
        self._control.close()
