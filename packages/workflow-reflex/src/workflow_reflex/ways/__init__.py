"""The room for everything that one database does differently from another."""

from __future__ import annotations

from importlib import import_module

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError
from workflow_core.errors import ConfigurationError
from workflow_core.ports import Secret

from workflow_reflex.ways.base import AT_ONCE, Ways, driver_error
from workflow_reflex.ways.sqlite import SqliteWays

__all__ = ["AT_ONCE", "Ways", "driver_error", "ways_for"]

# where each is, and the wheel's extra that brings its driver
_WAYS = {
    "mariadb": ("mysql", "MysqlWays"),
    "mysql": ("mysql", "MysqlWays"),
    "postgresql": ("postgres", "PostgresWays"),
}


def ways_for(url: Secret) -> tuple[Ways, URL]:
    """The ways of the database at `url`.

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
            adapter="reflex",
            hint="Write it like mysql://user:password@host/orders; in the user and the password"
            " write @ as %40, : as %3A and / as %2F",
        ) from None
    name = parsed.get_backend_name()
    if name == "sqlite":
        return SqliteWays(), parsed
    if name not in _WAYS:
        known = ", ".join(sorted([*_WAYS, "sqlite"]))
        raise ConfigurationError(
            f"the url names the database {name!r}; known are: {known}", adapter="reflex"
        )
    module, kind = _WAYS[name]
    try:  # only now: who uses another database need not have this driver
        found: type[Ways] = getattr(import_module(f"workflow_reflex.ways.{module}"), kind)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"the driver for {name} is not installed: no module {error.name!r}",
            adapter="reflex",
            hint=f"It comes with the extra {module!r} of the wheel workflow-reflex",
        ) from error
    return found(), parsed
