"""How processes hear of one another's commits on PostgreSQL."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from datetime import timedelta
from typing import Any, cast

import psycopg
import pytest
from sqlalchemy import create_engine, make_url
from workflow_adaptertest.servers import Server
from workflow_core.model import OutboxEvent
from workflow_core.ports import Write
from workflow_sql import Database, SqlEventStreamer, SqlRecordStore, SqlRoleScheduler
from workflow_sql.dialects import postgres_news
from workflow_sql.dialects.postgres_connections import PostgresConnections
from workflow_sql.dialects.postgres_news import PostgresNews
from workflow_sql.horizon import Horizon, Marks

SOON = timedelta(seconds=60)
LONG = timedelta(minutes=10)
PATIENCE = 60.0


@pytest.fixture
def postgres_home(new_home: Callable[[str], Any]) -> Any:
    return new_home("postgres")


@pytest.fixture
def open_home(postgres_home: Any) -> Iterator[Callable[..., Database]]:
    with ExitStack() as handles:
        yield lambda **settings: handles.enter_context(postgres_home.open(**settings))


@pytest.fixture
def never_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits hears of news or waits for ever."""
    monkeypatch.setattr(PostgresConnections, "rhythm", (600.0, 600.0))


def news_of(database: Database) -> PostgresNews:
    connections = database._connections
    assert isinstance(connections, PostgresConnections)
    return connections.news


def wait_until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.01)


def listening(database: Database) -> Database:
    news_of(database).listen()
    wait_until(lambda: news_of(database).is_heard)
    return database


@pytest.mark.usefixtures("never_looks")
def test_receiver_wakes_when_another_process_sends(
    open_home: Callable[..., Database], woken: Callable[..., Any], make: Any
) -> None:
    """Seen to fail without the notification."""
    here, there = listening(open_home()), open_home()
    event = make.event()
    with SqlEventStreamer(here, instance="r").new_receiver(["orders-1"], "steps") as receiver:
        threading.Timer(0.2, send, (there, event)).start()
        deliveries = woken(lambda: receiver.recv_many(9, LONG))
    assert [each.event.id for each in deliveries] == [event.id]


@pytest.mark.usefixtures("never_looks")
def test_ones_own_news_is_read_once_when_a_receiver_waits_for_it(
    open_home: Callable[..., Database], woken: Callable[..., Any], make: Any
) -> None:
    """Seen to fail where the thread that looks for others' news read what had just been read."""
    here = listening(open_home())
    reads: list[str] = []
    horizon = here.horizon
    with SqlEventStreamer(here, instance="r").new_receiver(["orders-1"], "steps") as receiver:
        here.horizon = cast(Horizon, Counted(horizon, reads))
        for _ in range(30):
            threading.Timer(0.01, send, (here, make.event())).start()
            assert len(woken(lambda: receiver.recv_many(9, LONG))) == 1
        here.horizon = horizon
    assert 30 <= len(reads) < 45, "one for each commit, and now and then one by chance"


def test_receiver_that_waits_a_moment_leaves_the_looking_to_the_listener(
    open_home: Callable[..., Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail with what a busy engine waits for taken for a look at once."""
    here = listening(open_home())
    looks: list[bool] = []
    refresh = here.watch.refresh

    def seen(*, anyway: bool = False) -> Marks:
        looks.append(anyway)
        return refresh(anyway=anyway)

    with SqlEventStreamer(here, instance="r").new_receiver(["orders-1"], "steps") as receiver:
        monkeypatch.setattr(here.watch, "refresh", seen)
        assert receiver.recv_many(9, timedelta(0)) == []
        assert any(looks), "who does not wait wants to know what is there now"
        looks.clear()
        for _ in range(3):
            assert receiver.recv_many(9, timedelta(milliseconds=50)) == []
    assert not any(looks)


class Counted:
    """A horizon whose reads are counted."""

    def __init__(self, horizon: Horizon, reads: list[str]) -> None:
        self._horizon = horizon
        self._reads = reads

    def read(self, cursor: Any) -> Marks:
        self._reads.append(threading.current_thread().name)
        return self._horizon.read(cursor)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._horizon, name)


def send(database: Database, event: Any) -> None:
    SqlEventStreamer(database, instance="s").new_sender().send(event)


@pytest.mark.usefixtures("never_looks")
def test_role_is_taken_at_once_when_another_process_gives_it_up(
    open_home: Callable[..., Database], woken: Callable[..., Any]
) -> None:
    here, there = listening(open_home()), listening(open_home())
    with (
        SqlRoleScheduler(there, instance="holder", lease=LONG) as holder,
        SqlRoleScheduler(here, instance="waits", lease=LONG) as waits,
    ):
        (lease,) = holder.acquire(["role"], SOON)
        threading.Timer(0.2, lease.release).start()
        assert [each.role for each in woken(lambda: waits.acquire(["role"], LONG))] == ["role"]


def test_outbox_tells_of_a_change_when_another_process_filed(
    open_home: Callable[..., Database], make: Any
) -> None:
    here, there = listening(open_home()), open_home()
    store = SqlRecordStore(here)
    store.outbox_changed()
    record = make.record()
    SqlRecordStore(there).store(
        Write(record=record, events=[OutboxEvent(event=make.event(record))])
    )
    wait_until(store.outbox_changed)


def test_listener_connects_anew_when_the_databases_server_is_another(
    open_home: Callable[..., Database],
) -> None:
    """The old one may live on, and tells nothing. Seen to fail: it went on listening there."""
    here = listening(open_home())
    ask = f"select pid from pg_stat_activity where query = 'listen \"{news_of(here)._channel}\"'"

    def listeners() -> set[int]:
        with here.reading("looking for listeners") as cursor:
            cursor.execute(ask)
            return {pid for (pid,) in cursor.fetchall()}

    [before] = listeners()
    here._connections.epochs.end(here.epoch, "the test says so")
    wait_until(lambda: len(listeners() - {before}) == 1)


def test_nothing_is_told_within_a_callers_transaction(
    open_home: Callable[..., Database], postgres_home: Any, make: Any
) -> None:
    """It would make all commits of the database queue up."""
    database = open_home()
    engine = create_engine(make_url(postgres_home.url).set(drivername="postgresql+psycopg"))
    record = make.record()
    with engine.begin() as connection:
        write = Write(record=record, events=[OutboxEvent(event=make.event(record))])
        assert SqlRecordStore(database).join(connection).store_many([write]) == [None]
    engine.dispose()
    assert news_of(database)._started == set()
    assert SqlRecordStore(database).lookup(record.run_id).version == 1


def test_many_commits_are_told_at_once(
    open_home: Callable[..., Database], make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail with a notification for each commit, and without the pause between two."""
    # so long that a slow machine does not make many of them
    monkeypatch.setattr(postgres_news, "_AT_MOST_EVERY", 0.5)
    database = open_home()
    with psycopg.connect(postgres_url(database), autocommit=True) as listener:
        listener.execute(f'listen "{database.prefix}news"')
        for _ in range(200):
            send(database, make.event())
        told = list(listener.notifies(timeout=1.0))
    assert 1 <= len(told) < 100


def postgres_url(database: Database) -> str:
    with database.reading("asking") as cursor:
        connection: psycopg.Connection[Any] = cursor.connection  # type: ignore[attr-defined]
        return connection.info.dsn


@pytest.mark.usefixtures("never_looks")
def test_listener_hears_again_when_the_server_was_restarted(
    open_home: Callable[..., Database],
    woken: Callable[..., Any],
    make: Any,
    postgres_server: Server,
) -> None:
    here, there = listening(open_home()), open_home()
    event = make.event()
    with SqlEventStreamer(here, instance="r").new_receiver(["orders-1"], "steps") as receiver:
        postgres_server.restart()
        wait_until(lambda: not news_of(here).is_heard)
        wait_until(lambda: news_of(here).is_heard)
        threading.Timer(0.2, send, (there, event)).start()
        deliveries = woken(lambda: receiver.recv_many(9, LONG))
    assert [each.event.id for each in deliveries] == [event.id]


# -- behind a pooler ---------------------------------------------------------------------------


class Pooler:
    """Passes everything on but notifications, as one that lends connections for transactions.

    And like one it tells a number of the server's process that is its own.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(self._server)
                threading.Thread(target=self._up, args=(client, server), daemon=True).start()
                threading.Thread(target=self._down, args=(server, client), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with closing(client), closing(server), suppress(OSError):
            while data := client.recv(1 << 16):
                server.sendall(data)

    def _down(self, server: socket.socket, client: socket.socket) -> None:
        with closing(server), closing(client), suppress(OSError), server.makefile("rb") as answers:
            while len(head := answers.read(5)) == 5:
                body = answers.read(int.from_bytes(head[1:], "big") - 4)
                if head[:1] == b"K":
                    body = (999_999_999).to_bytes(4, "big") + body[4:]
                if head[:1] != b"A":
                    client.sendall(head + body)

    def close(self) -> None:
        self._listening.close()


def test_news_is_looked_for_when_a_pooler_hides_notifications(
    postgres_home: Any,
    open_home: Callable[..., Database],
    make: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Seen to fail without the test of itself: it believed to hear, and looked twice a minute."""
    url = make_url(postgres_home.url)
    event = make.event()
    with closing(Pooler(str(url.host), int(url.port or 5432))) as pooler:
        through = url.set(host="127.0.0.1", port=pooler.port).update_query_dict(
            {"sslmode": "disable"}
        )
        with (
            caplog.at_level(logging.WARNING),
            Database(
                through.render_as_string(hide_password=False), namespace=postgres_home.namespace
            ) as behind,
            SqlEventStreamer(behind, instance="r").new_receiver(["orders-1"], "steps") as receiver,
        ):
            receiver.recv_many(1, timedelta(milliseconds=200))  # begins to wait, and so to listen
            wait_until(lambda: "do not come through" in caplog.text)
            assert not news_of(behind).is_heard
            assert "pooler hides notifications" in behind.check_health()
            threading.Timer(0.2, send, (open_home(), event)).start()
            assert [each.event.id for each in receiver.recv_many(9, SOON)] == [event.id]


def test_nothing_is_left_with_a_pooler_when_it_lends_connections_for_a_transaction(
    postgres_home: Any, make: Any
) -> None:
    """Seen to fail with PgBouncer itself: "prepared statement already exists", once in six times.

    And what was set for a session stayed there, for whoever was lent that connection next.
    """
    url = make_url(postgres_home.url)
    with closing(Pooler(str(url.host), int(url.port or 5432))) as pooler:
        through = url.set(host="127.0.0.1", port=pooler.port).update_query_dict(
            {"sslmode": "disable"}
        )
        with Database(
            through.render_as_string(hide_password=False), namespace=postgres_home.namespace
        ) as behind:
            store = SqlRecordStore(behind)
            for _ in range(9):
                record = make.record()
                store.store(Write(record=record))
                assert store.lookup(record.run_id).version == 1
            with behind.reading("looking") as cursor:
                cursor.execute("select count(*) from pg_prepared_statements")
                assert cursor.fetchone() == (0,)
                cursor.execute("select current_setting('lock_timeout')")
                assert cursor.fetchone() == ("0",)
            with behind.writing("looking") as writing:
                writing.cursor.execute("select current_setting('lock_timeout')")
                assert writing.cursor.fetchone() == ("5s",)
