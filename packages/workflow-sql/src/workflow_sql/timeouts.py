"""The timeout store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from operator import itemgetter

from workflow_core.errors import InputError, NotSupportedError
from workflow_core.model import Page, Timeout
from workflow_core.ports import AdapterContext, RecordStore, StoreTransaction, TimeoutStore

from workflow_sql.agenda import Agenda
from workflow_sql.database import Database, Writing
from workflow_sql.dialects import Change, Cursor
from workflow_sql.instants import from_microseconds, later
from workflow_sql.records import SqlRecordStore, SqlTransaction
from workflow_sql.rows import TIMER, TIMER_COLUMNS, timeout_of, timer_row
from workflow_sql.settings import SqlSettings

__all__ = ["SqlTimeoutStore"]

_OPEN = "closed = 0"
_OPEN_OF_KEY = "closed + 0 = 0"  # calls for no index; see `schema.LIVE_OF_KEY`
_DUE = "closed = 0 and parked = 0"  # word for word the condition of the index
_PAGE = "key:"


class SqlTimeoutStore(TimeoutStore):
    """Timers in a table. Each method does what `TimeoutStore` says; any thread.

    Args:
        database: where.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        table = database.tables.timers.fullname
        self._table = table
        self._agenda = Agenda(table, TIMER_COLUMNS, time="due_at", condition=_DUE)
        within = database.dialect.within("timer_key")
        self._unpark = (
            f"update {table} set parked = 0 where {_OPEN_OF_KEY} and parked = 1 and {within}"
        )
        self._park = f"update {table} set parked = 1 where {_OPEN_OF_KEY} and {within}"
        self._reschedule = Change(
            database.tables.timers,
            ("due_at", "attempts", "error", "repeats"),
            ("timer_key",),
            _OPEN_OF_KEY,
            rising="repeats",
        )

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
            self.database.transact(
                "arming timers",
                lambda writing: self._arm(writing.cursor, timeouts, writing.now),
            )

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

        def park(writing: Writing) -> None:
            for packed in self.database.dialect.packs(sorted(keys)):
                writing.cursor.execute(self._park, (packed,))

        if keys:
            self.database.transact("parking timers", park)

    def reschedule(
        self, key: str, delay: timedelta, *, attempts: int, error: str, repeat: int = 0
    ) -> None:
        """One transaction; a parked timer stays parked."""
        self._put_off([(delay, attempts, error, repeat, key)])

    def reschedule_many(self, timeouts: Sequence[Timeout]) -> None:
        """One transaction; parked timers stay parked."""
        if timeouts:
            self._put_off([(t.delay, t.attempts, t.error, t.repeat, t.key) for t in timeouts])

    def forget(self, run_ids: Sequence[str]) -> None:
        """One transaction."""
        dialect = self.database.dialect
        sql = f"delete from {self._table} where {dialect.within('run_id')}"

        def forget(writing: Writing) -> None:
            for packed in dialect.packs(run_ids):
                writing.cursor.execute(sql, (packed,))

        if run_ids:
            self.database.transact("forgetting timers", forget)

    # -- reading -------------------------------------------------------------------------------

    def list_valid(self, workflows: Sequence[str], *, limit: int) -> Sequence[Timeout]:
        """By index, from each workflow no more than asked for."""
        with self.database.reading("looking for due timers") as cursor:
            rows = self._agenda.due(cursor, workflows, limit, self.database.now())
        return [timeout_of(row) for row in rows]

    def list_soon(
        self, workflows: Sequence[str], *, within: timedelta, limit: int
    ) -> Sequence[Timeout]:
        """As `list_valid`; how long until then is reckoned when the rows have come."""
        until = later(self.database.now(), within)
        with self.database.reading("looking for timers that are due soon") as cursor:
            rows = self._agenda.due(cursor, workflows, limit, until)
        found = [timeout_of(row) for row in rows]
        now = from_microseconds(self.database.now())
        return [timeout.replace(delay=timeout.due_at - now) for timeout in found]

    def list_timeouts(
        self, workflow: str, *, after: str | None = None, limit: int = 100
    ) -> Page[Timeout]:
        """By index."""
        beyond = _place(after)
        with self.database.reading("listing timers") as cursor:
            cursor.execute(
                f"select {TIMER} from {self._table}"
                f" where workflow = ? and {_OPEN} and timer_key > ? order by timer_key limit ?",
                (workflow, beyond, limit + 1),
            )
            rows = cursor.fetchall()
        items = [timeout_of(row) for row in rows[:limit]]
        return Page(items=items, next=f"{_PAGE}{items[-1].key}" if len(rows) > limit else None)

    def of_run(self, workflow: str, run_id: str) -> Sequence[Timeout]:
        """By index."""
        with self.database.reading("looking for a run's timers") as cursor:
            cursor.execute(
                f"select {TIMER} from {self._table}"
                f" where run_id = ? and workflow = ? and {_OPEN_OF_KEY} order by timer_key",
                (run_id, workflow),
            )
            return [timeout_of(row) for row in cursor.fetchall()]

    def closed_runs(
        self, workflow: str, *, after: str | None = None, limit: int = 1000
    ) -> Page[str]:
        """By index, looking at so many timers at most: closed ones of all workflows are few."""
        beyond = _place(after)
        with self.database.reading("looking for closed timers") as cursor:
            cursor.execute(
                f"select run_id, workflow, closed from {self._table}"
                " where run_id > ? order by run_id limit ?",
                (beyond, limit + 1),
            )
            rows = cursor.fetchall()
        last = None
        if len(rows) > limit:
            # the last run may go on beyond: it is looked at as a whole, or has more than a page
            rows = [row for row in rows if row[0] != rows[-1][0]] or rows
            last = rows[-1][0]
        items = dict.fromkeys(run for run, name, closed in rows if name == workflow and closed)
        return Page(items=list(items), next=None if last is None else _PAGE + last)

    def closed_keys(self, run_ids: Sequence[str]) -> Sequence[str]:
        """By index."""
        dialect = self.database.dialect
        found: list[str] = []
        with self.database.reading("looking for closed timers") as cursor:
            for packed in dialect.packs(run_ids):
                cursor.execute(
                    f"select timer_key from {self._table} where {dialect.within('run_id')}"
                    " and closed = 1",
                    (packed,),
                )
                found += [key for (key,) in cursor.fetchall()]
        return found

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
            if cancel:
                self._close(cursor, cancel)
            self._arm(cursor, arm, transaction.now)

    # -- how -----------------------------------------------------------------------------------

    def _arm(self, cursor: Cursor, timeouts: Sequence[Timeout], now: int) -> None:
        rows = [timer_row(timeout, now) for timeout in timeouts]
        rows.sort(key=itemgetter(0))  # in one order over all writers
        dialect = self.database.dialect
        armed = dialect.insert_absent(cursor, self.database.tables.timers, TIMER_COLUMNS, rows)
        known = [row[0] for row, new in zip(rows, armed, strict=True) if not new]
        for packed in dialect.packs(known):
            cursor.execute(self._unpark, (packed,))

    def _put_off(self, rows: Sequence[tuple[timedelta, int, str, int, str]]) -> None:
        in_order = sorted(rows, key=itemgetter(-1))
        self.database.transact(
            "rescheduling timers",
            lambda writing: self.database.dialect.update_each(
                writing.cursor,
                self._reschedule,
                [(later(writing.now, delay), *rest) for delay, *rest in in_order],
            ),
        )

    def _close_many(self, keys: Sequence[str], doing: str) -> Sequence[bool]:
        if not keys:
            return []
        closed = self.database.transact(doing, lambda writing: self._close(writing.cursor, keys))
        answers = []
        for key in keys:
            answers.append(key in closed)
            closed.discard(key)  # of a key that is given twice only the first took
        return answers

    def _close(self, cursor: Cursor, keys: Sequence[str]) -> set[str]:
        """Answers which it took."""
        return self.database.dialect.update_taken(
            cursor,
            self.database.tables.timers,
            "timer_key",
            f"set closed = 1, error = '' where {_OPEN_OF_KEY}",
            keys,
        )


def _place(after: str | None) -> str:
    if after is not None and not after.startswith(_PAGE):
        raise InputError(f"{after!r} is no page of this timeout store", adapter="sql")
    return "" if after is None else after.removeprefix(_PAGE)
