"""A process's connections to one SQLite file: one writes, a few read, one watches."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from typing import Any, cast

from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import NullPool
from workflow_core.errors import AdapterError, AdapterUnavailableError, ConfigurationError
from workflow_core.ports import leave_to_parent

from workflow_sql.dialects.connections import Begun, Connections
from workflow_sql.dialects.sqlite_quiet import Quiet
from workflow_sql.epochs import Epochs
from workflow_sql.fairlock import FairLock
from workflow_sql.settings import Synchronous

__all__ = ["SqliteConnections"]

_IDLE_READERS = 8  # kept open between uses
_FIRST_PAUSE = 0.0005  # seconds between two tries to get the file's write lock
_LONGEST_PAUSE = 0.005
_SCRUBS = 20  # tries, before a reader that stays is let be


class SqliteConnections(Connections):
    """All writers of the process share one connection under a fair lock.

    SQLite lets one transaction write at a time anyway. Threads that fought for the file's lock
    would sleep between their tries, in no order; here they follow one another at once.
    """

    knows_all = True

    def __init__(self, path: str, *, synchronous: Synchronous, lock_timeout: timedelta) -> None:
        self.epochs = Epochs()  # a file that is replaced under open connections is lost anyway
        self._path = path
        self._synchronous = synchronous
        self._lock_timeout = lock_timeout.total_seconds()
        self._engine = create_engine("sqlite://", creator=self._connect, poolclass=NullPool)
        self._quiet = Quiet(self._lock_timeout)
        self._is_locked_for_good = False
        self._start()

    def _start(self) -> None:
        self._turns = FairLock()
        self._writer: Connection | None = None
        self._readers: list[Connection] = []
        self._watching = threading.Lock()
        self._watch: Connection | None = None
        self._writing = 0  # the use of the writer
        self._closed = False

    # -- reading -------------------------------------------------------------------------------

    @contextmanager
    def reading(self, *, urgent: bool = False) -> Iterator[Connection]:  # noqa: D102 - see Connections
        with self._quiet.use():
            try:
                connection = self._readers.pop()
            except IndexError:
                connection = self._open()
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
            if connection.in_transaction():
                connection.rollback()
            if self._closed or len(self._readers) >= _IDLE_READERS:
                connection.close()
            else:
                self._readers.append(connection)

    @contextmanager
    def alone(self) -> Iterator[Connection]:  # noqa: D102
        with self._quiet.use(), closing(self._open()) as connection:
            yield connection

    def now(self) -> int:  # noqa: D102
        return time.time_ns() // 1_000  # there is no server: the machine's

    @property
    def rhythm(self) -> tuple[float, float]:  # noqa: D102
        return (0.015, 0.02)

    def pulse(self) -> int:  # noqa: D102
        with self._watching, self._quiet.use():
            if self._watch is None:
                self._watch = self._open()
            row = _driver(self._watch).execute("pragma data_version").fetchone()
            return cast(int, row[0])

    # -- writing -------------------------------------------------------------------------------

    def begin(self, timeout: timedelta, *, urgent: bool) -> Begun:  # noqa: D102
        if self._is_locked_for_good:
            raise AdapterError(
                "this process was forked while a transaction of its parent's was open, which locks "
                "the file for it for ever",
                adapter="sql",
                hint="Fork outside of transactions, or start a new process",
            )
        end = time.monotonic() + timeout.total_seconds()
        try:
            mine = self._turns.acquire(timeout.total_seconds(), urgent=urgent)
        except RuntimeError as error:
            raise AdapterError(
                "this thread has a transaction open, a second one would wait for it for ever",
                adapter="sql",
                hint="Write on the open transaction, or leave it first",
            ) from error
        if not mine:
            raise AdapterUnavailableError(
                "other writers of this process held the database for too long",
                adapter="sql",
                hint="Keep transactions short",
            )
        self._writing = self._quiet.enter()
        try:
            if self._writer is None:
                self._writer = self._open(waits=False)
            self._begin_immediate(_driver(self._writer), end)
        except BaseException:
            self._give_turn_back()
            raise
        return Begun(self._writer, None, self.epochs.number)

    def _begin_immediate(self, driver: sqlite3.Connection, end: float) -> None:
        # Immediate: a transaction that first reads and then wants to write fails at once, however
        # long it is willing to wait, when another has written in between. The pauses are short:
        # SQLite's own grow to 100 ms, and would find the lock taken again by a busy neighbour.
        pause = _FIRST_PAUSE
        while True:
            try:
                driver.execute("begin immediate")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= end:
                    raise
                time.sleep(pause)
                pause = min(pause * 1.5, _LONGEST_PAUSE)
            else:
                return

    def begin_anew(self, connection: Connection, timeout: timedelta) -> None:  # noqa: D102
        driver = _driver(connection)
        driver.execute("rollback")
        self._begin_immediate(driver, time.monotonic() + timeout.total_seconds())

    @contextmanager
    def single(self, *, urgent: bool) -> Iterator[Connection]:  # noqa: D102
        connection = self.begin(timedelta(seconds=self._lock_timeout), urgent=urgent).connection
        try:
            yield connection
        except BaseException:
            self.end(connection, commit=False)
            raise
        self.end(connection, commit=True)

    def end(self, connection: Connection, *, commit: bool) -> None:  # noqa: D102
        driver = _driver(connection)
        try:
            if not driver.in_transaction:
                if commit:
                    raise AdapterError(
                        "the transaction was ended while it was lent",
                        adapter="sql",
                        hint="Leave its commit or rollback to the one who lent it",
                    )
            elif commit and connection.in_transaction():
                connection.commit()  # SQLAlchemy knows of it too, since it was lent
            elif commit:
                driver.execute("commit")
        finally:
            try:
                if driver.in_transaction:
                    driver.execute("rollback")
                if connection.in_transaction():  # SQLAlchemy's idea of it
                    connection.rollback()
            except BaseException:
                self._drop_writer()
                raise
            finally:
                if self._closed:
                    self._drop_writer()
                self._give_turn_back()

    def _give_turn_back(self) -> None:
        self._quiet.leave(self._writing)
        self._turns.release()

    def _drop_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            with suppress(Exception):
                writer.close()

    def scrub(self) -> bool:  # noqa: D102
        # deleted content is overwritten in the file ("secure_delete"), but stays in the log of
        # pages until that is copied back and cut to nothing. A try that waits holds up all writers
        with self._quiet.use(), closing(self._open(waits=False)) as connection:
            for _ in range(_SCRUBS):
                busy, *_ = _driver(connection).execute("pragma wal_checkpoint(truncate)").fetchone()
                if not busy:
                    return True
                time.sleep(_LONGEST_PAUSE)
            return False

    # -- opening and closing -------------------------------------------------------------------

    def _open(self, *, waits: bool = True) -> Connection:
        if self._closed:
            raise sqlite3.ProgrammingError("closed")
        connection = self._engine.connect()
        if not waits:
            _driver(connection).execute("pragma busy_timeout = 0")
        return connection

    def _connect(self) -> sqlite3.Connection:
        driver = sqlite3.connect(
            self._path,
            timeout=self._lock_timeout,
            isolation_level=None,  # transactions are begun by hand, see _begin_immediate
            check_same_thread=False,  # one thread at a time is seen to here
            cached_statements=256,
        )
        try:
            self._prepare(driver)
        except BaseException:
            driver.close()
            raise
        return driver

    def _prepare(self, driver: sqlite3.Connection) -> None:
        mode = self._switch_to_wal(driver)
        if mode != "wal":
            raise ConfigurationError(
                f"SQLite cannot keep a write-ahead log there, only {mode!r}",
                adapter="sql",
                hint="Put the file on a local disk",
            )
        encoding = driver.execute("pragma encoding").fetchone()[0]
        if encoding != "UTF-8":  # bytes that pass through a text function would come out changed
            raise ConfigurationError(
                f"the database keeps its texts in {encoding}, not in UTF-8",
                adapter="sql",
                hint="Use a file of its own for workflows, or make this one anew in UTF-8",
            )
        driver.execute(f"pragma synchronous = {self._synchronous.value}").fetchall()
        driver.execute("pragma secure_delete = on").fetchall()

    def _switch_to_wal(self, driver: sqlite3.Connection) -> str:
        end = time.monotonic() + self._lock_timeout
        while True:
            try:
                return str(driver.execute("pragma journal_mode = wal").fetchone()[0])
            except sqlite3.OperationalError as error:
                # several processes make the same new file: this pragma heeds no busy timeout
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= end:
                    raise
                time.sleep(_LONGEST_PAUSE)

    def forsake(self) -> None:  # noqa: D102
        leave_to_parent((self._writer, self._readers, self._watch, self._turns))
        self._is_locked_for_good |= not self._quiet.was_kept
        self._quiet.restart()
        self._start()

    def close(self) -> None:  # noqa: D102
        self._closed = True
        with self._quiet.use():
            while self._readers:
                self._readers.pop().close()
        with self._watching, self._quiet.use():
            if self._watch is not None:
                self._watch.close()
                self._watch = None
        with suppress(RuntimeError):  # closed from within a transaction, which is yet to end
            if self._turns.acquire(self._lock_timeout):
                self._drop_writer()
                self._turns.release()


def _driver(connection: Connection) -> Any:
    return connection.connection.dbapi_connection
