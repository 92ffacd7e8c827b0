"""The store by itself."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

from redis import Redis
from workflow_core.model import Timeout
from workflow_redis_timeout import RedisTimeoutStore

T = TypeVar("T")

BATCH = 500


def floor(client: Redis, namespace: str, count: int) -> None:
    name = f"{namespace}-floor"
    keys = [timer(number).key for number in range(count)]

    def add(batch: Sequence[str]) -> None:
        client.zadd(name, dict.fromkeys(batch, 0))

    def take(batch: Sequence[str]) -> None:
        client.zrem(name, *batch)

    each_batch("floor: one member added", client, keys, add)
    each_batch("floor: one member removed", client, keys, take)


def store(store: RedisTimeoutStore, client: Redis, count: int) -> None:
    timers = [timer(number) for number in range(count)]
    keys = [each.key for each in timers]
    before = memory(client)
    each_batch("create", client, timers, store.create_many)
    print(f"{'memory of an open timer':28}{(memory(client) - before) / count:10,.0f} bytes")
    each_batch("create again", client, timers, store.create_many)
    with measured("list due, 500 of each", client, count):
        for _ in range(0, count, BATCH):
            assert len(store.list_valid(["orders"], limit=BATCH)) == min(BATCH, count)
    with measured("next due", client, 1_000):
        for _ in range(1_000):
            store.next_due(["orders"])
    half = count // 2
    each_batch("complete", client, keys[:half], store.complete_many)
    each_batch("cancel", client, keys[half:], store.cancel_many)
    print(f"{'memory of a closed one':28}{(memory(client) - before) / count:10,.0f} bytes")
    each_batch("forget", client, [each.run_id for each in timers], store.forget)
    print(f"{'memory of a forgotten one':28}{(memory(client) - before) / count:10,.0f} bytes")


def timer(number: int) -> Timeout:
    run_id = f"0199d3f2-8c11-7d4e-9a55-{number:012x}"
    return Timeout(
        key=f"{run_id}/3/give_up",
        workflow="orders",
        run_id=run_id,
        status=2,
        entered_version=3,
        name="give_up",
        delay=timedelta(seconds=-number),
    )


def each_batch(
    what: str, client: Redis, items: Sequence[T], call: Callable[[Sequence[T]], object]
) -> None:
    with measured(what, client, len(items)):
        for start in range(0, len(items), BATCH):
            call(items[start : start + BATCH])


@contextmanager
def measured(what: str, client: Redis, count: int) -> Iterator[None]:
    server, mine, begin = used(client), time.process_time(), time.perf_counter()
    yield
    seconds = time.perf_counter() - begin
    mine, server = time.process_time() - mine, used(client) - server
    print(
        f"{what:28}{count / seconds:10,.0f} /s"
        f"   {server / count * 1e6:6.1f} µs of Redis, {mine / count * 1e6:6.1f} µs of Python each"
    )


def used(client: Redis) -> float:
    told = client.info("cpu")
    return float(told["used_cpu_user"]) + float(told["used_cpu_sys"])


def memory(client: Redis) -> int:
    return int(client.info("memory")["used_memory"])


def clean(client: Redis, namespace: str) -> None:
    for key in client.scan_iter(f"*{namespace}*", 1_000):
        client.unlink(key)
