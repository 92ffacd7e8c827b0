"""Lag: how old events are when their step takes them up, and who is told when that is too old."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from datetime import datetime, timedelta

from workflow_core.definition import Step
from workflow_core.engine.lane import Lane
from workflow_core.model import UNSTAMPED, Event, LagSeen
from workflow_core.ports import Clock, RecordStore

__all__ = ["LagWatch", "StoreTime"]

logger = logging.getLogger("workflow_core.engine")

_REFRESH = 60.0  # seconds after which the store is asked for its time again
_WARN_EACH = 60.0  # seconds between two warnings about one step


class StoreTime:
    """The store's present without asking it each time: its distance from our monotonic clock.

    It may be behind by as long as the store took to answer, and is never ahead.
    """

    def __init__(self, store: RecordStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._read: tuple[datetime, float] | None = None

    def now(self) -> datetime:
        """About the store's present. Raises AdapterUnavailableError when it must be asked."""
        monotonic = self._clock.monotonic()
        if self._read is None or monotonic - self._read[1] > _REFRESH:
            return self.ask()
        at, since = self._read
        return at + timedelta(seconds=monotonic - since)

    def ask(self) -> datetime:
        """The store's present. Raises AdapterUnavailableError."""
        at = self._store.now()
        self._read = (at, self._clock.monotonic())
        return at


class LagWatch:
    """Keeps the newest lag of each step, and warns when it passes the step's alert. Any thread."""

    def __init__(self, time: StoreTime, clock: Clock) -> None:
        self._time = time
        self._clock = clock
        self._lags: dict[tuple[str, int], timedelta] = {}
        self._warned: dict[tuple[str, int], float] = {}
        self._lock = threading.Lock()

    def observe(self, lane: Lane, step: Step, events: Sequence[Event]) -> None:
        """These are taken up now."""
        oldest = min((e.created_at for e in events if e.created_at != UNSTAMPED), default=None)
        if oldest is None:
            return
        key = (lane.workflow.name, step.status)
        lag = max(timedelta(0), self._time.now() - oldest)
        if lane.observers is not None:
            lane.observers.tell(
                LagSeen(
                    workflow=lane.workflow.name,
                    process=lane.process_of(step),
                    seconds=lag.total_seconds(),
                    is_over=lag > step.lag + step.lag_alert,
                )
            )
        with self._lock:
            self._lags[key] = lag
            if lag <= step.lag + step.lag_alert:
                self._warned.pop(key, None)
                return
            now = self._clock.monotonic()
            if now - self._warned.get(key, -_WARN_EACH) < _WARN_EACH:
                return
            self._warned[key] = now
        logger.warning(
            "workflow %r, step %s: events are taken up %s late, more than the alert of %s",
            lane.workflow.name,
            step.name,
            lag,
            step.lag + step.lag_alert,
            extra={
                "workflow": lane.workflow.name,
                "status": lane.workflow.status(step.status).name,
            },
        )

    def lags(self) -> dict[tuple[str, int], timedelta]:
        """(workflow, status) → the age of the oldest event taken up last."""
        with self._lock:
            return dict(self._lags)

    def alerts(self) -> frozenset[tuple[str, int]]:
        """The (workflow, status) that are over their alert."""
        with self._lock:
            return frozenset(self._warned)
