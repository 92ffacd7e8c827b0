"""What may be configured."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from workflow_core.errors import ConfigurationError
from workflow_core.ports import Secret

__all__ = ["COLUMNS", "ReflexSettings"]

COLUMNS = ("id", "foreign_id", "timestamp", "type", "metadata")
"""Those of the events table, as Reflex names them where nobody says otherwise."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


@dataclass(frozen=True, kw_only=True)
class ReflexSettings:
    """The settings of the Reflex adapters; they are configured once.

    Attributes:
        url: the database, as SQLAlchemy writes it: ``mysql://user:password@host/orders``, and
            likewise ``mariadb``, ``postgresql`` and ``sqlite:///orders.db``.
        events_table: Reflex's events; all workflows of a table share it, with whoever else writes
            there.
        cursors_table: how far each consumer has come.
        schema: where both are, if not where the url leads: a schema of PostgreSQL's, a database of
            the same server of MySQL's or MariaDB's.
        columns: other names of the events table's columns, by Reflex's own.
        poll_at_rest: how long after an event of another process a receiver sees it at the latest,
            while nothing goes on; it looks more often while something does.
        lock_timeout: how long a write waits for other writers before it gives up as unavailable.
            MySQL and MariaDB count whole seconds.
        statement_timeout: how long one statement may take (servers).
        pool_size: how many connections this process has at most (servers).
    """

    url: Secret
    events_table: str = "reflex_events"
    cursors_table: str = "reflex_cursors"
    schema: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    poll_at_rest: timedelta = timedelta(milliseconds=250)
    lock_timeout: timedelta = timedelta(seconds=5)
    statement_timeout: timedelta = timedelta(seconds=30)
    pool_size: int = 5

    def __post_init__(self) -> None:
        problems = self._names()
        if self.poll_at_rest < timedelta(milliseconds=1):
            problems.append("poll_at_rest: expected 1 ms or more")
        if self.lock_timeout <= timedelta(0):
            problems.append("lock_timeout: expected a duration above zero")
        if self.statement_timeout < timedelta(seconds=1):
            problems.append("statement_timeout: expected one second or more")
        if self.pool_size < 2:
            problems.append("pool_size: expected 2 or more")
        if problems:
            raise ConfigurationError("the settings of reflex are wrong", problems=tuple(problems))

    def _names(self) -> list[str]:
        named = {
            "events_table": self.events_table,
            "cursors_table": self.cursors_table,
            **({"schema": self.schema} if self.schema else {}),
            **{f"columns.{key}": name for key, name in self.columns.items()},
        }
        problems = [
            f"{key}: expected a name of letters, digits and underscores, 63 at most"
            for key, name in named.items()
            if not _NAME.fullmatch(name)
        ]
        problems += [
            f"columns.{key}: no such column; there are {', '.join(COLUMNS)}"
            for key in self.columns
            if key not in COLUMNS
        ]
        if self.events_table == self.cursors_table:
            problems.append("cursors_table: expected another one than events_table")
        return problems
