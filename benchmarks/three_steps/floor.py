"""The floor: the same durable work on SQLite in a bare loop, without any engine.

A transition is a look-up of the record, a compare-and-swap write of it and a row for its event, all
in a transaction that is on disk before the next begins.
"""

import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from three_steps.flow import STEPS

SCHEMA = """
create table runs (
    run_id text primary key, foreign_id text not null, status integer not null,
    version integer not null, data blob not null, updated_at integer not null
) without rowid;
create unique index live on runs (foreign_id) where status < 4;
create table events (
    id integer primary key autoincrement, topic text not null, run_id text not null,
    version integer not null, at integer not null
);
"""


def floor(folder: Path, runs: int, batch: int) -> float:
    """Runs per second from first insert to last transition, `batch` runs to a transaction."""
    path = folder / f"floor-{batch}.db"
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("pragma journal_mode = wal")
    db.execute("pragma synchronous = full")
    db.executescript(SCHEMA)
    ids = [f"{number:032x}" for number in range(runs)]
    begin = time.perf_counter()
    for part in _parts(ids, batch):
        _within_transaction(db, lambda part=part: _insert(db, part))  # type: ignore[misc]
    for status in range(1, STEPS + 1):
        for part in _parts(ids, batch):
            _within_transaction(db, lambda p=part, s=status: _move(db, p, s))  # type: ignore[misc]
    seconds = time.perf_counter() - begin
    db.close()
    return runs / seconds


def _parts(ids: list[str], size: int) -> list[list[str]]:
    return [ids[start : start + size] for start in range(0, len(ids), size)]


def _within_transaction(db: sqlite3.Connection, work: Callable[[], None]) -> None:
    db.execute("begin immediate")
    work()
    db.execute("commit")


def _insert(db: sqlite3.Connection, ids: list[str]) -> None:
    now = time.time_ns() // 1000
    data = json.dumps({"total": 1, "note": ""}).encode()
    db.executemany(
        "insert into runs values (?, ?, 1, 1, ?, ?)", [(i, f"order {i}", data, now) for i in ids]
    )
    db.executemany(
        "insert into events (topic, run_id, version, at) values ('benchmark-1', ?, 1, ?)",
        [(i, now) for i in ids],
    )


def _move(db: sqlite3.Connection, ids: list[str], status: int) -> None:
    marks = ",".join("?" * len(ids))
    found = db.execute(f"select run_id, version, data from runs where run_id in ({marks})", ids)
    now = time.time_ns() // 1000
    moved = []
    for run_id, version, stored in found:
        data = json.loads(stored)
        data["note"] = "moved"
        moved.append((status + 1, version + 1, json.dumps(data).encode(), now, run_id, version))
    db.executemany(
        "update runs set status = ?, version = ?, data = ?, updated_at = ?"
        " where run_id = ? and version = ?",
        moved,
    )
    db.executemany(
        "insert into events (topic, run_id, version, at) values (?, ?, ?, ?)",
        [(f"benchmark-{status + 1}", row[4], row[1], now) for row in moved],
    )
