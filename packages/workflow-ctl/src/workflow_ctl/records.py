"""How runs are shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workflow_core import Page, Record, RecordQuery, RunState

from workflow_ctl.output import when
from workflow_ctl.session import Session

__all__ = ["COLUMNS", "document", "fields", "row", "state_told", "take"]

COLUMNS = ("run", "workflow", "foreign id", "status", "state", "attempts", "updated")


def state_told(state: RunState) -> str:
    """A run state as people write it."""
    return state.name.lower().replace("_", " ")


def row(session: Session, record: Record) -> Sequence[object]:
    """A run in a table."""
    return (
        record.run_id,
        record.workflow,
        record.foreign_id,
        session.status_name(record.workflow, record.status),
        state_told(record.state),
        record.attempts or "",
        when(record.updated_at),
    )


def document(session: Session, record: Record) -> dict[str, Any]:
    """A run as JSON; never its data."""
    return {
        "run_id": record.run_id,
        "workflow": record.workflow,
        "foreign_id": record.foreign_id,
        "status": record.status,
        "status_name": session.status_name(record.workflow, record.status),
        "state": record.state,
        "version": record.version,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "entered_at": record.entered_at,
        "next_try_at": record.next_try_at,
        "attempts": record.attempts,
        "repeat": record.repeat,
        "last_error": record.last_error,
        "reason": record.reason,
        "pause_kind": record.pause_kind,
        "auto_resumes": record.auto_resumes,
        "skipped": record.skipped,
        "headers": record.headers,
        "search": record.search,
    }


def fields(session: Session, record: Record) -> dict[str, object]:
    """A run, one thing a line."""
    status = session.status_name(record.workflow, record.status)
    return {
        "run": record.run_id,
        "workflow": record.workflow,
        "foreign id": record.foreign_id,
        "status": status if status == str(record.status) else f"{status} ({record.status})",
        "state": state_told(record.state),
        "version": record.version,
        "created": when(record.created_at),
        "updated": when(record.updated_at),
        "entered": when(record.entered_at),
        "next try": when(record.next_try_at),
        "attempts": record.attempts or "",
        "last error": record.last_error,
        "reason": record.reason,
        "paused by": record.pause_kind or "",
        "skipped": "its step answered Skip" if record.skipped else "",
        "headers": ", ".join(f"{key}={value}" for key, value in record.headers.items()),
        "search": ", ".join(f"{key}={value}" for key, value in record.search.items()),
    }


def take(session: Session, query: RecordQuery, limit: int, *, reserved: bool) -> Page[Record]:
    """So many runs; the engine's own records are left out unless they are asked for."""
    found: list[Record] = []
    while True:
        page = session.engine.runs(query.replace(limit=limit - len(found)), reserved=reserved)
        found += page.items
        if page.next is None or len(found) >= limit:
            return Page(items=found, next=page.next)
        query = query.replace(after=page.next)
