"""The room for everything that one database does differently from another."""

from __future__ import annotations

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError
from workflow_core.errors import ConfigurationError
from workflow_core.ports import Secret

from workflow_sql.dialects.base import Connections, Cursor, Dialect, Row, Swap
from workflow_sql.dialects.sqlite import SqliteDialect

__all__ = ["Connections", "Cursor", "Dialect", "Row", "Swap", "dialect_for"]

_DIALECTS: dict[str, type[Dialect]] = {"sqlite": SqliteDialect}


def dialect_for(url: Secret) -> tuple[Dialect, URL]:
    """The dialect that speaks to the database at `url`.

    Raises:
        ConfigurationError: this is no URL, or one of a database that is not known here.
    """
    try:
        parsed = make_url(url.reveal())
    except ArgumentError:
        # not chained: the text of its cause would show the password
        raise ConfigurationError(
            "the url is no database URL", adapter="sql", hint="Write it like sqlite:///orders.db"
        ) from None
    name = parsed.get_backend_name()
    if name not in _DIALECTS:
        known = ", ".join(sorted(_DIALECTS))
        raise ConfigurationError(
            f"the url names the database {name!r}; known are: {known}", adapter="sql"
        )
    return _DIALECTS[name](), parsed
