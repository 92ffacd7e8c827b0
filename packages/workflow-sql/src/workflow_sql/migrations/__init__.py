"""How the schema came about, and how a database gets it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from workflow_core.errors import ConfigurationError

if TYPE_CHECKING:
    from workflow_sql.database import Database
    from workflow_sql.dialects import Cursor

__all__ = ["VERSION", "Installation", "prepare", "upgrade", "version_of"]

VERSION = "0001"
"""The schema that this wheel was written for: the newest in ``versions``."""

_PATIENCE = timedelta(seconds=60)  # another process may be upgrading, which can take its time


@dataclass(frozen=True)
class Installation:
    """What the first migration made, once for all.

    Attributes:
        id: tells whether two connections mean the same tables.
        partitions: into how many parts each topic is divided.
    """

    id: str
    partitions: int


def prepare(database: Database) -> Installation:
    """See that the schema is one that this wheel can serve; upgrade it where that is the way.

    A schema one version ahead is served: the next release's, while processes are replaced.

    Raises:
        ConfigurationError: the schema is too old or too new; says what to do.
        Exception: the driver's errors.
    """
    with database.reading("reading the schema's version") as cursor:
        found = version_of(database, cursor)
    if found is None or found < VERSION:
        if not database.dialect.upgrades_itself:
            stands = "has no tables yet" if found is None else f"has the schema {found}"
            raise ConfigurationError(
                f"the database {stands}, needed is {VERSION}",
                adapter="sql",
                hint="Run workflow_sql.upgrade(database) once, before the processes start",
            )
        upgrade(database)
    elif int(found) > int(VERSION) + 1:
        raise ConfigurationError(
            f"the database has the schema {found}, this release knows up to {VERSION}"
            " and can serve one ahead",
            adapter="sql",
            hint="Use a newer release of the wheel workflow-sql here",
        )
    with database.reading("reading the installation") as cursor:
        cursor.execute(f"select id, partitions from {database.tables.installation.name}")
        return Installation(*cursor.fetchone())


def version_of(database: Database, cursor: Cursor) -> str | None:
    """The schema's version, such as "0001"; None: there are no tables."""
    if not database.dialect.has_table(cursor, database.tables.version_table):
        return None
    cursor.execute(f"select version_num from {database.tables.version_table}")
    row = cursor.fetchone()
    return None if row is None else str(row[0])


def upgrade(database: Database) -> None:
    """Bring the schema to `VERSION`, all or nothing. Any number of processes may do it at once.

    Raises:
        AdapterUnavailableError: no answer; nothing was changed.
    """
    with database.writing("upgrading the schema", timeout=_PATIENCE) as writing:
        found = version_of(database, writing.cursor)
        if found is not None and found >= VERSION:
            return  # another process was first
        # only here, since importing it takes longer than all else at the start of a process
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = writing.connection
        config.attributes["prefix"] = database.prefix
        config.attributes["instant"] = database.dialect.instant
        config.attributes["version_table"] = database.tables.version_table
        writing.connection.begin()  # the open one: SQLAlchemy is to know of it
        command.upgrade(config, VERSION)
