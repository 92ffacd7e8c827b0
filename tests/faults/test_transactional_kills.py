"""Processes killed with -9 while their steps write the user's rows: each row is there once.

In an ordinary run six processes are killed; FAULTS_KILLS=140 in the environment makes it twenty.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, create_engine, text

KILLS = int(os.environ.get("FAULTS_KILLS", "42"))
PLACES = 2
LIVES = max(1, KILLS // (7 * PLACES))
LEDGER = Path(__file__).parent / "ledger.py"


@contextmanager
def started(url: str, seed: int, *options: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-W", "error", str(LEDGER), url, str(seed), *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def hunt(url: str, place: int) -> None:
    """Let processes live and die in this place, one after the other."""
    chance = random.Random(place)
    for life in range(LIVES):
        with started(url, place * 1000 + life, "--hunted", f"{place}-{life}") as process:
            assert process.stdout is not None
            for _ in range(chance.randint(1, 60)):
                assert process.stdout.readline(), "it ended by itself"


def figures(connection: Connection) -> dict[str, int]:
    def ask(query: str) -> int:
        return int(connection.execute(text(query)).scalar_one())

    return {
        "orders": ask("select count(*) from workflow_records where workflow = 'orders'"),
        "parcels": ask("select count(*) from workflow_records where workflow = 'parcels'"),
        "live": ask(
            "select count(*) from workflow_records"
            " where live = 1 and workflow in ('orders', 'parcels')"
        ),
        "entries": ask("select count(*) from entries"),
        "booked": ask("select count(distinct run_id) from entries"),
        "settled": ask("select orders from balance"),
    }


def test_rows_of_steps_are_there_once_when_processes_are_killed_at_any_moment(
    tmp_path: Path,
) -> None:
    """Seen to fail with the user's rows committed before the transition, and after it."""
    url = f"sqlite:///{tmp_path / 'orders.db'}"
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("create table entries (run_id varchar(64), what varchar(64))"))
        connection.execute(text("create table balance (orders integer)"))
        connection.execute(text("insert into balance values (0)"))
    with ThreadPoolExecutor(PLACES) as places:
        list(places.map(lambda place: hunt(url, place), range(PLACES)))
    with started(url, 0) as last:
        assert last.stdout is not None
        heard = iter(last.stdout.readline, "")
        assert "settled\n" in heard, "it ended by itself"
    with engine.connect() as connection:
        found = figures(connection)
    engine.dispose()
    print(found)
    orders = found["orders"]
    assert orders >= LIVES, "they were killed before they had done anything"
    assert found == {
        "orders": orders,
        "parcels": orders,
        "live": 0,
        "entries": orders,
        "booked": orders,
        "settled": orders,
    }
