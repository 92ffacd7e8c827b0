"""PostgreSQL, Kafka, Redis and etcd as one system in three processes, each of all killed in turn.

Orders come in without a pause. After each fault something that was ordered later has to be shipped
before the next fault comes; at the end everything that was acknowledged has gone its way, once.

Seen to fail when Kafka's consumers did not come back to their group after its broker had been away.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from workflow_adaptertest.servers import Server

if TYPE_CHECKING:
    from tests.acceptance.conftest import Customer, StartWorker


@pytest.fixture
def servers(
    postgres_server: Server, kafka_server: Server, redis_server: Server, etcd_server: Server
) -> list[Server]:
    return [postgres_server, kafka_server, redis_server, etcd_server]


def test_all_orders_are_shipped_once_when_each_server_is_killed_in_turn(
    start_worker: StartWorker,
    customer: Customer,
    servers: list[Server],
    did: Counter[tuple[str, str]],
) -> None:
    workers = [start_worker() for _ in range(3)]
    for worker in workers:
        worker.wait_serving()
    with customer.ordering():
        customer.see_progress()
        for server in servers:
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
