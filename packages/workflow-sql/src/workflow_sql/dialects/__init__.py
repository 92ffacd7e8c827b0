"""The room for everything that one database does differently from another."""

from __future__ import annotations

import re
from importlib import import_module

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError
from workflow_core.errors import ConfigurationError
from workflow_core.ports import Secret

from workflow_sql.dialects.base import Change, Cursor, Dialect, Row, Select, Swap
from workflow_sql.dialects.connections import Connections
from workflow_sql.dialects.sqlite import SqliteDialect

__all__ = ["Change", "Connections", "Cursor", "Dialect", "Row", "Select", "Swap", "dialect_for"]

_QUERY = re.compile(r"\?\w+=.*", re.DOTALL)

# where each is, and the wheel's extra that brings its driver
_DIALECTS = {
    "mariadb": ("mysql", "MariadbDialect", "mysql"),
    "mysql": ("mysql", "MysqlDialect", "mysql"),
    "postgresql": ("postgres", "PostgresDialect", "postgres"),
}


_ESCAPE = "in the user and the password write @ as %40, : as %3A and / as %2F"


def dialect_for(url: Secret) -> tuple[Dialect, URL]:
    """The dialect that speaks to the database at `url`.

    Raises:
        ConfigurationError: this is no URL, or one of a database that is not known here, or whose
            driver is not installed.
    """
    try:
        parsed = make_url(url.reveal())
    except (ArgumentError, ValueError):
        # not chained: the text of its cause may show the password
        raise ConfigurationError(
            "the url is no database URL",
            adapter="sql",
            hint=f"Write it like sqlite:///orders.db or postgresql://user:password@host/orders;"
            f" {_ESCAPE}",
        ) from None
    name = parsed.get_backend_name()
    if name == "sqlite":
        return SqliteDialect(), parsed
    if name not in _DIALECTS:
        known = ", ".join(sorted([*_DIALECTS, "sqlite"]))
        raise ConfigurationError(
            f"the url names the database {name!r}; known are: {known}", adapter="sql"
        )
    if _QUERY.sub("", url.reveal()).count("@") > 1:
        # a part of the password would be taken for the host, and told by all who cannot find it
        raise ConfigurationError("the url has more than one @", adapter="sql", hint=_ESCAPE)
    return _server_dialect(name), parsed


def _server_dialect(name: str) -> Dialect:
    module, kind, extra = _DIALECTS[name]
    try:  # only now: who uses another database need not have this driver
        found: type[Dialect] = getattr(import_module(f"workflow_sql.dialects.{module}"), kind)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"the driver for {name} is not installed: no module {error.name!r}",
            adapter="sql",
            hint=f"It comes with the extra {extra!r} of the wheel workflow-sql",
        ) from error
    return found()
