"""Measures the store by itself, beside a floor, and then 1,000 timers at once through the engine.

The floor writes and takes away the bare minimum in the same batches: one member of one sorted set,
without scripts. The server's own CPU time stands beside each rate, for the machine may be busy.
"""

import argparse
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

from redis import Redis
from workflow_core.ports import Secret
from workflow_redis_timeout import RedisSettings, RedisTimeoutStore

from redis_timers import alone, engine


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/benchmark redis-timers", description=__doc__)
    parser.add_argument("--url", default=os.environ.get("WORKFLOW_TEST_REDIS_URL"))
    parser.add_argument("--timers", type=int, default=100_000)
    parser.add_argument("--at-once", type=int, default=1_000)
    options = parser.parse_args()
    if options.url is None:
        parser.error("where is Redis? --url, or WORKFLOW_TEST_REDIS_URL")
    namespace = f"benchmark_{os.getpid()}"
    settings = RedisSettings(url=Secret(options.url))
    with ExitStack() as stack:
        client = stack.enter_context(Redis.from_url(options.url))
        stack.callback(alone.clean, client, namespace)
        alone.floor(client, namespace, options.timers)
        store = stack.enter_context(RedisTimeoutStore(settings, namespace=namespace))
        print(store.check_health())
        alone.store(store, client, options.timers)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engine.measure(store, options.url, namespace, folder, options.at_once)


if __name__ == "__main__":
    main()
