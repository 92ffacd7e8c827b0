"""Tables on each database, made once and emptied between tests."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import make_url
from workflow_adaptertest.servers import Server
from workflow_core.model import Event, RunState, uuid7
from workflow_core.ports import Delivery, Receiver, Secret
from workflow_reflex import ReflexEventStreamer, ReflexSettings, create_tables

_BORN = datetime(2026, 1, 1, tzinfo=UTC)
PATIENCE = 60.0
SERVERS = ("postgres", "mysql", "mariadb")
DATABASES = (*SERVERS, "sqlite")

T = TypeVar("T")


class Make:
    """Events that differ in all that must be unique."""

    def __init__(self) -> None:
        self._random = random.Random(7)

    def id(self) -> str:
        return uuid7(_BORN, self._random)

    def event(self, **changes: Any) -> Event:
        values: dict[str, Any] = {
            "id": self.id(),
            "topic": "orders-1",
            "workflow": "orders",
            "run_id": self.id(),
            "foreign_id": "order-1",
            "status": 1,
            "state": RunState.INITIATED,
            "version": 1,
        }
        return Event(**(values | changes))


@pytest.fixture
def make() -> Make:
    return Make()


class Home:
    """A pair of tables of one test at a time, and a connection that is nobody's but the test's."""

    def __init__(self, url: str, prefix: str) -> None:
        self.url = url
        self.events = f"{prefix}_events"
        self.cursors = f"{prefix}_cursors"
        create_tables(self.settings())
        parsed = make_url(url)
        if (backend := parsed.get_backend_name()) != "sqlite":
            driver = "psycopg" if backend == "postgresql" else "pymysql"
            parsed = parsed.set(drivername=f"{backend}+{driver}")
        self.engine = create_engine(parsed)

    @property
    def is_server(self) -> bool:
        return not self.url.startswith("sqlite")

    @property
    def is_postgres(self) -> bool:
        return self.url.startswith("postgres")

    def settings(self, **changes: Any) -> ReflexSettings:
        values: dict[str, Any] = {
            "url": Secret(self.url),
            "events_table": self.events,
            "cursors_table": self.cursors,
        }
        return ReflexSettings(**(values | changes))

    def ask(self, question: str, **parameters: Any) -> Sequence[Any]:
        with self.engine.connect() as connection:
            return connection.execute(text(self.told(question)), parameters).all()

    def do(self, statement: str, **parameters: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(text(self.told(statement)), parameters)

    def told(self, statement: str) -> str:
        return statement.replace("EVENTS", self.events).replace("CURSORS", self.cursors)

    def insert(self, connection: Connection, *metadata: bytes | None, key: str = "k") -> None:
        """As a Go process does: no id given, the time to the second."""
        for each in metadata:
            connection.execute(
                text(
                    self.told(
                        "insert into EVENTS (foreign_id, timestamp, type, metadata)"
                        " values (:key, '2026-01-02 03:04:05', 1, :metadata)"
                    )
                ),
                {"key": key, "metadata": each},
            )

    def ids(self) -> list[int]:
        return [row[0] for row in self.ask("select id from EVENTS order by id")]

    def noops(self) -> list[int]:
        return [
            row[0]
            for row in self.ask(
                "select id from EVENTS where foreign_id = '0' and type = 0"
                " and metadata is null order by id"
            )
        ]

    def clear(self) -> None:
        """Making the tables anew would take a hundred times as long."""
        if self.is_postgres:
            self.do("truncate EVENTS restart identity")
        elif self.is_server:
            self.do("truncate table EVENTS")
        self.do("delete from CURSORS")


class Homes:
    """The pairs of tables of one server's database, made when first needed and then used again."""

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

    def close(self) -> None:
        for home in self._free:
            home.engine.dispose()


@pytest.fixture(scope="session")
def homes_of(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Homes]]:
    """The homes on a server, by its name."""
    found: dict[str, Homes] = {}
    with ExitStack() as spaces:

        def get(name: str) -> Homes:
            if name not in found:
                server: Server = request.getfixturevalue(f"{name}_server")
                space = spaces.enter_context(server.own_space())
                # its driver would read all of the system's certificates for each connection
                plain = "" if name == "postgres" else "?ssl_disabled=true"
                found[name] = Homes(f"{space.url}{plain}")
                spaces.callback(found[name].close)
            return found[name]

        yield get


@pytest.fixture
def new_home(homes_of: Callable[[str], Homes], tmp_path: Path) -> Iterator[Callable[[str], Home]]:
    """An empty pair of tables on the database of this name; given back after the test."""
    with ExitStack() as taken:

        def take(name: str) -> Home:
            if name == "sqlite":
                home = Home(f"sqlite:///{tmp_path / 'workflow.db'}", "home1")
                taken.callback(home.engine.dispose)
                return home
            homes = homes_of(name)
            home = homes.take()
            taken.callback(homes.give, home)
            return home

        yield take


@pytest.fixture(params=SERVERS)
def home(request: pytest.FixtureRequest, new_home: Callable[[str], Home]) -> Home:
    """Empty tables on each server in turn."""
    return new_home(str(request.param))


@pytest.fixture(params=DATABASES)
def any_home(request: pytest.FixtureRequest, new_home: Callable[[str], Home]) -> Home:
    """Empty tables on each database in turn."""
    return new_home(str(request.param))


@pytest.fixture
def open_streamer() -> Iterator[Callable[..., ReflexEventStreamer]]:
    """Each call is a handle of its own, as another process would have."""
    with ExitStack() as handles:

        def open_one(home: Home, **changes: Any) -> ReflexEventStreamer:
            return handles.enter_context(ReflexEventStreamer(home.settings(**changes)))

        yield open_one


def send(streamer: ReflexEventStreamer, *events: Event) -> None:
    with streamer.new_sender() as sender:
        assert not any(sender.send_many(events, timedelta(seconds=60)))


def received(receiver: Receiver[T], count: int) -> list[Delivery[T]]:
    """So many deliveries, in order; fewer where they do not come."""
    found: list[Delivery[T]] = []
    end = time.monotonic() + PATIENCE
    while len(found) < count and time.monotonic() < end:
        found += receiver.recv_many(500, timedelta(seconds=1))
    return found


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        threading.Event().wait(0.01)


class Tools:
    """What tests use besides fixtures: with import modes that know no packages, it is handed on."""

    send = staticmethod(send)
    received = staticmethod(received)
    wait_until = staticmethod(wait_until)


@pytest.fixture
def tools() -> Tools:
    return Tools()
