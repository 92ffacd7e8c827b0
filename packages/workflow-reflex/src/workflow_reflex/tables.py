"""The two tables, as Reflex has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, Integer, LargeBinary, MetaData, String, Table
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect

from workflow_reflex.settings import COLUMNS, ReflexSettings

__all__ = ["Tables", "tables_of"]


@dataclass(frozen=True)
class Tables:
    """What statements call the tables and columns, and how the tables are made.

    Attributes:
        metadata: both tables, to be created.
        events, cursors: their names, quoted.
        id, foreign_id, timestamp, type, content: the columns of events, quoted; the last is
            ``metadata``.
        id_name: the first, as it is.
        events_name: the events table's own name, as it is.
    """

    metadata: MetaData
    events: str
    cursors: str
    id: str
    foreign_id: str
    timestamp: str
    type: str
    content: str
    id_name: str
    events_name: str


def tables_of(settings: ReflexSettings, dialect: Dialect, collation: str | None) -> Tables:
    """The tables that these settings name.

    Args:
        settings: the names.
        dialect: whose quotes they get.
        collation: in which texts compare exactly; None: the database's own does that.
    """
    schema = settings.schema or None
    names = {name: settings.columns.get(name, name) for name in COLUMNS}
    metadata = MetaData(schema=schema)
    text = String(255, collation=collation)
    instant = DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
    # a blob of MySQL's would end at 64 KiB
    content = LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")
    options: dict[str, Any] = {"mysql_engine": "InnoDB", "mariadb_engine": "InnoDB"}
    events = Table(
        settings.events_table,
        metadata,
        Column(
            names["id"],
            BigInteger().with_variant(Integer, "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        Column(names["foreign_id"], text, nullable=False),
        Column(names["timestamp"], instant, nullable=False),
        Column(names["type"], Integer, nullable=False, server_default="0"),
        Column(names["metadata"], content),
        sqlite_autoincrement=True,  # a table that was emptied would begin at 1 again
        **options,
    )
    moment = DateTime().with_variant(mysql.DATETIME(fsp=3), "mysql", "mariadb")
    cursors = Table(
        settings.cursors_table,
        metadata,
        Column("id", text, primary_key=True),
        Column("last_event_id", BigInteger, nullable=False),
        Column("updated_at", moment, nullable=False),
        **options,
    )
    prepare = dialect.identifier_preparer
    return Tables(
        metadata=metadata,
        events=prepare.format_table(events),
        cursors=prepare.format_table(cursors),
        **{
            attribute: prepare.quote(names[name])
            for attribute, name in zip(
                ("id", "foreign_id", "timestamp", "type", "content"), COLUMNS, strict=True
            )
        },
        id_name=names["id"],
        events_name=settings.events_table,
    )
