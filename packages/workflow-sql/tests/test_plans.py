"""No statement that runs often looks at a whole table, however it was worded."""

from __future__ import annotations

import re
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from workflow_core.model import OutboxEvent, RecordQuery, RunState, SortOrder, Timeout
from workflow_core.ports import Shards, Write
from workflow_core.testing import FakeClock
from workflow_sql import (
    Database,
    History,
    SqlEventStreamer,
    SqlRecordStore,
    SqlRoleScheduler,
    SqlTimeoutStore,
)

ZERO = timedelta(0)
HOUR = timedelta(hours=1)

# a handful of rows each, whatever is stored
SMALL = {"installation", "schema", "sessions", "roles", "consumers", "receivers"}


@pytest.fixture
def explained(
    statements: list[tuple[str, Any]], database: Database, clock: FakeClock, path: Path, make: Any
) -> list[tuple[str, str]]:
    """All statements of a life in the service, each with each step of its plan."""
    exercise(database, clock, make)
    database.close()
    connection = sqlite3.connect(path)
    plans = [
        (sql, row[3])
        # with parameters as parameters: a value in their place could be planned otherwise
        for sql, parameters in dict(statements).items()
        if re.match(r"(?i)\s*(select|insert|update|delete|with)\b", sql)
        for row in connection.execute(f"explain query plan {sql}", parameters)
    ]
    connection.close()
    return plans


def exercise(database: Database, clock: FakeClock, make: Any) -> None:
    store = SqlRecordStore(database, history=History.WITH_DATA, history_keep=1)
    streamer = SqlEventStreamer(database, instance="i")
    work_on_records(store, streamer, make)
    ask_for_people(store)
    work_on_timers(SqlTimeoutStore(database), make)
    receiver = streamer.new_receiver(
        ["orders-1", "orders-2"], "steps", shards=Shards(count=2, held=frozenset({0}))
    )
    sender = streamer.new_sender()
    sender.send_many([make.event() for _ in range(20)], HOUR)
    receiver.ack(receiver.recv_many(5, ZERO))
    streamer.lag(["orders-1", "unknown"], "steps")
    clock.advance(2 * HOUR)
    streamer.trim()
    receiver.recv_many(5, ZERO)
    receiver.close()
    roles = SqlRoleScheduler(database, instance="i")
    leases = roles.acquire(["a", "b"], ZERO)
    roles.try_acquire("c")
    roles.renew()
    leases[0].release()
    roles.holders(["a", "b"])
    roles.close()


def work_on_records(store: SqlRecordStore, streamer: SqlEventStreamer, make: Any) -> None:
    records = [make.record() for _ in range(5)]
    store.store_many(
        [Write(record=record, events=[OutboxEvent(event=make.event(record))]) for record in records]
    )
    moved = [make.next(record, entered_version=2) for record in records]
    with store.transaction() as transaction:
        transaction.store_many([Write(record=record) for record in moved])
        streamer.send_within(transaction, [make.event(record) for record in moved])
    store.store_many([Write(record=record) for record in moved])
    ended = make.next(moved[0], state=RunState.COMPLETED)
    store.store(Write(record=ended))
    store.store(Write(record=make.next(ended, state=RunState.RUNNING)))
    store.store_many([Write(record=make.record(foreign_id=records[1].foreign_id))])
    long = moved[1]
    for _ in range(62):
        long = make.next(long)
        store.store(Write(record=long, retry_in=HOUR))
    store.lookup_many([record.run_id for record in records])
    store.lookup(records[0].run_id)
    store.latest("orders", records[0].foreign_id)
    store.history(records[0].run_id)
    store.next_outbox_due(["orders", "other"])
    store.list_outbox_events(["orders", "other"], limit=3)
    claimed = store.claim_outbox_events(["orders", "other"], limit=3, lease=HOUR)
    ids = [event.id for event in claimed]
    store.delay_outbox_events(ids, ZERO)
    store.add_outbox_events([OutboxEvent(event=make.event())])
    with store.transaction() as transaction:
        transaction.delete_outbox_events(ids[:1])
    store.delete_outbox_events(ids)
    store.erase_copies(records[0].run_id)


def ask_for_people(store: SqlRecordStore) -> None:
    for order in SortOrder:
        page = store.list_records(RecordQuery(order=order, limit=2))
        for query in (
            RecordQuery(workflow="orders", order=order),
            RecordQuery(workflow="orders", order=order, statuses=[1, 2], drivable=True),
            RecordQuery(order=order),
        ):
            store.list_records(query)
            store.list_records(query.replace(after=page.next))
    store.list_records(RecordQuery(workflow="orders", foreign_id="order-1"))
    store.list_records(RecordQuery(run_ids=["a", "b"]))
    store.purge(RecordQuery(workflow="orders", updated_before=store.now() + HOUR))


def work_on_timers(timeouts: SqlTimeoutStore, make: Any) -> None:
    timers = [
        Timeout(
            key=make.id(),
            workflow="orders",
            run_id=make.id(),
            status=1,
            entered_version=1,
            name="n",
        )
        for _ in range(5)
    ]
    keys = [timer.key for timer in timers]
    timeouts.create_many(timers)
    timeouts.create_many(timers)
    timeouts.list_valid(["orders", "other"], limit=3)
    timeouts.next_due(["orders", "other"])
    timeouts.list_timeouts("orders", limit=2)
    timeouts.park_many(keys)
    timeouts.reschedule(keys[0], HOUR, attempts=1, error="e")
    timeouts.complete_many(keys)
    timeouts.forget([timers[0].run_id])


def test_no_statement_scans_a_table_that_grows(explained: list[tuple[str, str]]) -> None:
    """Seen to fail without the indexes of the outbox by run and by time."""
    assert len({sql for sql, _ in explained}) > 60, "the statements were seen"
    scans = [
        (step, sql)
        for sql, step in explained
        if (found := re.match(r"SCAN (\w+)(.*)", step)) and is_scan_of_all(found, sql)
    ]
    assert scans == []


def is_scan_of_all(found: re.Match[str], sql: str) -> bool:
    name, how = found.groups()
    if name in {"json_each", "sqlite_master", "sqlite_sequence", "part", "t", "p", "CONSTANT"}:
        return False  # lists of parameters, and what was selected before
    tables = dict(re.findall(r"workflow_(\w+) (\w+)\b", sql))
    by_alias = {alias: table for table, alias in tables.items()}
    if "min(c.done_to)" in sql:
        return False  # all lanes of all consumers, which are few, once a minute
    table = by_alias.get(name, name.removeprefix("workflow_"))
    if table in SMALL:
        return False
    # in order of an index and cut off by a limit: only what is answered is looked at
    return not (" USING " in how and "limit" in sql.lower())


def test_every_index_is_of_use_to_a_statement(
    explained: list[tuple[str, str]], database: Database
) -> None:
    """Seen to fail without an index, and with a condition that is not the index's own."""
    steps = " ".join(step for _, step in explained)
    indexes = {
        str(index.name)
        for table in database.tables.metadata.tables.values()
        for index in table.indexes
    }
    assert {name for name in indexes if f"INDEX {name} " not in f"{steps} "} == set()


def test_pages_and_purges_start_where_they_should(explained: list[tuple[str, str]]) -> None:
    """Seen to fail with the states left out of a purge's statement: it read all that had ended."""
    steps = {step for _, step in explained}
    assert any("(created_at,run_id)>(?,?)" in step for step in steps)
    assert any("(created_at,run_id)<(?,?)" in step for step in steps)
    assert any("workflow=? AND state=? AND updated_at<?" in step for step in steps)


def test_no_list_is_sorted_that_an_index_has_in_order(explained: list[tuple[str, str]]) -> None:
    """Seen to fail without the index on (workflow, created_at, run_id)."""
    sorted_lists = [
        sql
        for sql, step in explained
        if step == "USE TEMP B-TREE FOR ORDER BY" and "created_at," in sql.lower().split("from")[0]
        if "workflow_records" in sql and "foreign_id =" not in sql and "run_id in" not in sql
    ]
    assert sorted_lists == []
