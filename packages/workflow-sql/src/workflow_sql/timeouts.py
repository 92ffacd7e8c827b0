"""The timeout store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from workflow_core.errors import InputError, NotSupportedError
from workflow_core.model import Page, Timeout
from workflow_core.ports import AdapterContext, RecordStore, StoreTransaction, TimeoutStore

from workflow_sql.agenda import Agenda
from workflow_sql.database import Database
from workflow_sql.dialects import Cursor
from workflow_sql.instants import later
from workflow_sql.records import SqlRecordStore, SqlTransaction
from workflow_sql.rows import TIMER, TIMER_COLUMNS, timeout_of, timer_row
from workflow_sql.settings import SqlSettings

__all__ = ["SqlTimeoutStore"]

_OPEN = "closed = 0"
_DUE = "closed = 0 and parked = 0"  # word for word the condition of the index
_PAGE = "key:"


class SqlTimeoutStore(TimeoutStore):
    """Timers in a table. Each method does what `TimeoutStore` says; any thread.

    Args:
        database: where.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        table = database.tables.timers.name
        self._table = table
        self._agenda = Agenda(table, TIMER_COLUMNS, time="due_at", condition=_DUE)
        self._unpark = (
            f"update {table} set parked = 0 where timer_key = ? and {_OPEN} and parked = 1"
        )
        self._close = f"update {table} set closed = 1, error = '' where timer_key = ? and {_OPEN}"
        self._park = f"update {table} set parked = 1 where timer_key = ? and {_OPEN}"

    @classmethod
    def from_config(cls, settings: SqlSettings, context: AdapterContext) -> SqlTimeoutStore:
        """The entry point."""
        return cls(Database.shared(settings, context))

    def check_health(self) -> str:
        """The database's and the schema's version."""
        return self.database.check_health()

    # -- writing -------------------------------------------------------------------------------

    def create(self, timeout: Timeout) -> None:
        """As `create_many` of one."""
        self.create_many([timeout])

    def create_many(self, timeouts: Sequence[Timeout]) -> None:
        """One transaction."""
        if timeouts:
            with self.database.writing("arming timers") as writing:
                self._arm(writing.cursor, timeouts, writing.now)

    def complete(self, key: str) -> bool:
        """As `complete_many` of one."""
        return self.complete_many([key])[0]

    def complete_many(self, keys: Sequence[str]) -> Sequence[bool]:
        """One transaction."""
        return self._close_many(keys, "completing timers")

    def cancel(self, key: str) -> bool:
        """As `cancel_many` of one."""
        return self.cancel_many([key])[0]

    def cancel_many(self, keys: Sequence[str]) -> Sequence[bool]:
        """One transaction."""
        return self._close_many(keys, "cancelling timers")

    def park(self, key: str) -> None:
        """As `park_many` of one."""
        self.park_many([key])

    def park_many(self, keys: Sequence[str]) -> None:
        """One transaction."""
        if keys:
            with self.database.writing("parking timers") as writing:
                writing.cursor.executemany(self._park, [(key,) for key in keys])

    def reschedule(self, key: str, delay: timedelta, *, attempts: int, error: str) -> None:
        """One transaction; a parked timer stays parked."""
        with self.database.writing("rescheduling a timer") as writing:
            writing.cursor.execute(
                f"update {self._table} set due_at = ?, attempts = ?, error = ?"
                f" where timer_key = ? and {_OPEN}",
                (later(writing.now, delay), attempts, error, key),
            )

    def forget(self, run_ids: Sequence[str]) -> None:
        """One transaction."""
        if run_ids:
            dialect = self.database.dialect
            with self.database.writing("forgetting timers") as writing:
                writing.cursor.execute(
                    f"delete from {self._table} where {dialect.within('run_id')}",
                    (dialect.pack(run_ids),),
                )

    # -- reading -------------------------------------------------------------------------------

    def list_valid(self, workflows: Sequence[str], *, limit: int) -> Sequence[Timeout]:
        """By index, from each workflow no more than asked for."""
        with self.database.reading("looking for due timers") as cursor:
            rows = self._agenda.due(cursor, workflows, limit, self.database.now())
        return [timeout_of(row) for row in rows]

    def list_timeouts(
        self, workflow: str, *, after: str | None = None, limit: int = 100
    ) -> Page[Timeout]:
        """By index."""
        if after is not None and not after.startswith(_PAGE):
            raise InputError(f"{after!r} is no page of this timeout store", adapter="sql")
        beyond = "" if after is None else after.removeprefix(_PAGE)
        with self.database.reading("listing timers") as cursor:
            cursor.execute(
                f"select {TIMER} from {self._table}"
                f" where workflow = ? and {_OPEN} and timer_key > ? order by timer_key limit ?",
                (workflow, beyond, limit + 1),
            )
            rows = cursor.fetchall()
        items = [timeout_of(row) for row in rows[:limit]]
        return Page(items=items, next=f"{_PAGE}{items[-1].key}" if len(rows) > limit else None)

    def next_due(self, workflows: Sequence[str]) -> timedelta | None:
        """One look into the index for each workflow, in one statement."""
        with self.database.reading("looking for timers") as cursor:
            first = self._agenda.first(cursor, workflows)
        return None if first is None else timedelta(microseconds=first - self.database.now())

    # -- beside the store ----------------------------------------------------------------------

    def joins(self, store: RecordStore) -> bool:
        """Goes by the id that was made with the tables."""
        return (
            isinstance(store, SqlRecordStore)
            and store.database.installation.id == self.database.installation.id
        )

    def write_within(
        self, transaction: StoreTransaction, *, arm: Sequence[Timeout], cancel: Sequence[str]
    ) -> None:
        """Cancels first, then arms."""
        if not isinstance(transaction, SqlTransaction) or (
            transaction.database.installation.id != self.database.installation.id
        ):
            raise NotSupportedError(
                f"this {type(transaction).__name__} is of another database", adapter="sql"
            )
        with transaction.part("writing timers") as cursor:
            cursor.executemany(self._close, [(key,) for key in cancel])
            self._arm(cursor, arm, transaction.now)

    # -- how -----------------------------------------------------------------------------------

    def _arm(self, cursor: Cursor, timeouts: Sequence[Timeout], now: int) -> None:
        rows = [timer_row(timeout, now) for timeout in timeouts]
        armed = self.database.dialect.insert_absent(cursor, self._table, TIMER_COLUMNS, rows)
        known = [(row[0],) for row, new in zip(rows, armed, strict=True) if not new]
        if known:
            cursor.executemany(self._unpark, known)

    def _close_many(self, keys: Sequence[str], doing: str) -> Sequence[bool]:
        if not keys:
            return []
        with self.database.writing(doing) as writing:
            return self.database.dialect.update_each(
                writing.cursor, self._close, [(key,) for key in keys]
            )
