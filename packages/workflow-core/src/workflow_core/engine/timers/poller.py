"""The poller: looks for timers that are due, lets them fire, and commits what they answer.

One per process for all its workflows. It sleeps until the next timer is due; one that is armed
earlier in this process wakes it, one that another process armed is seen within a second.

Due timers are taken in batches: their runs are looked up in few questions, their functions called,
and what they answer is committed in few writes. All that is due is called, for at most 50 ms,
before the first answer is judged and committed: a timer is late by the calls before it. Where the
store tells what will be due soon, listing and look-ups are done before its time, and the calls wait
for it; an earlier timer that is armed meanwhile, and what waits to be committed, go first.

Nobody waits for another:

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
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial

from workflow_core.engine.bodies import AsyncBodies
from workflow_core.engine.core import Core
from workflow_core.engine.errands import Errands
from workflow_core.engine.lag import StoreTime
from workflow_core.engine.lookups import look_up
from workflow_core.engine.process import Process
from workflow_core.engine.timers.calls import Calls
from workflow_core.engine.timers.firing import Answer, Firing, Verdict
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
_SOON = 1_000  # timers listed at once that are due soon: no function waits for the list
_PART = 200  # runs looked up at once: the first functions wait for no more than that
_BATCH = 500  # verdicts committed at once
_FRESH = 0.05  # seconds between a run's look-up, or its timer's time, and its function's start
_AHEAD = timedelta(milliseconds=40)  # runs are looked up so long before their timers are due
_PATIENCE = 0.005  # seconds that what has answered waits for the next that is not due yet
_LOOK_ANYWAY = 1.0  # seconds; other processes may have armed an earlier one
_ROOM_AGAIN = 1.0  # seconds after which those at their limit are looked at again
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
        self._calls = Calls(core.clock, self._news)
        # who polls by hand moves the clock by hand, and cannot wait within a poll
        self._ahead = _NOW if core.crew.manual else _AHEAD
        self._look_at = 0.0
        self._first_due = 0.0  # of all, as of the last look
        self._expected = math.inf  # of those armed here since the last look, the first
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
            if at < self._expected:
                self._expected = at
                self._look_at = min(self._look_at, at - self._ahead.total_seconds())
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
        return [firing.told for firing in self._calls.in_hand]

    def wait_empty(self, timeout: timedelta) -> bool:
        """After `close_entrance`: wait until all that was begun is committed."""
        return self._calls.wait_empty(timeout)

    def give_back(self) -> None:
        """What is in hand is due at once again, for others; what it comes to here is void."""
        self._settling.give_back([firing.timeout for firing in self._calls.in_hand])

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
            self._expected = math.inf
        due: timedelta | None = _NOW  # a store that does not answer is asked again
        try:
            due = self._timeouts.next_due(names)
        finally:
            seconds = _LOOK_ANYWAY if due is None else due.total_seconds()
            self._first_due = self._core.clock.monotonic() + seconds
            self._look_again(seconds - self._ahead.total_seconds())
        self._tells_due = self._tells_due or due is not None
        return due <= self._ahead if due is not None else not self._tells_due

    def _look_again(self, seconds: float) -> None:
        at = self._core.clock.monotonic() + max(0.0, min(seconds, _LOOK_ANYWAY))
        with self._news:
            self._look_at = min(self._look_at, at)

    def _look_no_sooner(self, at: float) -> None:
        with self._news:
            if not self._finished:  # who ends makes room, and says so
                self._look_at = min(at, self._expected - self._ahead.total_seconds())

    # -- firing --------------------------------------------------------------------------------

    def _fire(self, names: Sequence[str]) -> bool:
        """Let what is due fire, and what becomes so meanwhile, while their look-ups are fresh.

        Then what was called is committed. Answers whether anything was done.
        """
        until, runs = math.inf, set[str]()
        while self._core.clock.monotonic() <= until:
            due = self._list(names, is_first=not runs)
            heard = self._core.clock.monotonic()
            fresh = first_of_each_run([t for t in due if t not in self._calls], runs)
            if not fresh and not runs:
                return self._has_put_off(due)
            if not fresh:
                break
            until = min(until, self._at(fresh[0], heard) + _FRESH)
            waiting = self._begin_parts(fresh, heard, until)
            if not self._queue(waiting) and len(waiting) == len(fresh) and not runs:
                self._look_no_sooner(self._core.clock.monotonic() + _ROOM_AGAIN)
                return False
            runs.update(timeout.run_id for timeout in fresh)
            if waiting:
                break
        return True

    def _list(self, names: Sequence[str], *, is_first: bool) -> Sequence[Timeout]:
        more = len(self._calls)
        if is_first and self._ahead and self._first_due > self._core.clock.monotonic():
            # twice as far: what is due right behind the first is to be ready too
            return self._timeouts.list_soon(names, within=2 * self._ahead, limit=_SOON + more)
        return self._timeouts.list_valid(names, limit=_LOOK + more)

    def _at(self, timeout: Timeout, heard: float) -> float:
        """When it is due. Of what is listed as due, and by stores that tell of no other, now."""
        return heard + max(_NOW, min(timeout.delay, 2 * self._ahead)).total_seconds()

    def _has_put_off(self, due: Sequence[Timeout]) -> bool:
        """All of these are in hand, and told again and again. Who took our role would call them."""
        self._settling.put_off(due, _STILL_IN_HAND)
        if not due:
            self._look_no_sooner(self._first_due)
        return bool(due)

    def _begin_parts(self, fresh: Sequence[Timeout], heard: float, until: float) -> list[Firing]:
        """Let them fire, part by part, none waiting for a commit; answers who is at its limit."""
        waiting: list[Firing] = []
        ready = deque[Firing]()
        for start in range(0, len(fresh), _PART):
            if self._core.clock.monotonic() > until:
                break  # what is called already is to be committed; the others are due still
            part = fresh[start : start + _PART]
            found = look_up(self._core.store, {t.run_id: t.entered_version for t in part})
            sorted_ = self._sort(part, found, heard)
            self._settling.set_aside(sorted_)
            ready += sorted_.ready
            waiting += self._begin(ready, until)
        while ready and self._comes(ready[0].at):
            waiting += self._begin(ready, until)
        return waiting

    def _comes(self, at: float) -> bool:
        """Wait until then; False: there is something to be done before."""
        with self._news:
            while (rest := at - self._core.clock.monotonic()) > 0:
                is_awaited = self._finished and rest > _PATIENCE
                if self._closing or is_awaited or self._expected < at:
                    return False
                self._news.wait(rest)
        return True

    def _sort(self, fresh: Sequence[Timeout], found: Mapping[str, Record], heard: float) -> Sorted:
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
                firing.at = self._at(timeout, heard)
                sorted_.ready.append(firing)
        return sorted_

    def _begin(self, ready: deque[Firing], until: float) -> list[Firing]:
        """Let those fire that are due; answers those of them whose function is at its limit."""
        waiting: list[Firing] = []
        is_first = True
        while ready and ready[0].at <= (now := self._core.clock.monotonic()):
            if not is_first and now > until:
                ready.clear()  # stale by now: they are looked up again
                break
            firing = ready.popleft()
            is_slow = self._threads is not None and self._calls.is_slow(firing.kind)
            if firing.is_plan or not (firing.is_async or is_slow):
                is_first = False
                self._call(firing)
            elif self._calls.is_full(firing):
                waiting.append(firing)
            elif firing.is_async:
                self._begin_async(firing)
            else:
                self._begin_in_thread(firing)
        return waiting

    def _call(self, firing: Firing) -> None:
        self._begin_one(firing)
        self._calling = firing
        outcome = firing.call()
        self._calling = None
        self._calls.end(firing)
        self._finished.append((firing, outcome))

    def _begin_async(self, firing: Firing) -> None:
        self._begin_one(firing, beside=True)
        body = firing.coroutine()
        if isinstance(body, Verdict):
            self._ended(firing, body)
        else:
            with About(firing.about):
                self._bodies.start(body, partial(self._body_ended, firing))

    def _begin_in_thread(self, firing: Firing) -> None:
        assert self._threads is not None
        is_new = self._calls.is_new(firing.kind)
        self._begin_one(firing, beside=True)
        self._threads.submit(lambda: self._ended(firing, firing.call()))
        if is_new:
            self._calls.get_to_know(firing.kind)

    def _begin_one(self, firing: Firing, *, beside: bool = False) -> None:
        self._calls.begin(firing, beside=beside)
        firing.tell_lateness(self._time)

    def _body_ended(self, firing: Firing, answer: object, error: BaseException | None) -> None:
        if error is not None and self._bodies.is_closed:
            return  # abandoned by a stop: it is due again elsewhere
        self._ended(firing, firing.concluded(answer, error))

    def _ended(self, firing: Firing, outcome: Answer | Verdict) -> None:
        with self._news:
            self._finished.append((firing, outcome))
            self._look_at = 0.0
        self._calls.end(firing, beside=True)

    def _queue(self, waiting: Sequence[Firing]) -> bool:
        """They wait for their turn; those for whom it is far off make room for others."""
        later = self._calls.far_off(waiting)
        for delay, timeouts in later.items():
            self._settling.put_off(timeouts, delay)
        return bool(later)

    # -- committing ----------------------------------------------------------------------------

    def _settle(self) -> None:
        batch = self._take_finished()
        try:
            self._settling.settle(batch)
        except BaseException:
            self._finished.extendleft(reversed(batch))  # the outcomes are kept, not the calls
            raise
        with self._news:
            self._look_at = 0.0
        self._calls.committed([firing for firing, _ in batch])

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
