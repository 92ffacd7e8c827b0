"""How a batch of writes is stored: compare-and-swap, and telling the losers why they lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from workflow_core.errors import AdapterUnavailableError, RunInProgressError, VersionConflictError
from workflow_core.model import Record
from workflow_core.ports import Outcome, Write

from workflow_sql.database import Database
from workflow_sql.dialects import Cursor, Row, Swap
from workflow_sql.records.searching import SearchWriter
from workflow_sql.records.written import (
    CHANGED,
    HISTORY,
    INSERTED,
    LIVE_STATES,
    MOVED,
    SETTLED,
    changed_row,
    history_row,
    is_settled,
    moved_row,
    new_row,
)
from workflow_sql.rows import OUTBOX_COLUMNS, outbox_row
from workflow_sql.schema import LIVE, LIVE_OF_KEY
from workflow_sql.settings import History

__all__ = ["Writer"]

_TRIM_EVERY = 64  # versions of a run between two looks at how long its history has become


class _Stored(NamedTuple):
    version: int
    write_id: str
    live: bool


class _Batch:
    """One batch on its way: which writes have won, and what is to be said of each."""

    def __init__(self, cursor: Cursor, writes: Sequence[Write], now: int, *, joined: bool) -> None:
        self.cursor = cursor
        self.joined = joined
        self.writes = writes
        self.now = now
        self.won = [False] * len(writes)
        self.outcomes: list[Outcome] = [None] * len(writes)

    def note(self, which: Sequence[int], taken: Sequence[bool]) -> None:
        """Keep which of the writes at `which` have won."""
        for at, done in zip(which, taken, strict=True):
            self.won[at] = done

    def lost(self) -> list[int]:
        """Where the writes stand that have not won."""
        return [at for at, done in enumerate(self.won) if not done]

    def stored(self) -> list[Write]:
        """The writes that have won now: not those that had been stored before."""
        return [write for write, done in zip(self.writes, self.won, strict=True) if done]


class Writer:
    """Stores batches in whatever transaction it is given. Any thread.

    Args:
        database: whose tables.
        history: what to keep of each version.
        history_keep: how many versions of a run at most, more or less.
    """

    def __init__(self, database: Database, history: History, history_keep: int) -> None:
        self._dialect = database.dialect
        self._history = history
        self._history_keep = history_keep
        tables = database.tables
        self._records = tables.records
        self._outbox = tables.outbox
        self._history_table = tables.history
        # a step between live states leaves the column `live` alone and with it the partial indexes
        self._move = Swap(self._records, CHANGED, LIVE_OF_KEY)
        self._enter = Swap(self._records, (*CHANGED, "entered_at"), LIVE_OF_KEY)
        self._end = Swap(self._records, (*CHANGED, "live"), "1 = 1")
        self._end_entered = Swap(self._records, (*CHANGED, "live", "entered_at"), "1 = 1")
        end_settled, enter_settled = (*MOVED, "live", "entered_at"), (*MOVED, "entered_at")
        self._end_settled = Swap(self._records, end_settled, "1 = 1", SETTLED)
        self._enter_settled = Swap(self._records, enter_settled, LIVE_OF_KEY, SETTLED)
        self._swaps = (
            *(self._end, self._end_entered, self._end_settled),
            *(self._move, self._enter, self._enter_settled),
        )
        # and the column of the search attributes is only touched where they change
        self._searched = {
            swap: replace(swap, columns=(*swap.columns, "search")) for swap in self._swaps
        }
        self._search = SearchWriter(database)
        records = self._records.fullname
        self._standing = (
            f"select run_id, version, write_id, live from {records}"
            f" where {self._dialect.within('run_id')}"
        )
        self._live_run = (
            f"select run_id from {records} where workflow = ? and foreign_id = ? and {LIVE}"
        )
        self._trim_history = (
            f"delete from {self._history_table.fullname} where run_id = ? and version <= ?"
        )

    def store(
        self,
        cursor: Cursor,
        writes: Sequence[Write],
        now: int,
        *,
        later: Cursor,
        joined: bool = False,
    ) -> list[Outcome]:
        """Store each write for itself; outcomes in order.

        Args:
            cursor: of the transaction.
            writes: the batch.
            now: the transaction's time.
            later: takes what may be sent together with the commit.
            joined: it is a caller's, which may see an older state of what others have committed.

        Raises the driver's errors, also for a value that it cannot take: of all the batch then
        some is written, and the caller rolls it back.
        """
        batch = _Batch(cursor, writes, now, joined=joined)
        # those that end runs first: what they end may be triggered again in the same batch
        self._change(batch)
        self._insert(batch)
        lost = batch.lost()
        if lost:
            self._judge(batch, lost)
        self._file_beside(cursor, later, batch.stored(), now)
        return batch.outcomes

    def file_events(self, cursor: Cursor, rows: Sequence[Row]) -> None:
        """Put outbox rows; what is there already stays as it is."""
        self._dialect.insert_new(cursor, self._outbox, OUTBOX_COLUMNS, rows)

    # -- winning -------------------------------------------------------------------------------

    def _insert(self, batch: _Batch) -> None:
        which = [at for at, write in enumerate(batch.writes) if write.record.version == 1]
        # in one order over all writers, lest two of them wait for each other's foreign ids
        which.sort(key=lambda at: batch.writes[at].record.foreign_id)
        rows = [new_row(batch.writes[at], batch.now) for at in which]
        batch.note(which, self._dialect.insert_absent(batch.cursor, self._records, INSERTED, rows))

    def _change(self, batch: _Batch) -> None:
        groups: dict[Swap, list[int]] = {
            either: [] for swap in self._swaps for either in (swap, self._searched[swap])
        }
        for at, write in enumerate(batch.writes):
            if write.record.version != 1:
                is_live = write.record.state in LIVE_STATES
                groups[self._swap_for(write, stays_live=is_live)].append(at)
        for swap, which in groups.items():
            # in one order over all writers, lest two of them wait for each other
            which.sort(key=lambda at: batch.writes[at].record.run_id)
            self._apply(batch, swap, which)

    def _swap_for(self, write: Write, *, stays_live: bool) -> Swap:
        if write.record.entered_version != write.record.version:
            swap = self._move if stays_live else self._end
        elif is_settled(write):
            swap = self._enter_settled if stays_live else self._end_settled
        else:
            swap = self._enter if stays_live else self._end_entered
        return swap if write.search is None else self._searched[swap]

    def _apply(self, batch: _Batch, swap: Swap, which: Sequence[int]) -> None:
        if which:
            row_of = moved_row if swap.constants else changed_row
            rows = [row_of(batch.writes[at], swap, batch.now) for at in which]
            batch.note(which, self._dialect.compare_and_swap(batch.cursor, swap, rows))

    # -- losing --------------------------------------------------------------------------------

    def _judge(self, batch: _Batch, lost: Sequence[int]) -> None:
        """Make ended runs live again, which is rare, and say of all others why they lost."""
        standing = self._look(batch, [batch.writes[at].record.run_id for at in lost])
        for at in lost:
            record = batch.writes[at].record
            stored = standing.get(record.run_id)
            if stored is not None and not stored.live and stored.version == record.version - 1:
                swap = self._swap_for(batch.writes[at], stays_live=False)
                self._apply(batch, swap, [at])
            if not batch.won[at]:
                batch.outcomes[at] = self._verdict(batch, record, stored)

    def _look(self, batch: _Batch, run_ids: Sequence[str]) -> dict[str, _Stored]:
        question = self._as_committed(batch, self._standing)
        found: dict[str, _Stored] = {}
        for packed in self._dialect.packs(sorted(run_ids)):
            batch.cursor.execute(question, (packed,))
            for run_id, version, write_id, live in batch.cursor.fetchall():
                found[run_id] = _Stored(version, write_id, live is not None)
        return found

    def _as_committed(self, batch: _Batch, question: str) -> str:
        # our own transactions see what is committed; one that asks by locking what others are
        # about to write would wait for them crosswise
        return question + self._dialect.as_committed if batch.joined else question

    def _verdict(self, batch: _Batch, record: Record, stored: _Stored | None) -> Outcome:
        expected = record.version - 1
        if stored is not None:
            if (stored.version, stored.write_id) == (record.version, record.write_id):
                return None  # this very write, whose answer was lost
            if stored.version != expected:
                return VersionConflictError(
                    run_id=record.run_id, expected=expected, found=stored.version
                )
        elif record.version != 1:
            return VersionConflictError(run_id=record.run_id, expected=expected, found=None)
        batch.cursor.execute(
            self._as_committed(batch, self._live_run), (record.workflow, record.foreign_id)
        )
        live = batch.cursor.fetchone()
        if live is None:
            raise AdapterUnavailableError(
                "a run that was in the way has just ended", adapter="sql", run_id=record.run_id
            )
        return RunInProgressError(
            workflow=record.workflow, foreign_id=record.foreign_id, live_run_id=live[0]
        )

    # -- what comes with it --------------------------------------------------------------------

    def _file_beside(
        self, cursor: Cursor, later: Cursor, stored: Sequence[Write], now: int
    ) -> None:
        filed = [outbox_row(event, now) for write in stored for event in write.events]
        if filed:
            self.file_events(cursor, filed)
        self._search.write(cursor, stored, now)
        if self._history is not History.OFF and stored:
            kept = self._history is History.WITH_DATA
            self._dialect.insert_new(
                later,
                self._history_table,
                HISTORY,
                [history_row(write.record, kept, now) for write in stored],
            )
            self._shorten_history(cursor, (write.record for write in stored))

    def _shorten_history(self, cursor: Cursor, records: Iterable[Record]) -> None:
        long = [
            (record.run_id, record.version - self._history_keep)
            for record in records
            if record.version % _TRIM_EVERY == 0 and record.version > self._history_keep
        ]
        if long:
            cursor.executemany(self._trim_history, long)
