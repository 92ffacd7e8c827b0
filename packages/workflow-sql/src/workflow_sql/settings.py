"""What may be configured."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from workflow_core.errors import ConfigurationError
from workflow_core.ports import Secret

__all__ = ["ConnectionSettings", "History", "SqlSettings", "Synchronous"]


class Synchronous(StrEnum):
    """When a commit counts as done. For SQLite; a server's own configuration says it there."""

    FULL = "full"
    """Each commit waits for the disk: it survives a power cut."""
    NORMAL = "normal"
    """A power cut may undo the last commits, in order; a crash of the process undoes none."""


class History(StrEnum):
    """What is kept of a run's earlier versions."""

    OFF = "off"
    ON = "on"
    """Status, state, attempts, error and reason of each version."""
    WITH_DATA = "with_data"
    """The run's data too, but for failed attempts, which change none."""


@dataclass(frozen=True, kw_only=True)
class ConnectionSettings:
    """How a process deals with its database; each is explained in `SqlSettings`."""

    synchronous: Synchronous = Synchronous.FULL
    lock_timeout: timedelta = timedelta(seconds=5)
    statement_timeout: timedelta = timedelta(seconds=30)
    pool_size: int = 10
    replica_url: Secret | None = None
    schema: str = ""


@dataclass(frozen=True, kw_only=True)
class SqlSettings:
    """The settings of the four SQL adapters; they are configured once and share one pool.

    Attributes:
        url: the database, as SQLAlchemy writes it: ``sqlite:///orders.db``,
            ``postgresql://user:password@host/orders``, and likewise ``mysql`` and ``mariadb``.
        schema: where the tables are: a schema of PostgreSQL's, a database of the same server of
            MySQL's or MariaDB's; "": where the url leads. SQLite has none. To set apart the tables
            of several systems within one, there is the namespace, which begins their names.
        synchronous: when a commit counts as done (SQLite).
        lock_timeout: how long a write waits for other writers before it gives up as unavailable.
            MySQL and MariaDB count whole seconds.
        statement_timeout: how long one statement may take (servers).
        pool_size: how many connections this process has at most for its work (servers); leases and
            the like have two of their own.
        replica_url: a copy of the database that is asked first where steps look runs up (servers).
            It may be behind, or away: then the database itself is asked.
        history: what is kept of earlier versions.
        history_keep: how many of the latest versions of one run are kept at most.
        trim_after: how long an event that all consumers have done with is kept.
        role_lease: how long after a crash a process still counts as the holder of its roles.
    """

    url: Secret
    synchronous: Synchronous = Synchronous.FULL
    lock_timeout: timedelta = timedelta(seconds=5)
    statement_timeout: timedelta = timedelta(seconds=30)
    pool_size: int = 10
    replica_url: Secret | None = None
    schema: str = ""
    history: History = History.ON
    history_keep: int = 1_000
    trim_after: timedelta = timedelta(hours=1)
    role_lease: timedelta = timedelta(seconds=15)

    def __post_init__(self) -> None:
        problems = []
        if self.lock_timeout <= timedelta(0):
            problems.append("lock_timeout: expected a duration above zero")
        if self.statement_timeout < timedelta(seconds=1):
            problems.append("statement_timeout: expected one second or more")
        if self.pool_size < 1:
            problems.append("pool_size: expected 1 or more")
        if self.history_keep < 1:
            problems.append("history_keep: expected 1 or more")
        if self.trim_after < timedelta(0):
            problems.append("trim_after: expected a duration of zero or more")
        if self.role_lease < timedelta(seconds=1):
            problems.append("role_lease: expected one second or more")
        if problems:
            raise ConfigurationError("the settings of sql are wrong", problems=tuple(problems))

    @property
    def connections(self) -> ConnectionSettings:
        """The part of them that is about connections."""
        return ConnectionSettings(
            synchronous=self.synchronous,
            lock_timeout=self.lock_timeout,
            statement_timeout=self.statement_timeout,
            pool_size=self.pool_size,
            replica_url=self.replica_url,
            schema=self.schema,
        )
