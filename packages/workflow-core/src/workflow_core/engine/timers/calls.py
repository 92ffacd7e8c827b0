"""The calls of timers' functions: which are in hand, how long they take, whose turn is far off."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from workflow_core.engine.timers.firing import Firing, Kind
from workflow_core.model import Timeout
from workflow_core.ports import Clock

__all__ = ["Calls"]

_SLOW = 0.005  # seconds after which a sync function is given a thread the next time
_GET_TO_KNOW = 0.02  # seconds that a new sync function is waited for, its thread's start among them
_PACE_WEIGHT = 0.2
_TURN_SOON = 1.0  # seconds that one may wait its turn at the head of all others
_LONGEST_TURN = 30.0


class Calls:
    """Any thread.

    Args:
        clock: for how long they take.
        news: notified when one ends; its lock is the poller's too.
    """

    def __init__(self, clock: Clock, news: threading.Condition) -> None:
        self._clock = clock
        self._news = news
        self._in_hand: dict[str, Firing] = {}
        self._running: Counter[Kind] = Counter()
        self._pace: dict[Kind, float] = {}

    def __len__(self) -> int:
        return len(self._in_hand)

    def __contains__(self, timeout: Timeout) -> bool:
        return timeout.key in self._in_hand

    @property
    def in_hand(self) -> list[Firing]:
        """What has begun and is not committed."""
        with self._news:
            return list(self._in_hand.values())

    # -- begun, ended, committed ---------------------------------------------------------------

    def begin(self, firing: Firing, *, beside: bool = False) -> None:
        """It begins now; `beside` others, or else on the poller's own thread."""
        firing.started_at = self._clock.monotonic()
        with self._news:
            self._in_hand[firing.timeout.key] = firing
            self._running[firing.kind] += beside

    def end(self, firing: Firing, *, beside: bool = False) -> None:
        """It has answered, or failed."""
        kind = firing.kind
        seconds = self._clock.monotonic() - firing.started_at
        with self._news:
            if not firing.is_plan:
                known = self._pace.get(kind, seconds)
                self._pace[kind] = known + _PACE_WEIGHT * (seconds - known)
            self._running[kind] -= beside
            self._news.notify_all()

    def committed(self, firings: Sequence[Firing]) -> None:
        """What they came to is written."""
        with self._news:
            for firing in firings:
                self._in_hand.pop(firing.timeout.key, None)
            self._news.notify_all()

    def wait_empty(self, timeout: timedelta) -> bool:
        """Wait until all that was begun is committed."""
        with self._news:
            return self._news.wait_for(lambda: not self._in_hand, timeout.total_seconds())

    # -- pace and turns ------------------------------------------------------------------------

    def is_slow(self, kind: Kind) -> bool:
        """Whether it takes long, as far as is known: what nobody knows yet may never return."""
        return self._pace.get(kind, math.inf) > _SLOW

    def is_full(self, firing: Firing) -> bool:
        """Whether as many of its kind run beside each other as may."""
        return self._running[firing.kind] >= firing.timers.workflow.concurrency

    def is_new(self, kind: Kind) -> bool:
        """Whether nobody knows how long it takes, nor is about to."""
        return kind not in self._pace and not self._running[kind]

    def get_to_know(self, kind: Kind) -> None:
        """Wait a moment for the first of its kind."""
        with self._news:
            self._news.wait_for(lambda: kind in self._pace, _GET_TO_KNOW)

    def far_off(self, waiting: Sequence[Firing]) -> dict[timedelta, list[Timeout]]:
        """Those that wait for their turn too long, by how long."""
        turns: Counter[Kind] = Counter()
        later: dict[timedelta, list[Timeout]] = {}
        bodies = self._body_seconds() if waiting else {}
        for firing in waiting:
            kind = firing.kind
            turns[kind] += 1
            seconds = turns[kind] * bodies.get(kind, _SLOW) / firing.timers.workflow.concurrency
            if seconds > _TURN_SOON:
                delay = timedelta(seconds=round(min(seconds, _LONGEST_TURN)))
                later.setdefault(delay, []).append(firing.timeout)
        return later

    def _body_seconds(self) -> dict[Kind, float]:
        """How long a call takes, of each function that is being called, as far as is known."""
        now = self._clock.monotonic()
        with self._news:
            seconds: dict[Kind, float] = {}
            for firing in self._in_hand.values():
                kind = firing.kind
                known = seconds.get(kind, max(self._pace.get(kind, 0.0), _SLOW))
                seconds[kind] = max(known, now - firing.started_at)
            return seconds
