"""What differs between databases: one `Ways` each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, ClassVar

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from workflow_core.errors import AdapterError, AdapterUnavailableError

from workflow_reflex.settings import ReflexSettings
from workflow_reflex.tables import Tables
from workflow_reflex.wire import NOOP_KEY, NOOP_TYPE

__all__ = ["AT_ONCE", "GRACE", "Ways", "driver_error"]

GRACE = 10.0
"""Seconds that an answer may be late, after the server's own limit, before it counts as gone."""
AT_ONCE = 500
"""Rows in one statement."""


class Ways(ABC):
    """One database's ways. Stateless; any thread.

    Statements are for the drivers as they are: with its mark for parameters.
    """

    title: ClassVar[str]
    """Its name for people."""
    mark: ClassVar[str]
    """What stands for a parameter."""
    now: ClassVar[str]
    """The server's clock, UTC and without a zone, as part of a statement; "": no server."""
    collation: ClassVar[str | None]
    """In which texts compare exactly; None: its own does that."""
    in_file: ClassVar[bool]
    """Whether it is a file of this process's, and no server."""
    leaves_holes: ClassVar[bool]
    """Whether ids may become visible out of order, or never."""
    contention: ClassVar[frozenset[object]]
    """Codes of errors that mean: others were in the way, retry the transaction."""
    missing: ClassVar[frozenset[object]]
    """Codes of errors that mean: there is no such table or column."""
    denied: ClassVar[frozenset[object]]
    """Codes of errors that mean: this user may not do that."""
    duplicate: ClassVar[frozenset[object]]
    """Codes of errors that mean: this id is taken."""

    @abstractmethod
    def engine(self, url: URL, settings: ReflexSettings) -> Engine:
        """An engine that connects to nothing yet. Raises ConfigurationError."""

    @abstractmethod
    def begin(self, connection: Connection) -> None:
        """Begin a transaction that writes. Raises the driver's errors."""

    @abstractmethod
    def code(self, error: BaseException) -> object:
        """The server's code of a driver's error."""

    @abstractmethod
    def describe(self, connection: Connection) -> str:
        """The server's name and version, for people."""

    @abstractmethod
    def fill(self, connection: Connection, tables: Tables, first: int, last: int) -> bool:
        """Put noops where nobody has an id, in an open transaction; False: somebody holds one.

        Raises the driver's errors.
        """

    @abstractmethod
    def is_held(self, connection: Connection, tables: Tables, first: int, last: int) -> bool:
        """Whether an open transaction holds one of these ids; nothing is left behind."""

    @abstractmethod
    def upsert(self, tables: Tables, rows: int, now: str) -> str:
        """The statement that moves so many cursors, each given by id and number, forward only."""

    def stamp(self, moment: datetime) -> Any:
        """The parameter for a point in time."""
        return moment.replace(tzinfo=None)

    # -- statements ----------------------------------------------------------------------------

    def marks(self, count: int) -> str:
        """So many parameters."""
        return ", ".join([self.mark] * count)

    def append(
        self,
        connection: Connection,
        tables: Tables,
        rows: Sequence[tuple[str, int, bytes]],
        now: datetime | None,
    ) -> None:
        """Insert events in order, for whose order the database numbers them.

        Args:
            connection: an open transaction.
            tables: where.
            rows: key, type and metadata.
            now: the time to stamp; None: the server's.
        """
        for at in range(0, len(rows), AT_ONCE):
            part = rows[at : at + AT_ONCE]
            values: list[Any] = []
            if now is None:
                for row in part:
                    values += row
            else:
                stamp = self.stamp(now)
                for row in part:
                    values += (*row, stamp)
            connection.exec_driver_sql(
                _insert(tables, self.mark, len(part), self.now if now is None else self.mark),
                tuple(values),
            )

    def noops(self, ids: Iterable[int]) -> list[tuple[Any, ...]]:
        """Rows that fill holes, without their time."""
        return [(id, NOOP_KEY, NOOP_TYPE) for id in ids]

    # -- errors --------------------------------------------------------------------------------

    def translate(self, error: BaseException, doing: str) -> AdapterError:
        """The error to raise from the driver's `error`, met while `doing` something.

        Never tells data, paths or passwords.
        """
        cause = driver_error(error)
        code = self.code(cause)
        if code in self.contention:
            return AdapterUnavailableError(
                f"{doing} failed: others were in the way",
                adapter="reflex",
                hint="Keep transactions short",
            )
        if code in self.missing:
            return AdapterUnavailableError(
                f"{doing} failed: the tables are not there, or not as they should be",
                adapter="reflex",
                hint="Look at the settings events_table, cursors_table and columns, or make the"
                " tables with workflow_reflex.create_tables",
            )
        if code in self.denied:
            return AdapterUnavailableError(
                f"{doing} failed: the user of the url may not do that",
                adapter="reflex",
                hint="Let it read and insert events, and read, insert, update and delete cursors",
            )
        if self.is_refusal(cause):
            return AdapterError.of("reflex", cause, doing=doing)
        return AdapterUnavailableError(
            f"{doing} failed with {type(cause).__name__}",
            adapter="reflex",
            hint="See that the database runs and that the url leads to it",
        )

    @abstractmethod
    def is_refusal(self, error: BaseException) -> bool:
        """Whether the driver's error means: this very value will never be taken."""

    def is_contention(self, error: BaseException | None) -> bool:
        """Whether the same transaction, begun anew, may well go through at once."""
        if error is None:
            return False
        code = self.code(driver_error(error))
        return code in self.contention or code in self.duplicate


def driver_error(error: BaseException) -> BaseException:
    """The driver's own, out of SQLAlchemy's."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        return error.orig
    if isinstance(error, SQLAlchemyError) and error.__cause__ is not None:
        return error.__cause__
    return error


@lru_cache(maxsize=2 * AT_ONCE)
def _insert(tables: Tables, mark: str, rows: int, now: str) -> str:
    row = f"({mark}, {mark}, {mark}, {now})"
    return (
        f"insert into {tables.events}"
        f" ({tables.foreign_id}, {tables.type}, {tables.content}, {tables.timestamp})"
        f" values {', '.join([row] * rows)}"
    )
