"""What differs between databases, and nothing else: one `Dialect` each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from sqlalchemy import URL, Connection
from sqlalchemy.types import TypeEngine
from workflow_core.errors import AdapterError

from workflow_sql.schema import Tables
from workflow_sql.settings import Synchronous

__all__ = ["Connections", "Cursor", "Dialect", "Row", "Swap"]

Row = tuple[Any, ...]


class Cursor(Protocol):
    """The part of a driver's cursor that is used: as PEP 249 has it."""

    @property
    def rowcount(self) -> int: ...  # noqa: D102
    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Any: ...  # noqa: D102
    def executemany(self, sql: str, rows: Any, /) -> Any: ...  # noqa: D102
    def fetchone(self) -> Any: ...  # noqa: D102
    def fetchall(self) -> list[Any]: ...  # noqa: D102
    def close(self) -> object: ...  # noqa: D102


@dataclass(frozen=True)
class Swap:
    """A compare-and-swap of records: set `columns` where run id and version still match.

    Each row of values carries the columns in order, then the run id, then the version expected.
    """

    table: str
    columns: tuple[str, ...]
    condition: str
    """A further one, on the stored row."""


class Connections(ABC):
    """The connections of one process to one database. Any thread."""

    @abstractmethod
    def reading(self) -> AbstractContextManager[Connection]:
        """A connection that only reads; what it read is let go of on leaving.

        Raises the driver's errors.
        """

    @abstractmethod
    def begin(self, timeout: timedelta, *, urgent: bool) -> Connection:
        """Open a writing transaction and answer its connection, to be given to `end`.

        Args:
            timeout: how long to wait for other writers.
            urgent: go before all others of this process that wait.

        Raises:
            AdapterError: this thread has a writing transaction open and would wait for itself.
            AdapterUnavailableError: other writers did not finish in time.
            Exception: the driver's errors.
        """

    @abstractmethod
    def end(self, connection: Connection, *, commit: bool) -> None:
        """Commit or roll back, and let the next writer go on, also when that fails.

        Raises:
            AdapterError: the transaction was ended already, by whoever it was lent to.
            Exception: the driver's errors; after a failed commit nobody knows.
        """

    @abstractmethod
    def pulse(self) -> Hashable:
        """Differs from the answer before if any connection has committed since. Very cheap.

        Raises the driver's errors.
        """

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


class Dialect(ABC):
    """One database's ways. Stateless; any thread.

    Fixed statements mark their parameters with "?". Where a driver has another mark, the dialect's
    cursors translate.
    """

    name: str
    """SQLAlchemy's name for it."""
    instant: TypeEngine[int]
    """The column type for microseconds since 1970, UTC."""
    driver_errors: tuple[type[Exception], ...]
    """What the driver raises."""
    upgrades_itself: bool
    """Whether opening a database with an older schema upgrades it."""

    @abstractmethod
    def connections(
        self, url: URL, *, synchronous: Synchronous, lock_timeout: timedelta
    ) -> Connections:
        """Open nothing yet. Raises ConfigurationError for what the url cannot mean."""

    @abstractmethod
    def describe(self, cursor: Cursor) -> str:
        """The server's name and version, for people."""

    @abstractmethod
    def translate(self, error: BaseException, doing: str) -> AdapterError:
        """The error to raise from the driver's `error`, met while `doing` something.

        An AdapterUnavailableError where nobody knows or a later try may work, a plain AdapterError
        where this very value will never be taken. Never tells data, paths or passwords.
        """

    @abstractmethod
    def is_contention(self, error: BaseException) -> bool:
        """Whether the driver's error means: others were in the way, retry the transaction."""

    @abstractmethod
    def cursor(self, connection: Connection) -> Cursor:
        """The driver's own cursor on SQLAlchemy's connection."""

    @abstractmethod
    def driver_cursor(self, connection: object) -> Cursor | None:
        """A cursor of the driver's own `connection` of a caller; None: it is not this driver's."""

    @abstractmethod
    def ensure_begun(self, connection: object, cursor: Cursor) -> bool:
        """See that a caller's connection is in a transaction, opening one that the caller ends.

        False where it cannot be: each statement would be committed by itself.
        """

    @abstractmethod
    def within(self, column: str) -> str:
        """A condition: `column` is in a list of any length, given as one `pack`ed parameter."""

    @abstractmethod
    def pack(self, values: Sequence[str | int]) -> Any:
        """The parameter for `within`."""

    @abstractmethod
    def insert_absent(
        self, cursor: Cursor, table: str, columns: tuple[str, ...], rows: Sequence[Row]
    ) -> list[bool]:
        """Insert each row unless it breaks a unique key; tells which were inserted, in order."""

    @abstractmethod
    def delete_taken(self, cursor: Cursor, table: str, ids: Sequence[str]) -> list[str]:
        """Delete the rows with these ids; tells which were there."""

    @abstractmethod
    def update_each(self, cursor: Cursor, sql: str, rows: Sequence[Row]) -> list[bool]:
        """Execute `sql`, an update of one row by key, for each; tells which changed one."""

    @abstractmethod
    def compare_and_swap(self, cursor: Cursor, swap: Swap, rows: Sequence[Row]) -> list[bool]:
        """Update each row in one statement that also compares; tells which took, in order.

        A row that would break a unique key is not taken.
        """

    @abstractmethod
    def insert_new(
        self, cursor: Cursor, table: str, columns: tuple[str, ...], rows: Sequence[Row]
    ) -> None:
        """Insert rows; one whose key is there already is left as it is."""

    @abstractmethod
    def has_table(self, cursor: Cursor, name: str) -> bool:
        """Whether there is a table of this name."""

    @abstractmethod
    def marks_query(self, tables: Tables) -> str:
        """Selects (up to which id all events are settled, number of changes of roles)."""
