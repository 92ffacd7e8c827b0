"""Look-ups at a replica that is behind, or away."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from workflow_adaptertest.servers import Server, Space
from workflow_core.errors import ConfigurationError
from workflow_core.ports import Write
from workflow_sql import Database, SqlRecordStore, upgrade

PATIENCE = 60.0


@pytest.fixture
def urls(postgres_replica_space: Space) -> tuple[str, str]:
    """Of the primary and of its replica, with the tables there."""
    space = postgres_replica_space.url
    primary, replica = (str(space.at([address])) for address in space.addresses)
    upgrade(primary)
    end = time.monotonic() + PATIENCE
    while not has_tables(replica):  # the database itself has to arrive there too
        assert time.monotonic() < end, "the replica never caught up"
        time.sleep(0.01)
    return primary, replica


def has_tables(url: str) -> bool:
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            row = connection.execute("select to_regclass('workflow_schema')").fetchone()
    except psycopg.OperationalError:
        return False
    return row is not None and row[0] is not None


@pytest.fixture
def store(urls: tuple[str, str]) -> Iterator[SqlRecordStore]:
    primary, replica = urls
    with Database(primary, replica_url=replica) as database:
        yield SqlRecordStore(database)


@contextmanager
def behind(replica: str) -> Iterator[None]:
    """What is written meanwhile does not arrive there."""
    with psycopg.connect(replica, autocommit=True) as connection:
        connection.execute("select pg_wal_replay_pause()")
        try:
            yield
        finally:
            connection.execute("select pg_wal_replay_resume()")


def wait_for(store: SqlRecordStore, run_id: str, version: int) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        found = store.lookup_many([run_id]).get(run_id)
        if found is not None and found.version == version:
            return
        assert time.monotonic() < end, "it never arrived"
        time.sleep(0.01)


def test_only_the_primary_knows_of_a_young_run_when_the_replica_is_behind(
    store: SqlRecordStore, urls: tuple[str, str], make: Any
) -> None:
    """The engine asks the primary before it takes a run for gone."""
    old, young = make.record(), make.record()
    store.store(Write(record=old))
    wait_for(store, old.run_id, 1)
    with behind(urls[1]):
        store.store_many([Write(record=young), Write(record=make.next(old))])
        ids = [old.run_id, young.run_id]
        seen = store.lookup_many(ids)
        assert {run_id: record.version for run_id, record in seen.items()} == {old.run_id: 1}
        known = store.lookup_many(ids, primary=True)
        assert {run_id: record.version for run_id, record in known.items()} == {
            old.run_id: 2,
            young.run_id: 1,
        }
        assert store.lookup(young.run_id).version == 1
        assert store.latest("orders", young.foreign_id).run_id == young.run_id
    wait_for(store, old.run_id, 2)


def test_database_is_asked_when_the_replica_is_away(
    store: SqlRecordStore,
    make: Any,
    postgres_replica_server: Server,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Seen to fail without the fall-back."""
    record = make.record()
    store.store(Write(record=record))
    wait_for(store, record.run_id, 1)
    postgres_replica_server.kill(postgres_replica_server.nodes[1])
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert store.lookup_many([record.run_id])[record.run_id].version == 1
    assert caplog.text.count("the replica does not answer") == 1
    postgres_replica_server.start(postgres_replica_server.nodes[1])
    store.store(Write(record=make.next(record)))
    wait_for(store, record.run_id, 2)


def test_replica_is_refused_when_it_is_no_copy(
    urls: tuple[str, str], postgres_space: Space, make: Any
) -> None:
    upgrade(str(postgres_space.url))
    with Database(urls[0], replica_url=str(postgres_space.url)) as database:
        store = SqlRecordStore(database)
        with pytest.raises(ConfigurationError, match="no copy of the database"):
            store.lookup_many([make.id()])
    with pytest.raises(ConfigurationError, match="the replica is a SQLite"):
        Database(urls[0], replica_url="sqlite:///copy.db")
