"""Events over Reflex's tables on MySQL and MariaDB, in three processes; each of all is killed.

Orders come in without a pause. After each fault something that was ordered later has to be shipped
before the next fault comes; at the end everything that was acknowledged has gone its way, once.
Where the streamer is on the store's server its events are in the store's transactions; where it is
on the other one, between two servers, they come by the outbox.

Seen to fail when holes in the ids are not filled: a worker killed within a transaction leaves some.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from workflow_adaptertest.servers import Server
from workflow_core.ports import Secret
from workflow_reflex import ReflexSettings, create_tables
from workflow_sql import upgrade

if TYPE_CHECKING:
    from tests.acceptance.conftest import Customer, StartWorker

SYSTEMS = [("mysql", "mysql"), ("mariadb", "mariadb"), ("mysql", "mariadb")]


@pytest.fixture(params=SYSTEMS, ids="-".join)
def system(request: pytest.FixtureRequest) -> tuple[str, str]:
    """The record store's server, and the streamer's."""
    store, streamer = request.param
    return store, streamer


@pytest.fixture
def servers(system: tuple[str, str], request: pytest.FixtureRequest) -> dict[str, Server]:
    return {name: request.getfixturevalue(f"{name}_server") for name in system}


@pytest.fixture
def settings(system: tuple[str, str], servers: dict[str, Server]) -> Iterator[Mapping[str, object]]:
    """In place of the other system's."""
    with ExitStack() as stack:
        spaces = {name: stack.enter_context(each.own_space()) for name, each in servers.items()}
        store, streamer = (f"{spaces[name].url}?ssl_disabled=true" for name in system)
        upgrade(store, namespace="shop")
        create_tables(ReflexSettings(url=Secret(streamer)))
        yield {
            "record_store": "sql",
            "event_streamer": "reflex",
            "role_scheduler": "sql",
            "timeout_store": "sql",
            "namespace": "shop",
            "adapters.sql.url": store,
            "adapters.sql.role_lease": "2s",
            "adapters.reflex.url": streamer,
        }


def test_all_orders_are_shipped_once_when_each_server_is_killed_in_turn(
    start_worker: StartWorker,
    customer: Customer,
    servers: dict[str, Server],
    did: Counter[tuple[str, str]],
) -> None:
    workers = [start_worker() for _ in range(3)]
    for worker in workers:
        worker.wait_serving()
    with customer.ordering():
        customer.see_progress()
        for server in servers.values():
            server.kill()
            server.start()
            customer.see_progress()
    customer.see_all_end()
    for worker in workers:
        worker.end()
    customer.judge(did)


def test_all_orders_are_shipped_once_when_each_process_is_killed_in_turn(
    start_worker: StartWorker, customer: Customer, did: Counter[tuple[str, str]]
) -> None:
    workers = [start_worker() for _ in range(3)]
    for worker in workers:
        worker.wait_serving()
    with customer.ordering():
        customer.see_progress()
        for place in range(len(workers)):
            workers[place].kill()
            customer.see_progress()
            workers[place] = start_worker()
            workers[place].wait_serving()
    customer.see_all_end()
    for worker in workers:
        worker.end()
    customer.judge(did)
