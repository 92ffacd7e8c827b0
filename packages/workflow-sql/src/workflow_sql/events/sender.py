"""Publishing in transactions of its own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from workflow_core.errors import AdapterError, AdapterUnavailableError, ClosedError
from workflow_core.model import Event
from workflow_core.ports import EventSender

from workflow_sql.database import Database, Writing
from workflow_sql.events.table import EventTable

__all__ = ["SqlEventSender"]

_LONGEST = timedelta(days=1)  # the lock timeout ends the wait long before


class SqlEventSender(EventSender):
    """Publishes to any topic. Any thread."""

    def __init__(self, database: Database, table: EventTable) -> None:
        self._database = database
        self._table = table
        self._closed = False

    def send(self, event: Event) -> None:
        """As `send_many` of one."""
        [outcome] = self.send_many([event], _LONGEST)
        if outcome is not None:
            raise outcome

    def send_many(
        self, events: Sequence[Event], timeout: timedelta
    ) -> Sequence[AdapterError | None]:
        """One transaction for all; a value that the database cannot take is found by halving."""
        if self._closed:
            raise ClosedError("the event sender was closed", adapter="sql")
        if not events:
            return []
        try:
            self._database.transact(
                "publishing events", lambda writing: self._append(writing, events), timeout=timeout
            )
        except (AdapterUnavailableError, ClosedError):
            raise
        except AdapterError as error:
            if len(events) == 1:
                return [error]
            half = len(events) // 2
            return [
                *self.send_many(events[:half], timeout),
                *self.send_many(events[half:], timeout),
            ]
        return [None] * len(events)

    def _append(self, writing: Writing, events: Sequence[Event]) -> None:
        self._table.append(writing.cursor, events, writing.now)
        writing.wakes = True

    def close(self) -> None:
        """Nothing is on its way."""
        self._closed = True
