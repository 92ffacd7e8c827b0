"""A database file for each test, handles on it, values to store, and what the driver was asked."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest
from workflow_adaptertest.servers import Server
from workflow_core.model import Event, Record, RunState, uuid7
from workflow_core.testing import FakeClock
from workflow_sql import Database, upgrade

_BORN = datetime(2026, 1, 1, tzinfo=UTC)


class OpenDatabase(Protocol):
    def __call__(self, at: Path | None = None, **settings: Any) -> Database: ...


class Make:
    """Values that differ in all that must be unique."""

    def __init__(self) -> None:
        self._random = random.Random(7)
        self._made = 0

    def id(self) -> str:
        return uuid7(_BORN, self._random)

    def record(self, **changes: Any) -> Record:
        self._made += 1
        values: dict[str, Any] = {
            "workflow": "orders",
            "foreign_id": f"order-{self._made}",
            "run_id": self.id(),
            "status": 1,
            "state": RunState.INITIATED,
            "version": 1,
            "write_id": self.id(),
            "data": b"{}",
        }
        return Record(**(values | changes))

    def next(self, record: Record, **changes: Any) -> Record:
        values: dict[str, Any] = {
            "version": record.version + 1,
            "write_id": self.id(),
            "state": RunState.RUNNING,
        }
        return record.replace(**(values | changes))

    def event(self, record: Record | None = None, **changes: Any) -> Event:
        record = record or self.record()
        values: dict[str, Any] = {
            "id": self.id(),
            "topic": "orders-1",
            "workflow": record.workflow,
            "run_id": record.run_id,
            "foreign_id": record.foreign_id,
            "status": record.status,
            "state": record.state,
            "version": record.version,
        }
        return Event(**(values | changes))


class Child:
    """Another Python process. Lines go in and out; whoever waits for one waits for no more."""

    def __init__(self, code: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> int:
        self.process.communicate(timeout=60)
        return self.process.returncode


T = TypeVar("T")


def in_time(call: Callable[[], T]) -> T:
    """What the call answers; fails where it is not there long before its own time-out."""
    answers: list[T] = []
    thread = threading.Thread(target=lambda: answers.append(call()), daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive(), "it was not woken"
    return answers[0]


@pytest.fixture
def woken() -> Callable[[Callable[[], T]], T]:
    """For calls that are to be woken, with a time-out of minutes."""
    return in_time


@pytest.fixture
def make() -> Make:
    return Make()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "workflow.db"


@pytest.fixture
def open_database(path: Path) -> Iterator[OpenDatabase]:
    """Each call is a handle of its own, as another process would have."""
    with ExitStack() as handles:

        def open_one(at: Path | None = None, **settings: Any) -> Database:
            return handles.enter_context(Database(f"sqlite:///{at or path}", **settings))

        yield open_one


@pytest.fixture
def database(open_database: OpenDatabase, clock: FakeClock) -> Database:
    return open_database(clock=clock)


@pytest.fixture
def child() -> Iterator[Callable[..., Child]]:
    """Starts processes, and ends those that are left."""
    started: list[Child] = []

    def start(code: str, *arguments: str) -> Child:
        started.append(Child(code, *arguments))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.kill()
        for stream in (each.process.stdin, each.process.stdout):
            if stream is not None:
                stream.close()


Statement = tuple[str, Sequence[Any]]


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[Statement]:
    """What connections opened from now on execute, with its parameters; not looks at the pulse."""
    asked: list[Statement] = []
    connect = sqlite3.connect

    class Cursor(sqlite3.Cursor):
        def execute(self, sql: str, parameters: Any = ()) -> Cursor:
            if "data_version" not in sql:
                asked.append((sql, parameters))
            return super().execute(sql, parameters)

        def executemany(self, sql: str, rows: Any) -> Cursor:
            rows = list(rows)
            asked.extend((sql, row) for row in rows[:1])
            return super().executemany(sql, rows)

    class Connection(sqlite3.Connection):
        def cursor(self, factory: Any = Cursor) -> Any:
            return super().cursor(factory)

    def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, factory=Connection, **options)
        return connection

    monkeypatch.setattr(sqlite3, "connect", traced)
    return asked


# -- servers -----------------------------------------------------------------------------------


class Home:
    """A namespace on one server whose tables are there and empty. Used by one test at a time."""

    def __init__(self, url: str, namespace: str, schema: str = "") -> None:
        self.url = url
        self.namespace = namespace
        self.schema = schema
        upgrade(url, namespace=namespace, schema=schema)

    def open(self, **settings: Any) -> Database:
        return Database(self.url, namespace=self.namespace, schema=self.schema, **settings)

    def clear(self) -> None:
        """Making the tables anew would take a hundred times as long."""
        with self.open() as database, database.writing("clearing") as writing:
            tables = database.tables
            last = f"(select coalesce(max(id), 0) from {tables.events.fullname})"
            writing.cursor.execute(
                f"update {tables.installation.fullname} set trim_at = 0, role_changes = 0,"
                f" settled = case when settled > {last} then settled else {last} end"
            )
            for table in tables.metadata.tables.values():
                if table is not tables.installation:
                    writing.cursor.execute(f"delete from {table.fullname}")


class Homes:
    """The namespaces of one server's database, made when first needed and then used again."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._free: list[Home] = []
        self._made = 0

    def take(self) -> Home:
        if self._free:
            return self._free.pop()
        self._made += 1
        return Home(self.url, f"home{self._made}")

    def give(self, home: Home) -> None:
        home.clear()
        self._free.append(home)


SERVERS = ("postgres", "mysql", "mariadb")


@pytest.fixture(scope="session")
def homes_of(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Homes]]:
    """The homes on a server, by its name."""
    found: dict[str, Homes] = {}
    with ExitStack() as spaces:

        def get(name: str) -> Homes:
            if name not in found:
                server: Server = request.getfixturevalue(f"{name}_server".replace("-", "_"))
                space = spaces.enter_context(server.own_space())
                # its driver would read all of the system's certificates for each connection
                plain = "" if name.startswith("postgres") else "?ssl_disabled=true"
                found[name] = Homes(f"{space.url}{plain}")
            return found[name]

        yield get


@pytest.fixture
def new_home(homes_of: Callable[[str], Homes]) -> Iterator[Callable[[str], Home]]:
    """An empty home on the server of this name; given back after the test."""
    taken: list[tuple[Homes, Home]] = []

    def take(name: str) -> Home:
        homes = homes_of(name)
        taken.append((homes, homes.take()))
        return taken[-1][1]

    yield take
    for homes, home in taken:
        homes.give(home)


@pytest.fixture(params=SERVERS)
def server_name(request: pytest.FixtureRequest) -> str:
    """Each server in turn."""
    return str(request.param)


@pytest.fixture
def home(server_name: str, new_home: Callable[[str], Home]) -> Home:
    """An empty home on each server in turn."""
    return new_home(server_name)


@pytest.fixture
def home_apart(server_name: str, request: pytest.FixtureRequest) -> Iterator[Home]:
    """On each server in turn, a home whose tables are in a schema that the url does not name."""
    server: Server = request.getfixturevalue(f"{server_name}_server")
    with server.own_space() as space:
        plain = "" if server_name == "postgres" else "?ssl_disabled=true"
        yield Home(f"{space.url}{plain}", "", f"{space.name}_apart")
        cascade = " cascade" if server_name == "postgres" else ""
        with (
            Database(f"{space.url}{plain}", upgrade=True) as database,
            database.reading("dropping") as cursor,  # where each statement is committed
        ):
            cursor.execute(f"drop schema {space.name}_apart{cascade}")
