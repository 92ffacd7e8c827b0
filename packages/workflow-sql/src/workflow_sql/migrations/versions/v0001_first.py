"""The first schema.

A migration is never changed once released: it stands here in full, whatever `schema` says later.
"""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa
from alembic import context, op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_PARTITIONS = 16


def upgrade() -> None:
    """Make all tables, and the installation's one row."""
    attributes = context.config.attributes
    prefix: str = attributes["prefix"]
    instant: Any = attributes["instant"]

    def table(name: str, *columns: sa.schema.SchemaItem, **options: Any) -> sa.Table:
        return op.create_table(prefix + name, *columns, **options)

    def index(name: str, of: str, *columns: str, unique: bool = False, where: str = "") -> None:
        partial: dict[str, Any] = {"sqlite_where": sa.text(where)} if where else {}
        op.create_index(prefix + name, prefix + of, list(columns), unique=unique, **partial)

    def required(kind: Any, *names: str) -> list[sa.Column[Any]]:
        return [sa.Column(name, kind, nullable=False) for name in names]

    def event_columns() -> list[sa.Column[Any]]:
        return [
            *required(sa.Text, "topic", "workflow", "run_id", "foreign_id"),
            *required(sa.Integer, "status"),
            *required(sa.SmallInteger, "state"),
            *required(sa.BigInteger, "version"),
            *required(sa.Text, "kind", "target"),
            *required(sa.BigInteger, "attempt"),
            *required(sa.Text, "headers"),
            *required(instant, "created_at"),
        ]

    installation = table(
        "installation",
        sa.Column("id", sa.Text, primary_key=True),
        *required(sa.Integer, "partitions"),
        *required(instant, "trim_at"),
        *required(sa.BigInteger, "role_changes"),
    )
    op.bulk_insert(
        installation,
        [
            {
                "id": str(uuid.uuid4()),
                "partitions": _PARTITIONS,
                "trim_at": 0,
                "role_changes": 0,
            }
        ],
    )
    table(
        "records",
        sa.Column("run_id", sa.Text, primary_key=True),
        *required(sa.Text, "workflow", "foreign_id"),
        *required(sa.Integer, "status"),
        *required(sa.SmallInteger, "state"),
        sa.Column("live", sa.SmallInteger),
        *required(sa.BigInteger, "version"),
        *required(sa.Text, "write_id"),
        *required(sa.LargeBinary, "data"),
        *required(instant, "created_at", "updated_at", "entered_at"),
        *required(sa.BigInteger, "entered_version", "repeats", "attempts"),
        sa.Column("next_try_at", instant),
        *required(sa.Text, "last_error", "reason"),
        sa.Column("pause_kind", sa.Text),
        *required(sa.BigInteger, "auto_resumes"),
        *required(sa.SmallInteger, "skipped"),
        *required(sa.Text, "passed", "resumed", "headers"),
    )
    live, ended = "live = 1", "live is null"
    index("records_live_key", "records", "workflow", "foreign_id", unique=True, where=live)
    index("records_live", "records", "workflow", "created_at", "run_id", where=live)
    index("records_ended", "records", "workflow", "state", "updated_at", "status", where=ended)
    index("records_by_foreign_id", "records", "workflow", "foreign_id", "created_at", "run_id")
    index("records_by_workflow", "records", "workflow", "created_at", "run_id")
    index("records_by_age", "records", "created_at", "run_id")
    table(
        "outbox",
        sa.Column("id", sa.Text, primary_key=True),
        *event_columns(),
        *required(instant, "due_at", "hidden_until"),
    )
    index("outbox_due", "outbox", "workflow", "hidden_until")
    index("outbox_by_run", "outbox", "run_id")
    table(
        "history",
        sa.Column("run_id", sa.Text, primary_key=True),
        sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
        *required(instant, "stored_at"),
        *required(sa.Integer, "status"),
        *required(sa.SmallInteger, "state"),
        *required(sa.BigInteger, "attempts"),
        *required(sa.Text, "reason", "error"),
        sa.Column("data", sa.LargeBinary),
        sqlite_with_rowid=False,
    )
    table(
        "timers",
        sa.Column("timer_key", sa.Text, primary_key=True),
        *required(sa.Text, "workflow", "run_id"),
        *required(sa.Integer, "status"),
        *required(sa.BigInteger, "entered_version"),
        *required(sa.Text, "name"),
        *required(instant, "due_at"),
        *required(sa.BigInteger, "attempts"),
        *required(sa.Text, "error"),
        *required(sa.SmallInteger, "parked", "closed"),
    )
    index("timers_due", "timers", "workflow", "due_at", where="closed = 0 and parked = 0")
    index("timers_open", "timers", "workflow", "timer_key", where="closed = 0")
    index("timers_by_run", "timers", "run_id")
    table(
        "events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        *required(sa.SmallInteger, "part"),
        *required(sa.Text, "event_id"),
        *event_columns(),
        *required(instant, "filed_at"),
        sqlite_autoincrement=True,
    )
    index("events_by_lane", "events", "topic", "part", "id")
    table(
        "consumers",
        sa.Column("name", sa.Text, primary_key=True),
        *required(instant, "seen_at"),
    )
    table(
        "cursors",
        sa.Column("consumer", sa.Text, primary_key=True),
        sa.Column("topic", sa.Text, primary_key=True),
        sa.Column("part", sa.SmallInteger, primary_key=True, autoincrement=False),
        *required(sa.BigInteger, "done_to"),
        *required(sa.Text, "acked"),
        sa.Column("receiver", sa.Text),
        sqlite_with_rowid=False,
    )
    table(
        "receivers",
        sa.Column("id", sa.Text, primary_key=True),
        *required(sa.Text, "consumer", "instance"),
        *required(sa.BigInteger, "window_end"),
    )
    table(
        "sessions",
        sa.Column("id", sa.Text, primary_key=True),
        *required(sa.Text, "instance", "wanted"),
        *required(instant, "asked_at", "expires_at"),
    )
    table(
        "roles",
        sa.Column("role", sa.Text, primary_key=True),
        sa.Column("session", sa.Text),
        *required(sa.BigInteger, "token"),
        *required(instant, "kept_until"),
    )
