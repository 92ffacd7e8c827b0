"""The connections of one process to one database, whichever it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import Connection

from workflow_sql.epochs import Epochs

__all__ = ["Begun", "Connections"]


class Begun(NamedTuple):
    """A transaction that may write."""

    connection: Connection
    now: int | None
    """The server's clock in microseconds; None: there is no server."""
    epoch: int
    """The number of the epoch that it belongs to."""


class Connections(ABC):
    """The connections of one process to one database. Any thread."""

    @abstractmethod
    def reading(self, *, urgent: bool = False) -> AbstractContextManager[Connection]:
        """A connection that only reads; what it read is let go of on leaving.

        Args:
            urgent: for what must go on though all other connections are in use.

        Raises:
            AdapterUnavailableError: all connections are in use.
            Exception: the driver's errors.
        """

    @abstractmethod
    def begin(self, timeout: timedelta, *, urgent: bool) -> Begun:
        """Open a writing transaction; its connection is to be given to `end`.

        Args:
            timeout: how long to wait for other writers.
            urgent: go before all others of this process that wait.

        Raises:
            AdapterError: this thread has a writing transaction open and would wait for itself.
            AdapterUnavailableError: other writers did not finish in time.
            Exception: the driver's errors.
        """

    @abstractmethod
    def begin_anew(self, connection: Connection, timeout: timedelta) -> int | None:
        """Roll an open writing transaction back and open it again; answers as `Begun.now`.

        Raises the driver's errors.
        """

    @abstractmethod
    def single(self, *, urgent: bool) -> AbstractContextManager[Connection]:
        """A connection for one statement that writes and commits by itself.

        Raises as `begin`.
        """

    @abstractmethod
    def end(self, connection: Connection, *, commit: bool) -> None:
        """Commit or roll back, and let the next writer go on, also when that fails.

        Raises:
            AdapterError: the transaction was ended already, by whoever it was lent to.
            Exception: the driver's errors; after a failed commit nobody knows.
        """

    @abstractmethod
    def alone(self) -> AbstractContextManager[Connection]:
        """A new connection outside of all pools, closed afterwards; each statement commits.

        Raises the driver's errors.
        """

    @abstractmethod
    def now(self) -> int:
        """The database's clock in microseconds; nearly always without a statement.

        Raises the driver's errors.
        """

    epochs: Epochs
    """Whether the database still is what was remembered of it."""
    has_one_server = True
    """Whether all lead to one server at a time; else any of them may be asked in any epoch."""
    on_news: Callable[[], object]
    """To be called when other processes may have committed something."""
    on_epoch: Callable[[], object]
    """To be called when a new epoch has begun."""
    knows_all: bool
    """Whether the pulse tells of other processes' commits, all and at once."""

    @property
    def remark(self) -> str:
        """What a person who asks for the database's health is to know besides, after a comma."""
        return ""

    @property
    @abstractmethod
    def rhythm(self) -> tuple[float, float]:
        """Seconds between two looks for other processes' commits: while there is news, at rest."""

    @abstractmethod
    def pulse(self) -> Hashable:
        """Differs from the answer before if any connection has committed since. Very cheap.

        Raises the driver's errors.
        """

    def attend(self) -> None:  # noqa: B027 - may be left as it is
        """Somebody waits for other processes' commits from now on. Default: nothing to prepare."""

    def tell(self) -> None:  # noqa: B027 - may be left as it is
        """Something was committed that other processes wait for. Default: they find out."""

    def beat(self) -> None:  # noqa: B027 - may be left as it is
        """Other processes have committed something. Default: the pulse knows."""

    @abstractmethod
    def scrub(self) -> bool:
        """Overwrite what deleted rows left behind, as far as can be; False: it was in use.

        Raises the driver's errors.
        """

    @abstractmethod
    def forsake(self) -> None:
        """In a forked child: forget all connections without touching them."""

    @abstractmethod
    def close(self) -> None:
        """Close all. Twice is harmless."""
