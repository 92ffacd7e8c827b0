"""An engine on a database server, and the floor on the same server: bare statements, no engine.

In the wheel's own tables with all columns and indexes, in a namespace of its own: a run begins as a
record and an event; a transition is a look-up of the record, a compare-and-swap of it and a row for
its event. A batch is one transaction of as few statements as the database allows, each prepared
where the driver can. No history, no cursors, no roles, and no Python but what makes the rows.
"""

import json
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from workflow_core import Engine
from workflow_core.ports import Secret
from workflow_sql import Database, upgrade

from three_steps.flow import STEPS
from three_steps.lines import Line, connect
from three_steps.workers import Settings, open_engine, tell_burst

NAMES = ("postgres", "mysql", "mariadb")
_NAMESPACE = "benchmark"
_FLOOR = "floor"
_PREFIX = f"{_FLOOR}_workflow_"
_INSTANTS = ("created_at", "updated_at", "entered_at")
_CHANGED = ("run_id", "foreign_id", *_INSTANTS)
_MINUTE = 60_000_000  # microseconds


def url_of(name: str) -> str:
    """The server that ``scripts/services run`` has started, or the caller's own."""
    return os.environ[f"WORKFLOW_TEST_{name.upper()}_URL"]


@contextmanager
def engine_on(url: str, further: Settings) -> Iterator[Engine]:
    """An engine whose four ports are in this database, in tables that are dropped afterwards."""
    with fresh(url, _NAMESPACE), open_engine({**settings_of(url), **further}) as engine:
        yield engine


def settings_of(url: str) -> Settings:
    """All four ports in this database."""
    ports = ("record_store", "event_streamer", "role_scheduler", "timeout_store")
    where = {"namespace": _NAMESPACE, "adapters.sql.url": url}
    return {**dict.fromkeys(ports, "sql"), **where}


def tell_burst_of(url: str, workers: int, runs: int) -> None:
    """As `workers.tell_burst`, in tables that are dropped afterwards."""
    with fresh(url, _NAMESPACE):
        tell_burst(settings_of(url), workers, runs)


@contextmanager
def fresh(url: str, namespace: str) -> Iterator[None]:
    """New tables, whatever an earlier run left."""
    drop(url, namespace)
    upgrade(url, namespace=namespace)
    try:
        yield
    finally:
        drop(url, namespace)


def drop(url: str, namespace: str) -> None:
    upgrade(url, namespace=namespace)
    with Database(Secret(url), namespace=namespace) as database:
        tables = [table.name for table in database.tables.metadata.sorted_tables]
        names = [*reversed(tables), database.tables.version_table]
    with connect(url, _PREFIX) as line:
        for name in names:
            line.execute(f"drop table {name}")
        line.commit()


def multiply(url: str, times: int) -> None:
    """As many ended runs again as are there, so many times: by statements, without the engine.

    As if they had been created in earlier minutes, from the earliest on: so each row is appended to
    all indexes but one, as it was when such runs really came, instead of being strewn over them.
    """
    with Database(Secret(url), namespace=_NAMESPACE) as database:
        table = database.tables.records
    names = [column.name for column in table.columns if column.computed is None]
    rest = ", ".join(name for name in names if name not in _CHANGED)
    with connect(url, _PREFIX) as line:
        for number in range(times):
            earlier = (times - number) * _MINUTE
            # ids begin with the time, the same for all that ended just before: so they stay unique
            line.execute(
                f"insert into {table.fullname} ({', '.join(_CHANGED)}, {rest})"
                f" select concat('x{number:05}', substr(run_id, 7)),"
                f" concat('{number:05}/', foreign_id),"
                f" {', '.join(f'{name} - {earlier}' for name in _INSTANTS)}, {rest}"
                f" from {table.fullname} where live is null and run_id < 'x'"
            )
            line.commit()
        analyze = "analyze" if url.startswith("postgresql") else "analyze table"
        line.execute(f"{analyze} {table.fullname}")
        line.commit()


def give_memory(url: str, megabytes: int) -> None:
    """What MySQL and MariaDB keep of their tables in memory, until the server stops.

    PostgreSQL has the system's cache besides, and needs none.
    """
    with connect(url, _PREFIX) as line:
        line.execute(f"set global innodb_buffer_pool_size = {megabytes << 20}")


@contextmanager
def long_snapshot(url: str) -> Iterator[None]:
    """Somebody's report: a transaction that has read, and stays open."""
    with connect(url, _PREFIX) as line:
        if url.startswith("postgresql"):
            line.execute("set transaction isolation level repeatable read")
        line.execute(f"select count(*) from {_NAMESPACE}_workflow_consumers")
        yield


def floor(url: str, runs: int, batch: int) -> float:
    """Runs per second from the first insert to the last transition, so many to a transaction."""
    ids = [str(uuid.UUID(int=number)) for number in range(runs)]
    parts = [ids[start : start + batch] for start in range(0, runs, batch)]
    with fresh(url, _FLOOR), connect(url, _PREFIX) as line:
        begin = time.perf_counter()
        for part in parts:
            _begin(line, part)
        for status in range(1, STEPS + 1):
            for part in parts:
                _move(line, part, status)
        return runs / (time.perf_counter() - begin)


def _begin(line: Line, ids: Sequence[str]) -> None:
    now = time.time_ns() // 1000
    data = json.dumps({"total": 1, "note": ""}).encode()
    line.insert_records([(i, f"order {i}", uuid.uuid4().hex[:16], data, now) for i in ids])
    line.insert_events([_event(i, f"order {i}", 1, 1, 1, now) for i in ids])
    line.commit()


def _move(line: Line, ids: Sequence[str], status: int) -> None:
    now = time.time_ns() // 1000
    state, live = (5, None) if status == STEPS else (2, 1)
    moved, events = [], []
    for run_id, foreign_id, version, entered, stored, passed_text in line.look_up(ids):
        data = json.loads(stored)
        data["note"] = "moved"
        passed = json.dumps(json.loads(passed_text or "{}") | {status: entered})
        row = (run_id, status + 1, state, live, version + 1, uuid.uuid4().hex[:16])
        moved.append((*row, json.dumps(data).encode(), now, passed))
        events.append(_event(run_id, foreign_id, status + 1, state, version + 1, now))
    line.swap(moved)
    line.insert_events(events)
    line.commit()


def _event(
    run_id: str, foreign_id: str, status: int, state: int, version: int, now: int
) -> tuple[Any, ...]:
    part, topic = hash(run_id) % 16, f"floor-{status}"
    return (part, uuid.uuid4().hex, topic, run_id, foreign_id, status, state, version, now)
