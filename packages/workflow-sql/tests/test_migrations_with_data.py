"""From every earlier revision with data, on every database; killed, raced, printed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, inspect, text
from workflow_core.errors import AdapterUnavailableError, ConfigurationError
from workflow_core.model import OutboxEvent, RecordQuery
from workflow_core.ports import Secret, Write
from workflow_sql import (
    Database,
    SqlEventStreamer,
    SqlRecordStore,
    SqlTimeoutStore,
    current,
    migrations,
    sql,
    upgrade,
)
from workflow_sql.__main__ import main
from workflow_sql.dialects import dialect_for
from workflow_sql.migrations import VERSION

EARLIER = [f"{number:04}" for number in range(1, int(VERSION))]
DATABASES = ("sqlite", "postgres", "mysql", "mariadb")


class Place:
    """An empty database of the test's own."""

    def __init__(self, url: str) -> None:
        self.url = url

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        engine = create_engine(_with_driver(self.url))
        with engine.begin() as connection:
            yield connection
        engine.dispose()

    def run(self, script: str) -> None:
        """As a DBA does: statement by statement."""
        statements = [line for line in script.splitlines() if not line.startswith("--")]
        with self.connected() as connection:
            for statement in "\n".join(statements).split(";"):
                if statement.strip() and statement.strip() not in ("BEGIN", "COMMIT"):
                    connection.exec_driver_sql(statement.strip().replace("%", "%%"))

    def shape(self, prefix: str = "") -> dict[str, Any]:
        """Tables, columns and indexes under this prefix, as the database tells them."""
        with self.connected() as connection:
            asked = inspect(connection)
            return {
                table.removeprefix(prefix): (
                    sorted((c["name"], str(c["type"]), c["nullable"]) for c in columns),
                    sorted(
                        (
                            str(i["name"]).removeprefix(prefix),
                            tuple(i["column_names"]),
                            bool(i["unique"]),
                        )
                        for i in asked.get_indexes(table)
                    ),
                )
                for table in sorted(asked.get_table_names())
                if table.startswith(f"{prefix}workflow_")
                for columns in [asked.get_columns(table)]
            }


def _with_driver(url: str) -> str:
    for bare, driver in (("postgresql", "psycopg"), ("mysql", "pymysql"), ("mariadb", "pymysql")):
        if url.startswith(f"{bare}://"):
            return url.replace(bare, f"{bare}+{driver}", 1)
    return url


@pytest.fixture(params=DATABASES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "sqlite":
        yield Place(f"sqlite:///{tmp_path / 'migrated.db'}")
        return
    server = request.getfixturevalue(f"{request.param}_server")
    with server.own_space() as space:
        plain = "" if request.param == "postgres" else "?ssl_disabled=true"
        yield Place(f"{space.url}{plain}")


def put_at(place: Place, version: str) -> None:
    """The schema as an earlier release left it."""
    place.run(_script_to(place.url, version))


def _script_to(url: str, version: str) -> str:
    """What that release printed: this one's script up to where it came."""
    script = sql(url)
    marker = f"-- Running upgrade {version} ->"
    return script.partition(marker)[0]


# -- from every earlier revision ---------------------------------------------------------------


INSERT = """
    insert into workflow_records (run_id, workflow, foreign_id, status, state, live, version,
        write_id, data, created_at, updated_at, entered_at, entered_version, repeats, attempts,
        last_error, reason, auto_resumes, skipped, passed, resumed, headers)
    values (:run_id, 'orders', :foreign_id, 1, :state, :live, 1, 'w', :data, 5, 5, 5, 1, 0, 0,
        '', '', 0, 0, '', '', '')
"""
OUTBOX = """
    insert into workflow_outbox (id, topic, workflow, run_id, foreign_id, status, state, version,
        kind, target, attempt, headers, created_at, due_at, hidden_until)
    values ('event-1', 'orders-1', 'orders', 'run-1', 'order-1', 1, 1, 1, 'entered', '', 0, '',
        5, 5, 5)
"""


TIMER = """
    insert into workflow_timers (timer_key, workflow, run_id, status, entered_version, name, due_at,
        attempts, error, parked, closed)
    values (:key, 'orders', 'run-1', 1, 1, 'remind', 5, 2, 'no answer', 0, 0)
"""


def write_as_the_first_release_did(place: Place) -> None:
    """By hand: what its statements wrote into its columns."""
    with place.connected() as connection:
        for number, (state, live) in enumerate([(1, 1), (5, None)], 1):
            connection.execute(
                text(INSERT),
                {
                    "run_id": f"run-{number}",
                    "foreign_id": f"order-{number}",
                    "state": state,
                    "live": live,
                    "data": b"{}",
                },
            )
        connection.execute(text(OUTBOX))
        connection.execute(text(TIMER), {"key": "run-1/1/remind"})


@pytest.mark.parametrize("version", EARLIER)
def test_data_of_an_earlier_release_is_all_there_when_its_schema_is_upgraded(
    place: Place, version: str, make: Any
) -> None:
    """Seen to fail with the new column made not null."""
    put_at(place, version)
    write_as_the_first_release_did(place)
    if not place.url.startswith("sqlite"):
        with pytest.raises(ConfigurationError, match=f"schema {version}.*-m workflow_sql upgrade"):
            Database(place.url)
    upgrade(place.url)
    upgrade(place.url)  # again: nothing is to be done
    assert not current(place.url).is_old
    with Database(place.url) as database:
        store = SqlRecordStore(database)
        live = store.lookup("run-1")
        assert (live.version, live.data, dict(live.search)) == (1, b"{}", {})
        assert store.latest("orders", "order-2").run_id == "run-2"
        assert [e.event.run_id for e in store.list_outbox_events(["orders"], limit=9)] == ["run-1"]
        store.store(Write(record=make.next(live), search={"customer": "acme"}))
        query = RecordQuery(workflow="orders", search={"customer": "acme"})
        assert [record.run_id for record in store.list_records(query).items] == ["run-1"]
        assert SqlEventStreamer(database, instance="one").joins(store)
        timers = SqlTimeoutStore(database)
        (due,) = timers.list_valid(["orders"], limit=9)
        assert (due.attempts, due.error, due.repeat) == (2, "no answer", 0)
        timers.reschedule_many([due.replace(delay=timedelta(0), attempts=0, error="", repeat=1)])
        timers.reschedule_many([due])  # by one that was frozen, and knows no better
        (due,) = timers.list_valid(["orders"], limit=9)
        assert due.repeat == 1


def test_printed_statements_make_what_an_upgrade_makes(
    place: Place, tmp_path: Path, make: Any
) -> None:
    """Seen to fail with an index left out of the offline branch."""
    place.run(sql(place.url))
    printed = place.shape()
    assert not current(place.url).is_old
    upgrade(place.url, namespace="other")
    made = place.shape("other_")
    assert printed == made
    with Database(place.url) as first, Database(place.url, namespace="other") as second:
        assert first.installation.id != second.installation.id
        assert first.installation.partitions == 16
        store = SqlRecordStore(first)
        store.store(Write(record=make.record()))


# -- killed half-way, raced ----------------------------------------------------------------------


KILLED = """
    import os, sys
    from sqlalchemy import Engine, event
    from workflow_sql import upgrade

    left = int(sys.argv[2])

    @event.listens_for(Engine, "after_cursor_execute")
    def count(connection, cursor, statement, parameters, context, executemany):
        global left
        if statement.lstrip()[:6].upper() in ("CREATE", "ALTER ", "INSERT", "UPDATE"):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), 9)

    upgrade(sys.argv[1])
"""


@pytest.mark.parametrize("after", [2, 24])
def test_upgrade_is_done_by_the_next_when_one_is_killed_half_way(
    place: Place, after: int, child: Callable[..., Any], make: Any
) -> None:
    """Seen to fail on MySQL and MariaDB with tables made whether or not they are there."""
    killed = child(KILLED, place.url, str(after))
    assert killed.end() == -9
    assert current(place.url).is_old
    upgrade(place.url)
    with Database(place.url) as database:
        assert database.installation.partitions == 16
        SqlRecordStore(database).store(Write(record=make.record()))
    upgrade(place.url, namespace="fresh")
    assert place.shape() == place.shape("fresh_")


def test_two_upgrades_at_once_make_one_installation(
    place: Place, child: Callable[..., Any]
) -> None:
    code = """
        import sys
        from workflow_sql import Database
        print("ready", flush=True)
        sys.stdin.readline()
        with Database(sys.argv[1], upgrade=True) as database:
            print(database.installation.id, flush=True)
    """
    racers = [child(code, place.url) for _ in range(2)]
    for racer in racers:
        assert racer.hear() == "ready"
    for racer in racers:
        racer.say("go")
    ids = {racer.hear() for racer in racers}
    assert len(ids) == 1
    assert "" not in ids


# what waits for a table, as each server tells it
WAITING = {
    "postgres": "select count(*) from pg_locks where not granted and locktype = 'relation'",
    "mysql": "select count(*) from information_schema.processlist where state like '%metadata%'",
}


@pytest.mark.parametrize("place", DATABASES[1:], indirect=True)
def test_upgrade_holds_nobody_up_while_it_waits_for_an_open_transaction(place: Place) -> None:
    """Such as a report's. Seen to fail with a wait without an end: all others waited behind it."""
    put_at(place, "0002")
    waiting = WAITING["postgres" if place.url.startswith("postgres") else "mysql"]
    limit = "lock_timeout = '20s'" if place.url.startswith("postgres") else "lock_wait_timeout = 20"
    upgrading = threading.Thread(target=upgrade, args=(place.url,), daemon=True)
    with place.connected() as report:
        report.execute(text("select count(*) from workflow_timers"))
        upgrading.start()
        end = time.monotonic() + 60
        while not count_of(place, waiting):
            assert time.monotonic() < end, "it does not wait"
            time.sleep(0.01)
        with place.connected() as other:
            other.execute(text(f"set {limit}"))
            other.execute(text(TIMER), {"key": "run-1/1/remind"})
        assert upgrading.is_alive()
    upgrading.join(60)
    assert not current(place.url).is_old


def count_of(place: Place, query: str) -> int:
    with place.connected() as connection:
        found: int = connection.execute(text(query)).scalar_one()
        return found


@pytest.mark.parametrize("place", DATABASES[1:], indirect=True)
def test_upgrade_says_why_when_a_transaction_stays_open(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail, by never ending, with a wait without an end."""
    monkeypatch.setattr(migrations, "_PATIENCE", timedelta(seconds=1))
    put_at(place, "0002")
    with place.connected() as report:
        report.execute(text("select count(*) from workflow_timers"))
        with pytest.raises(AdapterUnavailableError, match="tables in use") as refused:
            upgrade(place.url)
        assert "a long report" in refused.value.hint
    upgrade(place.url)
    assert not current(place.url).is_old


# -- side by side --------------------------------------------------------------------------------


def test_newest_schema_only_adds_what_the_release_before_need_not_know(place: Place) -> None:
    """That release serves it, while processes are replaced. Seen to fail with a column not null."""
    put_at(place, EARLIER[-1])
    before = place.shape()
    upgrade(place.url)
    after = place.shape()
    for table, (columns, indexes) in before.items():
        columns_now, indexes_now = after[table]
        assert {tuple(column) for column in columns} <= {tuple(column) for column in columns_now}
        added = [column for column in columns_now if column not in columns]
        assert all(nullable for _, _, nullable in added), f"{table} asks for what it does not write"
        new = [index for index in indexes_now if index not in indexes]
        assert not any(unique for _, _, unique in new), f"{table} refuses what it writes"


def test_release_before_works_beside_this_one_on_its_schema(place: Place, make: Any) -> None:
    """By what it wrote and asked: inserts and updates that know nothing of what came later."""
    upgrade(place.url)
    write_as_the_first_release_did(place)
    with Database(place.url) as database:
        store = SqlRecordStore(database)
        run = store.lookup("run-1")
        store.store(Write(record=make.next(run, status=2), search={"customer": "acme"}))
        with place.connected() as connection:
            connection.execute(
                text("update workflow_records set version = 3, status = 3 where run_id = 'run-1'")
            )
        assert dict(store.lookup("run-1").search) == {"customer": "acme"}, "left as it was"
        timers = SqlTimeoutStore(database)
        (due,) = timers.list_valid(["orders"], limit=9)
        timers.reschedule(due.key, timedelta(0), attempts=0, error="", repeat=3)
        with place.connected() as connection:
            connection.execute(text("update workflow_timers set attempts = 1, due_at = 6"))
        (due,) = timers.list_valid(["orders"], limit=9)
        assert (due.attempts, due.repeat) == (1, 3), "the older one's back-off leaves the number"
        event = OutboxEvent(event=make.event(run))
        assert store.store_many(
            [Write(record=make.next(store.lookup("run-1")), events=[event], search={})]
        ) == [None]


# -- the command ---------------------------------------------------------------------------------


def test_command_upgrades_and_tells(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKFLOW_SQL__URL", place.url)
    assert main(["current"]) == 1
    assert capsys.readouterr().out == f"no tables, wanted is schema {VERSION}\n"
    assert main(["upgrade"]) == 0
    assert main(["current"]) == 0
    assert capsys.readouterr().out == f"schema {VERSION}, as wanted\n" * 2
    assert main(["sql", "--from", "0001"]) == 0
    printed = capsys.readouterr().out
    assert "workflow_search" in printed
    assert "repeats" in printed


def test_command_says_what_is_wrong(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WORKFLOW_SQL__URL", raising=False)
    assert main(["current"]) == 2
    assert "Give --url, or set WORKFLOW_SQL__URL" in capsys.readouterr().err
    assert main(["sql", "--url", "sqlite:///x.db", "--from", "0009"]) == 2
    assert "there is no schema '0009'" in capsys.readouterr().err
    unreachable = "postgresql://bob:s3cret@127.0.0.1:1/orders"
    assert main(["current", "--url", unreachable]) == 2
    assert "s3cret" not in capsys.readouterr().err


def test_command_is_there_as_a_module(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "workflow_sql", "upgrade"],
        env={**os.environ, "WORKFLOW_SQL__URL": f"sqlite:///{tmp_path / 'a.db'}"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, f"schema {VERSION}, as wanted\n"), done.stderr


def test_each_dialect_prints_without_a_connection() -> None:
    for url in ("sqlite:///a.db", "postgresql://h/a", "mysql://h/a", "mariadb://h/a"):
        script = sql(url, namespace="shop")
        assert "shop_workflow_search" in script
        assert dialect_for(Secret(url))[0].name in url


def test_tables_are_in_the_schema_that_the_connection_names(
    request: pytest.FixtureRequest, make: Any
) -> None:
    """PostgreSQL's own way to choose one."""
    server = request.getfixturevalue("postgres_server")
    with server.own_space() as space:
        with Place(str(space.url)).connected() as connection:
            connection.execute(text("create schema app"))
        place = Place(f"{space.url}?options=-csearch_path%3Dapp")
        upgrade(place.url)
        with Database(place.url) as database:
            store = SqlRecordStore(database)
            store.store(Write(record=make.record(run_id="run-1")))
            with place.connected() as connection:
                transaction = store.join(connection)
                assert set(transaction.lookup_many(["run-1"])) == {"run-1"}
        with place.connected() as connection:
            found = connection.execute(text("select count(*) from app.workflow_records"))
            assert found.scalar_one() == 1
