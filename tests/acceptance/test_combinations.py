"""One short flow over every record store x streamer x roles x timeouts that we ship.

Combinations of adapters, on real servers: what the contracts of the ports and the system of four
servers cannot show, two adapters that are right by themselves and wrong together. Where SQL has
several parts in a combination they are on one database in every other one, so that they join, and
on two in the rest; the four databases take turns.

Reflex's tables are in a few only: beside each record store on each database, where the other ports
take turns.

All combinations share the servers' tables, topics and keys, and are told apart by the name of their
workflow, which is how applications share them. Most of a flow is waiting, so many go on at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from itertools import product
from pathlib import Path

import pytest
from workflow_adaptertest.acceptance import Journey
from workflow_adaptertest.servers import Server
from workflow_core import Engine
from workflow_core.discovery import Config, adapters
from workflow_core.ports import Secret
from workflow_reflex import ReflexSettings, create_tables
from workflow_sql import upgrade

PATIENCE = timedelta(seconds=60)
AT_ONCE = 6
SHIPPED = {
    "record_store": ["memory", "sql"],
    "event_streamer": ["memory", "sql", "kafka", "reflex"],
    "role_scheduler": ["memory", "sql", "etcd", "rink"],
    "timeout_store": ["memory", "sql", "redis"],
}
DATABASES = ["sqlite", "postgres", "mysql", "mariadb"]
REFLEX = [f"reflex-{database}" for database in DATABASES]
COMBINATIONS = [
    dict(zip(SHIPPED, names, strict=True))
    for names in product(*SHIPPED.values())
    if "reflex" not in names
]
COMBINATIONS += [
    {
        "record_store": store,
        "event_streamer": streamer,
        "role_scheduler": SHIPPED["role_scheduler"][at % 4],
        "timeout_store": SHIPPED["timeout_store"][at % 3],
    }
    for at, (streamer, store) in enumerate(product(REFLEX, SHIPPED["record_store"]))
]


def on_databases(number: int, combination: Mapping[str, str]) -> dict[str, str]:
    """The combination with a database for each SQL; where Reflex is, they are on its own."""
    first = DATABASES[number // 2 % len(DATABASES)]
    if (streamer := combination["event_streamer"]) in REFLEX:
        first, number = DATABASES[REFLEX.index(streamer)], 0
    second = DATABASES[(number // 2 + 1) % len(DATABASES)] if number % 2 else first
    places = {"record_store": first, "event_streamer": first}
    return {
        port: places.get(port, second) if name == "sql" else name
        for port, name in combination.items()
    }


@pytest.fixture
def settings(
    tmp_path: Path,
    postgres_server: Server,
    mysql_server: Server,
    mariadb_server: Server,
    kafka_server: Server,
    etcd_server: Server,
    redis_server: Server,
) -> Iterator[Mapping[str, object]]:
    with ExitStack() as spaces:
        kafka, etcd, redis = (
            spaces.enter_context(server.own_space())
            for server in (kafka_server, etcd_server, redis_server)
        )
        urls = {"sqlite": f"sqlite:///{tmp_path / 'workflow.db'}"}
        for server in (postgres_server, mysql_server, mariadb_server):
            plain = "" if server is postgres_server else "?ssl_disabled=true"
            urls[server.kind.name] = f"{spaces.enter_context(server.own_space()).url}{plain}"
        for url in urls.values():
            upgrade(url, namespace=kafka.name)
            create_tables(ReflexSettings(url=Secret(url)))
        yield {
            "namespace": kafka.name,
            **{f"adapters.{name}.adapter": "sql" for name in urls},
            **{f"adapters.{name}.url": url for name, url in urls.items()},
            **{f"adapters.reflex-{name}.adapter": "reflex" for name in urls},
            **{f"adapters.reflex-{name}.url": url for name, url in urls.items()},
            "adapters.kafka.bootstrap_servers": [kafka.url.bootstrap],
            "adapters.kafka.partitions": 3,
            "adapters.etcd.endpoints": [etcd.url.bootstrap],
            "adapters.etcd.prefix": f"{etcd.name}/roles",
            "adapters.rink.endpoints": [etcd.url.bootstrap],
            "adapters.rink.cluster": f"{etcd.name}/rink",
            "adapters.rink.new_member_wait": "0s",
            "adapters.rink.unclaimed_after": "50ms",
            "adapters.redis.url": str(redis.url),
        }


def flow(settings: Mapping[str, object], number: int) -> str:
    """One run from its beginning to its end; "" or what went wrong."""
    chosen = on_databases(number, COMBINATIONS[number])
    used = {name for name in chosen.values() if name != "memory"}
    mine = {
        name: value
        for name, value in settings.items()
        if not name.startswith("adapters.") or name.split(".")[1] in used
    }
    journey = Journey(f"orders{number}")
    try:
        config = Config.load(environ={}, overrides={**mine, **chosen})
        with Engine(config.build()) as engine, engine.serving(journey.workflow):
            journey.judge(engine, journey.take(engine, "order-1", PATIENCE))
    except Exception as problem:  # of this combination; the others tell theirs
        return f"{' + '.join(chosen.values())}: {type(problem).__name__}: {problem}"
    return ""


def test_flow_goes_all_the_way_over_every_combination(settings: Mapping[str, object]) -> None:
    """Seen to fail when a streamer says that it joins whatever store there is."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        told = list(pool.map(partial(flow, settings), range(len(COMBINATIONS))))
    problems = [problem for problem in told if problem]
    assert not problems, "\n".join([f"{len(problems)} of {len(told)} combinations:", *problems])


def test_combinations_are_of_all_adapters_that_we_ship() -> None:
    """Seen to fail when an adapter of a wheel is in no combination."""
    ours = {
        port: {
            found.name
            for found in adapters(f"workflow_core.{port}s")
            if found.distribution.startswith("workflow-")
        }
        for port in SHIPPED
    }
    assert ours == {port: set(names) for port, names in SHIPPED.items()}


def test_sql_is_on_every_database_joined_and_apart() -> None:
    chosen = [on_databases(number, each) for number, each in enumerate(COMBINATIONS)]
    seen = {(each["record_store"], each["timeout_store"]) for each in chosen}
    for place, database in enumerate(DATABASES):
        assert (database, database) in seen
        assert (database, DATABASES[(place + 1) % len(DATABASES)]) in seen
