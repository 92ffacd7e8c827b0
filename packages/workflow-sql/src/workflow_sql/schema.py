"""The tables as they are at this version of the wheel. How they came about: `migrations`.

Column names are no reserved words of any SQL database, so that statements need no quoting.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import TypeEngine
from workflow_core.errors import ConfigurationError

__all__ = ["ENDED", "LIVE", "Tables", "table_prefix", "tables"]

LIVE = "live = 1"
ENDED = "live is null"


@dataclass(frozen=True)
class Tables:
    """All tables of one namespace."""

    metadata: MetaData
    installation: Table
    records: Table
    outbox: Table
    history: Table
    timers: Table
    events: Table
    consumers: Table
    cursors: Table
    receivers: Table
    sessions: Table
    roles: Table
    version_table: str


def table_prefix(namespace: str) -> str:
    """What stands before each table's name.

    Raises:
        ConfigurationError: the namespace cannot be part of a table's name.
    """
    if not namespace:
        return "workflow_"
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,29}", namespace):
        raise ConfigurationError(
            f"the namespace {namespace!r} cannot be part of a table's name",
            adapter="sql",
            hint="Use up to 30 lower-case letters, digits and underscores, a letter first",
        )
    return f"{namespace}_workflow_"


def tables(prefix: str, instant: TypeEngine[int]) -> Tables:
    """The tables under this prefix; `instant` is the dialect's type for a point in time."""
    metadata = MetaData()

    def table(name: str, *items: SchemaItem, **options: Any) -> Table:
        return Table(prefix + name, metadata, *items, **options)

    def index(name: str, *columns: str, unique: bool = False, where: str = "") -> Index:
        partial: dict[str, Any] = {"sqlite_where": text(where)} if where else {}
        return Index(prefix + name, *columns, unique=unique, **partial)

    return Tables(
        metadata=metadata,
        version_table=prefix + "schema",
        installation=table(
            "installation",
            Column("id", Text, primary_key=True),
            Column("partitions", Integer, nullable=False),
            Column("trim_at", instant, nullable=False),
            Column("role_changes", BigInteger, nullable=False),
        ),
        # `live` is 1 or null and says nothing that `state` does not. It is there so that a step
        # from one live state to another leaves all partial indexes alone, which makes it more than
        # twice as quick: an index whose condition names a column is rewritten with that column.
        records=table(
            "records",
            Column("run_id", Text, primary_key=True),
            *_required(Text, "workflow", "foreign_id"),
            *_required(Integer, "status"),
            *_required(SmallInteger, "state"),
            Column("live", SmallInteger),
            *_required(BigInteger, "version"),
            *_required(Text, "write_id"),
            *_required(LargeBinary, "data"),
            *_required(instant, "created_at", "updated_at", "entered_at"),
            *_required(BigInteger, "entered_version", "repeats", "attempts"),
            Column("next_try_at", instant),
            *_required(Text, "last_error", "reason"),
            Column("pause_kind", Text),
            *_required(BigInteger, "auto_resumes"),
            *_required(SmallInteger, "skipped"),
            *_required(Text, "passed", "resumed", "headers"),
            index("records_live_key", "workflow", "foreign_id", unique=True, where=LIVE),
            index("records_live", "workflow", "created_at", "run_id", where=LIVE),
            index("records_ended", "workflow", "state", "updated_at", "status", where=ENDED),
            index("records_by_foreign_id", "workflow", "foreign_id", "created_at", "run_id"),
            index("records_by_workflow", "workflow", "created_at", "run_id"),
            index("records_by_age", "created_at", "run_id"),
        ),
        outbox=table(
            "outbox",
            Column("id", Text, primary_key=True),
            *_event_columns(instant),
            *_required(instant, "due_at", "hidden_until"),
            index("outbox_due", "workflow", "hidden_until"),
            index("outbox_by_run", "run_id"),
        ),
        history=table(
            "history",
            Column("run_id", Text, primary_key=True),
            Column("version", BigInteger, primary_key=True, autoincrement=False),
            *_required(instant, "stored_at"),
            *_required(Integer, "status"),
            *_required(SmallInteger, "state"),
            *_required(BigInteger, "attempts"),
            *_required(Text, "reason", "error"),
            Column("data", LargeBinary),
            sqlite_with_rowid=False,  # one tree to write instead of two
        ),
        timers=table(
            "timers",
            Column("timer_key", Text, primary_key=True),
            *_required(Text, "workflow", "run_id"),
            *_required(Integer, "status"),
            *_required(BigInteger, "entered_version"),
            *_required(Text, "name"),
            *_required(instant, "due_at"),
            *_required(BigInteger, "attempts"),
            *_required(Text, "error"),
            *_required(SmallInteger, "parked", "closed"),
            index("timers_due", "workflow", "due_at", where="closed = 0 and parked = 0"),
            index("timers_open", "workflow", "timer_key", where="closed = 0"),
            index("timers_by_run", "run_id"),
        ),
        events=table(
            "events",
            Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
            *_required(SmallInteger, "part"),
            *_required(Text, "event_id"),
            *_event_columns(instant),
            *_required(instant, "filed_at"),
            index("events_by_lane", "topic", "part", "id"),
            sqlite_autoincrement=True,  # else ids start again at 1 when all rows are trimmed
        ),
        consumers=table(
            "consumers",
            Column("name", Text, primary_key=True),
            *_required(instant, "seen_at"),
        ),
        cursors=table(
            "cursors",
            Column("consumer", Text, primary_key=True),
            Column("topic", Text, primary_key=True),
            Column("part", SmallInteger, primary_key=True, autoincrement=False),
            *_required(BigInteger, "done_to"),
            *_required(Text, "acked"),
            Column("receiver", Text),
            sqlite_with_rowid=False,
        ),
        receivers=table(
            "receivers",
            Column("id", Text, primary_key=True),
            *_required(Text, "consumer", "instance"),
            *_required(BigInteger, "window_end"),
        ),
        sessions=table(
            "sessions",
            Column("id", Text, primary_key=True),
            *_required(Text, "instance", "wanted"),
            *_required(instant, "asked_at", "expires_at"),
        ),
        roles=table(
            "roles",
            Column("role", Text, primary_key=True),
            Column("session", Text),
            *_required(BigInteger, "token"),
            *_required(instant, "kept_until"),
        ),
    )


def _event_columns(instant: TypeEngine[int]) -> list[Column[Any]]:
    return [
        *_required(Text, "topic", "workflow", "run_id", "foreign_id"),
        *_required(Integer, "status"),
        *_required(SmallInteger, "state"),
        *_required(BigInteger, "version"),
        *_required(Text, "kind", "target"),
        *_required(BigInteger, "attempt"),
        *_required(Text, "headers"),
        *_required(instant, "created_at"),
    ]


def _required(kind: Any, *names: str) -> list[Column[Any]]:
    return [Column(name, kind, nullable=False) for name in names]
