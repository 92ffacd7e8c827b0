from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine
from workflow_core.errors import AdapterUnavailableError, ConfigurationError
from workflow_sql import Database, current, upgrade
from workflow_sql.__main__ import main
from workflow_sql.migrations import VERSION

RACER = """
    import sys
    from workflow_sql import Database
    print("ready", flush=True)
    sys.stdin.readline()
    with Database(sys.argv[1]) as database:
        print(database.installation.id, flush=True)
"""


def texts_of(connection: Connection) -> dict[str, object]:
    """Of each table and index how it is made; a table that was changed later tells its columns."""
    found = connection.exec_driver_sql("select name, sql from sqlite_master where sql is not null")
    texts: dict[str, object] = {row[0]: row[1] for row in found}
    for changed in ("workflow_records", "workflow_timers"):
        columns = connection.exec_driver_sql(f"pragma table_info('{changed}')")
        texts[changed] = [tuple(column) for column in columns]
    return texts


def test_migrations_make_the_schema_that_the_statements_are_written_for(
    database: Database, path: Path
) -> None:
    """Seen to fail with an index left out of the migration, and with a column left nullable."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": database.tables.version_table}
        )
        assert compare_metadata(context, database.tables.metadata) == []
        # partial conditions and the like are not compared above: the texts tell them
        texts = texts_of(connection)
    engine.dispose()
    fresh = create_engine("sqlite://")
    with fresh.connect() as connection:
        database.tables.metadata.create_all(connection)
        wanted = texts_of(connection)
    fresh.dispose()
    assert {name: texts[name] for name in wanted} == wanted


def test_four_processes_agree_on_one_installation_when_they_make_a_new_file_at_once(
    path: Path, child: Callable[..., Any]
) -> None:
    """Seen to fail with a deferred begin in place of the immediate one."""
    racers = [child(RACER, f"sqlite:///{path}") for _ in range(4)]
    for racer in racers:
        assert racer.hear() == "ready"
    for racer in racers:
        racer.say("go")
    found = {racer.hear() for racer in racers}
    assert len(found) == 1, "all have the same installation"
    assert "" not in found, "none of them failed"


def set_version(path: Path, version: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute("update workflow_schema set version_num = ?", (version,))
    connection.commit()
    connection.close()


def test_database_is_served_when_its_schema_is_one_ahead(
    open_database: Callable[..., Database], path: Path
) -> None:
    made = open_database()
    set_version(path, f"{int(VERSION) + 1:04}")
    assert open_database().installation == made.installation


def test_opening_says_what_to_do_when_the_schema_is_two_ahead(
    open_database: Callable[..., Database], path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command says so too: seen to fail with exit code 0 for a schema that none can serve."""
    running = open_database()
    url = f"sqlite:///{path}"
    assert str(current(url)) == f"schema {VERSION}, as wanted"
    ahead = f"{int(VERSION) + 1:04}"
    set_version(path, ahead)
    assert str(current(url)) == f"schema {ahead}, one ahead of {VERSION}: this release serves it"
    assert main(["current", "--url", url]) == 0
    assert f"schema {ahead}" in running.check_health()
    ahead = f"{int(VERSION) + 2:04}"
    set_version(path, ahead)
    with pytest.raises(ConfigurationError, match="newer release of the wheel workflow-sql"):
        open_database()
    with pytest.raises(ConfigurationError, match="newer release of the wheel workflow-sql"):
        upgrade(url)
    with pytest.raises(ConfigurationError, match="newer release of the wheel workflow-sql"):
        running.check_health()
    capsys.readouterr()
    assert main(["current", "--url", url]) == 1
    told = f"schema {ahead}, which this release cannot serve: it knows {VERSION}"
    assert capsys.readouterr().out.startswith(told)


def test_failed_migration_leaves_nothing_behind_when_it_is_tried_again(
    open_database: Callable[..., Database], path: Path
) -> None:
    """Seen to fail with the migration's tables committed one by one."""
    connection = sqlite3.connect(path)
    connection.execute("create table workflow_roles (in_the_way)")
    connection.commit()
    with pytest.raises(AdapterUnavailableError, match="upgrading the schema"):
        open_database()
    tables = connection.execute("select name from sqlite_master where type = 'table'").fetchall()
    assert tables == [("workflow_roles",)]
    connection.execute("drop table workflow_roles")
    connection.commit()
    connection.close()
    assert open_database().installation.partitions == 16
