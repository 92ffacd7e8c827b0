"""Ids of the events table that nobody can see, and what becomes of them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from operator import itemgetter

from sqlalchemy import Connection
from workflow_core.errors import AdapterError, ClosedError

from workflow_reflex.database import Database

__all__ = ["Holes"]

logger = logging.getLogger(__name__)

_OLD = 0.2  # seconds; a transaction that commits does so long before
_AGAIN = 0.1  # seconds between two looks at one that is held
_HELD = 4  # of those that are held, so many are looked at in a row
_AT_ONCE = 1_000  # ids filled in one transaction
_MANY = 100_000  # ids; so many are no transaction that was rolled back
_NOW = timedelta(0)
_NEAR = 10_000  # ids before the first row that an open transaction may have


@dataclass
class _Hole:
    last: int
    look_at: float
    told: bool = False


class Holes:
    """The holes that readers have met. Any thread; one of them closes them.

    Attributes:
        nothing_up_to: ids up to here are passed, there or not: they lie before the first row.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._holes: dict[int, _Hole] = {}
        self.nothing_up_to = 0
        self._told_of = 0
        tables = database.tables
        mark = database.ways.mark
        self._first_within = (
            f"select min({tables.id}) from {tables.events}"
            f" where {tables.id} >= {mark} and {tables.id} <= {mark}"
        )
        self._one_before = f"select 1 from {tables.events} where {tables.id} < {mark} limit 1"

    @property
    def are_open(self) -> bool:
        """Whether there are any."""
        return bool(self._holes)

    def found(self, before: int, ids: Iterable[int]) -> None:
        """A reader stands before a hole.

        Args:
            before: the id before it.
            ids: those that are there behind it, in order. They grow old together.
        """
        look_at = time.monotonic() + _OLD
        with self._lock:
            for id in ids:
                if id != before + 1:
                    known = self._holes.setdefault(before + 1, _Hole(id - 1, look_at))
                    known.last = id - 1
                before = id

    def close_old(self) -> bool:
        """See to those that are old enough; whether any was closed.

        Raises:
            AdapterUnavailableError: no answer.
        """
        now = time.monotonic()
        with self._lock:
            old = [(first, hole) for first, hole in self._holes.items() if now >= hole.look_at]
        closed = False
        held = 0
        for first, hole in sorted(old, key=itemgetter(0)):
            if self._close(first, hole):
                closed = True
                continue
            hole.look_at = time.monotonic() + _AGAIN
            held += 1
            if held == _HELD:
                break  # to find that out may take its time, and who is first waits anyway
        return closed

    def _close(self, first: int, hole: _Hole) -> bool:
        last = hole.last
        with self._database.reading("looking at a hole in the events") as connection:
            there = connection.exec_driver_sql(self._first_within, (first, last)).scalar_one()
            starts = connection.exec_driver_sql(self._one_before, (first,)).first() is None
        if there is not None:  # committed meanwhile
            last = int(there) - 1
        if last >= first:
            if starts:
                if self._is_held(max(first, last - _NEAR + 1), last):
                    return False
                self.nothing_up_to = max(self.nothing_up_to, last)
            else:
                self._tell_if_many(first, hole)
                last = min(last, first + _AT_ONCE - 1)
                if not self._fill(first, last):
                    return False
        with self._lock:
            self._holes.pop(first, None)
            if there is None and last < hole.last:  # the rest is as old
                self._holes[last + 1] = _Hole(hole.last, 0.0, hole.told)
        return True

    def _tell_if_many(self, first: int, hole: _Hole) -> None:
        if hole.last - first > _MANY and not hole.told:
            hole.told = True
            logger.warning(
                "%d ids of the events from %d on are not there: filling them takes a while, and"
                " nobody receives what is behind them; see that auto_increment_increment is 1 and"
                " that nobody sets the numbers",
                hole.last - first + 1,
                first,
            )

    def _is_held(self, first: int, last: int) -> bool:
        ways, tables = self._database.ways, self._database.tables
        return self._database.transact(
            "looking at a hole in the events",
            lambda connection: ways.is_held(connection, tables, first, last),
            patience=_NOW,
        )

    def _fill(self, first: int, last: int) -> bool:
        try:
            return self._database.transact(
                "filling a hole in the events",
                lambda connection: self._filled(connection, first, last),
                patience=_NOW,
            )
        except AdapterError as error:
            if self._database.ways.is_contention(error.__cause__):
                return False  # somebody holds an id, and will commit it or give it up
            if isinstance(error, ClosedError):
                raise
            if self._told_of != first:
                self._told_of = first
                logger.error(
                    "the hole in the events at id %d cannot be filled, tried again; nobody receives"
                    " what is behind it. This user has to be allowed to insert, and the metadata to"
                    " be null: %s",
                    first,
                    error,
                )
            return False

    def _filled(self, connection: Connection, first: int, last: int) -> bool:
        ways, tables = self._database.ways, self._database.tables
        if not ways.fill(connection, tables, first, last):
            connection.rollback()
            return False
        return True
