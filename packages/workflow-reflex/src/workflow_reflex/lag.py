"""How far a consumer is behind."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from workflow_reflex.log import Log
from workflow_reflex.names import Lane, part_of
from workflow_reflex.wire import decode, utc

__all__ = ["oldest_waiting"]

_SPANS = 100  # some hundred thousand rows of others


def oldest_waiting(log: Log, done_to: Mapping[Lane, int]) -> timedelta | None:
    """The age of the oldest event beyond these cursors.

    Zero: there is none. None: not found within what can be looked through.

    Raises:
        AdapterUnavailableError: no answer.
    """
    position = min(done_to.values())
    for _ in range(_SPANS):
        entries, reached = log.read(position, look=True)
        if reached <= position:
            return timedelta(0)
        for entry in entries:
            event = decode(entry)
            if event is None:
                continue
            done = done_to.get((event.topic, part_of(event.run_id)))
            if done is not None and entry.id > done:
                return max(log.database.now() - utc(entry.at), timedelta(0))
        position = reached
    return None
