"""What a server's defaults and a user's session say of zone and isolation changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, make_url, text
from workflow_core.ports import Write
from workflow_sql import Database, SqlRecordStore, upgrade

ZONE = "+05:45"  # an offset of no whole hours, far from everybody
FAR = timedelta(hours=1)
DRIVERS = {"postgres": "postgresql+psycopg", "mysql": "mysql+pymysql", "mariadb": "mysql+pymysql"}
ISOLATION = {
    "postgres": "show transaction isolation level",
    "mysql": "select @@transaction_isolation",
    "mariadb": "select @@tx_isolation",
}


@contextmanager
def connected(server_name: str, url: str) -> Iterator[Connection]:
    """As the user's own code connects."""
    engine = create_engine(make_url(url).set(drivername=DRIVERS[server_name]))
    with engine.begin() as connection:
        yield connection
    engine.dispose()


@pytest.fixture
def url(server_name: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """A database whose sessions are in another zone, and serializable, unless they say so."""
    with request.getfixturevalue(f"{server_name}_server").own_space() as space:
        url = f"{space.url}{'' if server_name == 'postgres' else '?ssl_disabled=true'}"
        with connected(server_name, url) as connection:
            for statement in defaults(server_name, space.name, ZONE, "serializable"):
                connection.execute(text(statement))
        yield url
        with connected(server_name, url) as connection:
            for statement in defaults(server_name, space.name, "SYSTEM", "repeatable read"):
                connection.execute(text(statement))


def defaults(server_name: str, database: str, zone: str, isolation: str) -> list[str]:
    if server_name != "postgres":
        return [
            f"set global time_zone = '{zone}'",
            f"set global transaction isolation level {isolation}",
        ]
    if zone == "SYSTEM":
        return []  # they are the database's own, and go with it
    return [
        f"alter database {database} set timezone to 'Asia/Kathmandu'",
        f"alter database {database} set default_transaction_isolation to '{isolation}'",
    ]


def test_zone_and_isolation_are_ours(server_name: str, url: str, make: Any) -> None:
    """Seen to fail with the server's isolation, and with times read as of the session's zone."""
    upgrade(url)
    with Database(url) as database:
        store = SqlRecordStore(database)
        assert abs(store.now() - datetime.now(UTC)) < FAR
        with database.writing("looking") as writing:
            writing.cursor.execute(ISOLATION[server_name])
            told = str(writing.cursor.fetchone()[0]).upper().replace("-", " ")
            assert told == "READ COMMITTED"
        ours, theirs = make.record(), make.record()
        store.store(Write(record=ours))
        with connected(server_name, url) as connection:
            store.join(connection).store_many([Write(record=theirs)])
        for record in (ours, theirs):
            found = store.lookup(record.run_id)
            assert abs(found.created_at - datetime.now(UTC)) < FAR
            assert found.created_at == found.entered_at
