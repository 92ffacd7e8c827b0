"""Health with PostgreSQL, Kafka, etcd and Redis, each of them frozen in turn; and with SQLite."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from pathlib import Path
from typing import Literal

import pytest
from confluent_kafka import Consumer
from workflow_adaptertest.servers import Server, Space
from workflow_core import AdapterState, Engine, Health, Run, Workflow
from workflow_core.model import Event
from workflow_core.ports import Delivery
from workflow_kafka.member import Member
from workflow_sql import upgrade
from workflow_sql.events.receiver import SqlReceiver

PATIENCE = 120  # seconds after which it never comes back, however slow the machine
IN_TIME = timedelta(seconds=20)  # that an adapter has which is well


class Status(IntEnum):
    BEGUN = 1
    DONE = 2


@dataclass
class Nothing:
    pass


flow = Workflow("flow", Nothing, Status, ends=(Status.DONE,))


@flow.timeout(Status.BEGUN, after=timedelta(milliseconds=1))
def end(run: Run[Nothing, Status]) -> Literal[Status.DONE]:
    return Status.DONE


@pytest.fixture
def engine(
    postgres_space: Space, kafka_space: Space, etcd_space: Space, redis_space: Space
) -> Iterator[Engine]:
    upgrade(str(postgres_space.url), namespace=kafka_space.name)
    settings = {
        "record_store": "sql",
        "event_streamer": "kafka",
        "role_scheduler": "etcd",
        "timeout_store": "redis",
        "namespace": kafka_space.name,
        "adapters.sql.url": str(postgres_space.url),
        "adapters.kafka.bootstrap_servers": kafka_space.url.bootstrap,
        "adapters.kafka.partitions": 2,
        "adapters.etcd.endpoints": [etcd_space.url.bootstrap],
        "adapters.redis.url": str(redis_space.url),
    }
    with Engine.from_config(environ={}, overrides=settings) as engine, engine.serving(flow):
        run_id = engine.trigger(flow, "one", Nothing())
        engine.wait_until_ended(flow, run_id, timedelta(seconds=PATIENCE))
        yield engine


def states(health: Health) -> dict[str, AdapterState]:
    return {adapter.port: adapter.state for adapter in health.adapters}


def wait_ready(engine: Engine) -> Health:
    health = engine.health(IN_TIME)
    for _ in range(PATIENCE):
        if health.ready:
            break
        threading.Event().wait(1)
        health = engine.health(IN_TIME)
    return health


def wait_until_only(port: str, engine: Engine) -> None:
    """Until nothing but this port is unwell; others may be slow on a busy machine."""
    for _ in range(PATIENCE):
        health = engine.health()
        found = states(health)
        assert found.pop(port) is not AdapterState.OK, port
        assert (health.live, health.ready) == (True, False)
        if set(found.values()) == {AdapterState.OK}:
            return
    raise AssertionError(f"others than {port} are unwell too")


def test_frozen_server_is_told_and_nothing_else_when_health_is_asked(
    engine: Engine,
    postgres_server: Server,
    kafka_server: Server,
    etcd_server: Server,
    redis_server: Server,
) -> None:
    """Seen to hang when adapters are asked on the caller's thread."""
    frozen = {
        "record_store": postgres_server,
        "event_streamer": kafka_server,
        "role_scheduler": etcd_server,
        "timeout_store": redis_server,
    }
    assert wait_ready(engine).problems == ()
    for port, server in frozen.items():
        server.freeze()
        wait_until_only(port, engine)
        server.thaw()
        health = wait_ready(engine)
        assert (health.live, health.ready) == (True, True), (port, health.problems)


def test_deaf_receiver_is_found_by_the_lag_of_the_stream(
    postgres_space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail when only polls are looked at: each of them ends in time, with nothing."""
    upgrade(str(postgres_space.url))
    ports = dict.fromkeys(("record_store", "event_streamer", "role_scheduler"), "sql")
    settings = {
        **ports,
        "timeout_store": "sql",
        "adapters.sql.url": str(postgres_space.url),
        "engine.stuck_after": "2s",
        "engine.shards": 1,
    }
    receive = SqlReceiver.recv_many
    is_deaf, hears_nothing = threading.Event(), threading.Event()

    def hear(receiver: SqlReceiver, limit: int, timeout: timedelta) -> Sequence[Delivery[Event]]:
        if is_deaf.is_set():
            hears_nothing.set()
            threading.Event().wait(timeout.total_seconds())
            return []
        return receive(receiver, limit, timeout)

    monkeypatch.setattr(SqlReceiver, "recv_many", hear)
    monkeypatch.setattr("workflow_core.engine.hearing._AGAIN", 0.5)
    monkeypatch.setattr("workflow_core.engine.hearing._EACH", 1.0)
    with Engine.from_config(environ={}, overrides=settings) as engine, engine.serving(flow):
        first = engine.trigger(flow, "one", Nothing())
        engine.wait_until_ended(flow, first, timedelta(seconds=PATIENCE))
        assert wait_ready(engine).live
        is_deaf.set()
        assert hears_nothing.wait(PATIENCE)  # a call that began before still hears
        second = engine.trigger(flow, "two", Nothing())
        told = "flow-main-steps reception is deaf: it is handed nothing"
        health = engine.health(IN_TIME)
        for _ in range(PATIENCE):
            if told in str(health.problems):
                break
            threading.Event().wait(1)
            health = engine.health(IN_TIME)
        assert told in str(health.problems)
        assert not health.live
        is_deaf.clear()
        engine.wait_until_ended(flow, second, timedelta(seconds=PATIENCE))
        assert wait_ready(engine).live


@pytest.fixture
def on_kafka(
    kafka_space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Engine]:
    database = f"sqlite:///{tmp_path / 'runs.db'}"
    upgrade(database)
    settings = {
        **dict.fromkeys(("record_store", "role_scheduler", "timeout_store"), "sql"),
        "event_streamer": "kafka",
        "namespace": kafka_space.name,
        "adapters.sql.url": database,
        "adapters.kafka.bootstrap_servers": kafka_space.url.bootstrap,
        "engine.stuck_after": "2s",
    }
    monkeypatch.setattr("workflow_core.engine.hearing._AGAIN", 0.5)
    monkeypatch.setattr("workflow_core.engine.hearing._EACH", 1.0)
    with Engine.from_config(environ={}, overrides=settings) as engine, engine.serving(flow):
        yield engine


def test_deaf_member_is_found_though_kafka_divides_the_work(
    on_kafka: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It polls, commits and is of its group; nothing is fetched. Seen to fail by the lag alone."""
    engine, last = on_kafka, timedelta(seconds=PATIENCE)
    engine.wait_until_ended(flow, engine.trigger(flow, "one", Nothing()), last)
    assert wait_ready(engine).live
    is_deaf = threading.Event()

    def let_flow(member: Member[Event], consumer: Consumer, flow: bool) -> None:
        (consumer.pause if is_deaf.is_set() else consumer.resume)(consumer.assignment())

    monkeypatch.setattr(Member, "_let_flow", let_flow)
    is_deaf.set()
    second, health = "", engine.health(IN_TIME)
    for number in range(PATIENCE):  # what was fetched before is still heard
        second = engine.trigger(flow, f"deaf-{number}", Nothing())
        health = engine.health(IN_TIME)
        if "flow-main-steps reception is deaf: it is handed nothing" in str(health.problems):
            break
        threading.Event().wait(1)
    assert not health.live, health.problems
    is_deaf.clear()
    engine.wait_until_ended(flow, second, last)
    assert wait_ready(engine).live


def test_file_is_told_when_its_schema_is_not_ours_any_more(tmp_path: Path) -> None:
    """Seen to fail when the schema is looked at only at the start."""
    path = tmp_path / "orders.db"
    with Engine.embedded(path) as engine:
        assert engine.health(IN_TIME).ready
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("update workflow_schema set version_num = '9999'")
            connection.commit()
        health = engine.health(IN_TIME)
        assert (health.live, health.ready) == (True, False)
        assert set(states(health).values()) == {AdapterState.FAILING}
        assert "the database has the schema 9999" in health.problems[0]
