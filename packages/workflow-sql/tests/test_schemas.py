"""Tables in a schema that is named in the settings, wherever the connection leads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, inspect, text
from workflow_core.errors import ConfigurationError
from workflow_core.model import OutboxEvent
from workflow_core.ports import AdapterContext, Secret, Write
from workflow_sql import (
    Database,
    SqlEventStreamer,
    SqlRecordStore,
    SqlSettings,
    current,
    sql,
    upgrade,
)
from workflow_sql.__main__ import main
from workflow_sql.dialects import dialect_for
from workflow_sql.dialects.postgres_connections import PostgresConnections

LONG = timedelta(minutes=10)


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """As the user's own code connects: knowing of no schema."""
    dialect, parsed = dialect_for(Secret(url))
    driver = "psycopg" if dialect.name == "postgresql" else "pymysql"
    engine = create_engine(parsed.set(drivername=f"{dialect.name}+{driver}"))
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def tables_in(connection: Connection, schema: str | None) -> set[str]:
    return {name for name in inspect(connection).get_table_names(schema) if "workflow" in name}


def test_upgrade_makes_the_schema_and_nothing_beside_it(home_apart: Any) -> None:
    """Seen to fail with alembic's own table beside the others'."""
    url, schema = home_apart.url, home_apart.schema
    with connected(url) as connection:
        assert tables_in(connection, None) == set()
        assert len(tables_in(connection, schema)) == 13
    assert not current(url, schema=schema).is_old
    assert current(url).found is None
    with pytest.raises(ConfigurationError, match="has no tables yet"):
        Database(url)
    upgrade(url)
    with Database(url) as beside, home_apart.open() as apart:
        assert beside.installation.id != apart.installation.id
        assert not SqlEventStreamer(beside, instance="i").joins(SqlRecordStore(apart))


def test_users_transaction_reaches_the_schema_that_it_knows_nothing_of(
    home_apart: Any, make: Any
) -> None:
    """A search path of our own connections would not reach the user's: the statements name it."""
    record = make.record()
    with home_apart.open() as database:
        store = SqlRecordStore(database)
        with connected(home_apart.url) as connection:
            write = Write(record=record, events=[OutboxEvent(event=make.event(record))])
            assert store.join(connection).store_many([write]) == [None]
            assert store.lookup_many([record.run_id]) == {}, "not yet committed"
        assert store.lookup(record.run_id).version == 1
        assert len(store.list_outbox_events(["orders"], limit=9)) == 1


def test_printed_statements_make_the_schema(home_apart: Any, make: Any) -> None:
    url, schema = home_apart.url, home_apart.schema
    with connected(url) as connection:
        cascade = " cascade" if connection.dialect.name == "postgresql" else ""
        connection.exec_driver_sql(f"drop schema {schema}{cascade}")
        lines = [line for line in sql(url, schema=schema).splitlines() if line[:2] != "--"]
        for statement in "\n".join(lines).split(";"):
            if statement.strip() and statement.strip() not in ("BEGIN", "COMMIT"):
                connection.exec_driver_sql(statement.strip().replace("%", "%%"))
    with home_apart.open() as database:
        SqlRecordStore(database).store(Write(record=make.record()))


def test_command_takes_the_schema(
    home_apart: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKFLOW_SQL__URL", home_apart.url)
    assert main(["current"]) == 1
    assert main(["current", "--schema", home_apart.schema]) == 0
    monkeypatch.setenv("WORKFLOW_SQL__SCHEMA", home_apart.schema)
    assert main(["current"]) == 0
    assert main(["upgrade"]) == 0
    capsys.readouterr()
    assert main(["sql", "--from", "0001"]) == 0
    printed = capsys.readouterr().out
    assert f"{home_apart.schema}.workflow_search" in printed
    assert "create schema" not in printed, "it is there"


def test_adapters_settings_name_the_schema(home_apart: Any, make: Any) -> None:
    settings = SqlSettings(url=Secret(home_apart.url), schema=home_apart.schema)
    with AdapterContext(instance="i") as context, home_apart.open() as database:
        store = SqlRecordStore.from_config(settings, context)
        store.store(Write(record=(record := make.record())))
        assert SqlRecordStore(database).lookup(record.run_id).version == 1


def test_only_those_of_the_same_schema_are_woken(
    new_home: Callable[[str], Any],
    woken: Callable[..., Any],
    make: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PostgreSQL. Seen to fail with one channel for all schemas of a database."""
    monkeypatch.setattr(PostgresConnections, "rhythm", (600.0, 600.0))
    home = new_home("postgres")
    schemas = ("one_" + "s" * 59, "two")
    with ExitStack() as opened:
        for schema in schemas:
            upgrade(home.url, namespace="news", schema=schema)
        long, short, other = (
            opened.enter_context(Database(home.url, namespace="news", schema=schema))
            for schema in (schemas[0], schemas[1], schemas[1])
        )
        heard: list[str] = []
        for database in (long, short, other):
            connections = database._connections
            assert isinstance(connections, PostgresConnections)
            connections.news.listen()
            while not connections.news.is_heard:
                threading.Event().wait(0.01)
        long._connections.on_news = lambda: heard.append("long")
        receiver = SqlEventStreamer(other, instance="r").new_receiver(["orders-1"], "steps")
        event = make.event()
        sender = SqlEventStreamer(short, instance="s").new_sender()
        threading.Timer(0.2, sender.send, (event,)).start()
        assert [each.event.id for each in woken(lambda: receiver.recv_many(9, LONG))] == [event.id]
        assert heard == []
    with connected(home.url) as connection:
        for schema in schemas:
            connection.execute(text(f"drop schema {schema} cascade"))


@pytest.mark.parametrize("schema", ["order", "a.b", 'x"; drop', "Upper", "9lives", "s" * 64])
def test_schema_is_refused_when_it_can_be_no_name(schema: str) -> None:
    for url in ("postgresql://h/a", "mysql://h/a", "mariadb://h/a"):
        with pytest.raises(ConfigurationError, match="cannot be the name"):
            sql(url, schema=schema)


def test_schema_is_refused_where_there_is_no_such_thing(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="SQLite has no schemas"):
        Database(f"sqlite:///{tmp_path / 'a.db'}", schema="apart")
