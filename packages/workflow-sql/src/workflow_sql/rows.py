"""Values of the model as rows and back: one function a value and direction, the hot path of all.

Mappings are JSON texts, "" where empty, which most are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from workflow_core.model import (
    UNSTAMPED,
    Event,
    EventKind,
    HistoryEntry,
    OutboxEvent,
    PauseKind,
    Record,
    Resumed,
    RunState,
    SearchValue,
    Timeout,
)

from workflow_sql.dialects import Row
from workflow_sql.instants import from_microseconds, later, microseconds

__all__ = [
    "EVENT",
    "EVENT_COLUMNS",
    "HISTORY",
    "OUTBOX_COLUMNS",
    "RECORD",
    "RECORD_COLUMNS",
    "TIMER",
    "TIMER_COLUMNS",
    "event_of",
    "event_row",
    "headers_text",
    "history_entry_of",
    "outbox_row",
    "passed_text",
    "record_of",
    "resumed_text",
    "search_of",
    "search_text",
    "timeout_of",
    "timer_row",
]

_STATES = {int(state): state for state in RunState}
_KINDS = {str(kind): kind for kind in EventKind}
_PAUSES: dict[str | None, PauseKind | None] = {
    None: None,
    **{str(kind): kind for kind in PauseKind},
}
_NOTHING: Mapping[Any, Any] = {}

_encode = msgspec.json.Encoder().encode
_headers = msgspec.json.Decoder(dict[str, str]).decode
_passed = msgspec.json.Decoder(dict[int, int]).decode
_resumed = msgspec.json.Decoder(Resumed).decode
_search = msgspec.json.Decoder(dict[str, str | int | list[int]]).decode

RECORD_COLUMNS = (
    "run_id",
    "workflow",
    "foreign_id",
    "status",
    "state",
    "version",
    "write_id",
    "data",
    "created_at",
    "updated_at",
    "entered_at",
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
    "search",
)
RECORD = ", ".join(RECORD_COLUMNS)
EVENT_COLUMNS = (
    "topic",
    "workflow",
    "run_id",
    "foreign_id",
    "status",
    "state",
    "version",
    "kind",
    "target",
    "attempt",
    "headers",
    "created_at",
)
EVENT = ", ".join(EVENT_COLUMNS)
OUTBOX_COLUMNS = ("id", *EVENT_COLUMNS, "due_at", "hidden_until")
HISTORY = "run_id, version, stored_at, status, state, attempts, reason, error, data"
TIMER_COLUMNS = (
    "timer_key",
    "workflow",
    "run_id",
    "status",
    "entered_version",
    "name",
    "due_at",
    "attempts",
    "error",
    "parked",
    "closed",
    "repeats",
)
TIMER = ", ".join(TIMER_COLUMNS)


def record_of(row: Row) -> Record:
    """The record in a row of `RECORD_COLUMNS`."""
    (
        run_id,
        workflow,
        foreign_id,
        status,
        state,
        version,
        write_id,
        data,
        created_at,
        updated_at,
        entered_at,
        entered_version,
        repeats,
        attempts,
        next_try_at,
        last_error,
        reason,
        pause_kind,
        auto_resumes,
        skipped,
        passed,
        resumed,
        headers,
        search,
    ) = row
    updated = from_microseconds(updated_at)
    return Record(
        workflow=workflow,
        foreign_id=foreign_id,
        run_id=run_id,
        status=status,
        state=_STATES[state],
        version=version,
        write_id=write_id,
        data=data,
        created_at=from_microseconds(created_at),
        updated_at=updated,
        entered_at=updated if entered_at == updated_at else from_microseconds(entered_at),
        entered_version=entered_version,
        repeat=repeats,
        attempts=attempts,
        next_try_at=None if next_try_at is None else from_microseconds(next_try_at),
        last_error=last_error,
        reason=reason,
        pause_kind=_PAUSES[pause_kind],
        auto_resumes=auto_resumes,
        skipped=bool(skipped),
        passed=_passed(passed) if passed else _NOTHING,
        resumed=_resumed(resumed) if resumed else None,
        headers=_headers(headers) if headers else _NOTHING,
        search=search_of(search) if search else _NOTHING,
    )


def passed_text(passed: Mapping[int, int]) -> str:
    """The statuses passed, as stored."""
    return _encode(passed).decode() if passed else ""


def resumed_text(resumed: Resumed | None) -> str:
    """Who resumed, as stored."""
    return "" if resumed is None else _encode(resumed).decode()


def headers_text(headers: Mapping[str, str]) -> str:
    """Headers, as stored."""
    return _encode(headers).decode() if headers else ""


def search_text(search: Mapping[str, SearchValue] | None) -> str | None:
    """Search attributes, as stored with their record: times apart from texts and numbers."""
    if not search:
        return None
    return _encode(
        {
            name: [microseconds(value)] if isinstance(value, datetime) else value
            for name, value in search.items()
        }
    ).decode()


def search_of(stored: str) -> Mapping[str, SearchValue]:
    """The attributes that `search_text` stored."""
    return {
        name: from_microseconds(value[0]) if isinstance(value, list) else value
        for name, value in _search(stored).items()
    }


def event_row(event: Event, now: int) -> Row:
    """The values of `EVENT_COLUMNS`; what nobody has stamped yet is created `now`."""
    created_at = event.created_at
    return (
        event.topic,
        event.workflow,
        event.run_id,
        event.foreign_id,
        event.status,
        int(event.state),
        event.version,
        str(event.kind),
        event.target,
        event.attempt,
        headers_text(event.headers),
        now if created_at == UNSTAMPED else microseconds(created_at),
    )


def event_of(event_id: str, row: Sequence[Any]) -> Event:
    """The event in the values of `EVENT_COLUMNS`."""
    (
        topic,
        workflow,
        run_id,
        foreign_id,
        status,
        state,
        version,
        kind,
        target,
        attempt,
        headers,
        created_at,
    ) = row
    return Event(
        id=event_id,
        topic=topic,
        workflow=workflow,
        run_id=run_id,
        foreign_id=foreign_id,
        status=status,
        state=_STATES[state],
        version=version,
        kind=_KINDS[kind],
        target=target,
        attempt=attempt,
        headers=_headers(headers) if headers else _NOTHING,
        created_at=from_microseconds(created_at),
    )


def outbox_row(filed: OutboxEvent, now: int) -> Row:
    """The values of `OUTBOX_COLUMNS` for an event filed `now`."""
    due = later(now, filed.delay) if filed.delay else now
    hidden = max(due, later(now, filed.held_for)) if filed.held_for else due
    return (filed.event.id, *event_row(filed.event, now), due, hidden)


def history_entry_of(row: Row) -> HistoryEntry:
    """The entry in a row of `HISTORY`."""
    run_id, version, stored_at, status, state, attempts, reason, error, data = row
    return HistoryEntry(
        run_id=run_id,
        version=version,
        at=from_microseconds(stored_at),
        status=status,
        state=_STATES[state],
        attempts=attempts,
        reason=reason,
        error=error,
        data=data,
    )


def timer_row(timeout: Timeout, now: int) -> Row:
    """The values of `TIMER_COLUMNS` for a timer armed `now`."""
    return (
        timeout.key,
        timeout.workflow,
        timeout.run_id,
        timeout.status,
        timeout.entered_version,
        timeout.name,
        later(now, timeout.delay),
        timeout.attempts,
        timeout.error,
        0,
        0,
        timeout.repeat,
    )


def timeout_of(row: Row) -> Timeout:
    """The timer in a row of `TIMER_COLUMNS`, without what is closed."""
    (
        key,
        workflow,
        run_id,
        status,
        entered_version,
        name,
        due_at,
        attempts,
        error,
        parked,
        _,
        repeats,
    ) = row
    return Timeout(
        key=key,
        workflow=workflow,
        run_id=run_id,
        status=status,
        entered_version=entered_version,
        name=name,
        due_at=from_microseconds(due_at),
        repeat=repeats or 0,  # null: a release before has armed it
        attempts=attempts,
        error=error,
        parked=bool(parked),
    )
