"""The floor on SQLite: the same durable work in a bare loop, without engine and adapter.

In the wheel's own tables with all columns and indexes: a run begins as a record and an event,
a transition is a look-up of the record, a compare-and-swap of it and a row for its event. All of a
batch is one transaction that is on disk before the next begins. No history, no cursors, no roles.
"""

import json
import sqlite3
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workflow_sql import Database

from three_steps.flow import STEPS

_INSERT = """
insert into workflow_records (
    run_id, workflow, foreign_id, status, state, live, version, write_id, data, created_at,
    updated_at, entered_at, entered_version, repeats, attempts, last_error, reason, auto_resumes,
    skipped, passed, resumed, headers
) values (?, 'floor', ?, 1, 1, 1, 1, ?, ?, ?, ?, ?, 1, 0, 0, '', '', 0, 0, '', '', '')
"""
_LOOK_UP = "select * from workflow_records where run_id in (select value from json_each(?))"
_MOVE = """
update workflow_records
set status = ?, state = ?, live = ?, version = ?, write_id = ?, data = ?, updated_at = ?,
    entered_at = ?, entered_version = ?, attempts = 0, next_try_at = null, last_error = '',
    passed = ?
where run_id = ? and version = ?
"""
_EVENT = """
insert into workflow_events (
    part, event_id, topic, workflow, run_id, foreign_id, status, state, version, kind, target,
    attempt, headers, created_at, filed_at
) values (?, ?, ?, 'floor', ?, ?, ?, ?, ?, 'entered', '', 0, '', ?, ?)
"""


def floor(folder: Path, runs: int, batch: int) -> float:
    """Runs per second from the first insert to the last transition, so many to a transaction."""
    path = folder / f"floor-{batch}.db"
    Database(f"sqlite:///{path}").close()  # makes the tables
    db = sqlite3.connect(path, isolation_level=None)
    db.row_factory = sqlite3.Row
    for setting in ("synchronous = full", "secure_delete = on"):
        db.execute(f"pragma {setting}")
    ids = [str(uuid.UUID(int=number)) for number in range(runs)]
    parts = [ids[start : start + batch] for start in range(0, runs, batch)]
    begin = time.perf_counter()
    for part in parts:
        _begin(db, part)
    for status in range(1, STEPS + 1):
        for part in parts:
            _move(db, part, status)
    seconds = time.perf_counter() - begin
    db.close()
    return runs / seconds


def _begin(db: sqlite3.Connection, ids: Sequence[str]) -> None:
    now = time.time_ns() // 1000
    data = json.dumps({"total": 1, "note": ""}).encode()
    records = [(i, f"order {i}", uuid.uuid4().hex[:16], data, now, now, now) for i in ids]
    db.execute("begin immediate")
    db.executemany(_INSERT, records)
    db.executemany(_EVENT, [_event(i, f"order {i}", 1, 1, 1, now) for i in ids])
    db.execute("commit")


def _move(db: sqlite3.Connection, ids: Sequence[str], status: int) -> None:
    found = db.execute(_LOOK_UP, (json.dumps(ids),)).fetchall()
    now = time.time_ns() // 1000
    state, live = (5, None) if status == STEPS else (2, 1)
    moved, events = [], []
    for row in found:
        data = json.loads(row["data"])
        data["note"] = "moved"
        passed = json.loads(row["passed"] or "{}") | {status: row["entered_version"]}
        version = row["version"] + 1
        moved.append(
            (
                *(status + 1, state, live, version, uuid.uuid4().hex[:16]),
                *(json.dumps(data).encode(), now, now, version, json.dumps(passed)),
                *(row["run_id"], row["version"]),
            )
        )
        events.append(_event(row["run_id"], row["foreign_id"], status + 1, state, version, now))
    db.execute("begin immediate")
    db.executemany(_MOVE, moved)
    db.executemany(_EVENT, events)
    db.execute("commit")


def _event(
    run_id: str, foreign_id: str, status: int, state: int, version: int, now: int
) -> tuple[Any, ...]:
    part, topic = hash(run_id) % 16, f"floor-{status}"
    return (part, uuid.uuid4().hex, topic, run_id, foreign_id, status, state, version, now, now)
