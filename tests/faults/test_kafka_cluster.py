"""Orders whose events travel over three brokers, of which one fails, or two.

FAULTS_BURST sets how many orders a burst has.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka.admin import AdminClient
from workflow_adaptertest.servers import Server, Space
from workflow_core.errors import AdapterError, AdapterUnavailableError
from workflow_core.model import Event, RunState
from workflow_kafka import KafkaEventStreamer, KafkaSettings

from tests.faults.bursts import BURST, did, eventually, named

if TYPE_CHECKING:
    from tests.faults.conftest import Fleet as Workers
    from tests.faults.conftest import Judge, Start

PARTITIONS = 4
A_WHILE, PATIENCE = timedelta(seconds=2), timedelta(seconds=60)
TOPIC = "orders-9"


@pytest.fixture
def settings(kafka_cluster_space: Space) -> dict[str, object]:
    return {
        "event_streamer": "kafka",
        "namespace": kafka_cluster_space.name,
        "adapters.kafka.bootstrap_servers": kafka_cluster_space.url.bootstrap,
        "adapters.kafka.session_timeout": "3s",
        "adapters.kafka.partitions": PARTITIONS,
        "adapters.kafka.replication": 3,
        "adapters.kafka.topic_config": {"min.insync.replicas": "2"},
        # ten seconds otherwise, until a broker is given up that has frozen
        "adapters.kafka.properties": {"socket.timeout.ms": "3000"},
    }


class Brokers:
    """The three, as an administrator sees them, and as a test harms them."""

    def __init__(self, server: Server, space: Space) -> None:
        self._server = server
        self._space = space

    def leading(self) -> Sequence[str]:
        """The names of the nodes: those that lead more of the test's partitions first."""
        partitions = self.partitions()
        led = Counter(dict.fromkeys(self._server.nodes, 0))
        led.update(str(each.leader) for each in partitions)
        return [name for name, _ in led.most_common()]

    def partitions(self) -> list[Any]:
        admin = AdminClient({"bootstrap.servers": self._space.url.bootstrap})
        topics = admin.list_topics(timeout=30).topics
        return [
            partition
            for name, topic in topics.items()
            if name.startswith(self._space.name)
            for partition in topic.partitions.values()
        ]

    def serve_a_newcomer(self, *, told_first_of: str) -> bool:
        """Whether one gets its topic, sends and receives, though it asks this broker first."""
        nodes = sorted(self._server.nodes, key=lambda name: name != told_first_of)
        addresses = dict(zip(self._server.nodes, self._space.url.addresses, strict=True))
        servers = [f"{host}:{port}" for host, port in map(addresses.__getitem__, nodes)]
        with self.streamer(bootstrap_servers=servers) as streamer, streamer.new_sender() as sender:
            sender.send(event("first"))
            with streamer.new_receiver([TOPIC], "newcomer") as receiver:
                came = receiver.recv(PATIENCE)
        copies = {len(each.replicas) for each in self.partitions()}
        return came is not None and came.event.run_id == "first" and copies == {3}

    def streamer(self, **changes: Any) -> KafkaEventStreamer:
        values: dict[str, Any] = {
            "bootstrap_servers": [self._space.url.bootstrap],
            "partitions": PARTITIONS,
            "replication": 3,
            "topic_config": {"min.insync.replicas": "2"},
            "send_timeout": PATIENCE,
        }
        return KafkaEventStreamer(
            KafkaSettings(**(values | changes)), instance="one", namespace=self._space.name
        )


@pytest.fixture
def brokers(kafka_cluster_server: Server, kafka_cluster_space: Space) -> Brokers:
    return Brokers(kafka_cluster_server, kafka_cluster_space)


def event(run: str) -> Event:
    return Event(
        id=run,
        topic=TOPIC,
        workflow="orders",
        run_id=run,
        foreign_id=run,
        status=1,
        state=RunState.RUNNING,
        version=1,
    )


# -- orders ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("harm", "mend"), [("kill", "start"), ("freeze", "thaw")])
def test_orders_end_once_when_the_leader_fails_in_a_burst(
    harm: str,
    mend: str,
    start: Start,
    fleet: Workers,
    judge: Judge,
    brokers: Brokers,
    kafka_cluster_server: Server,
    tmp_path: Path,
    settings: dict[str, object],
    record_property: Callable[[str, Any], None],
) -> None:
    """They go on while it is away, and when it is back."""
    database = tmp_path / "orders.db"
    workers = [start(database, settings=settings) for _ in range(2)]
    workers[0].begin(*named(BURST, "before"))
    eventually(lambda: did(fleet) > BURST // 4, "a quarter of the burst")
    leader = brokers.leading()[0]
    getattr(kafka_cluster_server, harm)(leader)
    lost, so_far = time.monotonic(), did(fleet)
    workers[1].begin(*named(BURST // 4, "without"))
    try:
        eventually(lambda: did(fleet) > so_far, "a step after the leader was lost")
        record_property("seconds to the next step", round(time.monotonic() - lost, 2))
        workers[0].settle()
        record_property("seconds to the last order", round(time.monotonic() - lost, 2))
        assert brokers.serve_a_newcomer(told_first_of=leader)
        getattr(kafka_cluster_server, mend)(leader)
        workers[1].begin(*named(BURST // 4, "again"))
        workers[1].settle()
    finally:
        for worker in workers:  # told where the test fails: when it stood still, and who
            print(worker.lament)
    for worker in workers:
        worker.end()
    judge(database, settings=settings)


def test_orders_end_once_when_two_of_three_are_lost_in_a_burst(
    start: Start,
    fleet: Workers,
    judge: Judge,
    brokers: Brokers,
    kafka_cluster_server: Server,
    tmp_path: Path,
    settings: dict[str, object],
    record_property: Callable[[str, Any], None],
) -> None:
    """Fewer than min.insync.replicas are left: nothing is acknowledged, and nothing is lost."""
    database = tmp_path / "orders.db"
    workers = [start(database, settings=settings) for _ in range(2)]
    workers[0].begin(*named(BURST, "before"))
    eventually(lambda: did(fleet) > BURST // 4, "a quarter of the burst")
    kafka_cluster_server.kill(*brokers.leading()[:2])
    workers[1].begin(*named(BURST // 4, "without"))
    with (
        brokers.streamer(send_timeout=A_WHILE) as streamer,
        streamer.new_sender() as sender,
        pytest.raises(AdapterUnavailableError) as refused,
    ):
        sender.send(event("refused"))
    record_property("what a sender is told", str(refused.value))
    workers[1].wait_for_lament("could not be published")
    kafka_cluster_server.start()
    back = time.monotonic()
    workers[0].settle()
    record_property("seconds to the last order", round(time.monotonic() - back, 2))
    for worker in workers:
        worker.end()
    judge(database, settings=settings)


# -- topics ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("replication", "copies"), [(2, 2), (None, 3)])
def test_topics_have_the_copies_that_are_configured(
    brokers: Brokers, replication: int | None, copies: int
) -> None:
    """Left out, as many as the brokers are configured for: here three."""
    with brokers.streamer(replication=replication) as streamer, streamer.new_sender() as sender:
        sender.send(event("first"))
    made = brokers.partitions()
    assert len(made) == PARTITIONS
    assert {len(each.replicas) for each in made} == {copies}


def test_more_copies_than_brokers_are_refused_by_name(brokers: Brokers) -> None:
    with (
        brokers.streamer(replication=4) as streamer,
        streamer.new_sender() as sender,
        pytest.raises(AdapterError, match="INVALID_REPLICATION_FACTOR") as refused,
    ):
        sender.send(event("first"))
    assert not isinstance(refused.value, AdapterUnavailableError)
    assert "Set replication to at most the number of brokers" in refused.value.hint
