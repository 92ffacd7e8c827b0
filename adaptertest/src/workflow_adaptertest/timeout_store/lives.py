"""The life of a timer: armed, parked, rescheduled, closed, remembered, forgotten."""

from __future__ import annotations

from datetime import timedelta

from workflow_core.errors import InputError
from workflow_core.model import Timeout
from workflow_core.ports import TimeoutStore

from workflow_adaptertest.env import Env
from workflow_adaptertest.samples import ORDERS, Samples, refuses
from workflow_adaptertest.timeout_store.base import (
    ZERO,
    TimeoutStoreCases,
    due_keys,
    list_all,
    open_keys,
)

__all__ = ["LifeCases"]

_ROUNDING = timedelta(milliseconds=1)


class LifeCases(TimeoutStoreCases):
    """One timer at a time."""

    def test_timer_is_due_when_its_delay_has_passed(
        self, timers: TimeoutStore, other: TimeoutStore, make: Samples, env: Env
    ) -> None:
        timeout = make.timeout(delay=3 * env.tick)
        timers.create(timeout)
        assert due_keys(other) == [], "it fires early"
        env.advance(2.5)
        assert due_keys(other) == [], "it fires early: its delay is three ticks"
        env.advance(0.5)
        assert due_keys(other) == [timeout.key]
        assert due_keys(timers) == [timeout.key], "listing takes nothing away"

    def test_timer_is_due_at_once_when_it_has_no_delay(
        self, timers: TimeoutStore, make: Samples
    ) -> None:
        timeout = make.timeout()
        timers.create(timeout)
        assert due_keys(timers) == [timeout.key]

    def test_timer_comes_out_as_it_went_in_when_listed(
        self, timers: TimeoutStore, make: Samples, env: Env
    ) -> None:
        run_id = make.id()
        timeout = make.timeout(
            key=f"{run_id}/12/ждать 🕰 ",
            run_id=run_id,
            status=2_147_483_647,
            entered_version=12,
            name="ждать 🕰 ",
            delay=env.tick,
        )
        timers.create(timeout)
        env.advance(1)
        (due,) = timers.list_valid([ORDERS], limit=10)
        (listed,) = list_all(timers)
        assert due == listed
        assert _identity(due) == _identity(timeout)
        assert (due.attempts, due.error, due.parked) == (0, "", False)
        if env.clock is not None:
            off = env.clock.now() - due.due_at
            assert abs(off) <= _ROUNDING, f"due_at is off by {off}"
        assert due.due_at.utcoffset() == ZERO, "times are aware and UTC"

    def test_create_changes_nothing_when_the_key_is_armed(
        self, timers: TimeoutStore, other: TimeoutStore, make: Samples, env: Env
    ) -> None:
        timeout = make.timeout(delay=2 * env.tick)
        timers.create(timeout)
        armed = list_all(timers)
        other.create(timeout.replace(delay=ZERO))
        other.create(timeout.replace(delay=9 * env.tick))
        assert list_all(timers) == armed, "the same key again changes nothing"
        assert due_keys(timers) == []
        env.advance(2)
        assert due_keys(timers) == [timeout.key]

    # -- closing -------------------------------------------------------------------------------

    def test_complete_is_true_once_when_called_again(
        self, timers: TimeoutStore, other: TimeoutStore, make: Samples
    ) -> None:
        timeout, neighbour = make.timeout(), make.timeout()
        timers.create_many([timeout, neighbour])
        assert timers.complete(timeout.key) is True
        assert other.complete(timeout.key) is False, "only one caller closed it"
        assert timers.cancel(timeout.key) is False, "it is closed already"
        assert due_keys(timers) == [neighbour.key]
        assert open_keys(other) == [neighbour.key]

    def test_cancel_is_true_once_when_called_again(
        self, timers: TimeoutStore, other: TimeoutStore, make: Samples, env: Env
    ) -> None:
        timeout, neighbour = make.timeout(delay=env.tick), make.timeout(delay=env.tick)
        timers.create_many([timeout, neighbour])
        assert other.cancel(timeout.key) is True, "a timer is cancelled before it is due"
        assert timers.cancel(timeout.key) is False, "only one caller closed it"
        assert timers.complete(timeout.key) is False, "it is closed already"
        env.advance(1)
        assert due_keys(timers) == [neighbour.key]
        assert open_keys(timers) == [neighbour.key]

    def test_closing_is_false_when_the_key_is_unknown(
        self, timers: TimeoutStore, make: Samples
    ) -> None:
        unknown = make.timeout()
        assert timers.complete(unknown.key) is False
        assert timers.cancel(unknown.key) is False
        timers.create(unknown)
        assert due_keys(timers) == [unknown.key], "a key that was never armed is not closed"

    def test_closed_key_is_not_armed_when_it_is_created_late(
        self, timers: TimeoutStore, other: TimeoutStore, make: Samples, env: Env
    ) -> None:
        fired, cancelled = make.timeout(), make.timeout()
        timers.create_many([fired, cancelled])
        timers.complete(fired.key)
        timers.cancel(cancelled.key)
        other.create_many([fired, cancelled])
        other.create(fired.replace(delay=env.tick))
        assert open_keys(timers) == [], "a closed key is remembered: a late create does not arm it"
        env.advance(1)
        assert due_keys(timers) == [], "the timer would fire a second time"

    # -- parking -------------------------------------------------------------------------------

    def test_parked_timer_is_hidden_when_it_is_due(
        self, timers: TimeoutStore, other: TimeoutStore, make: Samples, env: Env
    ) -> None:
        due, later = make.timeout(), make.timeout(delay=env.tick)
        timers.create_many([due, later])
        for key in (due.key, later.key, due.key):
            timers.park(key)
        env.advance(1)
        assert due_keys(other) == [], "its run is paused"
        assert [timeout.parked for timeout in list_all(other)] == [True, True], "open, and parked"

    def test_parked_timer_keeps_its_time_when_it_is_created_again(
        self, timers: TimeoutStore, other: TimeoutStore, make: Samples, env: Env
    ) -> None:
        due, later = make.timeout(), make.timeout(delay=3 * env.tick)
        timers.create_many([due, later])
        before = {timeout.key: timeout.due_at for timeout in list_all(timers)}
        for key in (due.key, later.key):
            timers.park(key)
        env.advance(1)
        other.create(due.replace(delay=env.tick))
        other.create(later.replace(delay=9 * env.tick))
        assert {timeout.key: timeout.due_at for timeout in list_all(timers)} == before
        assert not any(timeout.parked for timeout in list_all(timers))
        assert due_keys(timers) == [due.key], "due again, at the time it had"
        env.advance(2)
        assert due_keys(timers) == [due.key, later.key]

    def test_parked_timer_is_closed_when_asked(self, timers: TimeoutStore, make: Samples) -> None:
        fired, cancelled = make.timeout(), make.timeout()
        timers.create_many([fired, cancelled])
        for timeout in (fired, cancelled):
            timers.park(timeout.key)
        assert timers.complete(fired.key) is True
        assert timers.cancel(cancelled.key) is True
        timers.create_many([fired, cancelled])
        assert open_keys(timers) == []

    def test_park_does_nothing_when_the_key_is_closed_or_unknown(
        self, timers: TimeoutStore, make: Samples
    ) -> None:
        closed, unknown = make.timeout(), make.timeout()
        timers.create(closed)
        timers.complete(closed.key)
        for key in (closed.key, unknown.key):
            timers.park(key)
        assert open_keys(timers) == []
        timers.create_many([closed, unknown])
        assert due_keys(timers) == [unknown.key]

    # -- failing -------------------------------------------------------------------------------

    def test_rescheduled_timer_is_due_later_when_it_failed(
        self, timers: TimeoutStore, other: TimeoutStore, make: Samples, env: Env
    ) -> None:
        timeout = make.timeout()
        timers.create(timeout)
        error = "TimeoutError: zu spät ⌛"
        timers.reschedule(timeout.key, 2 * env.tick, attempts=3, error=error)
        (listed,) = list_all(other)
        assert (listed.attempts, listed.error) == (3, error)
        assert due_keys(other) == [], "due again only after the delay, which counts from now"
        env.advance(1)
        assert due_keys(other) == []
        env.advance(1)
        (due,) = timers.list_valid([ORDERS], limit=10)
        assert (due.key, due.attempts, due.error) == (timeout.key, 3, error)

    def test_rescheduled_timer_is_due_earlier_when_the_delay_is_shorter(
        self, timers: TimeoutStore, make: Samples, env: Env
    ) -> None:
        timeout = make.timeout(delay=9 * env.tick)
        timers.create(timeout)
        timers.reschedule(timeout.key, ZERO, attempts=1, error="")
        assert due_keys(timers) == [timeout.key]

    def test_repeats_are_counted_and_never_fall_when_a_late_call_knows_fewer(
        self, timers: TimeoutStore, other: TimeoutStore, make: Samples, env: Env
    ) -> None:
        timeout, neighbour = make.timeout(), make.timeout()
        timers.create_many([timeout, neighbour])
        timers.reschedule_many([timeout.replace(repeat=1), neighbour])
        timers.reschedule(timeout.key, ZERO, attempts=0, error="", repeat=2)
        assert _repeats(other) == {timeout.key: 2, neighbour.key: 0}
        frozen = timeout.replace(repeat=1, attempts=4, error="late")
        timers.reschedule_many([frozen])
        timers.reschedule(neighbour.key, ZERO, attempts=1, error="no")
        assert _repeats(other) == {timeout.key: 2, neighbour.key: 0}, "a number is given twice"
        assert {each.attempts for each in list_all(other)} == {4, 1}, "all else is as it says"
        timers.park(timeout.key)
        timers.create(timeout)
        (first, _) = sorted(timers.list_valid([ORDERS], limit=10), key=lambda t: -t.repeat)
        assert (first.key, first.repeat) == (timeout.key, 2), "parking begins no new count"
        moved = make.timeout(repeat=7)
        timers.create(moved)
        assert _repeats(other)[moved.key] == 7, "a timer that comes from another store"

    def test_reschedule_does_nothing_when_the_key_is_closed_or_unknown(
        self, timers: TimeoutStore, make: Samples
    ) -> None:
        closed, unknown = make.timeout(), make.timeout()
        timers.create(closed)
        timers.cancel(closed.key)
        for key in (closed.key, unknown.key):
            timers.reschedule(key, ZERO, attempts=1, error="late")
        assert open_keys(timers) == []
        timers.create_many([closed, unknown])
        assert due_keys(timers) == [unknown.key], "the closed key is still remembered"

    # -- forgetting ----------------------------------------------------------------------------

    def test_forget_drops_the_run_alone_when_others_look_like_it(
        self, timers: TimeoutStore, make: Samples
    ) -> None:
        ids = ["run-1", "run-10", "Run-1", "run-1 "]
        timeouts = [make.timeout(run_id=run_id, key=f"{run_id}/1/wait") for run_id in ids]
        second = make.timeout(run_id="run-1", key="run-1/2/wait")
        timers.create_many([*timeouts, second])
        timers.complete(timeouts[1].key)
        timers.park(second.key)
        mine = [timeout.key for timeout in timers.of_run(ORDERS, "run-1")]
        assert sorted(mine) == [timeouts[0].key, second.key], "of this run, parked ones too"
        assert list(timers.of_run(ORDERS, "run-10")) == [], "its timer is closed"
        assert list(timers.of_run("refunds", "run-1")) == []
        for _ in range(2):
            timers.forget(["run-1", "unknown"])
        timers.forget([])
        left = set(open_keys(timers))
        spared = {timeouts[2].key, timeouts[3].key}
        assert spared <= left, "timers of other runs are gone"
        timers.create(timeouts[1])
        assert timeouts[1].key not in open_keys(timers), "another run's closed key was forgotten"
        if type(timers).forget is not TimeoutStore.forget:
            assert left == spared, "these runs have ended: their open timers are dropped"
            assert set(due_keys(timers)) == spared

    def test_runs_with_closed_timers_are_told_once_when_the_store_tells_them(
        self, timers: TimeoutStore, other: TimeoutStore, make: Samples
    ) -> None:
        if type(timers).closed_runs is TimeoutStore.closed_runs:
            assert list(timers.closed_runs(ORDERS).items) == [], "its memory ends by itself"
            return
        run_ids = [f"run-{number}" for number in range(9)]
        crowd = [make.timeout(run_id=run_id) for run_id in run_ids for _ in range(3)]
        stranger = make.timeout(workflow="refunds")
        timers.create_many([*crowd, make.timeout(), stranger])
        closed = [timeout for timeout in crowd if timeout.run_id > "run-3"]
        timers.complete_many([timeout.key for timeout in closed[1:]])
        timers.cancel(stranger.key)
        for limit in (1, 2, 4, 5, 100):
            told = _closed_runs(other, limit)
            assert sorted(told) == run_ids[4:], f"pages of {limit}: each run once"
        timers.forget(["run-5"])
        assert "run-5" not in _closed_runs(other, 3)
        for after in ("nonsense", "\0"):
            with refuses(InputError, f"after={after!r} was made by no page of this store"):
                timers.closed_runs(ORDERS, after=after)

    def test_closed_timers_of_runs_are_told_when_the_store_keeps_them(
        self, timers: TimeoutStore, other: TimeoutStore, make: Samples
    ) -> None:
        crowd = [make.timeout(run_id=f"run-{number % 3}") for number in range(6)]
        stranger = make.timeout(run_id="run-9", workflow="refunds")
        timers.create_many([*crowd, stranger])
        timers.complete_many([timeout.key for timeout in (*crowd[:2], stranger)])
        timers.cancel(crowd[2].key)
        told = other.closed_keys(["run-0", "run-1", "run-10"])
        if type(timers).closed_keys is TimeoutStore.closed_keys:
            assert list(told) == [], "it tells none"
            return
        assert sorted(told) == sorted(timeout.key for timeout in crowd[:2])
        assert list(other.closed_keys(["run-9"])) == [stranger.key], "of whichever workflow"
        assert list(other.closed_keys([])) == []


def _closed_runs(timers: TimeoutStore, limit: int) -> list[str]:
    told: list[str] = []
    after: str | None = None
    while True:
        page = timers.closed_runs(ORDERS, after=after, limit=limit)
        told += page.items
        if page.next is None:
            return told
        after = page.next


def _repeats(timers: TimeoutStore) -> dict[str, int]:
    return {timeout.key: timeout.repeat for timeout in list_all(timers)}


def _identity(timeout: Timeout) -> tuple[object, ...]:
    return (
        timeout.key,
        timeout.workflow,
        timeout.run_id,
        timeout.status,
        timeout.entered_version,
        timeout.name,
    )
