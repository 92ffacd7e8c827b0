"""Two deployments share every server, with one workflow, the same foreign ids, at the same moment.

Each has to see its own runs and nothing else; and the servers are asked themselves, while both
work, what is there: each table, topic, group, key and channel that came with them has to be in one
of the two namespaces.

Seen to fail where tables, Kafka's topics, its groups, Redis's keys or Reflex's cursors have no
namespace; where etcd's or Rink's roles or Reflex's topics have none, one of the two waits in vain.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from typing import Any, Literal

import pytest
from confluent_kafka.admin import AdminClient
from etcd3.etcdrpc import KVStub, RangeRequest
from grpc import insecure_channel
from redis import Redis
from sqlalchemy import create_engine, inspect, text
from workflow_adaptertest.servers import Space
from workflow_core import Engine, RecordQuery, Run, Trigger, Workflow
from workflow_core.discovery import Config
from workflow_core.ports import Secret
from workflow_reflex import ReflexSettings, create_tables
from workflow_sql import upgrade

PATIENCE = timedelta(seconds=120)
NAMES = ["order-1", "order-2", "order-3"]
LATE = timedelta(seconds=3)  # while the timers are armed, the servers are looked at


class Status(IntEnum):
    RECEIVED = 1
    WAITING = 2
    READY = 3
    SHIPPED = 4


@dataclass
class Order:
    shop: str
    served_by: list[str] = field(default_factory=list)


def workflow_of(shop: str) -> Workflow[Order, Status]:
    """The one workflow, in a worker of this shop."""
    orders = Workflow("orders", Order, Status, ends=(Status.SHIPPED,))

    @orders.step(Status.RECEIVED)
    def receive(run: Run[Order, Status]) -> Literal[Status.WAITING]:
        run.data.served_by.append(shop)
        return Status.WAITING

    @orders.timeout(Status.WAITING, after=LATE)
    def release(run: Run[Order, Status]) -> Literal[Status.READY]:
        run.data.served_by.append(shop)
        return Status.READY

    @orders.step(Status.READY)
    def ship(run: Run[Order, Status]) -> Literal[Status.SHIPPED]:
        run.data.served_by.append(shop)
        return Status.SHIPPED

    return orders


# -- what is on the servers, by kind ---------------------------------------------------------------

Names = dict[str, set[str]]


class Look:
    """At everything that two deployments may share."""

    def __init__(self, spaces: Mapping[str, Space]) -> None:
        self._spaces = spaces
        self._before = self._all()

    def what_came(self) -> Names:
        """Every name that was not there before."""
        now = self._all()
        return {kind: names - self._before.get(kind, set()) for kind, names in now.items()}

    def _all(self) -> Names:
        found: Names = {}
        looks = {
            "postgres": self._database,
            "mysql": self._database,
            "kafka": self._kafka,
            "redis": self._redis,
            "etcd": self._etcd,
        }
        for name, space in self._spaces.items():
            for kind, names in looks[name](space).items():
                found[f"{name}: {kind}"] = names
        return found

    def _database(self, space: Space) -> Names:
        url = url_of(space).replace("mysql:", "mysql+pymysql:")
        engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
        try:
            with engine.connect() as connection:
                tables = set(inspect(connection).get_table_names())
                found = {"tables": {it for it in tables if not it.startswith("reflex")}}
                if "reflex_events" in tables:
                    found |= _reflex(connection)
                if engine.dialect.name == "postgresql":
                    found["channels"] = _channels(connection)
                return found
        finally:
            engine.dispose()

    def _kafka(self, space: Space) -> Names:
        admin = AdminClient({"bootstrap.servers": space.url.bootstrap})
        topics = {it for it in admin.list_topics(timeout=30).topics if not it.startswith("__")}
        groups = admin.list_consumer_groups().result(timeout=30).valid
        return {"topics": topics, "groups": {it.group_id for it in groups}}

    def _redis(self, space: Space) -> Names:
        with closing(Redis.from_url(str(space.url))) as redis:
            channels = {str(it) for it in redis.pubsub_channels()}
            return {"keys": {it.decode() for it in redis.scan_iter()}, "channels": channels}

    def _etcd(self, space: Space) -> Names:
        with insecure_channel(space.url.bootstrap) as channel:
            everything = RangeRequest(key=b"\0", range_end=b"\0", keys_only=True)
            answer = KVStub(channel).Range(everything, timeout=30)
        return {"keys": {pair.key.decode() for pair in answer.kvs}}


def _reflex(connection: Any) -> Names:
    cursors = connection.execute(text("select id from reflex_cursors")).scalars()
    topics = connection.execute(text("select metadata from reflex_events")).scalars()
    return {"cursors": set(cursors), "events": {bytes(it).decode() for it in topics}}


def _channels(connection: Any) -> set[str]:
    listening = "select query from pg_stat_activity where query like 'listen %'"
    found = connection.execute(text(f"{listening} and datname = current_database()")).scalars()
    return {it.removeprefix("listen ").strip('"') for it in found}


def url_of(space: Space) -> str:
    url = str(space.url)
    return f"{url}?ssl_disabled=true" if url.startswith("mysql") else url


# -- two deployments ------------------------------------------------------------------------------

STACKS: dict[str, dict[str, object]] = {
    "postgres, kafka, etcd, redis": {
        "record_store": "sql",
        "event_streamer": "kafka",
        "role_scheduler": "etcd",
        "timeout_store": "redis",
    },
    "mysql, kafka, rink, redis": {
        "record_store": "sql",
        "event_streamer": "kafka",
        "role_scheduler": "rink",
        "timeout_store": "redis",
    },
    "postgres alone": dict.fromkeys(
        ("record_store", "event_streamer", "role_scheduler", "timeout_store"), "sql"
    ),
    "postgres with reflex": {
        "record_store": "sql",
        "event_streamer": "reflex",
        "role_scheduler": "sql",
        "timeout_store": "sql",
    },
}

SERVERS = {"kafka": ["kafka"], "etcd": ["etcd"], "rink": ["etcd"], "redis": ["redis"]}


@pytest.fixture(params=list(STACKS))
def stack(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def spaces(stack: str, request: pytest.FixtureRequest) -> Iterator[Mapping[str, Space]]:
    """Of the servers that this stack stands on; the database first."""
    names = [stack.split(",")[0].split()[0]]
    for adapter in STACKS[stack].values():
        names += SERVERS.get(str(adapter), [])
    with ExitStack() as entered:
        yield {
            name: entered.enter_context(request.getfixturevalue(f"{name}_server").own_space())
            for name in dict.fromkeys(names)
        }


@pytest.fixture
def namespaces(spaces: Mapping[str, Space]) -> Iterator[tuple[str, str]]:
    """Two, within the name of one space: topics and keys that hold it are removed at the end."""
    name = spaces["kafka" if "kafka" in spaces else "postgres"].name
    yield f"{name}_a", f"{name}_b"
    if "redis" in spaces:
        with closing(Redis.from_url(str(spaces["redis"].url))) as redis:
            for key in redis.scan_iter(f"*{name}*"):
                redis.unlink(key)


@pytest.fixture
def settings(stack: str, spaces: Mapping[str, Space]) -> Mapping[str, object]:
    """The same for both: all that differs is the namespace."""
    database = url_of(next(iter(spaces.values())))
    found: dict[str, object] = {**STACKS[stack], "adapters.sql.url": database}
    chosen = set(STACKS[stack].values())
    if "kafka" in chosen:
        found["adapters.kafka.bootstrap_servers"] = [spaces["kafka"].url.bootstrap]
        found["adapters.kafka.partitions"] = 2
    if "etcd" in chosen:
        found["adapters.etcd.endpoints"] = [spaces["etcd"].url.bootstrap]
    if "rink" in chosen:
        found["adapters.rink.endpoints"] = [spaces["etcd"].url.bootstrap]
        found["adapters.rink.cluster"] = "shop"
        found["adapters.rink.new_member_wait"] = "0s"
        found["adapters.rink.unclaimed_after"] = "50ms"
    if "redis" in chosen:
        found["adapters.redis.url"] = str(spaces["redis"].url)
    if "reflex" in chosen:
        found["adapters.reflex.url"] = database
        create_tables(ReflexSettings(url=Secret(database)))
    return found


def serving(settings: Mapping[str, object], namespace: str, at_work: ExitStack) -> Shop:
    config = Config.load(environ={}, overrides={**settings, "namespace": namespace})
    engine = at_work.enter_context(Engine(config.build()))
    workflow = workflow_of(namespace)
    at_work.enter_context(engine.serving(workflow))
    return Shop(namespace, engine, workflow)


@dataclass
class Shop:
    """One of the two deployments."""

    namespace: str
    engine: Engine
    workflow: Workflow[Order, Status]
    runs: list[str] = field(default_factory=list)

    def order(self) -> None:
        triggers = [Trigger(name, Order(self.namespace)) for name in NAMES]
        self.runs = [str(it) for it in self.engine.trigger_many(self.workflow, triggers)]

    def wait(self, status: Status) -> None:
        for run_id in self.runs:
            self.engine.wait_for(self.workflow, run_id, status, PATIENCE)

    def judge(self) -> None:
        """Its own runs are all that it sees, and nobody else worked on them."""
        page = self.engine.adapters.record_store.list_records(RecordQuery(workflow="orders"))
        assert {it.run_id for it in page.items} == set(self.runs)
        assert sorted(it.foreign_id for it in page.items) == NAMES
        for run_id in self.runs:
            data = self.engine.view(self.workflow, run_id).data
            assert data.shop == self.namespace
            assert data.served_by == [self.namespace] * 3


WHOLE = {
    "tables": r"{}_workflow_\w+",
    "channels": r"{}_workflow_news",
    "topics": r"{}\.orders-.+",
    "groups": r"{}\..+",
    "keys": r"(workflow-timers:\{{)?{}[/:}}].+",
    "cursors": r"{}\..+",
    "events": r'.*"topic":\s*"{}\.orders-.*',
}
NONE_AT_ALL = {"redis: channels"}


def judge_names(came: Names, namespaces: Collection[str]) -> None:
    """Each name is in one of the namespaces, and there are some of each kind in both."""
    for kind, names in came.items():
        if kind in NONE_AT_ALL:
            assert not names, kind
            continue
        pattern = WHOLE[kind.split(": ")[1]]
        rest = set(names)
        for namespace in namespaces:
            mine = {it for it in rest if re.fullmatch(pattern.format(namespace), it, re.DOTALL)}
            assert mine, f"{kind}: nothing is in {namespace}, of {sorted(names)}"
            rest -= mine
        assert not rest, f"{kind} in no namespace: {sorted(rest)}"


def test_two_deployments_share_every_server_and_do_not_meet(
    spaces: Mapping[str, Space], namespaces: tuple[str, str], settings: Mapping[str, object]
) -> None:
    look = Look(spaces)
    for namespace in namespaces:
        upgrade(str(settings["adapters.sql.url"]), namespace=namespace)
    with ExitStack() as at_work:
        shops = [serving(settings, namespace, at_work) for namespace in namespaces]
        for shop in shops:
            shop.order()
        for shop in shops:
            shop.wait(Status.WAITING)
        came = look.what_came()
        for shop in shops:
            shop.wait(Status.SHIPPED)
        judge_names(came, namespaces)
        judge_names(look.what_came(), namespaces)
        for shop in shops:
            shop.judge()
