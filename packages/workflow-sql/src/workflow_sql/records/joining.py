"""Whose connection is it? A run written into another database would never be worked on."""

from __future__ import annotations

import sys
import weakref

from sqlalchemy import Connection, Engine
from workflow_core.errors import InputError, StoreBusyError

from workflow_sql.database import Database
from workflow_sql.dialects import Cursor

__all__ = ["Joining"]


class Joining:
    """Finds the driver's cursor of a caller's connection, and checks that it is our database.

    By the installation's id and not by URL: two URLs may name one database, and one URL two.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: weakref.WeakSet[Engine] = weakref.WeakSet()

    def cursor(self, connection: object) -> tuple[object, Cursor]:
        """The driver's connection and a cursor of it.

        Raises:
            InputError: this is no connection of the database.
        """
        alchemy = _alchemy_connection(connection)
        if alchemy is None:
            return self._of_driver(connection)
        if _kind(alchemy.dialect.name) != _kind(self._database.dialect.name):
            raise _stranger(f"it is one of {alchemy.dialect.name}")
        if not alchemy.in_transaction():
            alchemy.begin()  # else its commit would not know that there is something to commit
        cursor = self._database.dialect.cursor(alchemy)
        if alchemy.engine not in self._known:
            self._check(cursor)
            self._known.add(alchemy.engine)
        return alchemy.connection.dbapi_connection, cursor

    def _of_driver(self, connection: object) -> tuple[object, Cursor]:
        cursor = self._database.dialect.driver_cursor(connection)
        if cursor is None:
            raise _stranger(f"it is a {type(connection).__name__}")
        self._check(cursor)
        return connection, cursor

    def _check(self, cursor: Cursor) -> None:
        database = self._database
        errors = database.dialect.driver_errors
        try:
            cursor.execute("savepoint workflow_check")
        except errors as error:
            raise StoreBusyError(
                "the transaction cannot be joined: an error within has undone it",
                adapter="sql",
                hint="Roll the transaction back and retry it",
            ) from error
        try:
            cursor.execute(f"select id from {database.tables.installation.fullname}")
            row = cursor.fetchone()
            cursor.execute("release savepoint workflow_check")
        except errors as error:
            cursor.execute("rollback to savepoint workflow_check")
            raise _stranger("it has none of the tables") from error
        if row is None or row[0] != database.installation.id:
            raise _stranger("it has other tables of the same names")


def _alchemy_connection(connection: object) -> Connection | None:
    if isinstance(connection, Connection):
        return connection
    orm = sys.modules.get("sqlalchemy.orm")  # whoever has a session has imported it
    if orm is not None and isinstance(connection, orm.Session | orm.scoped_session):
        found: Connection = connection.connection()
        return found
    if hasattr(connection, "run_sync"):
        raise InputError(
            f"an {type(connection).__name__} cannot be used from outside its event loop",
            adapter="sql",
            hint="Call from within its run_sync, with the connection or session given there",
        )
    return None


def _kind(name: str) -> str:
    return "mysql" if name == "mariadb" else name  # one may be called by the other's name


def _stranger(why: str) -> InputError:
    return InputError(
        f"this is no connection of the record store's database: {why}",
        adapter="sql",
        hint="Give an SQLAlchemy Connection or Session, or the driver's connection, of the very"
        " same database",
    )
