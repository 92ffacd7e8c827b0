"""A copy of the database that may be asked instead, where it does not matter if it is behind."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from workflow_core.errors import ConfigurationError
from workflow_core.ports import Secret

from workflow_sql.dialects import Cursor, Dialect, dialect_for
from workflow_sql.schema import Tables
from workflow_sql.settings import ConnectionSettings

__all__ = ["Replica"]

logger = logging.getLogger(__name__)


class Replica:
    """Its connections. Any thread. Nothing is asked of it before the first look-up.

    Args:
        url: of the same kind of database as the one that is written.
        dialect: of that one.
        settings: its settings.
        tables: its tables.
        prefix: of their names.

    Raises:
        ConfigurationError: the url means another kind of database.
    """

    def __init__(
        self,
        url: Secret,
        dialect: Dialect,
        settings: ConnectionSettings,
        tables: Tables,
        prefix: str,
    ) -> None:
        own, parsed = dialect_for(url)
        if own.name != dialect.name:
            raise ConfigurationError(
                f"the replica is a {own.title}, the database itself a {dialect.title}",
                adapter="sql",
            )
        self._dialect = own
        self._connections = own.connections(parsed, settings, prefix)
        self._connections.has_one_server = False  # its address may lead to several in turn
        self._installation = tables.installation.fullname
        self._is_known = False
        self._is_missed = False

    @contextmanager
    def reading(self, installation: str) -> Iterator[Cursor]:
        """The driver's own cursor.

        Args:
            installation: the id that has to stand there too.

        Raises:
            ConfigurationError: it is no copy of the database.
            Exception: the driver's errors.
        """
        with self._connections.reading() as connection:
            cursor = self._dialect.cursor(connection)
            try:
                if not self._is_known:
                    self._check(cursor, installation)
                yield cursor
            finally:
                cursor.close()
        self._is_missed = False

    def _check(self, cursor: Cursor, installation: str) -> None:
        cursor.execute(f"select id from {self._installation}")
        row = cursor.fetchone()
        if row is None or row[0] != installation:
            raise ConfigurationError(
                "the replica is no copy of the database", adapter="sql", hint="Look at replica_url"
            )
        self._is_known = True

    def miss(self, error: Exception) -> None:
        """It did not answer: say so, once until it does again."""
        if not self._is_missed:
            self._is_missed = True
            logger.warning("the replica does not answer, the database itself is asked: %s", error)

    def forsake(self) -> None:
        """In a forked child: forget its connections."""
        self._connections.forsake()

    def close(self) -> None:
        """Close its connections."""
        self._connections.close()
