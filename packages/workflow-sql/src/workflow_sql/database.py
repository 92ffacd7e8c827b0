"""One database as this process sees it: what the four adapters share."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import timedelta
from typing import Any, TypeVar

from sqlalchemy import Connection, Executable
from workflow_core.errors import AdapterUnavailableError, ClosedError
from workflow_core.ports import AdapterContext, Clock, Closable, Secret, in_forked_child

from workflow_sql import migrations
from workflow_sql.dialects import Cursor, dialect_for
from workflow_sql.horizon import Gap, Marks
from workflow_sql.instants import microseconds
from workflow_sql.replica import Replica
from workflow_sql.schema import table_prefix, tables
from workflow_sql.settings import ConnectionSettings, SqlSettings, Synchronous
from workflow_sql.tries import Tries
from workflow_sql.watch import Watch
from workflow_sql.writing import Writing

__all__ = ["Database", "Writing"]

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Database(Closable):
    """A database with our tables in it. Any thread; made anew in a forked child by itself.

    Opening makes or upgrades the tables where the database does that by itself (SQLite); else they
    have to be there: see `workflow_sql.upgrade`.

    Args:
        url: as in `SqlSettings`.
        namespace: sets the tables apart from those of other namespaces.
        schema: as in `SqlSettings`, and so all that follow to the clock.
        clock: stamps and compares; None: the database's own, for SQLite the machine's.
        upgrade: make or upgrade the tables, whatever the database.

    Raises:
        ConfigurationError: the url, the namespace or the schema found there cannot be used.
        AdapterUnavailableError: no answer.
    """

    def __init__(
        self,
        url: Secret | str,
        *,
        namespace: str = "",
        schema: str = "",
        synchronous: Synchronous = Synchronous.FULL,
        lock_timeout: timedelta = timedelta(seconds=5),
        statement_timeout: timedelta = timedelta(seconds=30),
        pool_size: int = 10,
        replica_url: Secret | str | None = None,
        clock: Clock | None = None,
        upgrade: bool = False,
    ) -> None:
        settings = ConnectionSettings(
            synchronous=synchronous,
            lock_timeout=lock_timeout,
            statement_timeout=statement_timeout,
            pool_size=pool_size,
            replica_url=Secret(replica_url) if isinstance(replica_url, str) else replica_url,
            schema=schema,
        )
        self._open(Secret(url) if isinstance(url, str) else url, namespace, settings, clock)
        try:
            with self.told("opening the database"):
                self.installation = migrations.prepare(
                    self, upgrading=upgrade or self.dialect.upgrades_itself
                )
        except BaseException:
            self.close()
            raise
        in_forked_child(self._forked)

    def _open(
        self, url: Secret, namespace: str, settings: ConnectionSettings, clock: Clock | None
    ) -> None:
        self.dialect, parsed = dialect_for(url)
        self.prefix = table_prefix(namespace)
        self.schema = self.dialect.checked_schema(settings.schema)
        self.tables = tables(self.prefix, self.dialect.kinds, self.schema)
        self.clock = clock
        self.transactions_at_once = max(
            1, settings.pool_size // 2 if self.dialect.name != "sqlite" else 1
        )
        self._lock_timeout = settings.lock_timeout
        self._closed = False
        self._connections = self.dialect.connections(parsed, settings, self.prefix)
        self._replica = None
        if settings.replica_url is not None:
            self._replica = Replica(
                settings.replica_url, self.dialect, settings, self.tables, self.prefix
            )
        self.horizon = self.dialect.horizon(self.tables, self._connections.epochs)
        self.watch = Watch(
            self._connections, self._read_marks, lambda: self.horizon.is_held_up, self.told
        )
        self._connections.on_news = self.watch.refresh_quietly
        self._connections.on_epoch = self.watch.wake

    @classmethod
    def state_of(
        cls, url: Secret | str, *, namespace: str = "", schema: str = ""
    ) -> migrations.State:
        """How far the database has come, whatever its schema; see `workflow_sql.current`."""
        database = cls.__new__(cls)
        settings = ConnectionSettings(schema=schema)
        database._open(Secret(url) if isinstance(url, str) else url, namespace, settings, None)
        try:
            with database.reading("reading the schema's version") as cursor:
                return migrations.State(migrations.version_of(database, cursor))
        finally:
            database.close()

    @classmethod
    def shared(cls, settings: SqlSettings, context: AdapterContext) -> Database:
        """The one database of all adapters with this url in this context."""
        connections = settings.connections
        return context.shared(
            ("workflow-sql", settings.url, connections),
            lambda: cls(
                settings.url,
                namespace=context.namespace,
                **{field.name: getattr(connections, field.name) for field in fields(connections)},
                clock=context.clock,
            ),
        )

    def __repr__(self) -> str:
        return f"<Database {self.dialect.name} {self.prefix}*>"

    # -- time ----------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """The number of the present epoch; see `epochs`."""
        return self._connections.epochs.number

    def now(self) -> int:
        """The present in microseconds, by the injected clock or the database's.

        Raises:
            AdapterUnavailableError: no answer.
        """
        if self.clock is not None:
            return microseconds(self.clock.now())
        with self.told("reading the clock"):
            return self._connections.now()

    def monotonic(self) -> float:
        """Seconds that only grow, by the same clock."""
        return time.monotonic() if self.clock is None else self.clock.monotonic()

    # -- reading and writing -------------------------------------------------------------------

    @contextmanager
    def reading(self, doing: str, *, urgent: bool = False) -> Iterator[Cursor]:
        """The driver's own cursor on a connection that only reads.

        Args:
            doing: what for, as errors say it: "looking up runs".
            urgent: for what must go on though all other connections are in use.

        Raises:
            AdapterUnavailableError: no answer.
            ClosedError: the database was closed.
        """
        with self.told(doing), self._connections.reading(urgent=urgent) as connection:
            cursor = self.dialect.cursor(connection)
            try:
                yield cursor
            finally:
                cursor.close()  # a row not fetched would keep its snapshot, and the log from ending

    def ask_replica(self, doing: str, question: Callable[[Cursor], T]) -> T | None:
        """What the replica answers; None: there is none, or none that answers.

        Raises:
            ConfigurationError: it is no copy of this database.
        """
        if self._replica is None:
            return None
        try:
            with self.told(doing), self._replica.reading(self.installation.id) as cursor:
                return question(cursor)
        except AdapterUnavailableError as error:
            self._replica.miss(error)
            return None

    def select(self, statement: Executable, doing: str) -> list[Any]:
        """The rows that a composed `statement` answers, for what is asked now and then.

        Raises as `reading`.
        """
        with self.told(doing), self._connections.reading() as connection:
            return list(connection.execute(statement))

    @contextmanager
    def writing(
        self, doing: str, *, timeout: timedelta | None = None, urgent: bool = False
    ) -> Iterator[Writing]:
        """A transaction: leaving commits, an exception rolls back and passes.

        Args:
            doing: what for, as errors say it: "storing records".
            timeout: how long to wait for other writers, never longer than the lock timeout.
            urgent: go before all others of this process that wait.

        Raises:
            AdapterUnavailableError: on entering: others were in the way; on leaving: nobody knows
                whether it was committed.
            AdapterError: this thread has one open already.
            ClosedError: the database was closed.
        """
        with self.told(doing), self.lending(doing, timeout=timeout, urgent=urgent) as writing:
            yield writing

    @contextmanager
    def lending(
        self, doing: str, *, timeout: timedelta | None = None, urgent: bool = False
    ) -> Iterator[Writing]:
        """As `writing`, for a body that is somebody else's: its errors pass as they are."""
        wait = self._lock_timeout if timeout is None else min(timeout, self._lock_timeout)
        with self.told(doing):
            connection, now, epoch = self._connections.begin(wait, urgent=urgent)
        try:
            if now is None or self.clock is not None:
                now = self.now()
            writing = Writing(connection, self.dialect.cursor(connection), now, epoch)
            yield writing
        except BaseException:
            with self.told(doing):
                self._connections.end(connection, commit=False)
            raise
        with self.told(doing):
            self._connections.end(connection, commit=True)
        if writing.wakes:
            self.watch.stir()
        if writing.wakes or writing.tells:
            self._connections.tell()

    def begin_anew(self, connection: Any) -> int:
        """Undo all of the open transaction and begin it again; its new time.

        Raises the driver's errors.
        """
        now = self._connections.begin_anew(connection, self._lock_timeout)
        return self.now() if now is None or self.clock is not None else now

    def alone(self, doing: str, statement: str, parameters: Sequence[Any], *, urgent: bool) -> int:
        """Execute one statement that writes, and commits by itself; how many rows it changed.

        In the statement ``{now}`` stands for the present.

        Raises as `writing`.
        """
        now, given = self.dialect.clock, list(parameters)
        if self.clock is not None or not now:
            now = str(self.now())
        with self.told(doing), self._connections.single(urgent=urgent) as connection:
            cursor = self.dialect.cursor(connection)
            cursor.execute(statement.replace("{now}", now), given)
            return cursor.rowcount

    @contextmanager
    def migrating(self, doing: str, timeout: timedelta) -> Iterator[Connection]:
        """A connection for changes of tables: in one transaction, where the database has that.

        Raises as `writing`.
        """
        if self.dialect.migrates_whole:
            with self.writing(doing, timeout=timeout) as writing:
                writing.connection.begin()  # the open one: SQLAlchemy is to know of it
                yield writing.connection
        else:
            with self.told(doing), self._connections.alone() as connection:
                yield connection

    def transact(
        self,
        doing: str,
        work: Callable[[Writing], T],
        *,
        timeout: timedelta | None = None,
        urgent: bool = False,
    ) -> T:
        """What `work` answers in a transaction of its own.

        Where others were in the way (a deadlock, a lock not had in time) the whole is done again,
        some times; never a part of it.

        Args:
            doing: as errors say it.
            work: may be called several times.
            timeout: how long to wait for other writers.
            urgent: go before all others of this process that wait.

        Raises:
            AdapterUnavailableError: as `writing`, after the last try.
        """
        tries = Tries(self.dialect, self._lock_timeout if timeout is None else timeout)
        while True:
            try:
                with self.writing(doing, timeout=timeout, urgent=urgent) as writing:
                    return work(writing)
            except AdapterUnavailableError as error:
                tries.again_or_raise(error)

    def tries(self) -> Tries:
        """For a loop over a transaction that is not `transact`."""
        return Tries(self.dialect, self._lock_timeout)

    @contextmanager
    def told(self, doing: str) -> Iterator[None]:
        """Turn the driver's errors into ours."""
        try:
            yield
        except self.dialect.driver_errors as error:
            if self._closed:
                raise ClosedError(f"{doing}: the database was closed", adapter="sql") from error
            if self.dialect.only_reads(error):
                self._connections.epochs.end(self.epoch, "the database's server only reads")
            raise self.dialect.translate(error, doing) from error

    def scrub(self) -> bool:
        """Overwrite what deleted rows left behind in the database's files.

        Answers False where some stays for now, since a long read is in the way.

        Raises:
            AdapterUnavailableError: no answer.
        """
        with self.told("scrubbing the database"):
            done = self._connections.scrub()
        if not done:
            logger.warning(
                "erased data stays in the write-ahead log for now: a long read is in the way"
            )
        return done

    # -- whole ---------------------------------------------------------------------------------

    def check_health(self) -> str:
        """Asks for versions. Raises as `reading`, and ConfigurationError for a schema not ours."""
        with self.reading("checking the database") as cursor:
            version = migrations.checked(migrations.version_of(self, cursor))
            described = self.dialect.describe(cursor)
        return f"{described}, schema {version}{self._connections.remark}"

    def close(self) -> None:
        """Close all connections, and end the calls that wait. Twice is harmless."""
        self._closed = True
        self.watch.close()
        with self.told("closing the database"):
            self._connections.close()
            if self._replica is not None:
                self._replica.close()

    def _forked(self) -> None:
        self._connections.forsake()
        if self._replica is not None:
            self._replica.forsake()
        self.horizon = self.dialect.horizon(self.tables, self._connections.epochs)
        self.watch.restart()

    def marks(self, cursor: Cursor) -> Marks:
        """What `watch` tells, as it stands in the cursor's transaction."""
        return self.horizon.read(cursor)

    def _read_marks(self) -> Marks:
        with self.reading("watching the database", urgent=True) as cursor:
            marks = self.marks(cursor)
            gap = self.horizon.old_gap()
        if gap is not None and self._close_gap(gap):
            with self.reading("watching the database", urgent=True) as cursor:
                marks = self.marks(cursor)
        return marks

    def _close_gap(self, gap: Gap) -> bool:
        """Whether it could be closed: its transaction is gone."""
        try:
            with self.writing("closing a gap in the events", urgent=True) as writing:
                self.dialect.close_gap(writing.cursor, self.tables.events, gap, writing.now)
        except AdapterUnavailableError:
            return False  # somebody holds the id, and will commit it or give it up
        return True
