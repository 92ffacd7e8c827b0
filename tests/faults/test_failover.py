"""The database's server is lost for good, and its replica takes its place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from workflow_adaptertest.servers import NotAvailableError, Server, Servers, usual_sources
from workflow_core import RecordQuery, RunState
from workflow_sql import Database, SqlRecordStore, upgrade

if TYPE_CHECKING:
    from tests.faults.conftest import Judge, Start

ORDERS = 150
ENOUGH = 40  # steps done on the old server: it dies in their midst
UNUSED = Path("unused.db")  # workers take a file, and then the url instead


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Server]:
    """A primary and a replica of the test's own: what is promoted is no replica any more."""
    with Servers(usual_sources(tmp_path / "servers", {})) as servers:
        try:
            yield servers.get("postgres-replica")
        except NotAvailableError as error:
            pytest.skip(str(error))


def url_of_either(pair: Server) -> str:
    """Leads to whichever of the two takes writes."""
    hosts = "&".join(f"host={host}:{port}" for host, port in pair.url.addresses)
    return f"postgresql://postgres@/postgres?{hosts}&target_session_attrs=read-write"


def tell(pair: Server, node: int, *statements: str) -> None:
    url = str(pair.url.at([pair.url.addresses[node]]))
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def test_orders_end_once_when_the_replica_takes_over_in_a_burst(
    pair: Server, start: Start, judge: Judge
) -> None:
    """With synchronous replication nothing is lost that was answered.

    Seen to fail without it, and a replica that had ceased to receive.
    """
    url = url_of_either(pair)
    upgrade(url)
    tell(pair, 0, "alter system set synchronous_standby_names = '*'", "select pg_reload_conf()")
    worker = start(UNUSED, settings={"adapters.sql.url": url})
    worker.tell("begin", *(f"{number}-before" for number in range(ORDERS)))
    for _ in range(ENOUGH):
        worker.did.get(timeout=60)
    pair.kill(pair.nodes[0])
    tell(pair, 1, "select pg_promote()")
    for _ in range(ORDERS):
        worker.hear()
    late = f"{ORDERS}-after"
    assert worker.begin(late) == [f"began {late}"]
    worker.settle()
    worker.end()
    runs = judge(UNUSED, settings={"adapters.sql.url": url})
    assert late in runs


def test_processes_go_on_from_what_a_replica_has_that_lags_when_they_are_started_anew(
    pair: Server, start: Start
) -> None:
    """What it lacks is lost. A process that lives on would wait behind the events it had read.

    Seen to fail with the first worker kept: what is begun on the new server is not taken up.
    """
    settings = {"adapters.sql.url": url_of_either(pair)}
    upgrade(url_of_either(pair))
    worker = start(UNUSED, settings=settings)
    worker.tell("shut")
    kept = [f"{number}-kept" for number in range(1, 6)]
    assert worker.begin(*kept) == [f"began {name}" for name in kept]
    cease_to_receive(pair)
    worker.tell("open")
    worker.settle()
    lost = [f"{number}-lost" for number in range(30)]
    worker.begin(*lost)
    worker.settle()
    pair.kill(pair.nodes[0])
    worker.kill()
    tell(pair, 1, "select pg_promote()")
    another = start(UNUSED, settings=settings)
    assert another.begin("31-after") == ["began 31-after"]
    another.settle()
    another.end()
    with Database(url_of_either(pair)) as database:
        page = SqlRecordStore(database).list_records(RecordQuery(workflow="orders", limit=100))
    runs = {record.foreign_id: record.state for record in page.items}
    assert runs == dict.fromkeys([*kept, "31-after"], RunState.COMPLETED)


def cease_to_receive(pair: Server) -> None:
    """From now on the replica lags; it has all that was committed so far."""
    primary, replica = (str(pair.url.at([address])) for address in pair.url.addresses)
    with psycopg.connect(primary) as connection:
        row = connection.execute("select pg_current_wal_lsn()::text").fetchone()
    with psycopg.connect(replica, autocommit=True) as connection:
        while connection.execute(
            "select pg_last_wal_receive_lsn() >= %s::pg_lsn", row
        ).fetchone() != (True,):
            pass
        connection.execute("alter system set primary_conninfo = ''")
        connection.execute("select pg_reload_conf()")
        while connection.execute("select count(*) from pg_stat_wal_receiver").fetchone() != (0,):
            pass
