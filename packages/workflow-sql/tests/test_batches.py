"""Batches on SQLite: few steps, and row by row the same outcomes."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from workflow_core.errors import (
    AdapterError,
    ConfigurationError,
    RunInProgressError,
    VersionConflictError,
)
from workflow_core.model import OutboxEvent, Record, RunState, names
from workflow_core.ports import Write
from workflow_sql import Database, SqlEventStreamer, SqlRecordStore
from workflow_sql.dialects import Row, Select, sqlite_batches

MANY = 500
NOW = timedelta(0)


@pytest.fixture
def store(statements: list[tuple[str, Sequence[Any]]], database: Database) -> SqlRecordStore:
    """Asked for after `statements`, so that its connections are those that are listened to."""
    return SqlRecordStore(database)


def writes(records: Sequence[Record], make: Any) -> list[Write]:
    return [
        Write(record=record, events=[OutboxEvent(event=make.event(record))]) for record in records
    ]


def test_a_batch_takes_few_steps_however_many_rows_it_has(
    store: SqlRecordStore, statements: list[tuple[str, Sequence[Any]]], make: Any
) -> None:
    """Beside a thread that computes each step may take 5 ms.

    Seen to fail row by row, and by the hundred.
    """
    first = [make.record() for _ in range(MANY)]
    store.store_many(writes(first, make))  # opens connections
    second = [make.next(record) for record in first]
    statements.clear()
    assert store.store_many(writes(second, make)) == [None] * MANY
    found = store.lookup_many([record.run_id for record in first])
    assert len(found) == MANY
    assert len(statements) < 10


def test_a_statement_takes_few_large_rows(
    store: SqlRecordStore, statements: list[tuple[str, Sequence[Any]]], make: Any
) -> None:
    """What it is given is copied. Seen to fail when only rows were counted."""
    sizes = [*[300_000] * 30, 5_000_000, *[10] * 500]
    records = [make.record(data=b"x" * size) for size in sizes]
    store.store_many(writes([make.record()], make))  # opens connections
    statements.clear()
    assert store.store_many(writes(records, make)) == [None] * len(sizes)
    found = store.lookup_many([record.run_id for record in records])
    assert [len(found[record.run_id].data) for record in records] == sizes
    given = [
        [len(value) for value in parameters if isinstance(value, bytes)]
        for _, parameters in statements
    ]
    assert all(sum(data) <= 4_000_000 or len(data) == 1 for data in given)
    assert len(statements) < 40


def test_receiving_a_batch_takes_few_steps(
    store: SqlRecordStore,
    database: Database,
    statements: list[tuple[str, Sequence[Any]]],
    make: Any,
) -> None:
    """Seen to fail when each event was fetched as a row: the driver steps for each."""
    streamer = SqlEventStreamer(database, instance="one")
    events = [make.event(make.record()) for _ in range(MANY)]
    with streamer, streamer.new_receiver(["orders-1"], names.consumer("orders", "main")) as inbox:
        streamer.new_sender().send_many(events, timedelta(seconds=5))
        statements.clear()
        received = inbox.recv_many(MANY, NOW)
        assert {delivery.event.id for delivery in received} == {event.id for event in events}
        assert all("json_group_array" in sql for sql, _ in statements if "e.event_id" in sql)


@pytest.mark.parametrize("count", [1, 4, 5, 6, 99, 100, 130, 231, 500, 623])
def test_losers_are_told_by_name_wherever_they_stand(
    store: SqlRecordStore, make: Any, count: int
) -> None:
    """Seen to fail when a statement whose rows did not all take was believed to have lost all."""
    dice = random.Random(count)
    known = [make.record() for _ in range(count)]
    store.store_many([Write(record=record) for record in known])
    late = set(dice.sample(range(count), max(1, count // 5)))
    batch = [
        make.next(record).replace(version=5) if at in late else make.next(record)
        for at, record in enumerate(known)
    ]
    outcomes = store.store_many([Write(record=record) for record in batch])
    lost = {at for at, outcome in enumerate(outcomes) if outcome is not None}
    assert lost == late
    assert all(isinstance(outcomes[at], VersionConflictError) for at in lost)
    found = store.lookup_many([record.run_id for record in known])
    assert [found[record.run_id].version for record in known] == [
        1 if at in late else 2 for at in range(count)
    ]


@pytest.mark.parametrize("count", [6, 100, 130, 500])
def test_runs_in_progress_are_told_by_name_among_many_new_ones(
    store: SqlRecordStore, make: Any, count: int
) -> None:
    live = make.record(foreign_id="taken", state=RunState.RUNNING)
    store.store(Write(record=live))
    batch = [make.record() for _ in range(count)]
    batch[count // 2] = batch[count // 2].replace(foreign_id="taken")
    outcomes = store.store_many([Write(record=record) for record in batch])
    assert [at for at, outcome in enumerate(outcomes) if outcome is not None] == [count // 2]
    refused = outcomes[count // 2]
    assert isinstance(refused, RunInProgressError)
    assert refused.live_run_id == live.run_id


def test_all_bytes_survive_side_by_side(store: SqlRecordStore, make: Any) -> None:
    """Seen to fail when bytes were told as text, and when lengths were counted in characters."""
    dice = random.Random(1)
    data = [
        b"",
        b"\0",
        b"\xff\xfe",
        "\N{RECEIPT}\0ü".encode(),
        dice.randbytes(1_000_000),
        b"",
        *(dice.randbytes(dice.randrange(300)) for _ in range(200)),
    ]
    records = [make.record(data=each) for each in data]
    store.store_many([Write(record=record) for record in records])
    found = store.lookup_many([record.run_id for record in records])
    assert [found[record.run_id].data for record in records] == data


def test_a_bad_value_is_refused_alone_in_a_big_batch(store: SqlRecordStore, make: Any) -> None:
    batch = [make.record() for _ in range(150)]
    batch[77] = batch[77].replace(status=2**63)
    outcomes = store.store_many([Write(record=record) for record in batch])
    assert [at for at, outcome in enumerate(outcomes) if outcome is not None] == [77]
    assert isinstance(outcomes[77], AdapterError)


def test_more_than_one_value_can_hold_comes_out_row_by_row(
    database: Database, store: SqlRecordStore, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite keeps no value of more than a gigabyte. Seen to fail without the way around."""
    records = [make.record(data=b"x" * 1000) for _ in range(20)]
    store.store_many([Write(record=record) for record in records])
    question = Select(("run_id", "data"), f"from {database.tables.records.name}", blob="data")
    with database.reading("a test") as cursor:
        whole = sqlite_batches.rows_of(cursor, question, ())
        connection = cursor.connection  # type: ignore[attr-defined]
        limit = connection.setlimit(0, 15_000)
        try:
            rows: Sequence[Row] = sqlite_batches.rows_of(cursor, question, ())
        finally:
            connection.setlimit(0, limit)
    assert [tuple(row) for row in rows] == [tuple(row) for row in whole]


def test_database_of_another_encoding_is_refused(path: Path) -> None:
    """There bytes come out changed, as SQLite itself shows. Seen to fail without the look."""
    with closing(sqlite3.connect(path)) as driver:
        driver.execute("pragma encoding = 'UTF-16le'")
        driver.execute("create table theirs (a text)")
    with pytest.raises(ConfigurationError, match="UTF-16le"):
        Database(f"sqlite:///{path}")
