"""One database as this process sees it: what the four adapters share."""

from __future__ import annotations

import logging
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Executable
from workflow_core.errors import AdapterError, ClosedError
from workflow_core.ports import AdapterContext, Clock, Closable, Secret

from workflow_sql import migrations
from workflow_sql.dialects import Cursor, dialect_for
from workflow_sql.forking import in_forked_child
from workflow_sql.instants import microseconds
from workflow_sql.schema import table_prefix, tables
from workflow_sql.settings import SqlSettings, Synchronous
from workflow_sql.watch import Marks, Watch

__all__ = ["Database", "Writing"]

logger = logging.getLogger(__name__)


@dataclass
class Writing:
    """An open transaction of one's own.

    Attributes:
        connection: SQLAlchemy's.
        cursor: the driver's own, for statements that are to be quick.
        now: the time of this transaction in microseconds, read once it could write.
        wakes: set it where the commit is of interest to waiting calls.
    """

    connection: Connection
    cursor: Cursor
    now: int
    wakes: bool = False


class Database(Closable):
    """A database with our tables in it. Any thread; made anew in a forked child by itself.

    Opening makes or upgrades the tables where the database does that by itself (SQLite).

    Args:
        url: as in `SqlSettings`.
        namespace: sets the tables apart from those of other namespaces.
        synchronous: as in `SqlSettings`.
        lock_timeout: as in `SqlSettings`.
        clock: stamps and compares; None: the database's own, for SQLite the machine's.

    Raises:
        ConfigurationError: the url, the namespace or the schema found there cannot be used.
        AdapterUnavailableError: no answer.
    """

    def __init__(
        self,
        url: Secret | str,
        *,
        namespace: str = "",
        synchronous: Synchronous = Synchronous.FULL,
        lock_timeout: timedelta = timedelta(seconds=5),
        clock: Clock | None = None,
    ) -> None:
        self.dialect, parsed = dialect_for(Secret(url) if isinstance(url, str) else url)
        self.prefix = table_prefix(namespace)
        self.tables = tables(self.prefix, self.dialect.instant)
        self.clock = clock
        self._lock_timeout = lock_timeout
        self._closed = False
        self._connections = self.dialect.connections(
            parsed, synchronous=synchronous, lock_timeout=lock_timeout
        )
        self._marks_query = self.dialect.marks_query(self.tables)
        self.watch = Watch(self.pulse, self._read_marks)
        try:
            with self.told("opening the database"):
                self.installation = migrations.prepare(self)
        except BaseException:
            self.close()
            raise
        in_forked_child(self._forked)

    @classmethod
    def shared(cls, settings: SqlSettings, context: AdapterContext) -> Database:
        """The one database of all adapters with this url in this context."""
        key = ("workflow-sql", settings.url, settings.synchronous, settings.lock_timeout)
        return context.shared(
            key,
            lambda: cls(
                settings.url,
                namespace=context.namespace,
                synchronous=settings.synchronous,
                lock_timeout=settings.lock_timeout,
                clock=context.clock,
            ),
        )

    def __repr__(self) -> str:
        return f"<Database {self.dialect.name} {self.prefix}*>"

    # -- time ----------------------------------------------------------------------------------

    def now(self) -> int:
        """The present in microseconds."""
        if self.clock is None:
            return time.time_ns() // 1_000
        return microseconds(self.clock.now())

    def monotonic(self) -> float:
        """Seconds that only grow, by the same clock."""
        return time.monotonic() if self.clock is None else self.clock.monotonic()

    # -- reading and writing -------------------------------------------------------------------

    @contextmanager
    def reading(self, doing: str) -> Iterator[Cursor]:
        """The driver's own cursor on a connection that only reads.

        Args:
            doing: what for, as errors say it: "looking up runs".

        Raises:
            AdapterUnavailableError: no answer.
            ClosedError: the database was closed.
        """
        with self.told(doing), self._connections.reading() as connection:
            cursor = self.dialect.cursor(connection)
            try:
                yield cursor
            finally:
                cursor.close()  # a row not fetched would keep its snapshot, and the log from ending

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
            connection = self._connections.begin(wait, urgent=urgent)
        try:
            writing = Writing(connection, self.dialect.cursor(connection), self.now())
            yield writing
        except BaseException:
            with self.told(doing):
                self._connections.end(connection, commit=False)
            raise
        with self.told(doing):
            self._connections.end(connection, commit=True)
        if writing.wakes:
            # committed is committed: whoever waits finds out a little later by itself
            with suppress(AdapterError):
                self.watch.refresh()

    @contextmanager
    def told(self, doing: str) -> Iterator[None]:
        """Turn the driver's errors into ours."""
        try:
            yield
        except self.dialect.driver_errors as error:
            if self._closed:
                raise ClosedError(f"{doing}: the database was closed", adapter="sql") from error
            raise self.dialect.translate(error, doing) from error

    def scrub(self) -> None:
        """Overwrite what deleted rows left behind in the database's files.

        Raises:
            AdapterUnavailableError: no answer.
        """
        with self.told("scrubbing the database"):
            if not self._connections.scrub():
                logger.warning(
                    "erased data stays in the write-ahead log for now: a long read is in the way"
                )

    # -- whole ---------------------------------------------------------------------------------

    def check_health(self) -> str:
        """Asks for versions. Raises as `reading`."""
        with self.reading("checking the database") as cursor:
            return f"{self.dialect.describe(cursor)}, schema {migrations.version_of(self, cursor)}"

    def close(self) -> None:
        """Close all connections, and end the calls that wait. Twice is harmless."""
        self._closed = True
        self.watch.close()
        with self.told("closing the database"):
            self._connections.close()

    def _forked(self) -> None:
        self._connections.forsake()
        self.watch.restart()

    def pulse(self) -> Hashable:
        """Differs from the answer before if anybody has committed since. No statement.

        Raises:
            AdapterUnavailableError: no answer.
            ClosedError: the database was closed.
        """
        with self.told("watching the database"):
            return self._connections.pulse()

    def marks(self, cursor: Cursor) -> Marks:
        """What `watch` tells, as it stands in the cursor's transaction."""
        cursor.execute(self._marks_query)
        return Marks(*cursor.fetchone())

    def _read_marks(self) -> Marks:
        with self.reading("watching the database") as cursor:
            return self.marks(cursor)
