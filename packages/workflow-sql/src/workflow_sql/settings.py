"""What may be configured."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from workflow_core.errors import ConfigurationError
from workflow_core.ports import Secret

__all__ = ["History", "SqlSettings", "Synchronous"]


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
class SqlSettings:
    """The settings of the four SQL adapters; they are configured once and share one pool.

    Attributes:
        url: the database, as SQLAlchemy writes it: ``sqlite:///orders.db``.
        synchronous: when a commit counts as done (SQLite).
        lock_timeout: how long a write waits for other writers before it gives up as unavailable.
        history: what is kept of earlier versions.
        history_keep: how many of the latest versions of one run are kept at most.
        trim_after: how long an event that all consumers have done with is kept.
        role_lease: how long after a crash a process still counts as the holder of its roles.
    """

    url: Secret
    synchronous: Synchronous = Synchronous.FULL
    lock_timeout: timedelta = timedelta(seconds=5)
    history: History = History.ON
    history_keep: int = 1_000
    trim_after: timedelta = timedelta(hours=1)
    role_lease: timedelta = timedelta(seconds=15)

    def __post_init__(self) -> None:
        problems = []
        if self.lock_timeout <= timedelta(0):
            problems.append("lock_timeout: expected a duration above zero")
        if self.history_keep < 1:
            problems.append("history_keep: expected 1 or more")
        if self.trim_after < timedelta(0):
            problems.append("trim_after: expected a duration of zero or more")
        if self.role_lease < timedelta(seconds=1):
            problems.append("role_lease: expected one second or more")
        if problems:
            raise ConfigurationError("the settings of sql are wrong", problems=tuple(problems))
