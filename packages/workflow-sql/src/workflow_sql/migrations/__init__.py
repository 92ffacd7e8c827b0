"""How the schema came about, and how a database gets it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from workflow_core.errors import AdapterUnavailableError, ConfigurationError
from workflow_core.ports import Secret

from workflow_sql.schema import table_prefix

if TYPE_CHECKING:
    from alembic.config import Config

    from workflow_sql.database import Database
    from workflow_sql.dialects import Cursor, Dialect

__all__ = [
    "VERSION",
    "Installation",
    "State",
    "checked",
    "current",
    "prepare",
    "sql",
    "upgrade",
    "version_of",
]

VERSION = "0003"
"""The schema that this wheel was written for: the newest in ``versions``."""

_PATIENCE = timedelta(seconds=60)  # with transactions that have tables in use
_PAUSE = 1.0  # seconds between two tries, for those who queued up behind the first
_LONGEST = timedelta(hours=12)  # that one change of a large table may take


@dataclass(frozen=True)
class State:
    """How far a database has come.

    Attributes:
        found: the schema that it has; None: there are no tables.
        wanted: the schema that this wheel was written for.
    """

    found: str | None
    wanted: str = VERSION

    @property
    def is_old(self) -> bool:
        """Whether it has to be upgraded before this wheel can serve it."""
        return self.found is None or self.found < self.wanted

    @property
    def is_too_new(self) -> bool:
        """Whether a newer release has upgraded it so far that this wheel cannot serve it."""
        return self.found is not None and int(self.found) > int(self.wanted) + 1

    def __str__(self) -> str:
        if self.found is None:
            return f"no tables, wanted is schema {self.wanted}"
        if self.found == self.wanted:
            return f"schema {self.found}, as wanted"
        if self.is_old:
            return f"schema {self.found}, wanted is {self.wanted}"
        if self.is_too_new:
            return (
                f"schema {self.found}, which this release cannot serve: it knows {self.wanted}"
                " and serves one ahead"
            )
        return f"schema {self.found}, one ahead of {self.wanted}: this release serves it"


@dataclass(frozen=True)
class Installation:
    """What the first migration made, once for all.

    Attributes:
        id: tells whether two connections mean the same tables.
        partitions: into how many parts each topic is divided.
    """

    id: str
    partitions: int


def prepare(database: Database, *, upgrading: bool) -> Installation:
    """See that the schema is one that this wheel can serve; upgrade it where that is the way.

    A schema one version ahead is served: the next release's, while processes are replaced.

    Args:
        database: just opened.
        upgrading: make or upgrade the tables.

    Raises:
        ConfigurationError: the schema is too old or too new; says what to do.
        Exception: the driver's errors.
    """
    with database.reading("reading the schema's version") as cursor:
        database.dialect.check(cursor)
        found = version_of(database, cursor)
    if upgrading and (found is None or found < VERSION):
        _upgrade(database)
    else:
        checked(found)
    with database.reading("reading the installation") as cursor:
        cursor.execute(f"select id, partitions from {database.tables.installation.fullname}")
        return Installation(*cursor.fetchone())


def checked(found: str | None) -> str:
    """The schema, where this wheel can serve it.

    Raises:
        ConfigurationError: it is too old or too new; says what to do.
    """
    if found is None or found < VERSION:
        stands = "has no tables yet" if found is None else f"has the schema {found}"
        raise ConfigurationError(
            f"the database {stands}, needed is {VERSION}",
            adapter="sql",
            hint="Run `python -m workflow_sql upgrade` once, before the processes start",
        )
    if State(found).is_too_new:
        raise ConfigurationError(
            f"the database has the schema {found}, this release knows up to {VERSION}"
            " and can serve one ahead",
            adapter="sql",
            hint="Use a newer release of the wheel workflow-sql here",
        )
    return found


def version_of(database: Database, cursor: Cursor) -> str | None:
    """The schema's version, such as "0001"; None: there are no tables."""
    if not database.dialect.has_table(cursor, database.tables.version_table):
        return None
    cursor.execute(f"select version_num from {database.tables.version_table}")
    row = cursor.fetchone()
    return None if row is None else str(row[0])


def upgrade(url: Secret | str, *, namespace: str = "", schema: str = "") -> None:
    """Make the tables, or bring them to the schema that this wheel was written for.

    All or nothing, but with MySQL and MariaDB, which commit each change of a table by itself. Any
    number of processes may do it at once: one does, the others wait for it.

    Args:
        url: as in `SqlSettings`.
        namespace: whose tables.
        schema: as in `SqlSettings`; made if it is not there.

    Raises:
        ConfigurationError: the url, the namespace or the schema found there cannot be used.
        AdapterUnavailableError: no answer, or a change was refused.
    """
    from workflow_sql.database import Database

    Database(
        url, namespace=namespace, schema=schema, statement_timeout=_LONGEST, upgrade=True
    ).close()


def _upgrade(database: Database) -> None:
    """All that come later queue up behind a change that waits for its table: it waits in turns."""
    end = time.monotonic() + _PATIENCE.total_seconds()
    while True:
        try:
            return _upgrade_at_once(database)
        except AdapterUnavailableError as error:
            if error.__cause__ is None or not database.dialect.is_contention(error.__cause__):
                raise
            if time.monotonic() >= end:
                raise AdapterUnavailableError(
                    "upgrading the schema failed: others have its tables in use, in transactions"
                    f" that stay open for longer than {_PATIENCE.total_seconds():g} s",
                    adapter="sql",
                    hint="End them, such as a long report or a backup, then upgrade again",
                ) from error.__cause__
        time.sleep(_PAUSE)


def _upgrade_at_once(database: Database) -> None:
    with database.migrating("upgrading the schema", _PATIENCE) as connection:
        cursor = database.dialect.cursor(connection)
        database.dialect.lock_migrations(cursor, database.tables.version_table)
        found = version_of(database, cursor)
        if database.schema and not database.dialect.has_schema(cursor, database.schema):
            cursor.execute(_create(database.schema))
        cursor.close()
        if found is not None and found >= VERSION:
            return  # another process was first
        config = _config(database.prefix, database.dialect, database.schema)
        config.attributes["connection"] = connection
        # only here, since importing it takes longer than all else at the start of a process
        from alembic import command

        command.upgrade(config, VERSION)


def _create(schema: str) -> str:
    return f"create schema if not exists {schema}"


def current(url: Secret | str, *, namespace: str = "", schema: str = "") -> State:
    """How far the database has come; changes nothing.

    Raises:
        ConfigurationError: the url or the namespace cannot be used.
        AdapterUnavailableError: no answer.
    """
    from workflow_sql.database import Database

    return Database.state_of(url, namespace=namespace, schema=schema)


def sql(
    url: Secret | str, *, namespace: str = "", schema: str = "", start: str | None = None
) -> str:
    """The statements of `upgrade`, for a person to look at and to execute. Connects to nothing.

    Args:
        url: of any such database; only its kind counts.
        namespace: whose tables.
        schema: as in `SqlSettings`.
        start: the schema that is there, such as "0001"; None: there are no tables.

    Raises:
        ConfigurationError: the url, the namespace or the start cannot be used.
    """
    from workflow_sql.dialects import dialect_for

    dialect, _ = dialect_for(Secret(url) if isinstance(url, str) else url)
    known = [f"{number:04}" for number in range(1, int(VERSION) + 1)]
    if start is not None and start not in known:
        raise ConfigurationError(
            f"there is no schema {start!r}, there are {', '.join(known)}", adapter="sql"
        )
    place = dialect.checked_schema(schema)
    config = _config(table_prefix(namespace), dialect, place)
    output = config.attributes["output"] = StringIO()
    if place and start is None:
        output.write(f"{_create(place)};\n\n")
    config.attributes["dialect"] = dialect.name
    from alembic import command

    command.upgrade(config, f"{start or 'base'}:{VERSION}", sql=True)
    return output.getvalue()


def _config(prefix: str, dialect: Dialect, schema: str | None) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["prefix"] = prefix
    config.attributes["schema"] = schema
    config.attributes["kinds"] = dialect.kinds
    config.attributes["version_table"] = f"{prefix}schema"
    config.attributes["transactional"] = dialect.migrates_whole
    return config
