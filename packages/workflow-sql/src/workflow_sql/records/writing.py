"""How a batch of writes is stored: compare-and-swap, and telling the losers why they lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from workflow_core.errors import AdapterError, RunInProgressError, VersionConflictError
from workflow_core.model import PauseKind, Record, RunState
from workflow_core.ports import Outcome, Write

from workflow_sql.database import Database
from workflow_sql.dialects import Cursor, Row, Swap
from workflow_sql.instants import later
from workflow_sql.rows import (
    OUTBOX_COLUMNS,
    RECORD_COLUMNS,
    headers_text,
    outbox_row,
    passed_text,
    resumed_text,
)
from workflow_sql.schema import LIVE
from workflow_sql.settings import History

__all__ = ["Writer"]

_INSERTED = (*RECORD_COLUMNS, "live")
_CHANGED = (
    "status",
    "state",
    "version",
    "write_id",
    "data",
    "updated_at",
    "entered_version",
    "repeats",
    "attempts",
    "next_try_at",
    "last_error",
    "reason",
    "pause_kind",
    "auto_resumes",
    "skipped",
    "passed",
    "resumed",
    "headers",
)
_HISTORY = (
    "run_id",
    "version",
    "stored_at",
    "status",
    "state",
    "attempts",
    "reason",
    "error",
    "data",
)
_LIVE_STATES = frozenset(state for state in RunState if state.is_live)  # a call each costs more
_TRIM_EVERY = 64  # versions of a run between two looks at how long its history has become


class _Stored(NamedTuple):
    version: int
    write_id: str
    live: bool


class _Batch:
    """One batch on its way: which writes have won, and what is to be said of each."""

    def __init__(self, cursor: Cursor, writes: Sequence[Write], now: int) -> None:
        self.cursor = cursor
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
        self._records = tables.records.name
        self._outbox = tables.outbox.name
        self._history_table = tables.history.name
        # a step between live states leaves the column `live` alone and with it the partial indexes
        self._move = Swap(self._records, _CHANGED, LIVE)
        self._enter = Swap(self._records, (*_CHANGED, "entered_at"), LIVE)
        self._end = Swap(self._records, (*_CHANGED, "live"), "1 = 1")
        self._end_entered = Swap(self._records, (*_CHANGED, "live", "entered_at"), "1 = 1")
        within = self._dialect.within
        self._standing = (
            f"select run_id, version, write_id, live from {self._records} where {within('run_id')}"
        )
        self._live_run = (
            f"select run_id from {self._records} where workflow = ? and foreign_id = ? and {LIVE}"
        )
        self._trim_history = f"delete from {self._history_table} where run_id = ? and version <= ?"

    def store(self, cursor: Cursor, writes: Sequence[Write], now: int) -> list[Outcome]:
        """Store each write for itself; outcomes in order.

        Raises the driver's errors, also for a value that it cannot take: of all the batch then
        some is written, and the caller rolls it back.
        """
        batch = _Batch(cursor, writes, now)
        # those that end runs first: what they end may be triggered again in the same batch
        self._change(batch)
        self._insert(batch)
        lost = batch.lost()
        if lost:
            self._judge(batch, lost)
        self._file_beside(cursor, batch.stored(), now)
        return batch.outcomes

    def file_events(self, cursor: Cursor, rows: Sequence[Row]) -> None:
        """Put outbox rows; what is there already stays as it is."""
        self._dialect.insert_new(cursor, self._outbox, OUTBOX_COLUMNS, rows)

    # -- winning -------------------------------------------------------------------------------

    def _insert(self, batch: _Batch) -> None:
        which = [at for at, write in enumerate(batch.writes) if write.record.version == 1]
        rows = [_new_row(batch.writes[at], batch.now) for at in which]
        batch.note(which, self._dialect.insert_absent(batch.cursor, self._records, _INSERTED, rows))

    def _change(self, batch: _Batch) -> None:
        groups: dict[Swap, list[int]] = {
            self._end: [],
            self._end_entered: [],
            self._move: [],
            self._enter: [],
        }
        for at, write in enumerate(batch.writes):
            if write.record.version != 1:
                groups[self._swap_for(write.record)].append(at)
        for swap, which in groups.items():
            # in one order over all writers, lest two of them wait for each other
            which.sort(key=lambda at: batch.writes[at].record.run_id)
            self._apply(batch, swap, which)

    def _swap_for(self, record: Record) -> Swap:
        entered = record.entered_version == record.version
        if record.state in _LIVE_STATES:
            return self._enter if entered else self._move
        return self._end_entered if entered else self._end

    def _apply(self, batch: _Batch, swap: Swap, which: Sequence[int]) -> None:
        if which:
            rows = [_changed_row(batch.writes[at], swap, batch.now) for at in which]
            batch.note(which, self._dialect.compare_and_swap(batch.cursor, swap, rows))

    # -- losing --------------------------------------------------------------------------------

    def _judge(self, batch: _Batch, lost: Sequence[int]) -> None:
        """Make ended runs live again, which is rare, and say of all others why they lost."""
        standing = self._look(batch.cursor, [batch.writes[at].record.run_id for at in lost])
        for at in lost:
            record = batch.writes[at].record
            stored = standing.get(record.run_id)
            if stored is not None and not stored.live and stored.version == record.version - 1:
                entered = record.entered_version == record.version
                self._apply(batch, self._end_entered if entered else self._end, [at])
            if not batch.won[at]:
                batch.outcomes[at] = self._verdict(batch.cursor, record, stored)

    def _look(self, cursor: Cursor, run_ids: Sequence[str]) -> dict[str, _Stored]:
        cursor.execute(self._standing, (self._dialect.pack(run_ids),))
        return {
            run_id: _Stored(version, write_id, live is not None)
            for run_id, version, write_id, live in cursor.fetchall()
        }

    def _verdict(self, cursor: Cursor, record: Record, stored: _Stored | None) -> Outcome:
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
        cursor.execute(self._live_run, (record.workflow, record.foreign_id))
        live = cursor.fetchone()
        if live is None:
            return AdapterError(
                "the database refused the record", adapter="sql", run_id=record.run_id
            )
        return RunInProgressError(
            workflow=record.workflow, foreign_id=record.foreign_id, live_run_id=live[0]
        )

    # -- what comes with it --------------------------------------------------------------------

    def _file_beside(self, cursor: Cursor, stored: Sequence[Write], now: int) -> None:
        filed = [outbox_row(event, now) for write in stored for event in write.events]
        if filed:
            self.file_events(cursor, filed)
        if self._history is not History.OFF and stored:
            kept = self._history is History.WITH_DATA
            self._dialect.insert_new(
                cursor,
                self._history_table,
                _HISTORY,
                [_history_row(write.record, kept, now) for write in stored],
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


def _new_row(write: Write, now: int) -> Row:
    record = write.record
    return (
        record.run_id,
        record.workflow,
        record.foreign_id,
        record.status,
        int(record.state),
        record.version,
        record.write_id,
        record.data,
        now,
        now,
        now,
        record.entered_version,
        record.repeat,
        record.attempts,
        _next_try(write, now),
        record.last_error,
        record.reason,
        _pause(record.pause_kind),
        record.auto_resumes,
        int(record.skipped),
        passed_text(record.passed),
        resumed_text(record.resumed),
        headers_text(record.headers),
        _live(record),
    )


def _changed_row(write: Write, swap: Swap, now: int) -> Row:
    record = write.record
    row = (
        record.status,
        int(record.state),
        record.version,
        record.write_id,
        record.data,
        now,
        record.entered_version,
        record.repeat,
        record.attempts,
        _next_try(write, now),
        record.last_error,
        record.reason,
        _pause(record.pause_kind),
        record.auto_resumes,
        int(record.skipped),
        passed_text(record.passed),
        resumed_text(record.resumed),
        headers_text(record.headers),
    )
    key = (record.run_id, record.version - 1)
    extra = swap.columns[len(_CHANGED) :]
    if not extra:
        return (*row, *key)
    values = {"live": _live(record), "entered_at": now}
    return (*row, *(values[column] for column in extra), *key)


def _history_row(record: Record, with_data: bool, now: int) -> Row:
    return (
        record.run_id,
        record.version,
        now,
        record.status,
        int(record.state),
        record.attempts,
        record.reason,
        record.last_error,
        record.data if with_data and not record.last_error else None,
    )


def _live(record: Record) -> int | None:
    return 1 if record.state in _LIVE_STATES else None


def _next_try(write: Write, now: int) -> int | None:
    return None if write.retry_in is None else later(now, write.retry_in)


def _pause(kind: PauseKind | None) -> str | None:
    return None if kind is None else str(kind)
