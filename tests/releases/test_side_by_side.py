"""Two releases of workflow-sql at work on one database, as a rolling deployment has them.

The schema first, then process after process, and one back again: as docs/databases-schema.md says.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from workflow_adaptertest.servers import Server
from workflow_core import RecordQuery, RunState
from workflow_sql.migrations import VERSION

from tests.releases import made, worker

PATIENCE = 90  # seconds after which something is lost, however slow the machine
DATABASES = ("sqlite", "postgres", "mysql", "mariadb")
TRAIL = ["invoice", *["remind"] * worker.REMINDERS]


@dataclass(frozen=True)
class Release:
    """One of the wheel's: the schema that it was written for, and where it is found."""

    version: str
    folder: Path | None = None

    @property
    def environ(self) -> Mapping[str, str]:
        return {} if self.folder is None else {"PYTHONPATH": str(self.folder)}

    def command(self, url: str, verb: str) -> subprocess.CompletedProcess[str]:
        """`python -m workflow_sql`."""
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "workflow_sql", verb],
            env={**os.environ, **self.environ, "WORKFLOW_SQL__URL": url},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )


class Worker:
    """A process that serves, by one release; see worker.py."""

    _numbers = count()

    def __init__(self, release: Release, url: str) -> None:
        self.began: list[str] = []
        self.acts = 0
        self.lament = ""
        self._said: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", worker.__file__, url],
            env={**os.environ, **release.environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._readers = [
            threading.Thread(target=each, daemon=True) for each in (self._listen, self._read)
        ]
        for reader in self._readers:
            reader.start()
        assert self._hear() == f"serving {release.version}"

    def begin(self, number: int) -> None:
        """So many orders."""
        names = [f"order-{next(self._numbers)}" for _ in range(number)]
        self._tell("begin", *names)
        for name in names:
            assert self._hear() == f"began {name}"
            self.began.append(name)

    def settle(self) -> None:
        self._tell("settle")
        assert self._hear() == "settled"

    def kill(self) -> None:
        self.process.kill()
        self._end()

    def end(self) -> None:
        """In order."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self._end() == 0, self.lament

    def clean_up(self) -> None:
        if self.process.poll() is None:
            self.kill()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()

    def _end(self) -> int:
        code = self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join()
        return code

    def _tell(self, *words: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()

    def _hear(self) -> str:
        line = self._said.get(timeout=PATIENCE)
        assert line, f"it ended by itself:\n{self.lament}"
        return line

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("did "):
                self.acts += 1
            else:
                self._said.put(line.strip())
        self._said.put("")

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lament += line


Start = Callable[[Release], Worker]


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of the test's own."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'orders.db'}"
        return
    server: Server = request.getfixturevalue(f"{request.param}_server")
    with server.own_space() as space:
        yield f"{space.url}{'' if request.param == 'postgres' else '?ssl_disabled=true'}"


@pytest.fixture
def started() -> Iterator[list[Worker]]:
    found: list[Worker] = []
    yield found
    for each in found:
        each.clean_up()


@pytest.fixture
def start(url: str, started: list[Worker]) -> Start:
    def start(release: Release) -> Worker:
        started.append(Worker(release, url))
        return started[-1]

    return start


@pytest.fixture(params=["before", "next"])
def releases(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Release, Release]:
    """An older and a newer one; this wheel is one of them."""
    here = Release(VERSION)
    if request.param == "before":
        before = made.release_before(tmp_path / "before")
        return Release(f"{int(VERSION) - 1:04}", before), here
    return here, Release(made.NEXT_VERSION, made.next_release(tmp_path / "next"))


def work_together(*workers: Worker) -> None:
    """Until bodies of each have run since now, all of them being there."""
    begun = [each.acts for each in workers]
    end = time.monotonic() + PATIENCE
    while not all(each.acts > before for each, before in zip(workers, begun, strict=True)):
        assert time.monotonic() < end, [each.lament for each in workers]
        for each in workers:
            each.begin(4)
        time.sleep(0.05)


def test_orders_end_once_while_a_deployment_goes_from_one_release_to_the_next_and_back(
    url: str, releases: tuple[Release, Release], start: Start, started: list[Worker]
) -> None:
    """Seen to fail with a column dropped that the older one knows."""
    old, new = releases
    assert old.command(url, "upgrade").stdout == f"schema {old.version}, as wanted\n"
    first, second = start(old), start(old)
    work_together(first, second)
    if not url.startswith("sqlite"):
        refused = new.command(url, "current")
        assert (refused.returncode, refused.stdout) == (
            1,
            f"schema {old.version}, wanted is {new.version}\n",
        )
    first.begin(40)  # under way while tables are changed
    upgraded = new.command(url, "upgrade")
    assert (upgraded.returncode, upgraded.stderr) == (0, "")
    told = old.command(url, "current")
    ahead = f"schema {new.version}, one ahead of {old.version}: this release serves it\n"
    assert (told.returncode, told.stdout) == (0, ahead)
    replaced = start(new)
    work_together(first, second, replaced)
    first.begin(20)
    first.kill()
    back = start(old)  # a process that is restarted in the midst of it
    work_together(back, replaced)
    replaced.begin(20)
    replaced.end()  # the deployment is taken back, and tried once more
    last = start(new)
    for each in (second, back):
        each.begin(10)
        each.end()
    last.settle()
    last.end()
    judge(url, [name for each in started for name in each.began])
    if new.folder is not None:
        assert_both_wrote(url)


def judge(url: str, names: list[str]) -> None:
    """Each order went its whole way, each transition once, and is found by what it is about."""
    with worker.open_engine(url) as engine:
        for name in names:
            query = RecordQuery(workflow="orders", search={"customer": f"customer of {name}"})
            (record,) = engine.runs(query).items
            assert record.foreign_id == name
            assert record.state is RunState.COMPLETED
            view = engine.view(worker.orders, record.run_id)
            assert view.data.trail == TRAIL
            versions = [entry.version for entry in engine.history(record.run_id)]
            assert versions == list(range(1, record.version + 1))
    assert names


def with_driver(url: str) -> str:
    for bare, driver in (("postgresql", "psycopg"), ("mysql", "pymysql"), ("mariadb", "pymysql")):
        url = url.replace(f"{bare}://", f"{bare}+{driver}://")
    return url


def assert_both_wrote(url: str) -> None:
    """Else one of them was not there at all."""
    engine = create_engine(with_driver(url))
    with engine.connect() as connection:
        for table in ("records", "events"):
            # but for events that close the gap of a transaction that the killed one did not commit
            query = f"select distinct later from workflow_{table} where run_id <> ''"
            assert set(connection.scalars(text(query))) == {None, made.MARK}, table
    engine.dispose()
