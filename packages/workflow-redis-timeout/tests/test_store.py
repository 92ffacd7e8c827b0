"""What Redis is asked, what it keeps and for how long; beyond what the contract says."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis
from workflow_adaptertest.servers import Space
from workflow_core.errors import ClosedError, ConfigurationError, InputError
from workflow_core.testing import FakeClock
from workflow_redis_timeout import RedisTimeoutStore
from workflow_redis_timeout.buckets import Buckets
from workflow_redis_timeout.links import Call, SingleLink

if TYPE_CHECKING:
    from tests.conftest import Make, OpenStore

    Kept = Callable[[], dict[str, int]]

HOUR = timedelta(hours=1)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def kept(client: Redis, redis_space: Space) -> Kept:
    """How much is in the tables of the test's own part, summed over buckets; marks do not count."""

    def count() -> dict[str, int]:
        found: dict[str, int] = {}
        for name in client.scan_iter(f"workflow-timers:{{{redis_space.name}:*"):
            kind = name.rpartition(":")[2]
            size = client.zcard(name) if client.type(name) == "zset" else client.hlen(name)
            found[kind] = found.get(kind, 0) + int(size) - 1
        return {kind: size for kind, size in found.items() if size}

    return count


def all_due(store: RedisTimeoutStore, *, limit: int = 100_000) -> list[str]:
    return [each.key for each in store.list_valid(["orders"], limit=limit)]


def all_open(store: RedisTimeoutStore) -> list[str]:
    return [each.key for each in store.list_timeouts("orders", limit=100_000).items]


# -- time --------------------------------------------------------------------------------------


def test_servers_clock_is_gone_by_when_none_is_given(
    open_store: OpenStore, client: Redis, make: Make
) -> None:
    store = open_store()
    seconds, micros = client.time()
    before = datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=micros)
    soon, later = make.timeout(delay=timedelta(milliseconds=30)), make.timeout(delay=HOUR)
    store.create_many([soon, later])
    (listed, _) = store.list_timeouts("orders").items
    assert timedelta(0) <= listed.due_at - before - soon.delay < HOUR
    left = store.next_due(["orders"])
    assert left is not None
    assert left <= soon.delay


def test_timer_fires_neither_early_nor_never_when_the_servers_clock_goes(
    open_store: OpenStore,
    client: Redis,
    make: Make,
    eventually: Callable[[Callable[[], bool], str], None],
) -> None:
    store = open_store()
    timeout = make.timeout(delay=timedelta(milliseconds=200))
    store.create(timeout)
    (listed,) = store.list_timeouts("orders").items
    eventually(lambda: all_due(store) == [timeout.key], "the timer is due")
    seconds, micros = client.time()
    now = datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=micros)
    assert now >= listed.due_at


def test_workers_clock_is_told_to_nobody_when_none_is_given(
    open_store: OpenStore, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker whose clock is an hour off changes nothing: the scripts read the server's."""
    sent: list[Call] = []
    send = SingleLink.send

    def noted(link: SingleLink, calls: Sequence[Call]) -> Sequence[Any]:
        sent.extend(calls)
        return send(link, calls)

    monkeypatch.setattr(SingleLink, "send", noted)
    store = open_store()
    timeout = make.timeout(delay=HOUR)
    store.create(timeout)
    store.park(timeout.key)
    store.reschedule_many([timeout])
    store.next_due(["orders"])
    all_due(store)
    all_open(store)
    store.complete(timeout.key)
    store.forget([timeout.run_id])
    assert len({call.script for call in sent}) == 9, "all of them"
    assert {call.arguments[0] for call in sent} == {""}


@pytest.mark.parametrize("delay", [timedelta.max, timedelta(days=800_000), timedelta.min])
def test_timer_comes_back_when_its_time_lies_beyond_any_calendar(
    delay: timedelta, open_store: OpenStore, make: Make
) -> None:
    store = open_store()
    timeout = make.timeout(delay=delay)
    store.create(timeout)
    store.reschedule(timeout.key, delay, attempts=1, error="")
    (listed,) = store.list_timeouts("orders").items
    assert listed.due_at.year in {1970, 4217, 9999}
    assert (all_due(store) == []) is (delay > timedelta(0))


# -- what is left behind -----------------------------------------------------------------------


def test_nothing_is_left_behind_when_the_runs_have_ended(
    open_store: OpenStore, make: Make, kept: Kept, clock: FakeClock
) -> None:
    store = open_store(clock=clock)
    timeouts = make.timeouts(20)
    store.create_many(timeouts)
    keys = [timeout.key for timeout in timeouts]
    store.park_many(keys[:5])
    store.reschedule(keys[6], HOUR, attempts=1, error="no")
    store.complete_many(keys[:10])
    assert all(store.cancel_many(keys[10:]))
    assert kept() == {"runs": 20, "expiry": 22, "answers": 2}, "the names of closed keys"
    store.forget([timeout.run_id for timeout in timeouts])
    assert kept() == {"expiry": 2, "answers": 2}, "for calls that may be repeated"
    clock.advance(timedelta(minutes=1))
    all_due(store)
    assert kept() == {}


def test_nothing_is_left_behind_when_runs_are_forgotten_with_open_timers(
    open_store: OpenStore, make: Make, kept: Kept
) -> None:
    store = open_store(buckets=3)
    run = [
        make.timeout(run_id="a run", key=f"{head}{n}", workflow=f"flow {n % 2}")
        for n in range(20)
        for head in ("a run/", "another's name/")
    ]
    store.create_many(run)
    store.park(run[0].key)
    store.forget(["a run"])
    assert kept() == {}


def test_tables_hold_their_mark_alone_when_nothing_is_open(
    open_store: OpenStore, client: Redis, redis_space: Space, make: Make
) -> None:
    """An empty table is gone, and a script would break off half-way while its slot moves."""
    store = open_store()
    timeout = make.timeout()
    store.create(timeout)
    store.forget([timeout.run_id])
    names = list(client.scan_iter(f"workflow-timers:{{{redis_space.name}:*"))
    assert len(names) == 6
    assert all(client.ttl(name) == -1 for name in names), "a server may evict what has a time"


def test_closed_key_is_remembered_on_when_somebody_still_tries_to_arm_it(
    open_store: OpenStore, make: Make, clock: FakeClock
) -> None:
    store = open_store(clock=clock, remember=3 * HOUR)
    timeout = make.timeout()
    store.create(timeout)
    store.complete(timeout.key)
    for _ in range(20):
        clock.advance(2 * HOUR)
        store.create(timeout)  # as the reconciler does while the run stands there
        assert all_open(store) == []


def test_closed_key_is_forgotten_by_itself_when_nobody_asks_any_more(
    open_store: OpenStore, make: Make, kept: Kept, clock: FakeClock
) -> None:
    store = open_store(clock=clock, remember=3 * HOUR)
    timeouts = make.timeouts(100)
    store.create_many(timeouts)
    store.complete_many([timeout.key for timeout in timeouts])
    clock.advance(3 * HOUR - timedelta(seconds=1))
    all_due(store)
    assert kept()["runs"] == 100
    clock.advance(timedelta(seconds=1))
    for _ in range(6):
        all_due(store)
    assert kept() == {}, "swept little by little by whoever comes"


# -- what it costs -----------------------------------------------------------------------------


def calls_of(client: Redis, command: str) -> int:
    told: dict[str, Any] = client.info("commandstats")
    return int(told.get(f"cmdstat_{command}", {"calls": 0})["calls"])


def test_batches_take_no_call_per_item_when_they_are_large(
    open_store: OpenStore, client: Redis, make: Make
) -> None:
    store = open_store()
    timeouts = make.timeouts(2_000)
    keys = [timeout.key for timeout in timeouts]
    store.create(make.timeout())
    before = calls_of(client, "evalsha")
    store.create_many(timeouts)
    store.park_many(keys)
    store.create_many(timeouts)
    store.complete_many(keys[:1_000])
    store.cancel_many(keys)
    store.reschedule_many(timeouts)
    store.forget([timeout.run_id for timeout in timeouts])
    assert calls_of(client, "evalsha") - before <= 4 + 4 + 4 + 2 + 4 + 4 + 1 + 5, "500 at a time"


def test_script_is_cut_at_a_megabyte_when_items_are_large() -> None:
    items = [(f"key {n}", 300_000, n) for n in range(10)]
    parts = list(Buckets("", 1).parts(items))
    assert [len(part) for _, _, part in parts] == [4, 4, 2]
    assert [place for _, places, _ in parts for place in places] == list(range(10))


def test_scripts_are_loaded_anew_when_the_server_has_lost_them(
    open_store: OpenStore, client: Redis, make: Make
) -> None:
    store = open_store()
    store.create_many(make.timeouts(3))
    client.script_flush()
    before = calls_of(client, "eval")
    assert len(all_due(store)) == 3
    assert len(all_due(store)) == 3
    assert calls_of(client, "eval") - before == 2, "each once, and from then on by its digest"


# -- buckets -----------------------------------------------------------------------------------


def test_first_decides_on_the_buckets_and_others_follow(open_store: OpenStore, make: Make) -> None:
    first, timeouts = open_store(buckets=5), make.timeouts(50)
    first.create_many(timeouts)
    follower = open_store()
    assert sorted(all_due(follower)) == sorted(timeout.key for timeout in timeouts)
    with pytest.raises(ConfigurationError, match="divided into 5"):
        open_store(buckets=6)


def test_timers_are_spread_evenly_over_buckets_and_stay_where_they_are() -> None:
    buckets = Buckets("shop", 16)
    counts = dict.fromkeys(buckets.all, 0)
    for number in range(16_000):
        counts[buckets.of(f"0199d3f2-8c11-7d4e-9a55-{number:012x}/3/give up")] += 1
    assert all(800 < count < 1_200 for count in counts.values()), counts
    # written down: another answer would lose every timer that is stored
    assert buckets.of("0199d3f2/3/give up")[0] == "workflow-timers:{shop:12}:timers"


@pytest.mark.parametrize("buckets", [2, 7])
def test_due_timers_are_the_earliest_of_all_when_buckets_hold_uneven_shares(
    buckets: int, open_store: OpenStore, redis_space: Space, make: Make, clock: FakeClock
) -> None:
    rng = random.Random(buckets)
    store = open_store(buckets=buckets, clock=clock)
    places = Buckets(redis_space.name, buckets)
    timeouts = []
    for number in range(3_000):
        key = f"run/{number}/x"
        # the first hours belong to one bucket alone, the worst that can happen
        early = places.of(key) == places.all[0]
        hours = rng.randrange(50) if early else 50 + rng.randrange(50)
        timeouts.append(make.timeout(key=key, delay=hours * HOUR))
    store.create_many(timeouts)
    clock.advance(120 * HOUR)
    expected = [each.key for each in sorted(timeouts, key=lambda each: (each.delay, each.key))]
    for limit in (1, 2, 10, 100, 1_000, 2_999, 3_000, 5_000):
        assert all_due(store, limit=limit) == expected[:limit], limit
    assert all_due(store, limit=0) == []


# -- hostile and odd ---------------------------------------------------------------------------


def test_ids_are_opaque_when_they_are_long_or_look_like_keys(
    open_on_cluster: OpenStore, make: Make
) -> None:
    store = open_on_cluster()
    odd = [
        "{",
        "}",
        "{}",
        "a}b{c",
        "\0",
        " ",
        "\n",
        "*",
        "x" * 100_000,
        "é" * 50,
        "𓀀",
        "run",
        "run/",
        "a",
        "a\0b",
        "a\1",
        "a\1\1b",
    ]
    timeouts = [
        make.timeout(key=f"{key_head}{text}", run_id=text, workflow=text, name=text)
        for text in odd
        for key_head in ("", "k")
    ]
    store.create_many(timeouts)
    for text in odd:
        found = {each.key for each in store.list_valid([text], limit=10)}
        assert found == {text, f"k{text}"}, text[:20]
        assert {each.run_id for each in store.list_timeouts(text).items} == {text}
    assert all(store.complete_many(odd))
    store.forget(odd)
    for text in odd:
        assert not store.list_timeouts(text).items


def test_half_a_character_is_refused_by_name_when_it_is_in_a_text(
    open_store: OpenStore, make: Make
) -> None:
    half = "\ud800"
    for store in (open_store(buckets=2), open_store()):
        calls: list[Callable[[], object]] = [
            partial(store.create, make.timeout(key=half)),
            partial(store.create, make.timeout(name=half)),
            partial(store.complete, half),
            partial(store.forget, [half]),
            partial(store.list_valid, [half], limit=1),
            partial(store.list_timeouts, half),
            partial(store.reschedule, "key", HOUR, attempts=1, error=half),
        ]
        for refused in calls:
            with pytest.raises(InputError, match="half a character"):
                refused()


def test_others_are_listed_when_a_timer_was_thrown_away_by_the_server(
    open_store: OpenStore, client: Redis, redis_space: Space, make: Make
) -> None:
    store, timeouts = open_store(), make.timeouts(3)
    store.create_many(timeouts)
    client.hdel(f"workflow-timers:{{{redis_space.name}:0}}:timers", timeouts[0].key)
    assert all_due(store, limit=1) == [timeouts[1].key], "what is gone stands in nobody's way"
    page = store.list_timeouts("orders", limit=1)
    assert [each.key for each in page.items] == [timeouts[1].key]
    assert page.next is not None
    assert store.complete(timeouts[0].key) is False
    store.create(timeouts[0])
    assert timeouts[0].key in all_due(store), "and can be armed again"


@pytest.mark.parametrize("table", ["timers", "due", "keys", "runs"])
def test_arming_again_mends_when_a_whole_table_was_thrown_away(
    table: str, open_store: OpenStore, client: Redis, redis_space: Space, make: Make
) -> None:
    store, timeouts = open_store(), make.timeouts(3)
    store.create_many(timeouts)
    store.park(timeouts[0].key)
    client.delete(f"workflow-timers:{{{redis_space.name}:0}}:{table}")
    store.create_many(timeouts)
    keys = [timeout.key for timeout in timeouts]
    assert sorted(all_due(store)) == sorted(all_open(store)) == sorted(keys)
    store.forget([timeout.run_id for timeout in timeouts])
    assert all_open(store) == []


@pytest.mark.parametrize("namespace", ["sh op", "{shop}", "x" * 65, "é"])
def test_namespace_is_refused_when_it_would_break_the_hash_tag(
    namespace: str, open_at: OpenStore, redis_space: Space
) -> None:
    with pytest.raises(ConfigurationError, match="namespace"):
        open_at(redis_space.url, namespace)


def test_store_is_closed_when_asked_twice(open_store: OpenStore, make: Make) -> None:
    store = open_store()
    store.close()
    store.close()
    with pytest.raises(ClosedError):
        store.create(make.timeout())


def test_child_has_connections_of_its_own_when_the_process_forks(
    open_store: OpenStore, make: Make
) -> None:
    """Seen to fail with an inherited lock: the child hung. The alarm ends one that hangs."""
    store = open_store()
    store.create(make.timeout(key="parent"))
    with store._caller._making:  # as by another thread that connects
        pid = os.fork()
        if pid == 0:
            signal.alarm(60)
            try:
                store.create(make.timeout(key="child"))
                os._exit(0 if sorted(all_open(store)) == ["child", "parent"] else 1)
            finally:
                os._exit(2)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert sorted(all_open(store)) == ["child", "parent"]
