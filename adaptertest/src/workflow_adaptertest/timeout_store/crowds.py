"""Many timers, many pollers, lists, and timers beside a record store."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from workflow_core.errors import (
    AdapterError,
    AdapterUnavailableError,
    InputError,
    NotSupportedError,
)
from workflow_core.ports import RecordStore, TimeoutStore, Write

from workflow_adaptertest.contract import Opener
from workflow_adaptertest.env import Env
from workflow_adaptertest.samples import (
    ORDERS,
    OnPurposeError,
    Samples,
    StrangeTransaction,
    refuses,
)
from workflow_adaptertest.telling import not_applicable
from workflow_adaptertest.threads import at_once, race
from workflow_adaptertest.timeout_store.base import (
    ZERO,
    TimeoutStoreCases,
    due_keys,
    list_all,
    open_keys,
)

__all__ = ["CrowdCases"]

_MANY = 2_000
_JOINS_NONE = "it joins no store's transactions"


class CrowdCases(TimeoutStoreCases):
    """More than one of everything."""

    def test_due_timers_are_listed_earliest_first_when_there_are_many(
        self, timers: TimeoutStore, make: Samples, env: Env
    ) -> None:
        shares = [n / 20 for n in range(20)]
        env.random.shuffle(shares)
        timeouts = [make.timeout(delay=share * env.tick) for share in shares]
        timers.create_many([*timeouts, make.timeout(delay=9 * env.tick)])
        env.advance(1)
        expected = [timeout.key for timeout in sorted(timeouts, key=lambda each: each.delay)]
        assert due_keys(timers) == expected
        assert due_keys(timers, limit=7) == expected[:7], "at most `limit`, the earliest"

    def test_parked_and_failed_timers_starve_nobody_when_they_were_due_first(
        self, timers: TimeoutStore, make: Samples, env: Env
    ) -> None:
        parked = [make.timeout() for _ in range(5)]
        failed = [make.timeout() for _ in range(5)]
        timers.create_many([*parked, *failed])
        timers.park_many([timeout.key for timeout in parked])
        for timeout in failed:
            timers.reschedule(timeout.key, 9 * env.tick, attempts=1, error="no")
        late = make.timeout(delay=env.tick)
        timers.create(late)
        env.advance(1)
        assert due_keys(timers, limit=3) == [late.key]

    def test_workflows_are_apart_when_their_names_are_alike(
        self, timers: TimeoutStore, make: Samples
    ) -> None:
        names = ["order processor", "Order processor", "order processor ", "order_processor"]
        keys: dict[str, str] = {}
        for name in names:
            timeout = make.timeout(workflow=name)
            timers.create(timeout)
            keys[name] = timeout.key
        for name in names:
            assert due_keys(timers, workflows=[name]) == [keys[name]]
            assert open_keys(timers, name) == [keys[name]]
        assert sorted(due_keys(timers, workflows=names)) == sorted(keys.values())
        assert due_keys(timers, workflows=[]) == []
        assert due_keys(timers, workflows=["unknown"]) == []

    def test_keys_are_apart_when_they_look_alike(self, timers: TimeoutStore, make: Samples) -> None:
        run_id = make.id()
        names = ["wait", "wait ", "Wait", "w\u00e4it", "wa\u0308it", "wait/1", "🕰", "%", "*"]
        keys = [f"{run_id}/1/{name}" for name in names]
        timers.create_many(
            [
                make.timeout(key=key, run_id=run_id, name=name)
                for key, name in zip(keys, names, strict=True)
            ]
        )
        assert sorted(due_keys(timers)) == sorted(keys), "two timers of one stay are two timers"
        for key in keys:
            assert timers.complete(key) is True, f"{key!r} was taken for another key"

    def test_open_timers_are_listed_in_order_of_key_when_paged(
        self, timers: TimeoutStore, make: Samples, env: Env
    ) -> None:
        timeouts = [make.timeout(delay=n % 3 * env.tick) for n in range(25)]
        timers.create_many([*timeouts, make.timeout(workflow="refunds")])
        timers.park(timeouts[3].key)
        timers.complete(timeouts[4].key)
        expected = sorted(timeout.key for timeout in timeouts if timeout is not timeouts[4])
        for limit in (1, 7, 8, 24, 100):
            listed = [timeout.key for timeout in list_all(timers, limit=limit)]
            assert listed == expected, f"pages of {limit}: each open timer once, in order of key"

    def test_list_refuses_a_page_when_it_is_none_of_the_stores(self, timers: TimeoutStore) -> None:
        for after in ("nonsense", "", "\0"):
            with refuses(InputError, f"after={after!r} was made by no page of this store"):
                timers.list_timeouts(ORDERS, after=after)

    def test_batches_answer_in_order_when_some_keys_are_closed_or_unknown(
        self, timers: TimeoutStore, make: Samples
    ) -> None:
        timeouts = [make.timeout() for _ in range(6)]
        timers.create_many([*timeouts, timeouts[0].replace(delay=timedelta(days=9))])
        keys = [timeout.key for timeout in timeouts]
        assert list(timers.complete_many([keys[0], "unknown", keys[1]])) == [True, False, True]
        assert list(timers.cancel_many([keys[1], keys[2], keys[2]])) == [False, True, False]
        timers.park_many([keys[3], "unknown", keys[0]])
        assert sorted(due_keys(timers)) == sorted(keys[4:]), "due at the same time: in any order"
        assert sorted(open_keys(timers)) == sorted(keys[3:])

    def test_batches_answer_nothing_when_they_are_empty(self, timers: TimeoutStore) -> None:
        timers.create_many([])
        timers.park_many([])
        assert list(timers.complete_many([])) == []
        assert list(timers.cancel_many([])) == []

    def test_batches_are_kept_whole_when_they_are_large(
        self, timers: TimeoutStore, make: Samples
    ) -> None:
        timeouts = [make.timeout() for _ in range(_MANY)]
        timers.create_many(timeouts)
        keys = [timeout.key for timeout in timeouts]
        assert sorted(due_keys(timers)) == sorted(keys)
        assert list(timers.complete_many(keys[: _MANY // 2])) == [True] * (_MANY // 2)
        assert list(timers.cancel_many(keys)) == [False] * (_MANY // 2) + [True] * (_MANY // 2)
        assert open_keys(timers) == []

    @race
    def test_each_timer_is_closed_by_one_when_pollers_race(
        self, timers: TimeoutStore, other: TimeoutStore, make: Samples, env: Env
    ) -> None:
        timeouts = [make.timeout() for _ in range(100)]
        timers.create_many(timeouts)
        keys = [timeout.key for timeout in timeouts]

        def poll(handle: TimeoutStore, complete: bool) -> list[str]:
            mine = env.random.sample(keys, len(keys))
            close = handle.complete_many if complete else handle.cancel_many
            won: list[str] = []
            for start in range(0, len(mine), 10):
                batch = mine[start : start + 10]
                won += [key for key, is_mine in zip(batch, close(batch), strict=True) if is_mine]
            return won

        answers = at_once(
            [partial(poll, handle, True) for handle in (timers, other) * 3]
            + [partial(poll, timers, False), partial(poll, other, False)],
            doing="closing timers",
            patience=env.patience,
        )
        won: list[str] = []
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
            won += answer
        assert len(won) == len(set(won)), "two pollers both closed a timer: it fired twice"
        assert sorted(won) == sorted(keys), "a timer was closed by nobody"

    @race
    def test_one_timer_is_armed_when_many_create_its_key_at_once(
        self, timers: TimeoutStore, other: TimeoutStore, make: Samples, env: Env
    ) -> None:
        timeout = make.timeout()
        answers = at_once(
            [partial(handle.create, timeout) for handle in (timers, other) * 5],
            doing="creating one timer",
            patience=env.patience,
        )
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        assert due_keys(timers) == [timeout.key]
        assert timers.complete(timeout.key) is True
        assert timers.complete(timeout.key) is False

    def test_nul_in_an_error_is_kept_or_refused_when_rescheduled(
        self, timers: TimeoutStore, make: Samples
    ) -> None:
        timeout = make.timeout()
        timers.create(timeout)
        try:
            timers.reschedule(timeout.key, ZERO, attempts=1, error="bad \0 byte")
        except AdapterUnavailableError as error:
            raise AssertionError("asking again would not help: refuse it for good") from error
        except AdapterError:
            pass  # refused by name
        assert due_keys(timers) == [timeout.key]

    # -- waiting -------------------------------------------------------------------------------

    def test_next_due_is_exact_or_unknown_when_asked(
        self, timers: TimeoutStore, make: Samples, env: Env
    ) -> None:
        assert timers.next_due([ORDERS]) is None, "None: there is none"
        parked = make.timeout()
        soon, later = make.timeout(delay=2 * env.tick), make.timeout(delay=4 * env.tick)
        timers.create_many([parked, later, soon, make.timeout(workflow="refunds")])
        timers.park(parked.key)
        self._assert_due(timers, env, 2 * env.tick)
        timers.cancel(soon.key)
        self._assert_due(timers, env, 4 * env.tick)
        env.advance(4)
        self._assert_due(timers, env, ZERO)
        timers.complete(later.key)
        assert timers.next_due([ORDERS]) is None, "a parked timer is not due: the poller would spin"

    def test_what_is_due_soon_is_listed_with_how_long_until_then_when_asked(
        self, timers: TimeoutStore, make: Samples, env: Env
    ) -> None:
        parked, now = make.timeout(), make.timeout()
        soon, later = make.timeout(delay=4 * env.tick), make.timeout(delay=9 * env.tick)
        timers.create_many([later, soon, parked, now, make.timeout(workflow="refunds")])
        timers.park(parked.key)
        listed = timers.list_soon([ORDERS], within=6 * env.tick, limit=5)
        if [each.key for each in listed] == [now.key]:
            not_applicable("the store tells of no timer before it is due")
        assert [each.key for each in listed] == [now.key, soon.key], "earliest first"
        self._assert_delay(listed[0].delay, env, ZERO)
        self._assert_delay(listed[1].delay, env, 4 * env.tick)
        first = timers.list_soon([ORDERS], within=6 * env.tick, limit=1)
        assert [each.key for each in first] == [now.key], "at most `limit`"
        assert due_keys(timers) == [now.key], "what was told before its time is not due"
        timers.complete(now.key)
        if timers.next_due([ORDERS]) is not None:
            self._assert_due(timers, env, 4 * env.tick)
        env.advance(4)
        (due,) = timers.list_soon([ORDERS], within=env.tick, limit=5)
        assert due.key == soon.key
        self._assert_delay(due.delay, env, ZERO)

    def _assert_due(self, timers: TimeoutStore, env: Env, expected: timedelta) -> None:
        due = timers.next_due([ORDERS])
        if due is None:
            not_applicable("the store cannot tell when a timer is due")
        self._assert_delay(due, env, expected)

    def _assert_delay(self, due: timedelta, env: Env, expected: timedelta) -> None:
        if not expected:
            assert due <= ZERO, f"a timer is due now, so zero or less, not {due}"
        elif env.clock is not None:
            assert abs(due - expected) <= timedelta(milliseconds=1)
        else:
            assert ZERO < due <= expected

    # -- beside a store ------------------------------------------------------------------------

    def test_write_within_is_refused_by_name_when_the_timers_join_no_store(
        self, timers: TimeoutStore, joined: RecordStore | None, make: Samples
    ) -> None:
        if joined is not None:
            not_applicable("it joins a store")
        with refuses(NotSupportedError, "it joins no store, or name it in joined_store()"):
            timers.write_within(StrangeTransaction(), arm=[make.timeout()], cancel=[])

    def test_write_within_arms_and_cancels_when_the_transaction_commits(
        self, timers: TimeoutStore, joined: RecordStore | None, make: Samples
    ) -> None:
        if joined is None:
            not_applicable(_JOINS_NONE)
        assert timers.joins(joined), "joined_store() answers a store that it joins"
        old, new = make.timeout(), make.timeout()
        timers.create(old)
        record = make.record()
        with joined.transaction() as transaction:
            transaction.store_many([Write(record=record)])
            timers.write_within(transaction, arm=[new], cancel=[old.key, "unknown"])
        assert due_keys(timers) == [new.key]
        assert set(joined.lookup_many([record.run_id])) == {record.run_id}
        timers.create(old)
        assert due_keys(timers) == [new.key], "a key cancelled on the way is remembered too"

    def test_write_within_leaves_nothing_when_the_transaction_is_rolled_back(
        self, timers: TimeoutStore, joined: RecordStore | None, make: Samples
    ) -> None:
        if joined is None:
            not_applicable(_JOINS_NONE)
        old, new = make.timeout(), make.timeout()
        timers.create(old)
        own_error = refuses(OnPurposeError, "the block's own error is passed on")
        with own_error, joined.transaction() as transaction:
            timers.write_within(transaction, arm=[new], cancel=[old.key])
            raise OnPurposeError
        assert due_keys(timers) == [old.key]
        timers.create(new)
        assert set(due_keys(timers)) == {old.key, new.key}

    def test_write_within_changes_nothing_when_keys_are_armed_or_closed(
        self, timers: TimeoutStore, joined: RecordStore | None, make: Samples, env: Env
    ) -> None:
        if joined is None:
            not_applicable(_JOINS_NONE)
        armed, closed, parked = make.timeout(delay=env.tick), make.timeout(), make.timeout()
        timers.create_many([armed, closed, parked])
        timers.complete(closed.key)
        timers.park(parked.key)
        again = [timeout.replace(delay=ZERO) for timeout in (armed, closed, parked)]
        with joined.transaction() as transaction:
            timers.write_within(transaction, arm=again, cancel=[])
        assert due_keys(timers) == [parked.key], "as create: armed again nothing, un-parked"

    # -- the adapter ---------------------------------------------------------------------------

    def test_timers_keep_to_their_namespace_when_there_is_another(
        self, timers: TimeoutStore, make: Samples, env: Env, open_handle: Opener
    ) -> None:
        stranger: TimeoutStore = open_handle(env.elsewhere())
        timeout = make.timeout()
        timers.create(timeout)
        assert due_keys(stranger) == [], "another namespace's timer is seen"
        assert open_keys(stranger) == []
        assert stranger.next_due([ORDERS]) is None
        assert stranger.complete(timeout.key) is False
        stranger.create(timeout)
        stranger.forget([timeout.run_id])
        assert due_keys(timers) == [timeout.key]

    def test_health_is_a_phrase_when_all_is_well(self, timers: TimeoutStore) -> None:
        assert timers.check_health().strip()

    def test_closing_is_harmless_when_repeated(self, open_handle: Opener, make: Samples) -> None:
        handle, other = open_handle(), open_handle()
        timeout = make.timeout()
        handle.create(timeout)
        handle.close()
        handle.close()
        assert due_keys(other) == [timeout.key], "closing loses nothing"
