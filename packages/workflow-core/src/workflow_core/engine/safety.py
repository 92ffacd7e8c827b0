"""Safety for steps that take long.

A body that has been running for half a minute gets a durable copy of its event in the outbox, due
only when nobody renews it any more; what was delivered is acked, so that no cursor stands still
behind it. If this process dies the copy comes due and the step runs elsewhere; it is suspect then.
The same round tells long-running steps that their run was cancelled or moved on. What exceeds its
step's timeout is given up (`deadlines`).
"""

from __future__ import annotations

import threading
from datetime import timedelta

from workflow_core.engine.bodies import AsyncBodies
from workflow_core.engine.deadlines import Deadlines
from workflow_core.engine.journal import Journal
from workflow_core.engine.lookups import look_up
from workflow_core.engine.process import Process
from workflow_core.engine.suspicion import suspected
from workflow_core.engine.transition import Identity, file_again
from workflow_core.engine.window import Window
from workflow_core.ports import Clock, RecordStore

__all__ = ["Safety"]

_ROUND = 1.0  # seconds between two rounds
_COPY_AFTER = 30.0  # seconds in hand
_COPY_DUE = timedelta(seconds=60)  # after the last renewal
_RENEW_EACH = 20.0  # seconds
_BATCH = 500


class Safety(Process):
    """One per process."""

    name = "safety"
    upkeep = True

    def __init__(
        self,
        window: Window,
        store: RecordStore,
        journal: Journal,
        bodies: AsyncBodies,
        identity: Identity,
        clock: Clock,
    ) -> None:
        self._window = window
        self._store = store
        self._journal = journal
        self._bodies = bodies
        self._identity = identity
        self._clock = clock
        self._next_round = clock.monotonic() + _ROUND
        self._renewed_at = clock.monotonic()
        self._ended = threading.Event()
        self._deadlines = Deadlines(window, clock, bodies)

    def poll(self, wait: timedelta) -> bool:
        """One round, when its time has come."""
        if self._deadlines.give_up_overdue():
            return True
        rest = self._next_round - self._clock.monotonic()
        if rest > 0:
            self._ended.wait(min(rest, wait.total_seconds(), self._deadlines.rest()))
            return False
        self._next_round = self._clock.monotonic() + _ROUND
        self._bodies.watch()
        self._window.ease()
        self._look_for_cancelled()
        self._renew_copies()
        return self._make_copies()

    def next_due(self) -> timedelta | None:
        """The next round, while anything runs."""
        if not self._window.executing(0):
            return None
        rest = min(self._next_round - self._clock.monotonic(), self._deadlines.rest())
        return timedelta(seconds=max(0.0, rest))

    def wake(self) -> None:
        """End a wait for good: only a stop does."""
        self._ended.set()

    def _look_for_cancelled(self) -> None:
        items = self._window.executing(_ROUND)
        for start in range(0, len(items), _BATCH):
            part = items[start : start + _BATCH]
            found = look_up(self._store, {i.event.run_id: i.event.version for i in part})
            for item in part:
                record = found.get(item.event.run_id)
                item.moved_on = record is None or record.version > item.event.version

    def _renew_copies(self) -> None:
        now = self._clock.monotonic()
        if now - self._renewed_at < _RENEW_EACH:
            return
        copies = [item.safety_copy for item in self._window.executing(0) if item.safety_copy]
        for start in range(0, len(copies), _BATCH):
            self._store.delay_outbox_events(copies[start : start + _BATCH], _COPY_DUE)
        self._renewed_at = now  # not before: what failed is renewed at the next round

    def _make_copies(self) -> bool:
        long = self._window.executing(_COPY_AFTER)
        items = [item for item in long if not item.safety_copy]
        for start in range(0, len(items), _BATCH):
            part = items[start : start + _BATCH]
            copies = [file_again(suspected(i.event), self._identity, delay=_COPY_DUE) for i in part]
            self._journal.file(copies)
            for item, copy in zip(part, copies, strict=True):
                item.safety_copy = copy.id
        for item in long:
            self._window.let_ack(item)  # and what was delivered again since the last round
        return bool(items)
