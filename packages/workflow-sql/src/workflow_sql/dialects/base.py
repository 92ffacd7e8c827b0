"""What differs between databases, and nothing else: one `Dialect` each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import URL, Connection, Table
from workflow_core.errors import AdapterError

from workflow_sql.dialects.connections import Begun, Connections
from workflow_sql.epochs import Epochs
from workflow_sql.schema import Kinds, Tables, checked_schema
from workflow_sql.settings import ConnectionSettings

if TYPE_CHECKING:
    from workflow_sql.horizon import Gap, Horizon

__all__ = ["Begun", "Change", "Connections", "Cursor", "Dialect", "Row", "Select", "Swap"]

_NAMED_AT_ONCE = 2_000  # rows that one statement names by their ids

Row = tuple[Any, ...]


class Cursor(Protocol):
    """The part of a driver's cursor that is used: as PEP 249 has it."""

    @property
    def rowcount(self) -> int: ...  # noqa: D102
    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Any: ...  # noqa: D102
    def executemany(self, sql: str, rows: Any, /) -> Any: ...  # noqa: D102
    def fetchone(self) -> Any: ...  # noqa: D102
    def fetchall(self) -> Sequence[Any]: ...  # noqa: D102
    def close(self) -> object: ...  # noqa: D102


@dataclass(frozen=True)
class Swap:
    """A compare-and-swap of records: set `columns` where run id and version still match.

    Each row of values carries the columns in order, then the run id, then the version expected.
    """

    table: Table
    columns: tuple[str, ...]
    condition: str
    """A further one, on the stored row."""
    constants: tuple[tuple[str, str], ...] = ()
    """Further columns, each with the literal that it is set to in every row."""


@dataclass(frozen=True)
class Select:
    """A fixed question that may have many rows for an answer."""

    columns: tuple[str, ...]
    rest: str
    """From "from" on."""
    blob: str = ""
    """Which of the columns holds bytes, if one does; it is never null."""

    @cached_property
    def text(self) -> str:
        """The statement as a whole."""
        return f"select {', '.join(self.columns)} {self.rest}"


@dataclass(frozen=True)
class Change:
    """An update of many rows by key, each with values of its own.

    Each row of values carries the columns in order, then the keys.
    """

    table: Table
    columns: tuple[str, ...]
    keys: tuple[str, ...]
    condition: str = "1 = 1"
    """A further one, on the stored row."""
    not_beyond: str = ""
    """One of the columns, which a row must not have beyond the new value; "": no matter."""
    rising: str = ""
    """One of the columns, a number that keeps what it has where that is more; "": none."""


class Dialect(ABC):
    """One database's ways. Stateless; any thread.

    Fixed statements mark their parameters with "?". Where a driver has another mark, the dialect's
    cursors translate.
    """

    name: str
    """SQLAlchemy's name for it."""
    title: str
    """Its name for people."""
    schemas: str
    """What a schema is there, for people; "": there is no such thing."""
    reserved: frozenset[str]
    """Words that are no names."""
    kinds: Kinds
    """Its column types."""
    driver_errors: tuple[type[Exception], ...]
    """What the driver raises."""
    upgrades_itself: bool
    """Whether opening a database with an older schema upgrades it."""
    migrates_whole: bool
    """Whether changes of tables are part of a transaction."""
    clock: str
    """The server's clock in microseconds, as part of a statement; "": there is no server."""
    claiming: str
    """Behind a select: lock the rows, and leave out those that others have locked."""
    locking: str
    """Behind a select: lock the rows; wait for whoever has locked them."""
    joins_by_range: bool
    """Whether a join looks up a range that depends on the row before in an index."""
    as_committed: str
    """Behind a select: see what others have committed, whatever this transaction saw before."""

    def checked_schema(self, name: str) -> str | None:
        """See `schema.checked_schema`."""
        return checked_schema(name, what=self.schemas, title=self.title, reserved=self.reserved)

    @abstractmethod
    def connections(self, url: URL, settings: ConnectionSettings, prefix: str) -> Connections:
        """Open nothing yet. Raises ConfigurationError for what the url cannot mean.

        `prefix` is what the tables' names begin with.
        """

    @abstractmethod
    def check(self, cursor: Cursor) -> None:
        """See that the server can be used. Raises ConfigurationError."""

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

    def lend(self, cursor: Cursor) -> None:  # noqa: B027 - may be left as it is
        """Somebody else is to use the transaction: take back what was set for it alone."""

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

    def packs(self, values: Sequence[str | int]) -> Iterator[Any]:
        """The parameter for `within`, in parts that no server's limit for a statement stops.

        Ids are of 255 characters at most: those of a part are not a megabyte.
        """
        for start in range(0, len(values), _NAMED_AT_ONCE):
            yield self.pack(values[start : start + _NAMED_AT_ONCE])

    def delete_of(self, cursor: Cursor, table: Table, key: str, keys: Sequence[str]) -> None:
        """Delete the rows of these keys, and wait for nobody who has others locked.

        Args:
            cursor: where.
            table: whose rows.
            key: the first column of its primary key.
            keys: in the order of all writers.
        """
        sql = f"delete from {table.fullname} where {self.within(key)}"
        for packed in self.packs(keys):
            cursor.execute(sql, (packed,))

    def rows(self, cursor: Cursor, select: Select, parameters: Sequence[Any]) -> Sequence[Row]:
        """The answer to a question, all of it."""
        cursor.execute(select.text, parameters)
        return cursor.fetchall()

    @abstractmethod
    def insert_absent(
        self, cursor: Cursor, table: Table, columns: tuple[str, ...], rows: Sequence[Row]
    ) -> list[bool]:
        """Insert each row unless it breaks a unique key; tells which were inserted, in order."""

    def later(self, cursor: Cursor) -> Cursor:
        """Takes statements whose answer nobody waits for, to be sent together with the commit.

        Only within a transaction that this process ends, and outside of savepoints. Default: the
        cursor itself, which sends them at once.
        """
        return cursor

    @abstractmethod
    def insert_new(
        self, cursor: Cursor, table: Table, columns: tuple[str, ...], rows: Sequence[Row]
    ) -> None:
        """Insert rows; one whose key is there already is left as it is."""

    @abstractmethod
    def append(
        self, cursor: Cursor, table: Table, columns: tuple[str, ...], rows: Sequence[Row]
    ) -> None:
        """Insert rows in order, for whose order the database numbers them."""

    @abstractmethod
    def close_gap(self, cursor: Cursor, events: Table, gap: Gap, now: int) -> None:
        """Put rows that mean nothing in place of ids that nobody will use.

        In a transaction of its own that does not wait. Raises the driver's errors: somebody holds
        one of the ids.
        """

    @abstractmethod
    def delete_taken(self, cursor: Cursor, table: Table, ids: Sequence[str]) -> list[str]:
        """Delete the rows with these ids; tells which were there."""

    @abstractmethod
    def update_taken(
        self, cursor: Cursor, table: Table, key: str, change: str, keys: Sequence[str]
    ) -> set[str]:
        """Update the rows with these keys; tells which were changed.

        Args:
            cursor: where.
            table: the table.
            key: its key.
            change: what stands between "update table" and a further "and" about the keys: "set a =
                1 where b = 0".
            keys: the rows.
        """

    @abstractmethod
    def compare_and_swap(self, cursor: Cursor, swap: Swap, rows: Sequence[Row]) -> list[bool]:
        """Update each row in one statement that also compares; tells which took, in order.

        A row that would break a unique key is not taken.
        """

    @abstractmethod
    def update_each(self, cursor: Cursor, change: Change, rows: Sequence[Row]) -> None:
        """Update the rows, of those that are there, in one statement if it can be."""

    @abstractmethod
    def lock_migrations(self, cursor: Cursor, name: str) -> None:
        """Wait until no other process migrates; to the end of the transaction or connection.

        From then on a change waits two seconds for its table, and no longer.

        Raises the driver's errors.
        """

    @abstractmethod
    def has_table(self, cursor: Cursor, name: str) -> bool:
        """Whether there is a table of this name, as statements write it."""

    def has_schema(self, cursor: Cursor, name: str) -> bool:
        """Whether there is such a schema."""
        raise NotImplementedError  # where there are none, none is asked for

    def only_reads(self, error: BaseException) -> bool:
        """Whether the driver's error means: this server does not take writes, another may."""
        return False

    @abstractmethod
    def horizon(self, tables: Tables, epochs: Epochs) -> Horizon:
        """Who knows up to which id all events are settled."""
