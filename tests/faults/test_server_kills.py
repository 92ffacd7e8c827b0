"""Processes that are killed with -9 at random moments, over and over, on one database server.

As on one file (test_kills.py), but that commits meet in the server and the dead hold locks there
until it notices. In an ordinary run four processes are killed in each test; FAULTS_KILLS=140 in the
environment makes it twelve and more.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine, make_url
from workflow_sql import upgrade

from tests.faults import worker

if TYPE_CHECKING:
    from workflow_adaptertest.servers import Space

    from tests.faults.conftest import Fleet, Judge, Start

KILLS = int(os.environ.get("FAULTS_KILLS", "42"))
DRIVERS = {
    "postgres": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
}
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
    settings = settings_on(request.getfixturevalue(f"{server}_space"))
    lives = max(1, KILLS // (10 * processes))
    hunt(start, settings, processes, lives)
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


@pytest.mark.parametrize("server", ["postgres", "mysql", "mariadb"])
def test_orders_end_once_beside_a_transaction_of_the_users_that_stays_open(
    server: str, request: pytest.FixtureRequest, start: Start, judge: Judge
) -> None:
    """Open from before the first process to after the last kill, with runs begun in it.

    Nobody waits for it, and what it began begins when it commits. Seen to fail on
    MySQL and MariaDB with statements that looked through a whole small table: the relay waited.
    """
    space: Space = request.getfixturevalue(f"{server}_space")
    settings = settings_on(space)
    orders = worker.Shop(random.Random()).workflow
    alchemy = create_engine(make_url(str(space.url)).set(drivername=DRIVERS[server]))
    with worker.open_engine(UNUSED, settings) as client, alchemy.connect() as open_one:
        with alchemy.connect() as undone:
            for connection, names in ((open_one, ("3-open", "7-open")), (undone, ("5-undone",))):
                for name in names:
                    order = worker.Order(int(name[0]))
                    client.trigger(orders, name, order, connection=connection)
            hunt(start, settings, processes=2, lives=2)
            last = start(UNUSED, settings=settings)
            last.settle()
            assert "3-open" not in judge(UNUSED, settings=settings)
            undone.rollback()
        open_one.commit()
    last.settle()
    last.end()
    found = judge(UNUSED, settings=settings).keys()
    assert {"3-open", "7-open"} <= found
    assert "5-undone" not in found
    alchemy.dispose()


def settings_on(space: Space) -> Mapping[str, object]:
    """The worker's, for a server whose tables are made here."""
    upgrade(str(space.url))
    return {"adapters.sql.url": str(space.url)}


def hunt(start: Start, settings: Mapping[str, object], processes: int, lives: int) -> None:
    """So many processes at a time, each killed and followed by another, so many times."""

    def be_hunted(place: int) -> None:
        for life in range(lives):
            hunted = start(UNUSED, hunted=f"{place}-{life}", settings=settings)
            while (line := hunted.hear()) != "now":
                assert line.startswith("began"), line
            hunted.kill()

    with ThreadPoolExecutor(processes) as places:
        list(places.map(be_hunted, range(processes)))
