"""The database's server is lost for good, and its replica takes its place."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from workflow_adaptertest.servers import NotAvailableError, Server
from workflow_adaptertest.servers.resolver import FOLDER_VARIABLE
from workflow_sql import upgrade

from tests.faults.failing_over import MysqlPair, Pair, PostgresPair, pair_of

if TYPE_CHECKING:
    from tests.faults.conftest import Judge, Start, Worker

ORDERS = 100
ENOUGH = 30  # steps done on the old server: it dies in their midst
UNUSED = Path("unused.db")  # workers take a file, and then the url instead


@pytest.fixture
def own(tmp_path: Path, pytestconfig: pytest.Config) -> Iterator[Callable[[str], Server]]:
    """Starts servers of the test's own."""
    folder = Path(os.environ.get(FOLDER_VARIABLE) or pytestconfig.rootpath / ".services")
    with ExitStack() as stack:

        def start(kind: str) -> Server:
            try:
                return stack.enter_context(
                    pair_of(kind, tmp_path / kind, folder.resolve() / "installed")
                )
            except NotAvailableError as error:
                pytest.skip(str(error))

        yield start


@pytest.fixture
def postgres(own: Callable[[str], Server]) -> PostgresPair:
    return PostgresPair(own("postgres-replica"))


@pytest.fixture(params=["mysql", "mariadb"])
def mysql(
    own: Callable[[str], Server], toxiproxy_server: Server, request: pytest.FixtureRequest
) -> Iterator[MysqlPair]:
    server = own(f"{request.param}-replica")
    with server.behind(toxiproxy_server) as address, closing(MysqlPair(server, address)) as pair:
        yield pair


def in_the_midst(worker: Worker, *names: str) -> None:
    """These are begun, and much is yet to be done about them."""
    worker.tell("begin", *names)
    for _ in range(ENOUGH):
        worker.did.get(timeout=60)


def test_orders_end_once_when_the_replica_takes_over_in_a_burst(
    postgres: PostgresPair, start: Start, judge: Judge
) -> None:
    """With synchronous replication nothing is lost that was answered.

    Seen to fail without it, and a replica that had ceased to receive.
    """
    upgrade(postgres.url)
    postgres.wait_for_replica()
    settings = {"adapters.sql.url": postgres.url}
    worker = ready(start(UNUSED, settings=settings))
    in_the_midst(worker, *(f"{number}-before" for number in range(ORDERS)))
    postgres.fail_over()
    for _ in range(ORDERS):
        worker.hear()
    late = f"{ORDERS}-after"
    assert worker.begin(late) == [f"began {late}"]
    worker.settle()
    worker.end()
    assert late in judge(UNUSED, settings=settings)


def test_living_processes_go_on_from_what_a_replica_has_that_lags(
    postgres: PostgresPair, start: Start, judge: Judge
) -> None:
    """What it lacks was done in vain, and is done again.

    Seen to fail with cursors and horizon as processes remembered them: nothing new was taken up.
    """
    upgrade(postgres.url)
    settings = {"adapters.sql.url": postgres.url}
    workers = [ready(start(UNUSED, settings=settings)) for _ in range(2)]
    orders = lag_and_fail_over(postgres, workers)
    for worker in workers:
        worker.end()
    assert judge(UNUSED, settings=settings, set_back=True).keys() == orders


def test_living_processes_go_on_when_an_address_moves_to_a_replica(
    mysql: MysqlPair, start: Start, judge: Judge
) -> None:
    """First to one that has all, in a burst, and then back to one that lags.

    Seen to fail with cursors and horizon as processes remembered them.
    """
    upgrade(mysql.url)
    settings = {"adapters.sql.url": mysql.url}
    workers = [ready(start(UNUSED, settings=settings)) for _ in range(2)]
    before = [f"{number}-before" for number in range(ORDERS)]
    in_the_midst(workers[0], *before)
    mysql.switch_over()
    for _ in before:
        workers[0].hear()
    workers[0].settle()
    judge(UNUSED, settings=settings)
    orders = lag_and_fail_over(mysql, workers)
    for worker in workers:
        worker.end()
    assert judge(UNUSED, settings=settings, set_back=True).keys() == {*before, *orders}


def test_runs_are_driven_again_when_a_replica_lacks_their_events(
    postgres: PostgresPair, start: Start, judge: Judge, tmp_path: Path
) -> None:
    """Records are elsewhere, and lack nothing: only the reconciler knows that an event is gone.

    Seen to fail with its usual ten minutes: what a process that is gone had in hand stands still.
    """
    upgrade(postgres.url)
    file = tmp_path / "orders.db"
    settings = {
        "event_streamer": "events",
        "adapters.events.adapter": "sql",
        "adapters.events.url": postgres.url,
        "engine.reconcile_every": "1s",
        "engine.reconcile_age": "1s",
    }
    one, other = (ready(start(file, settings=settings)) for _ in range(2))
    for worker in (one, other):
        worker.tell("shut")
    postgres.lag()
    one.begin(*(f"{number}-lost" for number in range(1, 30)))
    for _ in range(2):
        one.did.get(timeout=60)
    one.kill()
    postgres.fail_over()
    other.tell("open")
    other.settle()
    other.end()
    judge(file)


def ready(worker: Worker) -> Worker:
    """It serves: one that is still about to start when the server goes away ends with an error."""
    worker.settle()
    return worker


def lag_and_fail_over(pair: Pair, workers: Sequence[Worker]) -> set[str]:
    """Answers the orders that have ended on the new server."""
    one, other = workers
    kept = [f"{number}-kept" for number in range(60)]
    lost = [f"{number}-lost" for number in range(30)]
    in_the_midst(one, *kept)
    for _ in kept:
        one.hear()
    pair.lag()
    other.begin(*lost)
    one.settle()
    pair.fail_over()
    assert one.begin(*lost) == [f"began {name}" for name in lost]
    one.settle()
    return {*kept, *lost}
