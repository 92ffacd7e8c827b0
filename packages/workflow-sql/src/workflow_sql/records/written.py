"""What a write puts into the tables of runs: the columns, and a row of values for each write."""

from __future__ import annotations

from workflow_core.model import PauseKind, Record, RunState
from workflow_core.ports import Write

from workflow_sql.dialects import Row, Swap
from workflow_sql.instants import later
from workflow_sql.rows import (
    RECORD_COLUMNS,
    headers_text,
    passed_text,
    resumed_text,
    search_text,
)

__all__ = [
    "CHANGED",
    "HISTORY",
    "INSERTED",
    "LIVE_STATES",
    "MOVED",
    "SETTLED",
    "changed_row",
    "history_row",
    "is_settled",
    "moved_row",
    "new_row",
]

INSERTED = (*RECORD_COLUMNS, "live")
CHANGED = (
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
# what a step that succeeded leaves behind when its run moves on: most transitions, in half as many
# values
SETTLED = (
    ("repeats", "0"),
    ("attempts", "0"),
    ("next_try_at", "null"),
    ("last_error", "''"),
    ("reason", "''"),
    ("pause_kind", "null"),
    ("auto_resumes", "0"),
    ("skipped", "0"),
    ("resumed", "''"),
)
MOVED = tuple(column for column in CHANGED if column not in dict(SETTLED))
HISTORY = (
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
LIVE_STATES = frozenset(state for state in RunState if state.is_live)  # a call each costs more


def new_row(write: Write, now: int) -> Row:
    """The values of `INSERTED`."""
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
        search_text(write.search),
        _live(record),
    )


def changed_row(write: Write, swap: Swap, now: int) -> Row:
    """The values of `CHANGED`, and what else the swap wants."""
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
    extra = swap.columns[len(CHANGED) :]
    if not extra:
        return (*row, *key)
    values = {"live": _live(record), "entered_at": now, "search": search_text(write.search)}
    return (*row, *(values[column] for column in extra), *key)


def is_settled(write: Write) -> bool:
    """Whether all of `SETTLED` is as it says there."""
    record = write.record
    return not (
        record.repeat
        or record.attempts
        or record.last_error
        or record.reason
        or record.auto_resumes
        or record.skipped
        or record.pause_kind is not None
        or record.resumed is not None
        or write.retry_in is not None
    )


def moved_row(write: Write, swap: Swap, now: int) -> Row:
    """The values of `MOVED`, and what else the swap wants."""
    record = write.record
    return (
        record.status,
        int(record.state),
        record.version,
        record.write_id,
        record.data,
        now,
        record.entered_version,
        passed_text(record.passed),
        headers_text(record.headers),
        *((_live(record),) if "live" in swap.columns else ()),
        now,
        *(() if write.search is None else (search_text(write.search),)),
        record.run_id,
        record.version - 1,
    )


def history_row(record: Record, with_data: bool, now: int) -> Row:
    """The values of `HISTORY`."""
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
    return 1 if record.state in LIVE_STATES else None


def _next_try(write: Write, now: int) -> int | None:
    return None if write.retry_in is None else later(now, write.retry_in)


def _pause(kind: PauseKind | None) -> str | None:
    return None if kind is None else str(kind)
