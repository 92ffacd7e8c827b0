"""The poller: looks for timers that are due, lets them fire, and commits what they answer.

One per process for all its workflows. It sleeps until the next timer is due; one that is armed
earlier in this process wakes it, one that another process armed is seen within a second.

Due timers are taken in batches: their runs are looked up in few questions, their functions called,
and what they answer is committed in few writes. All that is due is called, for at most 50 ms,
before the first answer is judged and committed: a timer is late by the calls before it. Nobody
waits for another:

- Async functions run side by side, up to the workflow's concurrency for each timer.
- So do sync ones that take long, in threads; quick ones run here, one after the other, as many as
  begin within 50 ms of their look-up. What is new runs in a thread and is waited for a moment.
- What waits its turn behind slow ones for longer than a second is due again about when it is its
  turn, and does not stand in front of those that could fire.
- A paused run's timers are parked until the resume; a failed one is due after its back-off.

Firing twice is harmless: when a role moves while a function runs, both may call it, and one of them
loses the compare-and-swap. A timer whose run has left its stay is cancelled when due at the latest.
"""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial

from workflow_core.engine.bodies import AsyncBodies
from workflow_core.engine.core import Core
from workflow_core.engine.errands import Errands
from workflow_core.engine.lag import StoreTime
from workflow_core.engine.lookups import look_up
from workflow_core.engine.process import Process
from workflow_core.engine.timers.firing import Answer, Firing, Kind, Verdict
from workflow_core.engine.timers.served import Served
from workflow_core.engine.timers.settling import (
    Settling,
    Sorted,
    first_of_each_run,
    is_of_stay,
)
from workflow_core.logs import About
from workflow_core.model import Record, RunState, Timeout
from workflow_core.ports import TimeoutStore

__all__ = ["TimerPoller"]

_LOOK = 600  # due timers listed at once
_PART = 200  # runs looked up at once: the first functions wait for no more than that
_BATCH = 500  # verdicts committed at once
_FRESH = 0.05  # seconds between a run's look-up and its function's start
_SLOW = 0.005  # seconds after which a sync function is given a thread the next time
_GET_TO_KNOW = 0.02  # seconds that a new sync function is waited for, its thread's start among them
_PACE_WEIGHT = 0.2
_LOOK_ANYWAY = 1.0  # seconds; other processes may have armed an earlier one
_TURN_SOON = 1.0  # seconds that one may wait its turn at the head of all others
_LONGEST_TURN = 30.0
_STILL_IN_HAND = timedelta(seconds=30)
_NOW = timedelta(0)


class TimerPoller(Process):
    """See the module's text.

    Args:
        core: the engine's.
        timeouts: where timers are kept.
        served: the workflows by name.
        bodies: where async functions run.
    """

    name = "timers"

    def __init__(
        self,
        core: Core,
        timeouts: TimeoutStore,
        served: Mapping[str, Served],
        bodies: AsyncBodies,
    ) -> None:
        self._core = core
        self._timeouts = timeouts
        self._served = served
        self._bodies = bodies
        self._threads = None if core.crew.manual else Errands(threads=core.settings.max_threads)
        self._settling = Settling(core, timeouts)
        self._time = StoreTime(core.store, core.clock)
        self._news = threading.Condition()
        self._look_at = 0.0
        self._in_hand: dict[str, Firing] = {}
        self._running: Counter[Kind] = Counter()
        self._pace: dict[Kind, float] = {}
        self._finished: deque[tuple[Firing, Answer | Verdict]] = deque()
        self._closing = False
        self._calling: Firing | None = None
        self._tells_due = False  # whether the store has ever told what is due next

    # -- the process ---------------------------------------------------------------------------

    @property
    def doing(self) -> str:
        """The timer whose function is called on this very thread."""
        firing = self._calling
        return "" if firing is None else firing.told

    def poll(self, wait: timedelta) -> bool:
        """Commit what has ended, or let one batch fire; waits until there may be something."""
        if self._finished:
            self._settle()
            return True
        names = [] if self._closing else [n for n, s in self._served.items() if s.gate.is_open]
        if names and self._is_due(names) and self._fire(names):
            if self._finished:
                self._settle()
            return True
        if self._settling.tidy():
            return True
        self._wait(wait, bool(names))
        return False

    def next_due(self) -> timedelta | None:
        """When the next timer of ours is due, or what waits its turn is looked at again."""
        names = [name for name, served in self._served.items() if served.gate.is_open]
        if not names or self._closing:
            return None
        due = self._timeouts.next_due(names)
        if due is None:
            return None
        return max(due, timedelta(seconds=self._look_at - self._core.clock.monotonic()))

    def wake(self) -> None:
        """End a wait. Any thread."""
        with self._news:
            self._news.notify_all()

    def expect(self, delay: timedelta) -> None:
        """A timer that was armed here is due after `delay`. Any thread."""
        at = self._core.clock.monotonic() + delay.total_seconds()
        with self._news:
            if at < self._look_at:
                self._look_at = at
                self._news.notify_all()

    def ended(self, run_ids: Sequence[str]) -> None:
        """These runs have ended: nothing of them need be remembered. Any thread."""
        self._settling.ended(run_ids)

    # -- stop ----------------------------------------------------------------------------------

    def close_entrance(self) -> None:
        """Let nothing more fire."""
        with self._news:
            self._closing = True
            self._news.notify_all()

    def in_hand(self) -> list[str]:
        """What has begun and is not committed, by name."""
        with self._news:
            return [firing.told for firing in self._in_hand.values()]

    def wait_empty(self, timeout: timedelta) -> bool:
        """After `close_entrance`: wait until all that was begun is committed."""
        with self._news:
            return self._news.wait_for(lambda: not self._in_hand, timeout.total_seconds())

    def give_back(self) -> None:
        """What is in hand is due at once again, for others."""
        with self._news:
            timeouts = [firing.timeout for firing in self._in_hand.values()]
        self._settling.put_off(timeouts, _NOW)

    # -- looking -------------------------------------------------------------------------------

    def _wait(self, wait: timedelta, is_looking: bool) -> None:
        if not wait:
            return
        with self._news:
            until = self._look_at if is_looking else math.inf
            rest = until - self._core.clock.monotonic()
            if rest > 0 and not self._finished:
                self._news.wait(min(wait.total_seconds(), rest))

    def _is_due(self, names: Sequence[str]) -> bool:
        """Whether it is worth asking for what is due; asks what is due next, if it is time."""
        if self._core.clock.monotonic() < self._look_at:
            return False
        with self._news:
            self._look_at = math.inf  # what is expected while we ask must not be overwritten
        due: timedelta | None = _NOW  # a store that does not answer is asked again
        try:
            due = self._timeouts.next_due(names)
        finally:
            self._look_again(_LOOK_ANYWAY if due is None else due.total_seconds())
        self._tells_due = self._tells_due or due is not None
        return due <= _NOW if due is not None else not self._tells_due

    def _look_again(self, seconds: float) -> None:
        at = self._core.clock.monotonic() + max(0.0, min(seconds, _LOOK_ANYWAY))
        with self._news:
            self._look_at = min(self._look_at, at)

    # -- firing --------------------------------------------------------------------------------

    def _fire(self, names: Sequence[str]) -> bool:
        """Let what is due fire, and what becomes due meanwhile; answers whether anything was done.

        That is for as long as their runs' look-ups are fresh: then what was called is committed.
        """
        until = math.inf
        runs: set[str] = set()
        while self._core.clock.monotonic() <= until:
            due = self._timeouts.list_valid(names, limit=_LOOK + len(self._in_hand))
            fresh = first_of_each_run([t for t in due if t.key not in self._in_hand], runs)
            if not fresh and not runs:
                # Else we would be told again and again that they are due; and who takes our role
                # over while a long function runs would call it once more.
                self._settling.put_off(due, _STILL_IN_HAND)
                return bool(due)
            if not fresh:
                break
            until = min(until, self._core.clock.monotonic() + _FRESH)
            waiting = self._begin_parts(fresh, until)
            if not self._queue(waiting) and len(waiting) == len(fresh) and not runs:
                self._wait_for_room()
                return False
            runs.update(timeout.run_id for timeout in fresh)
            if waiting:
                break
        return True

    def _wait_for_room(self) -> None:
        with self._news:
            if not self._finished:  # who ends makes room, and says so
                self._look_at = self._core.clock.monotonic() + _TURN_SOON

    def _begin_parts(self, fresh: Sequence[Timeout], until: float) -> list[Firing]:
        """Let them fire, part by part, none waiting for a commit; answers who is at its limit."""
        waiting: list[Firing] = []
        for start in range(0, len(fresh), _PART):
            if self._core.clock.monotonic() > until:
                break  # what is called already is to be committed; the others are due still
            part = fresh[start : start + _PART]
            found = look_up(self._core.store, {t.run_id: t.entered_version for t in part})
            sorted_ = self._sort(part, found)
            self._settling.set_aside(sorted_)
            waiting += self._begin(sorted_.ready, until)
        return waiting

    def _sort(self, fresh: Sequence[Timeout], found: Mapping[str, Record]) -> Sorted:
        sorted_ = Sorted()
        for timeout in fresh:
            record = found.get(timeout.run_id)
            served = self._served[timeout.workflow]
            step = served.timers.step(timeout)
            if record is None or not is_of_stay(timeout, record):
                sorted_.gone.append(timeout)
                if record is None or record.state.is_finished:
                    sorted_.ended.append(timeout.run_id)
            elif record.state is RunState.PAUSED:
                sorted_.paused.append(timeout)
            elif step is None:
                sorted_.unknown.append(timeout)
            else:
                firing = Firing(timeout, step, record, served.timers, served.transition, self._core)
                sorted_.ready.append(firing)
        return sorted_

    def _begin(self, ready: Sequence[Firing], until: float) -> list[Firing]:
        """Let them fire; answers those whose function is at its limit."""
        waiting: list[Firing] = []
        for number, firing in enumerate(ready):
            kind = firing.kind
            # What nobody knows yet may never return: only what is known to be quick runs here.
            is_slow = self._threads is not None and self._pace.get(kind, math.inf) > _SLOW
            if firing.is_plan or not (firing.is_async or is_slow):
                if number and self._core.clock.monotonic() > until:
                    break  # stale by now: they are looked up again
                self._start(firing)
                self._calling = firing
                self._finish(firing, firing.call())
                self._calling = None
            elif self._running[kind] >= firing.timers.workflow.concurrency:
                waiting.append(firing)
            elif firing.is_async:
                self._begin_async(firing)
            else:
                self._begin_in_thread(firing)
        return waiting

    def _begin_async(self, firing: Firing) -> None:
        self._start(firing, counted=True)
        body = firing.coroutine()
        if isinstance(body, Verdict):
            self._ended(firing, body)
        else:
            with About(firing.about):
                self._bodies.start(body, partial(self._body_ended, firing))

    def _begin_in_thread(self, firing: Firing) -> None:
        assert self._threads is not None
        kind = firing.kind
        is_first = kind not in self._pace and not self._running[kind]
        self._start(firing, counted=True)
        self._threads.submit(lambda: self._ended(firing, firing.call()))
        if is_first:
            with self._news:
                self._news.wait_for(lambda: kind in self._pace, _GET_TO_KNOW)

    def _body_ended(self, firing: Firing, answer: object, error: BaseException | None) -> None:
        if error is not None and self._bodies.is_closed:
            return  # abandoned by a stop: it is due again elsewhere
        self._ended(firing, firing.concluded(answer, error))

    def _start(self, firing: Firing, *, counted: bool = False) -> None:
        firing.started_at = self._core.clock.monotonic()
        firing.tell_lateness(self._time)
        with self._news:
            self._in_hand[firing.timeout.key] = firing
            self._running[firing.kind] += counted

    def _ended(self, firing: Firing, outcome: Answer | Verdict) -> None:
        self._finish(firing, outcome)
        with self._news:
            self._running[firing.kind] -= 1
            self._look_at = 0.0
            self._news.notify_all()

    def _finish(self, firing: Firing, outcome: Answer | Verdict) -> None:
        kind = firing.kind
        seconds = self._core.clock.monotonic() - firing.started_at
        with self._news:
            if not firing.is_plan:
                known = self._pace.get(kind, seconds)
                self._pace[kind] = known + _PACE_WEIGHT * (seconds - known)
            self._finished.append((firing, outcome))

    def _queue(self, waiting: Sequence[Firing]) -> bool:
        """They wait for their turn; those for whom it is far off make room for others."""
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
        for delay, timeouts in later.items():
            self._settling.put_off(timeouts, delay)
        return bool(later)

    def _body_seconds(self) -> dict[Kind, float]:
        """How long a call takes, of each function that is being called, as far as is known."""
        now = self._core.clock.monotonic()
        with self._news:
            seconds: dict[Kind, float] = {}
            for firing in self._in_hand.values():
                kind = firing.kind
                known = seconds.get(kind, max(self._pace.get(kind, 0.0), _SLOW))
                seconds[kind] = max(known, now - firing.started_at)
            return seconds

    # -- committing ----------------------------------------------------------------------------

    def _settle(self) -> None:
        batch = self._take_finished()
        try:
            self._settling.settle(batch)
        except BaseException:
            self._finished.extendleft(reversed(batch))  # the outcomes are kept, not the calls
            raise
        with self._news:
            for firing, _ in batch:
                self._in_hand.pop(firing.timeout.key, None)
            self._look_at = 0.0
            self._news.notify_all()

    def _take_finished(self) -> list[tuple[Firing, Verdict]]:
        """Of each run one; another timer of it comes with the next batch, and finds it gone on."""
        batch: list[tuple[Firing, Verdict]] = []
        runs: set[str] = set()
        while self._finished and len(batch) < _BATCH:
            run_id = self._finished[0][0].record.run_id
            if run_id in runs:
                break
            runs.add(run_id)
            firing, outcome = self._finished.popleft()
            if isinstance(outcome, Answer):
                outcome = firing.concluded(outcome.value, None)
            batch.append((firing, outcome))
        return batch
