"""Processes that are killed with -9 at random moments, over and over, on one database server.

As on one file (test_kills.py), but that commits meet in the server and the dead hold locks there
until it notices. In an ordinary run four processes are killed in each test; FAULTS_KILLS=140 in the
environment makes it twelve and more.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from workflow_sql import upgrade

if TYPE_CHECKING:
    from workflow_adaptertest.servers import Space

    from tests.faults.conftest import Fleet, Judge, Start

KILLS = int(os.environ.get("FAULTS_KILLS", "42"))
UNUSED = Path("unused.db")  # workers take a file, and then the url instead


@pytest.mark.parametrize(("server", "processes"), [("postgres", 2), ("postgres", 4), ("mysql", 2)])
def test_orders_end_once_on_a_server_when_processes_are_killed_at_any_moment(
    server: str,
    processes: int,
    request: pytest.FixtureRequest,
    start: Start,
    fleet: Fleet,
    judge: Judge,
    record_property: Callable[[str, Any], None],
) -> None:
    """Seen to fail when events are sent in a transaction of their own: runs are left behind."""
    space: Space = request.getfixturevalue(f"{server}_space")
    upgrade(str(space.url))
    settings = {"adapters.sql.url": str(space.url)}
    lives = max(1, KILLS // (10 * processes))

    def be_hunted(place: int) -> None:
        for life in range(lives):
            worker = start(UNUSED, hunted=f"{place}-{life}", settings=settings)
            while (line := worker.hear()) != "now":
                assert line.startswith("began"), line
            worker.kill()

    with ThreadPoolExecutor(processes) as places:
        list(places.map(be_hunted, range(processes)))
    last = start(UNUSED, settings=settings)
    last.settle()
    last.end()
    runs = judge(UNUSED, settings=settings)
    figures = {
        "killed": lives * processes,
        "orders": len(runs),
        "steps": len(fleet.did),
        "executions": sum(fleet.did.values()),
    }
    for name, figure in figures.items():
        record_property(name, figure)
    print(figures)
    assert len(runs) >= lives  # else they were killed before they had done anything
