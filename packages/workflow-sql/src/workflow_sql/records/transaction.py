"""Transactions that the store lends: its own and those it joins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import Connection
from workflow_core.errors import (
    AdapterError,
    AdapterUnavailableError,
    InputError,
    StoreBusyError,
)
from workflow_core.model import Record
from workflow_core.ports import Outcome, StoreTransaction, Write
from workflow_core.ports.record_store import check_distinct

from workflow_sql.database import Database
from workflow_sql.dialects import Cursor
from workflow_sql.instants import from_microseconds
from workflow_sql.records.reading import Reader
from workflow_sql.records.writing import Writer

__all__ = ["SqlTransaction"]


class SqlTransaction(StoreTransaction):
    """An open transaction of the database. One thread at a time.

    Attributes:
        cursor: the driver's, for adapters that write beside the store.
        later: within a `part`: takes what may be sent together with the commit.
        now: the time of the transaction in microseconds.
        joined: whether it is a caller's.
        wakes: set where waiting calls are to look again after the commit.
        tells: set where other processes are to look into the outbox after it.
        failure: why the transaction is lost, once it is.
    """

    def __init__(
        self,
        database: Database,
        reader: Reader,
        writer: Writer,
        connection: object,
        cursor: Cursor,
        now: int,
        *,
        joined_driver: object | None = None,
    ) -> None:
        self.database = database
        self._connection = connection
        self.cursor = cursor
        self.later = cursor
        self.now = now
        self.joined = joined_driver is not None
        self._is_lent = False
        self._is_used = False  # by a part that has ended well
        self._driver = joined_driver
        self.wakes = False
        self.tells = False
        self.failure: AdapterUnavailableError | None = None
        self._reader = reader
        self._writer = writer

    @property
    def connection(self) -> Any:  # type: ignore[override]  # read-only: nobody is to replace it
        """SQLAlchemy's connection, or what `SqlRecordStore.join` was given."""
        self._is_lent = True
        if isinstance(self._connection, Connection) and not self._connection.in_transaction():
            self._connection.begin()  # the open one: what is done with it is not to commit it
            with self.database.told("lending the transaction"):
                self.database.dialect.lend(self.cursor)
        return self._connection

    @property
    def stamped_at(self) -> datetime:
        """See `StoreTransaction.stamped_at`: one time for all of the transaction."""
        return from_microseconds(self.now)

    def store_many(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        """See `StoreTransaction.store_many`.

        Raises:
            AdapterUnavailableError: the transaction is lost; leave it and start again.
            StoreBusyError: as that, where the transaction is a caller's and others were in the way.
            InputError: the caller's connection commits each statement by itself.
        """
        check_distinct(writes)
        if not writes:
            return []
        # rows that are held are published by whoever holds them
        self.tells = self.tells or any(
            not event.held_for for write in writes for event in write.events
        )
        return self._store(writes)

    def delete_outbox_events(self, ids: Sequence[str]) -> Sequence[str]:
        """See `StoreTransaction.delete_outbox_events`; raises as `store_many`."""
        database = self.database
        with self.part("deleting outbox events") as cursor:
            return database.dialect.delete_taken(cursor, database.tables.outbox, ids)

    def lookup_many(self, run_ids: Sequence[str]) -> Mapping[str, Record]:
        """See `StoreTransaction.lookup_many`; raises as `store_many`."""
        return self._looked_up(run_ids, self._reader.lookup_many)

    def lock_many(self, run_ids: Sequence[str]) -> Mapping[str, Record]:
        """See `StoreTransaction.lock_many`; raises as `store_many`."""
        return self._looked_up(run_ids, self._reader.lock_many)

    def latest(self, workflow: str, foreign_id: str) -> Record:
        """See `StoreTransaction.latest`; raises as `store_many`."""
        with self.part("looking up a foreign id") as cursor:
            return self._reader.latest(cursor, workflow, foreign_id)

    def is_contention(self, error: BaseException) -> bool:
        """By the driver's code."""
        return self.database.dialect.is_contention(error)

    def _looked_up(
        self,
        run_ids: Sequence[str],
        look: Callable[[Cursor, Sequence[str]], Mapping[str, Record]],
    ) -> Mapping[str, Record]:
        if not run_ids:
            return {}
        with self.part("looking up runs") as cursor:
            return look(cursor, run_ids)

    @contextmanager
    def part(self, doing: str, *, last: bool = False) -> Iterator[Cursor]:
        """All that is written inside, or nothing of it, where a value is refused.

        A savepoint sees to that only where it must. As long as nothing else was done in a
        transaction of our own, that is undone as a whole and begun anew, which costs no round trips
        where all goes well.

        Args:
            doing: what for, as errors say it.
            last: nothing comes after it: where it fails, the transaction is lost.

        Raises:
            AdapterUnavailableError: the transaction is lost.
            AdapterError: a value is refused for good, or each statement would be committed by
                itself; the transaction stays usable, but after the `last` part.
        """
        errors = self.database.dialect.driver_errors
        self._begin()
        has_savepoint = self.joined or self._is_lent or (self._is_used and not last)
        self.later = self.cursor if has_savepoint else self.database.dialect.later(self.cursor)
        try:
            if has_savepoint:
                self.cursor.execute("savepoint workflow_part")
            yield self.cursor
            if has_savepoint:
                self.cursor.execute("release savepoint workflow_part")
        except errors as error:
            failure = self._failed(error, doing)
            if self.failure is None:
                self._undo(doing, has_savepoint)
            raise failure from error
        except BaseException:
            self._undo(doing, has_savepoint)
            raise
        self._is_used = True

    def _store(self, writes: Sequence[Write]) -> list[Outcome]:
        """Store them; where one cannot be, halve until it is found, and store the others."""
        try:
            with self.part("storing records") as cursor:
                return self._writer.store(
                    cursor, writes, self.now, later=self.later, joined=self.joined
                )
        except AdapterUnavailableError:
            raise
        except AdapterError as refusal:
            if len(writes) == 1:
                refusal.run_id = writes[0].record.run_id
                return [refusal]
        half = len(writes) // 2
        return [*self._store(writes[:half]), *self._store(writes[half:])]

    def _begin(self) -> None:
        """Refuse to go on with a lost transaction; see that a caller's has begun."""
        if self.failure is not None:
            raise self.failure
        if not self.joined:
            return
        dialect = self.database.dialect
        try:
            begun = dialect.ensure_begun(self._driver, self.cursor)
        except dialect.driver_errors as error:
            raise self._failed(error, "joining the transaction") from error
        if not begun:
            raise InputError(
                "the connection commits each statement by itself",
                adapter="sql",
                hint="Begin a transaction on it first",
            )
        self.now = self.database.now()

    def _failed(self, error: BaseException, doing: str) -> AdapterError:
        dialect = self.database.dialect
        failure = dialect.translate(error, doing)
        if isinstance(failure, AdapterUnavailableError):
            if self.joined and dialect.is_contention(error):
                failure = StoreBusyError(
                    failure.message, adapter="sql", hint="Roll the transaction back and retry it"
                )
            self.failure = failure
        return failure

    def _undo(self, doing: str, has_savepoint: bool) -> None:
        try:
            if has_savepoint:
                self.cursor.execute("rollback to savepoint workflow_part")
                self.cursor.execute("release savepoint workflow_part")
            elif self._is_used:
                self.failure = AdapterUnavailableError(
                    f"{doing} failed, and with it the whole transaction", adapter="sql"
                )
            else:
                self.now = self.database.begin_anew(self._connection)
        except self.database.dialect.driver_errors as error:
            raise self._failed(error, doing) from error
