"""Orders whose events travel over a real Kafka, which is restarted, killed and emptied.

In an ordinary run bursts are short; FAULTS_BURST sets how many orders they have, FAULTS_BACKLOG
how many are triggered while the broker is down, FAULTS_STORM how many seconds members come and go.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from workflow_adaptertest.servers import Server, Space
from workflow_core import RecordQuery, RunState
from workflow_core.discovery import embedded
from workflow_core.model import names
from workflow_kafka import KafkaEventStreamer, KafkaSettings
from workflow_sql import upgrade

from tests.faults.bursts import BURST, PATIENCE, did, eventually, named

if TYPE_CHECKING:
    from tests.faults.conftest import Fleet, Judge, Start, Stopped

BACKLOG = int(os.environ.get("FAULTS_BACKLOG", "400"))
STORM = float(os.environ.get("FAULTS_STORM", "5"))
BATCH = 1_000  # orders that are triggered together
TOPICS = [names.status_topic("orders", status) for status in (1, 2, 3)]
PARTITIONS = 4

Settings = dict[str, object]


@pytest.fixture
def settings(kafka_space: Space) -> Settings:
    return {
        "event_streamer": "kafka",
        "namespace": kafka_space.name,
        "adapters.kafka.bootstrap_servers": kafka_space.url.bootstrap,
        "adapters.kafka.session_timeout": "3s",
        "adapters.kafka.partitions": PARTITIONS,
    }


class Topics:
    """The topics of the orders, as an administrator sees them."""

    def __init__(self, space: Space) -> None:
        self._servers: dict[str, Any] = {"bootstrap.servers": space.url.bootstrap}
        self.names = [f"{space.name}.{topic}" for topic in TOPICS]
        self._all = [
            TopicPartition(name, number) for name in self.names for number in range(PARTITIONS)
        ]

    def ends(self) -> dict[tuple[str, int], int]:
        with Consumer({**self._servers, "group.id": "none"}) as consumer:
            return {
                (each.topic, each.partition): consumer.get_watermark_offsets(each, timeout=30)[1]
                for each in self._all
            }

    def sent(self) -> Counter[str]:
        """How often each event is in the topics, by its id."""
        missing = sum(self.ends().values())
        found: Counter[str] = Counter()
        with Consumer(
            {**self._servers, "group.id": "none", "auto.offset.reset": "earliest"}
        ) as consumer:
            consumer.assign([TopicPartition(each.topic, each.partition, 0) for each in self._all])
            while missing:
                for message in consumer.consume(missing, 1):
                    if message.error() is None:
                        found[dict(message.headers())["event_id"].decode()] += 1  # type: ignore[arg-type,union-attr]
                        missing -= 1
        return found

    def delete(self) -> None:
        admin = AdminClient(self._servers)
        for future in admin.delete_topics(self.names).values():
            future.result(PATIENCE)
        eventually(
            lambda: not set(self.names) & set(admin.list_topics(timeout=30).topics), "deleted"
        )

    def empty(self) -> None:
        """As when retention passes."""
        admin = AdminClient(self._servers)
        ends = [TopicPartition(*key, end) for key, end in self.ends().items() if end]
        for future in admin.delete_records(ends).values():
            future.result(PATIENCE)


@pytest.fixture
def topics(kafka_space: Space) -> Topics:
    return Topics(kafka_space)


def wait_for_relays(database: Path, settings: Settings) -> None:
    """A killed process may have left rows whose events were sent: they wait for its lease's end."""
    with embedded(database, overrides=settings).build() as adapters:
        store = adapters.record_store
        eventually(lambda: store.next_outbox_due(["orders"]) is None, "the outbox is empty")


@pytest.mark.parametrize("store", ["postgres", "mysql"])
def test_orders_end_once_when_records_are_on_a_server(
    store: str,
    request: pytest.FixtureRequest,
    start: Start,
    judge: Judge,
    tmp_path: Path,
    settings: Settings,
) -> None:
    """Two processes, one of which is killed in the midst of it."""
    space: Space = request.getfixturevalue(f"{store}_space")
    settings["adapters.sql.url"] = str(space.url)
    upgrade(str(space.url), namespace=str(settings["namespace"]))
    staying = start(tmp_path / "unused.db", settings=settings)
    hunted = start(tmp_path / "unused.db", hunted="0", settings=settings)
    staying.begin(*named(BURST // 2, "order"))
    while (line := hunted.hear()) != "now":
        assert line.startswith("began"), line
    hunted.kill()
    staying.settle()
    wait_for_relays(tmp_path / "unused.db", settings)
    staying.end()
    judge(tmp_path / "unused.db", settings=settings)


# -- the broker goes away ----------------------------------------------------------------------


def test_orders_end_once_when_the_broker_restarts_in_a_burst(
    start: Start,
    fleet: Fleet,
    judge: Judge,
    tmp_path: Path,
    settings: Settings,
    kafka_server: Server,
    record_property: Callable[[str, Any], None],
) -> None:
    database = tmp_path / "orders.db"
    workers = [start(database, settings=settings) for _ in range(2)]
    workers[0].begin(*named(BURST, "before"))
    eventually(lambda: did(fleet) > BURST // 4, "a quarter of the burst")
    kafka_server.restart()
    back, so_far = time.monotonic(), did(fleet)
    workers[1].begin(*named(BURST // 4, "after"))
    try:
        eventually(lambda: did(fleet) > so_far, "a step after the broker came back")
        record_property("seconds to the next step", round(time.monotonic() - back, 2))
        workers[0].settle()
        record_property("seconds to the last order", round(time.monotonic() - back, 2))
    finally:
        for worker in workers:  # told where the test fails: when it stood still, and who
            print(worker.lament)
    for worker in workers:
        worker.end()
    judge(database, settings=settings)


def test_backlog_drains_once_when_the_broker_was_away_longer_than_the_lease(
    start: Start,
    judge: Judge,
    tmp_path: Path,
    settings: Settings,
    topics: Topics,
    kafka_server: Server,
    record_property: Callable[[str, Any], None],
) -> None:
    """The broker is down at the start too. Several relays drain what the writer could not send."""
    kafka_server.kill()
    database = tmp_path / "orders.db"
    writer = start(database, settings=settings)
    for first in range(0, BACKLOG, BATCH):
        writer.begin(*named(BACKLOG, "away")[first : first + BATCH])
    alive = RecordQuery(workflow="orders", states=[RunState.INITIATED, RunState.RUNNING], limit=1)
    with embedded(database, overrides=settings).build() as adapters:
        store = adapters.record_store

        def is_due() -> bool:
            due = store.next_outbox_due(["orders"])
            return due is not None and due <= timedelta(0)

        eventually(is_due, "the writer's lease is over")
        others = [start(database, settings=settings) for _ in range(2)]
        kafka_server.start()
        seconds = eventually(
            lambda: not store.list_records(alive).items,
            "all have ended",
            within=PATIENCE + BACKLOG / 20,
        )
    record_property("seconds for the backlog", round(seconds, 1))
    writer.settle()
    sent = topics.ends()
    time.sleep(3)
    assert topics.ends() == sent, "all has ended, and still something is sent"
    for worker in (writer, *others):
        worker.end()
    judge(database, settings=settings)
    often = topics.sent()
    figures = Counter(often.values())
    record_property("events by how often they were sent", dict(figures))
    assert sum(often.values()) < 1.5 * len(often), figures


# -- members come and go -----------------------------------------------------------------------


def test_orders_end_once_when_members_come_and_go_every_second(
    start: Start,
    judge: Judge,
    tmp_path: Path,
    settings: Settings,
    kafka_space: Space,
    record_property: Callable[[str, Any], None],
) -> None:
    """They take partitions, are handed events, and leave without having done any."""
    database = tmp_path / "orders.db"
    worker = start(database, settings=settings)
    worker.begin(*named(BURST // 4, "calm"))
    group = names.consumer("orders", "main")
    handed_out = 0
    with ExitStack() as stack:
        streamers = [
            stack.enter_context(
                KafkaEventStreamer(
                    KafkaSettings(
                        bootstrap_servers=[kafka_space.url.bootstrap],
                        session_timeout=timedelta(seconds=3),
                        hand_over=timedelta(0),
                    ),
                    instance=f"rogue {number}",
                    namespace=kafka_space.name,
                )
            )
            for number in range(2)
        ]
        end, storms = time.monotonic() + STORM, 0
        while time.monotonic() < end:
            rogues = [streamer.new_receiver(TOPICS, group) for streamer in streamers]
            worker.begin(*named(10, f"storm{storms}"))
            gone = time.monotonic() + 1
            while time.monotonic() < gone:
                for rogue in rogues:
                    handed_out += len(rogue.recv_many(20, timedelta(milliseconds=50)))
            for rogue in rogues:
                rogue.close()
            storms += 1
    begin = time.monotonic()
    worker.settle()
    record_property("seconds from the end of the storm to the last order", time.monotonic() - begin)
    record_property("events that were handed out and dropped", handed_out)
    worker.end()
    judge(database, settings=settings)


def test_frozen_member_commits_nothing_stale_when_thawed(
    start: Start,
    fleet: Fleet,
    judge: Judge,
    stopped: Stopped,
    tmp_path: Path,
    settings: Settings,
    record_property: Callable[[str, Any], None],
) -> None:
    database = tmp_path / "orders.db"
    frozen = start(database, settings=settings)
    frozen.tell("shut")
    frozen.begin(*named(50, "frozen"))
    in_hand = frozen.did.get(timeout=PATIENCE).split()[1]
    other = start(database, settings=settings)
    with stopped(frozen, database):
        begin = time.monotonic()
        other.settle()
        record_property("seconds from the freeze to the last order", time.monotonic() - begin)
        taken_over = judge(database, settings=settings)
        assert fleet.did[in_hand, "pay"] == 2
    frozen.tell("open")
    frozen.begin(*named(50, "thawed"))
    frozen.settle()
    for worker in (frozen, other):
        worker.end()
    runs = judge(database, settings=settings)
    assert {name: runs[name] for name in taken_over} == taken_over


def test_orders_end_once_when_processes_are_killed(
    start: Start, judge: Judge, tmp_path: Path, settings: Settings
) -> None:
    database = tmp_path / "orders.db"
    staying = start(database, settings=settings)
    for life in range(int(os.environ.get("FAULTS_KILLS", "14")) // 7):
        hunted = start(database, hunted=f"{life}", settings=settings)
        while (line := hunted.hear()) != "now":
            assert line.startswith("began"), line
        hunted.kill()
    staying.settle()
    wait_for_relays(database, settings)
    staying.end()
    judge(database, settings=settings)


# -- events are lost ---------------------------------------------------------------------------


def test_reconciler_heals_when_topics_are_emptied_and_when_they_are_made_anew(
    start: Start,
    judge: Judge,
    tmp_path: Path,
    settings: Settings,
    topics: Topics,
    record_property: Callable[[str, Any], None],
) -> None:
    soon: Mapping[str, object] = {"engine.reconcile_every": "1s", "engine.reconcile_age": "1s"}
    database = tmp_path / "orders.db"
    first = start(database, settings=settings)
    first.tell("shut")
    first.begin(*named(BURST // 2, "lost"))
    first.did.get(timeout=PATIENCE)
    with embedded(database, overrides=settings).build() as adapters:
        store = adapters.record_store
        eventually(
            lambda: not store.list_outbox_events(["orders"], limit=1), "no outbox row heals it"
        )
    first.kill()
    topics.empty()
    begin = time.monotonic()
    second = start(database, settings={**settings, **soon})
    second.settle()
    record_property("seconds from the start to the last order", time.monotonic() - begin)
    topics.delete()  # now under those who read and write them
    begin = time.monotonic()
    second.begin(*named(BURST // 2, "again"))
    second.settle()
    record_property("seconds with new topics to the last order", time.monotonic() - begin)
    second.end()
    judge(database, settings=settings)
