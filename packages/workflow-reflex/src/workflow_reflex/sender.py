"""Publishing in transactions of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta

from sqlalchemy import Connection
from workflow_core.errors import AdapterError, AdapterUnavailableError, ClosedError
from workflow_core.model import Event
from workflow_core.ports import EventSender

from workflow_reflex.log import Log
from workflow_reflex.wire import encode

__all__ = ["ReflexEventSender", "Rows", "rows_of"]

Rows = list[tuple[str, int, bytes]]

_LONGEST = timedelta(days=1)  # the lock timeout ends the wait long before


class ReflexEventSender(EventSender):
    """Publishes to any topic. Any thread.

    Args:
        log: where, and who is to be woken.
        prepare: what an event is called in the table; see `ReflexEventStreamer`.
    """

    def __init__(self, log: Log, prepare: Callable[[Event], Event]) -> None:
        self._log = log
        self._prepare = prepare
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
            raise ClosedError("the event sender was closed", adapter="reflex")
        if not events:
            return []
        try:
            rows = rows_of(map(self._prepare, events))
            self._log.database.transact(
                "publishing events",
                lambda connection: self._append(connection, rows),
                patience=timeout,
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
        self._log.wake()
        return [None] * len(events)

    def _append(self, connection: Connection, rows: Rows) -> None:
        database = self._log.database
        database.ways.append(connection, database.tables, rows, database.stamp())

    def close(self) -> None:
        """Nothing is on its way."""
        self._closed = True


def rows_of(events: Iterable[Event]) -> Rows:
    """The rows for these events.

    Raises:
        AdapterError: one of them can never be a row.
    """
    try:
        return [encode(event) for event in events]
    except ValueError as error:  # Unicode's among them
        raise AdapterError.of("reflex", error, doing="writing an event as a row") from error
