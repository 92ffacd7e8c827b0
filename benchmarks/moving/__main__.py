"""How long a move takes: many runs from an SQLite file to a server, by `copy` and `switch`.

Each run has three versions in its history; each tenth waits, with an open timer and a closed one.
No process serves, so nothing but the move is measured.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

from three_steps import servers
from workflow_core.model import Record, RunState, Timeout, names, uuid7
from workflow_core.moving import Stores, copy, switch
from workflow_core.ports import SystemClock, Write
from workflow_sql import Database, SqlRecordStore, SqlTimeoutStore, upgrade

BATCH = 500
NAMESPACE = "moving"
DATA = b'{"note": "' + b"a" * 200 + b'"}'


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("database", choices=servers.NAMES)
    parser.add_argument("--runs", type=int, default=100_000)
    arguments = parser.parse_args()
    runs: int = arguments.runs
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        url = servers.url_of(arguments.database)
        opened.enter_context(servers.fresh(url, NAMESPACE))
        upgrade(url, namespace=NAMESPACE)
        old = stores(opened.enter_context(Database(f"sqlite:///{folder / 'old.db'}")))
        new = stores(opened.enter_context(Database(url, namespace=NAMESPACE)))
        fill(old, runs)
        timed("copy", runs, lambda: copy(old, new))
        timed("copy, where nothing has changed", runs, lambda: copy(old, new))
        timed("switch", runs, lambda: print(switch(old, new)))


def stores(database: Database) -> Stores:
    return Stores(records=SqlRecordStore(database), timeouts=SqlTimeoutStore(database))


def timed(what: str, runs: int, do: Callable[[], object]) -> None:
    began = time.perf_counter()
    do()
    took = time.perf_counter() - began
    print(f"{what}: {took:.1f} s, {runs / took:,.0f} runs/s", flush=True)


def fill(side: Stores, runs: int) -> None:
    clock, entropy = SystemClock(), random.Random()
    assert side.timeouts is not None
    for first in range(0, runs, BATCH):
        records = [
            Record(
                workflow="orders",
                foreign_id=f"order-{number}",
                run_id=uuid7(clock.now(), entropy),
                status=1,
                state=RunState.RUNNING,
                version=1,
                entered_version=1,
                write_id="w",
                data=DATA,
            )
            for number in range(first, min(first + BATCH, runs))
        ]
        for version in (1, 2, 3):
            done = {"state": RunState.COMPLETED, "status": 3} if version == 3 else {}
            records = [
                record.replace(
                    version=version,
                    entered_version=version,
                    write_id=f"w{version}",
                    **(done if number % 10 else {}),
                )
                for number, record in enumerate(records)
            ]
            side.records.store_many([Write(record=record) for record in records])
        for record in records[::10]:
            timers = [timer(record, name) for name in ("open", "closed")]
            side.timeouts.create_many(timers)
            side.timeouts.complete(timers[1].key)


def timer(record: Record, name: str) -> Timeout:
    return Timeout(
        key=names.timer_key(record.run_id, record.entered_version, name),
        workflow=record.workflow,
        run_id=record.run_id,
        status=record.status,
        entered_version=record.entered_version,
        name=name,
        delay=timedelta(days=1),
    )


if __name__ == "__main__":
    main()
