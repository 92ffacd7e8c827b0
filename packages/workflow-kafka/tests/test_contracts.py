"""Kafka certified by the contracts of its ports."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import pytest
from confluent_kafka import Producer
from workflow_adaptertest import ConnectorSourceContract, Env, EventStreamerContract
from workflow_adaptertest.servers import Space
from workflow_core.model import ConnectorEvent
from workflow_kafka import (
    KafkaConnectorSource,
    KafkaEventStreamer,
    KafkaSettings,
    KafkaTopicSettings,
    member,
)
from workflow_kafka.cluster import Cluster
from workflow_kafka.properties import Properties, of_consumer


class TestKafkaEventStreamer(EventStreamerContract):
    fake_clock = False

    @pytest.fixture(autouse=True)
    def _cluster(self, kafka_space: Space) -> None:
        self.space = kafka_space

    @pytest.fixture(autouse=True)
    def _requests(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Has each member's client tell what it has sent; seldom, as that is dear."""
        self._sent: dict[str, int] = {}
        watched = {"statistics.interval.ms": 500, "stats_cb": self._told}

        def properties(settings: KafkaSettings, group: str) -> Properties:
            return {**of_consumer(settings, group), **watched}

        monkeypatch.setattr(member, "of_consumer", properties)

    def _told(self, statistics: str) -> None:
        told = json.loads(statistics)
        self._sent[told["name"]] = sum(broker["tx"] for broker in told["brokers"].values())

    def operations(self, env: Env) -> Callable[[], int]:
        """All requests of the members' clients; no other client asks anything at rest."""
        return lambda: sum(self._sent.values())

    def adapter(self, env: Env) -> AbstractContextManager[KafkaEventStreamer]:
        context = env.context()
        return KafkaEventStreamer(
            KafkaSettings(bootstrap_servers=[self.space.url.bootstrap], partitions=3),
            instance=context.instance,
            namespace=f"{self.space.name}.{context.namespace}",
        )


class TestKafkaConnectorSource(ConnectorSourceContract):
    fake_clock = False

    @pytest.fixture(autouse=True)
    def _cluster(self, kafka_space: Space) -> None:
        self.space = kafka_space

    def adapter(self, env: Env) -> AbstractContextManager[KafkaConnectorSource]:
        return KafkaConnectorSource.from_config(
            KafkaTopicSettings(**self.servers(), topic=self.topic(env)), env.context()
        )

    def feed(self, env: Env, events: Sequence[ConnectorEvent]) -> None:
        producer = Producer({"bootstrap.servers": self.space.url.bootstrap, "linger.ms": 0})
        topic = self.topic(env)
        for event in events:
            headers: dict[str, str | bytes | None] = dict(event.headers)
            producer.produce(topic, event.value, event.key, headers=headers)
        assert producer.flush(60) == 0

    def topic(self, env: Env) -> str:
        """Somebody else's, with partitions that were there before anybody reads it."""
        name = f"{self.space.name}.{env.namespace}.payments"
        settings = KafkaSettings(**self.servers(), partitions=3)
        assert env.shared("made", lambda: Cluster(settings).ensure([name])) == {}
        return name

    def servers(self) -> dict[str, Any]:
        return {"bootstrap_servers": [self.space.url.bootstrap]}
