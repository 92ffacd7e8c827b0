"""The tables as they are at this version of the wheel. How they came about: `migrations`.

Column names are no reserved words of any SQL database, so that statements need no quoting.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Computed,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    text,
)
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import TypeEngine
from workflow_core.errors import ConfigurationError

__all__ = [
    "ENDED",
    "LIVE",
    "LIVE_OF_KEY",
    "Kinds",
    "Tables",
    "checked_schema",
    "table_prefix",
    "tables",
]

LIVE = "live = 1"
# The same for statements that know the row's key, so worded that it calls for no index. PostgreSQL
# joined a batch of 500 with all live rows, by statistics of a moment when next to none was live:
# that took a second beside 5,000 of them.
LIVE_OF_KEY = "coalesce(live, 0) = 1"
ENDED = "live is null"


@dataclass(frozen=True)
class Kinds:
    """A database's column types and table options, by what they hold. Texts compare exactly.

    Attributes:
        instant: microseconds since 1970, UTC.
        id: what makes a row unique and is made here, up to 64 characters.
        name: what people name, up to 255 characters.
        label: what is made of names, up to 350.
        words: any text; never compared.
        data: bytes.
        options: of each table, by SQLAlchemy's names.
        busy_options: further ones of tables whose rows change all the time.
        partial_indexes: whether an index can leave rows out.
        ended_stored: the index of ended runs holds what changes with each step of a live one. Where
            that would make each step pay (no partial indexes, or updates in place only where no
            indexed column changes), it holds columns that are null until the run has ended, stored
            (True) or computed (False). None: it holds the columns themselves.
    """

    instant: TypeEngine[int]
    id: TypeEngine[str]
    name: TypeEngine[str]
    label: TypeEngine[str]
    words: TypeEngine[str]
    data: TypeEngine[bytes]
    options: Mapping[str, Any]
    busy_options: Mapping[str, Any]
    partial_indexes: bool
    ended_stored: bool | None


@dataclass(frozen=True)
class Tables:
    """All tables of one namespace."""

    metadata: MetaData
    installation: Table
    records: Table
    outbox: Table
    history: Table
    search: Table
    timers: Table
    events: Table
    consumers: Table
    cursors: Table
    receivers: Table
    sessions: Table
    roles: Table
    schema: str | None
    version_name: str

    @property
    def version_table(self) -> str:
        """As statements write it."""
        return f"{self.schema}.{self.version_name}" if self.schema else self.version_name


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


def checked_schema(name: str, *, what: str, title: str, reserved: Collection[str]) -> str | None:
    """The schema that the tables are in; None: the connection's own.

    Args:
        name: as configured.
        what: a schema is there, for people; "": there is no such thing.
        title: the database's name for people.
        reserved: words that are no names there.

    Raises:
        ConfigurationError: it cannot be one.
    """
    if not name:
        return None
    if not what:
        raise ConfigurationError(
            f"{title} has no schemas",
            adapter="sql",
            hint="Leave the setting schema out; a namespace sets tables of one file apart",
        )
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", name) or name in reserved:
        raise ConfigurationError(
            f"the schema {name!r} cannot be the name of {what} of {title} here",
            adapter="sql",
            hint="Use up to 63 lower-case letters, digits and underscores, no digit first, and no"
            " word of SQL",
        )
    return name


def tables(prefix: str, kinds: Kinds, schema: str | None = None) -> Tables:
    """The tables under this prefix, of the dialect's types."""
    metadata = MetaData(schema=schema)
    instant = kinds.instant

    def table(name: str, *items: SchemaItem, **options: Any) -> Table:
        return Table(prefix + name, metadata, *items, **kinds.options, **options)

    def busy(name: str, *items: SchemaItem, **options: Any) -> Table:
        return table(name, *items, **{**kinds.busy_options, **options})

    def index(
        name: str, *columns: str, unique: bool = False, where: str = "", instead: Sequence[str] = ()
    ) -> Index:
        if not where:
            return Index(prefix + name, *columns, unique=unique)
        if not kinds.partial_indexes:
            return Index(prefix + name, *instead, unique=unique)
        condition = text(where)
        return Index(
            prefix + name,
            *columns,
            unique=unique,
            sqlite_where=condition,
            postgresql_where=condition,
        )

    return Tables(
        metadata=metadata,
        schema=schema,
        version_name=prefix + "schema",
        installation=busy(
            "installation",
            Column("id", kinds.id, primary_key=True),
            Column("partitions", Integer, nullable=False),
            Column("trim_at", instant, nullable=False),
            Column("role_changes", BigInteger, nullable=False),
            Column("settled", BigInteger, nullable=False),
        ),
        # `live` is 1 or null and says nothing that `state` does not. It is there so that a step
        # from one live state to another leaves all partial indexes alone, which makes it more than
        # twice as quick: an index whose condition names a column is rewritten with that column.
        records=busy(
            "records",
            Column("run_id", kinds.id, primary_key=True),
            *_required(kinds.name, "workflow", "foreign_id"),
            *_required(Integer, "status"),
            *_required(SmallInteger, "state"),
            Column("live", SmallInteger),
            *_required(BigInteger, "version"),
            *_required(kinds.id, "write_id"),
            *_required(kinds.data, "data"),
            *_required(instant, "created_at", "updated_at", "entered_at"),
            *_required(BigInteger, "entered_version", "repeats", "attempts"),
            Column("next_try_at", instant),
            *_required(kinds.words, "last_error", "reason"),
            Column("pause_kind", kinds.id),
            *_required(BigInteger, "auto_resumes"),
            *_required(SmallInteger, "skipped"),
            *_required(kinds.words, "passed", "resumed", "headers"),
            *_ended_columns(kinds),
            Column("search", kinds.words),
            index(
                "records_live_key",
                *("workflow", "foreign_id"),
                unique=True,
                where=LIVE,
                instead=("workflow", "foreign_id", "live"),
            ),
            index(
                "records_live",
                *("workflow", "created_at", "run_id"),
                where=LIVE,
                instead=("workflow", "live", "created_at", "run_id"),
            ),
            index("records_ended", *_ended_index(kinds), where=ENDED, instead=_ended_index(kinds)),
            index("records_by_foreign_id", "workflow", "foreign_id", "created_at", "run_id"),
            index("records_by_workflow", "workflow", "created_at", "run_id"),
            index("records_by_age", "created_at", "run_id"),
        ),
        outbox=busy(
            "outbox",
            Column("id", kinds.id, primary_key=True),
            *_event_columns(kinds),
            *_required(instant, "due_at", "hidden_until"),
            index("outbox_due", "workflow", "hidden_until"),
            index("outbox_by_run", "run_id"),
        ),
        history=table(
            "history",
            Column("run_id", kinds.id, primary_key=True),
            Column("version", BigInteger, primary_key=True, autoincrement=False),
            *_required(instant, "stored_at"),
            *_required(Integer, "status"),
            *_required(SmallInteger, "state"),
            *_required(BigInteger, "attempts"),
            *_required(kinds.words, "reason", "error"),
            Column("data", kinds.data),
            sqlite_with_rowid=False,  # one tree to write instead of two
        ),
        # when the run was created stands here too, so that a page of those found is read in order
        search=table(
            "search",
            Column("run_id", kinds.id, primary_key=True),
            Column("name", kinds.id, primary_key=True),
            *_required(kinds.name, "workflow"),
            Column("text_value", kinds.name),
            Column("number_value", BigInteger),
            *_required(instant, "created_at"),
            *(
                index(f"search_by_{kind}", *columns, where=f"{value} is not null", instead=columns)
                for kind, value in (("text", "text_value"), ("number", "number_value"))
                for columns in [("workflow", "name", value, "created_at", "run_id")]
            ),
            sqlite_with_rowid=False,
        ),
        timers=busy(
            "timers",
            Column("timer_key", kinds.label, primary_key=True),
            *_required(kinds.name, "workflow"),
            *_required(kinds.id, "run_id"),
            *_required(Integer, "status"),
            *_required(BigInteger, "entered_version"),
            *_required(kinds.name, "name"),
            *_required(instant, "due_at"),
            *_required(BigInteger, "attempts"),
            *_required(kinds.words, "error"),
            *_required(SmallInteger, "parked", "closed"),
            Column("repeats", BigInteger),
            index(
                "timers_due",
                *("workflow", "due_at"),
                where="closed = 0 and parked = 0",
                instead=("workflow", "closed", "parked", "due_at"),
            ),
            index(
                "timers_open",
                *("workflow", "timer_key"),
                where="closed = 0",
                instead=("workflow", "closed", "timer_key"),
            ),
            index("timers_by_run", "run_id"),
        ),
        events=table(
            "events",
            Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
            *_required(SmallInteger, "part"),
            *_required(kinds.id, "event_id"),
            *_event_columns(kinds),
            *_required(instant, "filed_at"),
            index("events_by_lane", "topic", "part", "id"),
            sqlite_autoincrement=True,  # else ids start again at 1 when all rows are trimmed
        ),
        consumers=busy(
            "consumers",
            Column("name", kinds.label, primary_key=True),
            *_required(instant, "seen_at"),
        ),
        cursors=busy(
            "cursors",
            Column("consumer", kinds.label, primary_key=True),
            Column("topic", kinds.label, primary_key=True),
            Column("part", SmallInteger, primary_key=True, autoincrement=False),
            *_required(BigInteger, "done_to"),
            *_required(kinds.words, "acked"),
            Column("receiver", kinds.id),
            sqlite_with_rowid=False,
        ),
        receivers=busy(
            "receivers",
            Column("id", kinds.id, primary_key=True),
            *_required(kinds.label, "consumer", "instance"),
            *_required(BigInteger, "window_end"),
        ),
        sessions=busy(
            "sessions",
            Column("id", kinds.id, primary_key=True),
            *_required(kinds.label, "instance"),
            *_required(kinds.words, "wanted"),
            *_required(instant, "asked_at", "expires_at"),
        ),
        roles=busy(
            "roles",
            Column("role", kinds.label, primary_key=True),
            Column("session", kinds.id),
            *_required(BigInteger, "token"),
            *_required(instant, "kept_until"),
        ),
    )


def _ended_columns(kinds: Kinds) -> list[Column[Any]]:
    if kinds.ended_stored is None:
        return []
    return [
        Column(
            f"ended_{name}",
            kind,
            Computed(f"case when {ENDED} then {of} end", persisted=kinds.ended_stored),
        )
        for name, kind, of in (
            ("state", SmallInteger(), "state"),
            ("at", kinds.instant, "updated_at"),
            ("status", Integer(), "status"),
        )
    ]


def _ended_index(kinds: Kinds) -> Sequence[str]:
    if kinds.ended_stored is None:
        return ("workflow", "state", "updated_at", "status")
    return ("workflow", "ended_state", "ended_at", "ended_status")


def _event_columns(kinds: Kinds) -> list[Column[Any]]:
    return [
        *_required(kinds.label, "topic"),
        *_required(kinds.name, "workflow"),
        *_required(kinds.id, "run_id"),
        *_required(kinds.name, "foreign_id"),
        *_required(Integer, "status"),
        *_required(SmallInteger, "state"),
        *_required(BigInteger, "version"),
        *_required(kinds.id, "kind"),
        *_required(kinds.label, "target"),
        *_required(BigInteger, "attempt"),
        *_required(kinds.words, "headers"),
        *_required(kinds.instant, "created_at"),
    ]


def _required(kind: Any, *names: str) -> list[Column[Any]]:
    return [Column(name, kind, nullable=False) for name in names]
