"""Arms and cancels timers with the writes that need it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TypeVar

from workflow_core.engine.timers.book import TimerBook, WorkflowTimers
from workflow_core.errors import AdapterUnavailableError
from workflow_core.model import Timeout
from workflow_core.ports import Outcome, RecordStore, StoreTransaction, TimeoutStore, Write

__all__ = ["TimerChanges", "TimerClerk"]

T = TypeVar("T")

logger = logging.getLogger("workflow_core.engine")


class TimerClerk:
    """Knows what writes do to timers. Any thread.

    Args:
        book: the timers that there are.
        timeouts: where they are kept.
        store: where the runs are.
    """

    def __init__(self, book: TimerBook, timeouts: TimeoutStore, store: RecordStore) -> None:
        self._book = book
        self._timeouts = timeouts
        self._store = store
        self._joined: bool | None = None
        self.on_armed: Callable[[timedelta], None] = lambda delay: None
        """Told the shortest delay of what a commit armed."""
        self.on_ended: Callable[[Sequence[str]], None] = lambda run_ids: None
        """Told the runs that ended, whose closed timers need not be remembered any more."""

    @property
    def joined(self) -> bool:
        """Whether timers are written within the record store's transaction."""
        if self._joined is None:
            self._joined = self._timeouts.joins(self._store)
        return self._joined

    def changes(self, writes: Sequence[Write]) -> TimerChanges | None:
        """What these writes do to timers; None: nothing.

        Raises:
            AdapterUnavailableError: nobody knows yet whether the two stores are one.
        """
        if not self._book:
            return None
        known = [self._book.of(write.record.workflow) for write in writes]
        if not any(known):
            return None
        return TimerChanges(self, writes, known)


class TimerChanges:
    """What some writes do to timers. One thread.

    Attributes:
        writes: the writes, whose events say what is armed with them.
        joined: whether `write_within` is to be called in their transaction.
    """

    def __init__(
        self,
        clerk: TimerClerk,
        writes: Sequence[Write],
        known: Sequence[WorkflowTimers | None],
    ) -> None:
        self._clerk = clerk
        self.joined = clerk.joined
        self._known = known
        self._armed: list[list[Timeout]] = []
        self._cancelled: list[list[str]] = []
        self.writes: list[Write] = []
        for write, timers in zip(writes, known, strict=True):
            armed = timers.armed_by(write) if timers is not None and self.joined else []
            self._armed.append(armed)
            self._cancelled.append([] if timers is None else timers.cancelled_by(write.record))
            if armed and timers is not None:
                marked = [row.replace(event=timers.marked(row.event)) for row in write.events]
                write = write.replace(events=marked)
            self.writes.append(write)

    def write_within(self, transaction: StoreTransaction, outcomes: Sequence[Outcome]) -> None:
        """Arm and cancel for those that were stored. Raises what the timeout store does."""
        arm = _of_stored(self._armed, outcomes)
        cancel = _of_stored(self._cancelled, outcomes)
        if arm or cancel:
            self._clerk._timeouts.write_within(transaction, arm=arm, cancel=cancel)

    def committed(self, outcomes: Sequence[Outcome]) -> None:
        """The writes are durable: cancel what could not be cancelled with them, and tell."""
        cancel = _of_stored(self._cancelled, outcomes)
        if cancel and not self.joined:
            try:
                self._clerk._timeouts.cancel_many(cancel)
            except AdapterUnavailableError as error:
                # it finds its run elsewhere when it is due, and is cancelled then
                logger.info("%d timers are cancelled later only: %s", len(cancel), error)
        armed = _of_stored(self._armed, outcomes)
        if armed:
            self._clerk.on_armed(min(timeout.delay for timeout in armed))
        ended = [
            write.record.run_id
            for write, timers, outcome in zip(self.writes, self._known, outcomes, strict=True)
            if outcome is None and timers is not None and write.record.state.is_finished
        ]
        if ended:
            self._clerk.on_ended(ended)


def _of_stored(changes: Sequence[Sequence[T]], outcomes: Sequence[Outcome]) -> list[T]:
    return [
        change
        for some, outcome in zip(changes, outcomes, strict=True)
        if outcome is None
        for change in some
    ]
