"""No statement outgrows what a server takes, however much is asked for at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pymysql
import pytest
from workflow_core.ports import Write
from workflow_sql import SqlRecordStore, SqlTimeoutStore

SERVER = 16 * 2**20  # what MariaDB takes as it comes, and MySQL did
MANY = 70_000
LONG = "é" * 120  # two bytes each


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The length of each statement as it is sent."""
    sent: list[int] = []
    query = pymysql.connections.Connection.query

    def measured(self: Any, sql: Any, unbuffered: bool = False) -> Any:
        sent.append(len(sql))
        return query(self, sql, unbuffered)

    monkeypatch.setattr(pymysql.connections.Connection, "query", measured)
    return sent


@pytest.mark.parametrize(
    "ask",
    [
        lambda store, timers, ids: store.delete_outbox_events(ids),
        lambda store, timers, ids: store.delay_outbox_events(ids, timedelta(hours=1)),
        lambda store, timers, ids: store.lookup_many(ids),
        lambda store, timers, ids: timers.cancel_many(ids),
        lambda store, timers, ids: timers.park_many(ids),
        lambda store, timers, ids: timers.forget(ids),
    ],
    ids=["delete", "delay", "look up", "cancel", "park", "forget"],
)
def test_many_long_ids_are_named_in_several_statements(
    new_home: Callable[[str], Any], sizes: list[int], ask: Callable[..., object]
) -> None:
    """Seen to fail with all ids in one: "Got a packet bigger than 'max_allowed_packet' bytes"."""
    ids = [f"{number:06}{LONG}" for number in range(MANY)]
    assert sum(len(each.encode()) for each in ids) > SERVER
    with new_home("mariadb").open() as database:
        ask(SqlRecordStore(database), SqlTimeoutStore(database), ids)
    assert max(sizes) < SERVER / 4


def test_large_records_are_written_in_several_statements(
    new_home: Callable[[str], Any], sizes: list[int], make: Any
) -> None:
    """Seen to fail with rows counted alone."""
    with new_home("mariadb").open() as database:
        store = SqlRecordStore(database)
        records = [make.record(data=b"x" * 1_000_000) for _ in range(20)]
        assert store.store_many([Write(record=record) for record in records]) == [None] * 20
        after = [make.next(record) for record in records]
        assert store.store_many([Write(record=record) for record in after]) == [None] * 20
        assert len(store.lookup_many([record.run_id for record in records])) == 20
    assert max(sizes) < SERVER / 2
