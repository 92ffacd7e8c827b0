"""What docs/operating.md says in figures and of rights, tried on the servers."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from pathlib import Path
from typing import Literal

import pytest
from workflow_adaptertest.servers import Server, Space
from workflow_core import Engine, EngineSettings, Run, Workflow
from workflow_sql import upgrade

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
PORTS = ("record_store", "event_streamer", "role_scheduler", "timeout_store")
LONG = timedelta(seconds=60)
POOL = 2


class Status(IntEnum):
    STARTED = 1
    WAITING = 2
    DONE = 3


@dataclass
class Data:
    pass


flow = Workflow("flow", Data, Status, ends=(Status.DONE,))


@flow.step(Status.STARTED)
def start(run: Run[Data, Status]) -> Literal[Status.WAITING]:
    return Status.WAITING


@flow.timeout(Status.WAITING, after=timedelta(milliseconds=1))
def end(run: Run[Data, Status]) -> Literal[Status.DONE]:
    return Status.DONE


def engine_on(url: str) -> Engine:
    settings = {**dict.fromkeys(PORTS, "sql"), "adapters.sql.url": url}
    return Engine.from_config(
        environ={}, overrides={**settings, "adapters.sql.pool_size": str(POOL)}
    )


@dataclass
class Place:
    """A database with our tables, and the client of whoever may do anything there."""

    server: Server
    space: Space

    def do(self, statement: str) -> str:
        flag = "-c" if self.server.name == "postgres" else "-e"
        command = [*self.server.client(self.space.url), flag, statement]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def url(self, user: str = "") -> str:
        url = str(self.space.url)
        return re.sub(r"//\w+@", f"//{user}@", url) if user else url


@pytest.fixture(params=["postgres", "mysql", "mariadb"])
def place(request: pytest.FixtureRequest) -> Place:
    names = (f"{request.param}_{what}" for what in ("server", "space"))
    made = Place(*map(request.getfixturevalue, names))
    upgrade(made.url())
    return made


@pytest.fixture
def worker(place: Place) -> Iterator[str]:
    """The name of an account that may do to rows what the page says, and nothing else."""
    name = f"w{place.space.name}"
    rows = "select, insert, update, delete"
    if place.server.name == "postgres":
        place.do(f"create role {name} login")
        place.do(f"grant {rows} on all tables in schema public to {name}")
        place.do(f"grant usage on all sequences in schema public to {name}")
        drop = f"drop owned by {name}; drop role {name}"
    else:
        place.do(f"create user '{name}'@'127.0.0.1'")
        place.do(f"grant {rows} on `{place.space.name}`.* to '{name}'@'127.0.0.1'")
        drop = f"drop user '{name}'@'127.0.0.1'"
    yield name
    place.do(drop)


def test_workers_account_needs_no_more_than_rows(place: Place, worker: str) -> None:
    """Seen to fail without the right to delete, and to use the sequences."""
    assert "needs to read and write rows, and on PostgreSQL to use the sequences, no more" in PAGE
    with engine_on(place.url(worker)) as engine, engine.serving(flow):
        run_id = engine.trigger(flow, "one", Data())
        engine.wait_until_ended(flow, run_id, LONG)
        engine.delete_data(flow, run_id, who="ada")


COUNT = {
    "postgres": "select count(*) from pg_stat_activity where usename = '{}'",
    "mysql": "select count(*) from information_schema.processlist where user = '{}'",
}


def test_process_has_no_more_connections_than_the_page_says(place: Place, worker: str) -> None:
    """All of its pool are in use while it serves. Seen to fail with one less in the page."""
    told = re.search(r"`pool_size` \+ (\d) to PostgreSQL, \+ (\d) to MySQL and MariaDB", PAGE)
    assert told is not None
    is_postgres = place.server.name == "postgres"
    question = COUNT["postgres" if is_postgres else "mysql"].format(worker)
    with engine_on(place.url(worker)) as engine, engine.serving(flow), ExitStack() as held:
        engine.wait_until_ended(flow, engine.trigger(flow, "one", Data()), LONG)
        for _ in range(POOL):
            held.enter_context(engine.adapters.record_store.transaction())
        assert POOL < int(place.do(question)) <= POOL + int(told[1 if is_postgres else 2])


def test_stop_has_the_time_that_the_page_says() -> None:
    """Seen to fail with another number in the page."""
    (seconds,) = re.findall(r"`stop_grace` \((\d+) s\)", PAGE)
    assert EngineSettings().stop_grace == timedelta(seconds=int(seconds))
