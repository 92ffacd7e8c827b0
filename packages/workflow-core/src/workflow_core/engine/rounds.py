"""Upkeep that looks at all of a kind, round by round."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from datetime import timedelta

from workflow_core.engine.gate import Gate
from workflow_core.engine.process import Process
from workflow_core.model import Record, RecordQuery
from workflow_core.ports import Clock, RecordStore

__all__ = ["RecordRounds", "Rounds"]


class Rounds(Process):
    """Goes through something, a page per poll, while its gate is open.

    A round begins as soon as the gate opens, so at each start and after each deploy, and then
    `every` so often. One that the gate ends is begun anew.
    """

    upkeep = True

    def __init__(self, name: str, gate: Gate, *, every: timedelta, clock: Clock) -> None:
        self.name = name
        self._gate = gate
        self._every = every
        self._clock = clock
        self._next_round = clock.monotonic()
        self._is_under_way = False

    def poll(self, wait: timedelta) -> bool:
        """See to one page, if a round is due."""
        if not self._gate.is_open:
            self._is_under_way = False
            return False
        if not self._is_under_way:
            if self._clock.monotonic() < self._next_round:
                return False
            self._begin()
            self._is_under_way = True
        if not self._go_on():
            self._is_under_way = False
            self._next_round = self._clock.monotonic() + self._every.total_seconds()
            self._round_ended()
        return True

    def next_due(self) -> timedelta | None:
        """The next round."""
        if not self._gate.is_open:
            return None
        return timedelta(seconds=max(0.0, self._next_round - self._clock.monotonic()))

    @abstractmethod
    def _begin(self) -> None:
        """A round begins."""

    @abstractmethod
    def _go_on(self) -> bool:
        """See to one page; whether there are others."""

    def _round_ended(self) -> None:
        """All pages were seen to."""


class RecordRounds(Rounds):
    """Looks at the runs that a query finds."""

    def __init__(
        self, name: str, store: RecordStore, gate: Gate, *, every: timedelta, clock: Clock
    ) -> None:
        super().__init__(name, gate, every=every, clock=clock)
        self._store = store
        self._query = RecordQuery()

    def _begin(self) -> None:
        self._query = self._new_round()

    def _go_on(self) -> bool:
        page = self._store.list_records(self._query)
        self._see_to(page.items)
        self._query = self._query.replace(after=page.next)
        return page.next is not None

    @abstractmethod
    def _new_round(self) -> RecordQuery:
        """What to look at."""

    @abstractmethod
    def _see_to(self, records: Sequence[Record]) -> None:
        """One page of it, which may be empty."""
