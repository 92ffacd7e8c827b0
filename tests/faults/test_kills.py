"""Processes that are killed with -9 at random moments, over and over, on one file.

The moments: each process asks for its death after a random amount of progress and a random moment
more, and one in seven while it is still starting up. In an ordinary run 42 processes are killed,
in about a minute; FAULTS_KILLS=140 in the environment makes it 140 (shared out 1 : 2 : 4 over the
three tests), in about three. Beyond 250 a test lasts longer than `faulthandler_timeout` lets it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from workflow_core import Record

if TYPE_CHECKING:
    from tests.faults.conftest import Fleet, Start

KILLS = int(os.environ.get("FAULTS_KILLS", "42"))


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_orders_end_once_when_processes_are_killed_at_any_moment(
    processes: int,
    start: Start,
    fleet: Fleet,
    judge: Callable[[Path], dict[str, Record]],
    tmp_path: Path,
    record_property: Callable[[str, Any], None],
) -> None:
    """Seen to fail when events are filed in a transaction of their own: runs are left behind."""
    database = tmp_path / "orders.db"
    lives = max(1, KILLS // 7)

    def be_hunted(place: int) -> None:
        for life in range(lives):
            worker = start(database, hunted=f"{place}-{life}")
            while (line := worker.hear()) != "now":
                assert line.startswith("began"), line
            worker.kill()

    with ThreadPoolExecutor(processes) as places:
        list(places.map(be_hunted, range(processes)))
    last = start(database)
    last.settle()
    last.end()
    runs = judge(database)
    figures = {
        "killed": lives * processes,
        "orders": len(runs),
        "steps": len(fleet.did),
        "executions": sum(fleet.did.values()),
        "failed attempts": sum(has_failed(record) for record in runs.values()),
    }
    for name, figure in figures.items():
        record_property(name, figure)
    print(figures)
    assert len(runs) >= lives  # else they were killed before they had done anything


def has_failed(record: Record) -> bool:
    """Whether its packing failed at first, as that of each 7th that is not refused."""
    number = int(record.foreign_id.partition("-")[0])
    return number % 7 == 0 and number % 20 != 0
