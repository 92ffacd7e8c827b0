"""The first schema.

A migration is never changed once released: it stands here in full, whatever `schema` says later.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from workflow_sql.migrations.changes import Changes

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_PARTITIONS = 16


def upgrade() -> None:
    """Make all tables, and the installation's one row."""
    changes = Changes()
    kinds, instant = changes.kinds, changes.kinds.instant
    table, busy, index, required = changes.table, changes.busy, changes.index, changes.required

    def event_columns() -> list[sa.Column[Any]]:
        return [
            *required(kinds.label, "topic"),
            *required(kinds.name, "workflow"),
            *required(kinds.id, "run_id"),
            *required(kinds.name, "foreign_id"),
            *required(sa.Integer, "status"),
            *required(sa.SmallInteger, "state"),
            *required(sa.BigInteger, "version"),
            *required(kinds.id, "kind"),
            *required(kinds.label, "target"),
            *required(sa.BigInteger, "attempt"),
            *required(kinds.words, "headers"),
            *required(instant, "created_at"),
        ]

    live, ended = "live = 1", "live is null"

    def ended_column(name: str, kind: Any, of: str) -> sa.Column[Any]:
        value = f"case when {ended} then {of} end"
        return sa.Column(name, kind, sa.Computed(value, persisted=kinds.ended_stored))

    busy(
        "installation",
        sa.Column("id", kinds.id, primary_key=True),
        *required(sa.Integer, "partitions"),
        *required(instant, "trim_at"),
        *required(sa.BigInteger, "role_changes", "settled"),
    )
    changes.only_row(
        "installation",
        {
            "id": changes.unique_id(),
            "partitions": _PARTITIONS,
            "trim_at": 0,
            "role_changes": 0,
            "settled": 0,
        },
    )
    ended_columns, ended_index = [], ["workflow", "state", "updated_at", "status"]
    if kinds.ended_stored is not None:
        ended_columns = [
            ended_column("ended_state", sa.SmallInteger, "state"),
            ended_column("ended_at", instant, "updated_at"),
            ended_column("ended_status", sa.Integer, "status"),
        ]
        ended_index = ["workflow", *(column.name for column in ended_columns)]
    busy(
        "records",
        sa.Column("run_id", kinds.id, primary_key=True),
        *required(kinds.name, "workflow", "foreign_id"),
        *required(sa.Integer, "status"),
        *required(sa.SmallInteger, "state"),
        sa.Column("live", sa.SmallInteger),
        *required(sa.BigInteger, "version"),
        *required(kinds.id, "write_id"),
        *required(kinds.data, "data"),
        *required(instant, "created_at", "updated_at", "entered_at"),
        *required(sa.BigInteger, "entered_version", "repeats", "attempts"),
        sa.Column("next_try_at", instant),
        *required(kinds.words, "last_error", "reason"),
        sa.Column("pause_kind", kinds.id),
        *required(sa.BigInteger, "auto_resumes"),
        *required(sa.SmallInteger, "skipped"),
        *required(kinds.words, "passed", "resumed", "headers"),
        *ended_columns,
    )
    index(
        "records_live_key",
        "records",
        *("workflow", "foreign_id"),
        unique=True,
        where=live,
        instead=("workflow", "foreign_id", "live"),
    )
    index(
        "records_live",
        "records",
        *("workflow", "created_at", "run_id"),
        where=live,
        instead=("workflow", "live", "created_at", "run_id"),
    )
    index("records_ended", "records", *ended_index, where=ended, instead=ended_index)
    index("records_by_foreign_id", "records", "workflow", "foreign_id", "created_at", "run_id")
    index("records_by_workflow", "records", "workflow", "created_at", "run_id")
    index("records_by_age", "records", "created_at", "run_id")
    busy(
        "outbox",
        sa.Column("id", kinds.id, primary_key=True),
        *event_columns(),
        *required(instant, "due_at", "hidden_until"),
    )
    index("outbox_due", "outbox", "workflow", "hidden_until")
    index("outbox_by_run", "outbox", "run_id")
    table(
        "history",
        sa.Column("run_id", kinds.id, primary_key=True),
        sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
        *required(instant, "stored_at"),
        *required(sa.Integer, "status"),
        *required(sa.SmallInteger, "state"),
        *required(sa.BigInteger, "attempts"),
        *required(kinds.words, "reason", "error"),
        sa.Column("data", kinds.data),
        sqlite_with_rowid=False,
    )
    busy(
        "timers",
        sa.Column("timer_key", kinds.label, primary_key=True),
        *required(kinds.name, "workflow"),
        *required(kinds.id, "run_id"),
        *required(sa.Integer, "status"),
        *required(sa.BigInteger, "entered_version"),
        *required(kinds.name, "name"),
        *required(instant, "due_at"),
        *required(sa.BigInteger, "attempts"),
        *required(kinds.words, "error"),
        *required(sa.SmallInteger, "parked", "closed"),
    )
    index(
        "timers_due",
        "timers",
        *("workflow", "due_at"),
        where="closed = 0 and parked = 0",
        instead=("workflow", "closed", "parked", "due_at"),
    )
    index(
        "timers_open",
        "timers",
        *("workflow", "timer_key"),
        where="closed = 0",
        instead=("workflow", "closed", "timer_key"),
    )
    index("timers_by_run", "timers", "run_id")
    table(
        "events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        *required(sa.SmallInteger, "part"),
        *required(kinds.id, "event_id"),
        *event_columns(),
        *required(instant, "filed_at"),
        sqlite_autoincrement=True,
    )
    index("events_by_lane", "events", "topic", "part", "id")
    busy(
        "consumers",
        sa.Column("name", kinds.label, primary_key=True),
        *required(instant, "seen_at"),
    )
    busy(
        "cursors",
        sa.Column("consumer", kinds.label, primary_key=True),
        sa.Column("topic", kinds.label, primary_key=True),
        sa.Column("part", sa.SmallInteger, primary_key=True, autoincrement=False),
        *required(sa.BigInteger, "done_to"),
        *required(kinds.words, "acked"),
        sa.Column("receiver", kinds.id),
        sqlite_with_rowid=False,
    )
    busy(
        "receivers",
        sa.Column("id", kinds.id, primary_key=True),
        *required(kinds.label, "consumer", "instance"),
        *required(sa.BigInteger, "window_end"),
    )
    busy(
        "sessions",
        sa.Column("id", kinds.id, primary_key=True),
        *required(kinds.label, "instance"),
        *required(kinds.words, "wanted"),
        *required(instant, "asked_at", "expires_at"),
    )
    busy(
        "roles",
        sa.Column("role", kinds.label, primary_key=True),
        sa.Column("session", kinds.id),
        *required(sa.BigInteger, "token"),
        *required(instant, "kept_until"),
    )
