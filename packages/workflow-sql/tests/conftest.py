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
from workflow_core.model import Event, Record, RunState, uuid7
from workflow_core.testing import FakeClock
from workflow_sql import Database

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
