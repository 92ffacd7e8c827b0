"""Servers that are killed, cut off, frozen, full, moved and replaced by one that lags.

Each burst is judged afterwards: what was answered has to be so, whatever happened on the way. The
length of a burst is that of its faults; REDIS_FAULTS=20 in the environment makes it 20 of them
instead of 2.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis
from redis.crc import key_slot
from workflow_adaptertest.servers import Proxied, Server, Space
from workflow_core.errors import AdapterUnavailableError, ClosedError
from workflow_core.model import Timeout
from workflow_redis_timeout import RedisTimeoutStore

if TYPE_CHECKING:
    from tests.conftest import Make, OpenStore, RedisProcess, StartRedis

    Eventually = Callable[[Callable[[], bool], str], None]
    InTime = Callable[[Callable[[], Any]], Any]

FAULTS = int(os.environ.get("REDIS_FAULTS", "2"))
LONG = timedelta(minutes=1)
BRIEFLY = timedelta(milliseconds=200)


class Burst:
    """Threads that arm and close timers as fast as they can, and note what they were answered."""

    def __init__(self, store: RedisTimeoutStore) -> None:
        self.armed: set[str] = set()
        self.closed: list[str] = []
        self.rounds = 0
        self._store = store
        self._ending = threading.Event()
        self._problems: list[Exception] = []
        self._lock = threading.Lock()

    @contextmanager
    def running(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._work, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ending.set()
            for thread in threads:
                thread.join()
        for problem in self._problems:
            raise problem

    def progress(self, rounds: int) -> Callable[[], bool]:
        """Whether that many rounds more are done; ends the wait too when a thread has failed."""
        wanted = self.rounds + rounds
        return lambda: self.rounds >= wanted or bool(self._problems)

    def _work(self, number: int) -> None:
        try:
            round_ = 0
            while not self._ending.is_set():
                round_ += 1
                self._one_round(f"{number}-{round_}")
        except Exception as problem:
            self._problems.append(problem)

    def _one_round(self, name: str) -> None:
        timeouts = [
            Timeout(
                key=f"{name}-{n}/1/x",
                workflow="orders",
                run_id=f"{name}-{n}",
                status=1,
                entered_version=1,
                name="x",
            )
            for n in range(20)
        ]
        keys = [timeout.key for timeout in timeouts]
        self._store.create_many(timeouts)
        mine = keys[::2]
        won = self._store.complete_many(mine)
        with self._lock:
            self.armed.update(keys)
            self.closed += [key for key, is_mine in zip(mine, won, strict=True) if is_mine]
            self.rounds += 1

    def judge(self) -> None:
        """Each timer that was armed is open, or was closed for one caller who was told so."""
        left = open_keys(self._store)
        assert len(self.closed) == len(set(self.closed)), "closed for two callers"
        lost = self.armed - left - set(self.closed)
        assert not lost, f"{len(lost)} of {len(self.armed)} timers are gone and nobody closed them"
        back = left & set(self.closed)
        assert not back, f"{len(back)} of {len(self.closed)} closed timers are open again"


def open_keys(store: RedisTimeoutStore) -> set[str]:
    return {each.key for each in store.list_timeouts("orders", limit=1_000_000).items}


def assert_whole(client: Any, namespace: str) -> None:
    """No timer is in one of the server's tables and not in the others."""

    def tails(table: str, start: int) -> set[str]:
        members = client.zrange(f"workflow-timers:{{{namespace}:0}}:{table}", 0, -2)
        return {member[len("orders") + start :] for member in members}

    timers = set(client.hkeys(f"workflow-timers:{{{namespace}:0}}:timers"))
    timers = {key for key in timers if key.isascii()}  # without the mark
    assert tails("keys", 1) == timers
    assert tails("due", 21) == timers


# -- one server --------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["kill", "restart"])
def test_nothing_is_lost_when_a_server_that_writes_each_change_comes_back(
    fault: str,
    open_store: OpenStore,
    redis_server: Server,
    redis_space: Space,
    client: Redis,
    eventually: Eventually,
) -> None:
    burst = Burst(open_store(retry_for=LONG))
    with burst.running():
        for _ in range(FAULTS):
            eventually(burst.progress(10), "the burst goes on")
            if fault == "kill":
                redis_server.kill()
                redis_server.start()
            else:
                redis_server.restart()
        eventually(burst.progress(10), "the burst goes on")
    burst.judge()
    assert_whole(client, redis_space.name)


@pytest.mark.parametrize("fault", ["cut", "break_after"])
def test_nothing_is_lost_when_connections_break_in_the_midst_of_answers(
    fault: str, open_behind: OpenStore, redis_behind: Proxied, eventually: Eventually
) -> None:
    burst = Burst(open_behind(retry_for=LONG))
    rng = random.Random(7)
    with burst.running():
        for _ in range(5 * FAULTS):
            eventually(burst.progress(3), "the burst goes on")
            if fault == "cut":
                redis_behind.cut()
            else:
                redis_behind.break_after(rng.randrange(1, 60))
                threading.Event().wait(0.05)
            redis_behind.mend()
        eventually(burst.progress(3), "the burst goes on")
    burst.judge()


def test_closer_learns_the_truth_when_its_answer_was_lost(
    open_behind: OpenStore,
    open_store: OpenStore,
    redis_behind: Proxied,
    make: Make,
    eventually: Eventually,
    in_time: InTime,
) -> None:
    store, direct = open_behind(retry_for=LONG), open_store()
    timeouts = make.timeouts(3)
    store.create_many(timeouts)
    keys = [timeout.key for timeout in timeouts]
    redis_behind.break_after(0)  # what is asked arrives, and no answer ever comes back

    def mend_once_closed() -> None:
        eventually(lambda: not open_keys(direct), "the server has closed them")
        redis_behind.mend()

    mender = threading.Thread(target=mend_once_closed)
    mender.start()
    answers = in_time(lambda: store.complete_many([keys[0], "unknown", *keys[1:]]))
    mender.join()
    assert answers == [True, False, True, True], "it was this call that closed them"
    assert store.complete_many(keys) == [False] * 3


def test_nobody_knows_by_name_when_the_server_stays_away(
    open_behind: OpenStore, redis_behind: Proxied, make: Make, eventually: Eventually
) -> None:
    store = open_behind(retry_for=BRIEFLY)
    timeout = make.timeout()
    store.create(timeout)
    redis_behind.cut()
    with pytest.raises(AdapterUnavailableError, match="completing timers"):
        store.complete(timeout.key)
    with pytest.raises(AdapterUnavailableError):
        store.check_health()
    redis_behind.mend()
    eventually(lambda: answers(store), "it has looked again")
    assert store.complete(timeout.key) is True


def answers(store: RedisTimeoutStore) -> bool:
    try:
        store.check_health()
    except AdapterUnavailableError:
        return False
    return True


def test_other_calls_fail_at_once_when_one_has_found_the_server_away(
    open_store: OpenStore, redis_server: Server, make: Make, eventually: Eventually
) -> None:
    """The engine cancels timers behind each commit: commits must not wait for each of them."""
    store = open_store(answer_timeout=timedelta(seconds=1), retry_for=timedelta(0))
    redis_server.freeze()

    def fails_without_asking() -> bool:
        with pytest.raises(AdapterUnavailableError) as caught:
            store.cancel("key")
        return "a moment ago" in str(caught.value) and caught.value.__cause__ is None

    eventually(fails_without_asking, "one call has waited, and another has not")
    redis_server.thaw()
    eventually(lambda: answers(store), "it has looked again")
    store.create(make.timeout())


def test_call_ends_when_the_server_is_frozen(
    open_store: OpenStore,
    redis_server: Server,
    make: Make,
    in_time: InTime,
    eventually: Eventually,
) -> None:
    store = open_store(answer_timeout=BRIEFLY, retry_for=timedelta(0))
    redis_server.freeze()
    with pytest.raises(AdapterUnavailableError):
        in_time(lambda: store.create(make.timeout()))
    redis_server.thaw()
    eventually(lambda: answers(store), "it has looked again")
    timeout = make.timeout()
    store.create(timeout)
    assert timeout.key in open_keys(store)


def test_call_ends_when_the_store_is_closed_under_it(
    open_store: OpenStore,
    redis_server: Server,
    make: Make,
    in_time: InTime,
    eventually: Eventually,
) -> None:
    store = open_store(answer_timeout=LONG, retry_for=LONG)
    redis_server.freeze()
    begun = threading.Event()

    def create() -> None:
        begun.set()
        store.create(make.timeout())

    def close() -> None:
        begun.wait()
        threading.Event().wait(0.1)  # before the call or in it: both have to end
        store.close()

    closer = threading.Thread(target=close)
    closer.start()
    with pytest.raises(ClosedError):
        in_time(create)
    closer.join()


def test_timers_are_armed_again_later_when_memory_is_full(
    start_redis: StartRedis, open_at: OpenStore, make: Make
) -> None:
    redis = start_redis(appendonly="yes")
    store = open_at(redis.url, retry_for=BRIEFLY)
    first = make.timeout()
    store.create(first)
    with closing(redis.client(encoding_errors="surrogateescape")) as client:
        client.config_set("maxmemory", "1mb")
        with pytest.raises(AdapterUnavailableError, match="Redis does not serve") as caught:
            store.create_many(make.timeouts(5))
        assert "maxmemory" in caught.value.hint
        assert_whole(client, "shop")
        assert store.complete(first.key) is True, "what is there can fire"
        client.config_set("maxmemory", "0")
        store.create_many(make.timeouts(5))
        assert_whole(client, "shop")


def test_call_waits_for_a_server_that_is_a_replica_for_a_while(
    start_redis: StartRedis, open_at: OpenStore, make: Make, in_time: InTime
) -> None:
    redis, other = start_redis(), start_redis()
    store = open_at(redis.url, retry_for=LONG)
    redis.ask("REPLICAOF", "127.0.0.1", str(other.port))
    promote = threading.Timer(0.3, redis.ask, ["REPLICAOF", "NO", "ONE"])
    promote.start()
    timeout = make.timeout()
    in_time(lambda: store.create(timeout))
    promote.join()
    assert open_keys(store) == {timeout.key}
    briefly = open_at(redis.url, retry_for=BRIEFLY)
    redis.ask("REPLICAOF", "127.0.0.1", str(other.port))
    with pytest.raises(AdapterUnavailableError) as caught:
        briefly.create(make.timeout())
    assert "replica" in caught.value.hint


# -- fail-over -----------------------------------------------------------------------------------


def test_only_what_the_replica_lacks_is_lost_when_it_lags_at_a_fail_over(
    start_redis: StartRedis, open_at: OpenStore, make: Make, eventually: Eventually
) -> None:
    """As the documentation says: what was armed since is gone, what was closed is open again."""
    primary = start_redis(appendonly="yes")
    primary.ask("ACL", "SETUSER", "replica", "on", ">x", "allcommands", "allkeys")
    replica = start_redis(
        appendonly="yes",
        replicaof=f"127.0.0.1 {primary.port}",
        masteruser="replica",
        masterauth="x",
    )
    sentinel = start_redis.sentinel(
        [
            f"sentinel monitor shop 127.0.0.1 {primary.port} 1",
            "sentinel down-after-milliseconds shop 500",
            "sentinel failover-timeout shop 10000",
        ]
    )
    eventually(lambda: link_of(replica) == "up", "the replica follows")
    eventually(lambda: replicas_known(sentinel) == 1, "the Sentinel knows the replica")
    store = open_at(f"redis+sentinel://127.0.0.1:{sentinel.port}/shop", retry_for=LONG)
    before, closed_late, armed_late = make.timeout(), make.timeout(), make.timeout()
    store.create_many([before, closed_late])
    eventually(lambda: replica.ask("DBSIZE") == primary.ask("DBSIZE"), "the replica has them")

    # from here on the replica gets nothing: it is not let in any more
    primary.ask("ACL", "SETUSER", "replica", "off")
    primary.ask("CLIENT", "KILL", "USER", "replica")
    eventually(lambda: link_of(replica) == "down", "the replica is cut off")
    store.create(armed_late)
    assert store.complete(closed_late.key) is True
    primary.kill()

    assert store.complete(before.key) is True, "as soon as the replica is the primary"
    assert open_keys(store) == {closed_late.key}, "what the documentation says is lost, and no more"
    store.create_many([before, closed_late, armed_late])  # as the reconciler does
    assert open_keys(store) == {closed_late.key, armed_late.key}


def link_of(replica: RedisProcess) -> str:
    with closing(replica.client()) as client:
        return str(client.info("replication").get("master_link_status"))


def replicas_known(sentinel: RedisProcess) -> int:
    found: Any = sentinel.ask("SENTINEL", "REPLICAS", "shop")
    return len(found)


# -- cluster ---------------------------------------------------------------------------------------


def test_nothing_is_lost_when_a_node_of_the_cluster_comes_back(
    open_on_cluster: OpenStore, redis_cluster_server: Server, eventually: Eventually
) -> None:
    burst = Burst(open_on_cluster(retry_for=LONG))
    with burst.running():
        eventually(burst.progress(5), "the burst goes on")
        redis_cluster_server.kill("2")
        redis_cluster_server.start("2")
        eventually(burst.progress(5), "the burst goes on")
    burst.judge()


def test_nothing_is_lost_when_a_slot_moves_in_the_midst_of_a_burst(
    open_on_cluster: OpenStore, redis_cluster_space: Space, eventually: Eventually
) -> None:
    store = open_on_cluster(retry_for=LONG, buckets=2)
    slot = key_slot(f"{redis_cluster_space.name}:0".encode())
    nodes: list[Any] = [
        Redis(host=host, port=port, decode_responses=True)
        for host, port in redis_cluster_space.url.addresses
    ]
    ids = [str(node.execute_command("CLUSTER", "MYID")) for node in nodes]
    counts = [1 if slot * 3 // 16_384 == n else 0 for n in range(3)]
    source, target = counts.index(1), (counts.index(1) + 1) % 3
    burst = Burst(store)
    with burst.running():
        for here, there in ((source, target), (target, source)):
            eventually(burst.progress(5), "the burst goes on")
            move(slot, nodes, ids, here, there)
            eventually(burst.progress(5), "the burst goes on")
    burst.judge()
    for node in nodes:
        node.close()


def move(slot: int, nodes: list[Any], ids: list[str], here: int, there: int) -> None:
    nodes[there].execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[here])
    nodes[here].execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[there])
    port = nodes[there].connection_pool.connection_kwargs["port"]
    while keys := nodes[here].execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
        words = ["MIGRATE", "127.0.0.1", port, "", 0, 5_000, "KEYS", *keys]
        nodes[here].execute_command(*words)
    for place in (there, here, 3 - there - here):
        nodes[place].execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[there])


def test_cluster_is_found_anew_when_its_nodes_were_all_away(
    open_on_cluster: OpenStore, redis_cluster_server: Server, make: Make, eventually: Eventually
) -> None:
    store = open_on_cluster(retry_for=timedelta(0), answer_timeout=timedelta(seconds=1))
    timeouts = make.timeouts(30)
    store.create_many(timeouts)
    redis_cluster_server.kill()
    with pytest.raises(AdapterUnavailableError):
        store.list_valid(["orders"], limit=100)
    redis_cluster_server.start()
    eventually(lambda: answers(store), "the nodes are found again")
    patient = open_on_cluster(retry_for=LONG)
    assert open_keys(patient) == {timeout.key for timeout in timeouts}
    assert len(store.list_valid(["orders"], limit=100)) == 30
