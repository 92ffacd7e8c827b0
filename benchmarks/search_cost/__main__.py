"""What search attributes cost a transition, on SQLite: CPU time beside the same without any.

Batches of updates as the engine's committer makes them, interleaved so that what else the machine
does falls on all alike. Prints microseconds of this process's CPU time a transition.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from workflow_core.model import Record, RunState, SearchValue, uuid7
from workflow_core.ports import SystemClock, Write
from workflow_sql import Database, SqlRecordStore, Synchronous

Attributes: TypeAlias = dict[str, SearchValue] | None

BATCH = 500
THREE: dict[str, SearchValue] = {"customer": "acme", "total": 99, "town": "Basel"}


class Runs:
    """Some live runs, moved on a batch at a time."""

    def __init__(self, store: SqlRecordStore, search: Attributes) -> None:
        clock, entropy = SystemClock(), random.Random()
        self._store = store
        self._search = search
        self._records = [
            Record(
                workflow="orders",
                foreign_id=f"order-{number}",
                run_id=uuid7(clock.now(), entropy),
                status=1,
                state=RunState.RUNNING,
                version=1,
                write_id="w",
                data=b'{"total":99}',
            )
            for number in range(BATCH)
        ]
        store.store_many([Write(record=record, search=search) for record in self._records])

    def move(self, search: Callable[[int], Attributes]) -> float:
        """One batch of transitions; microseconds of CPU time each."""
        self._records = [
            record.replace(version=record.version + 1, entered_version=record.version + 1)
            for record in self._records
        ]
        writes = [Write(record=r, search=search(r.version)) for r in self._records]
        began = time.process_time()
        self._store.store_many(writes)
        return (time.process_time() - began) / BATCH * 1e6


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=40)
    rounds: int = parser.parse_args().rounds
    cases: dict[str, tuple[Attributes, Callable[[int], Attributes]]] = {
        "none declared": (None, lambda version: None),
        "three, unchanged": (THREE, lambda version: None),
        "three, one changes": (THREE, lambda version: {**THREE, "total": version}),
    }
    with tempfile.TemporaryDirectory() as folder:
        took: dict[str, list[float]] = {name: [] for name in cases}
        databases = [
            Database(f"sqlite:///{Path(folder) / str(at)}.db", synchronous=Synchronous.NORMAL)
            for at in range(len(cases))
        ]
        all_runs = [
            Runs(SqlRecordStore(database), first)
            for database, (first, _) in zip(databases, cases.values(), strict=True)
        ]
        for _ in range(rounds):
            for runs, (name, (_, search)) in zip(all_runs, cases.items(), strict=True):
                took[name].append(runs.move(search))
        for database in databases:
            database.close()
    for name, figures in took.items():
        print(f"{name:<20} {statistics.median(figures):6.1f} us of CPU a transition")


if __name__ == "__main__":
    main()
