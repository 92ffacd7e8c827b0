"""Settings: refused when they are wrong, each by name, and no secret is ever told."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from workflow_core.discovery import Config
from workflow_core.errors import ConfigurationError
from workflow_core.ports import Secret
from workflow_kafka import Assignor, KafkaSettings, SaslMechanism
from workflow_kafka.properties import of_consumer, of_producer

WORD = "open sesame"


def settings(**changes: Any) -> KafkaSettings:
    values: dict[str, Any] = {"bootstrap_servers": ["broker:9092", "other:9092"]}
    return KafkaSettings(**(values | changes))


def test_promises_are_kept_by_the_properties_when_nothing_else_is_said() -> None:
    producer, consumer = of_producer(settings()), of_consumer(settings(), "a group")
    assert producer["bootstrap.servers"] == "broker:9092,other:9092"
    assert (producer["acks"], producer["enable.idempotence"]) == ("all", True)
    assert producer["partitioner"] == "fnv1a"
    assert consumer["group.id"] == "a group"
    assert not consumer["enable.auto.commit"]
    assert not consumer["enable.auto.offset.store"]
    assert consumer["partition.assignment.strategy"] == "cooperative-sticky"
    assert consumer["security.protocol"] == "plaintext"


def test_security_is_passed_on_when_it_is_set() -> None:
    chosen = settings(
        tls=True,
        sasl_mechanism=SaslMechanism.SCRAM_SHA_512,
        username="shop",
        password=Secret(WORD),
        assignor=Assignor.RANGE,
    )
    consumer = of_consumer(chosen, "a group")
    assert consumer["security.protocol"] == "sasl_ssl"
    assert consumer["sasl.mechanism"] == "SCRAM-SHA-512"
    assert (consumer["sasl.username"], consumer["sasl.password"]) == ("shop", WORD)
    assert consumer["partition.assignment.strategy"] == "range"
    assert WORD not in repr(chosen)


def test_properties_of_the_library_win_when_they_are_passed_through() -> None:
    chosen = settings(
        properties={"socket.timeout.ms": Secret("3000")},
        producer_properties={"linger.ms": Secret("20"), "compression.type": Secret("lz4")},
        consumer_properties={"fetch.min.bytes": Secret("1024")},
    )
    producer, consumer = of_producer(chosen), of_consumer(chosen, "a group")
    assert (producer["linger.ms"], producer["socket.timeout.ms"]) == ("20", "3000")
    assert producer["compression.type"] == "lz4"
    assert consumer["fetch.min.bytes"] == "1024"
    assert "fetch.min.bytes" not in producer


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"bootstrap_servers": []}, "bootstrap_servers"),
        ({"bootstrap_servers": [" "]}, "bootstrap_servers"),
        ({"partitions": 0}, "partitions"),
        ({"replication": 0}, "replication"),
        ({"window": 0}, "window"),
        ({"session_timeout": timedelta(0)}, "session_timeout"),
        ({"hand_over": timedelta(seconds=-1)}, "hand_over"),
        ({"send_timeout": timedelta(0)}, "send_timeout"),
        ({"tls_ca": Path("ca.pem")}, "tls_ca: means nothing without tls"),
        ({"tls": True, "tls_certificate": Path("me.pem")}, "together with tls_key"),
        ({"tls": True, "tls_ca": Path("not-there.pem")}, "ssl.ca.location"),
        ({"sasl_mechanism": SaslMechanism.PLAIN}, "together with username and password"),
        ({"username": "shop"}, "together with sasl_mechanism"),
        ({"properties": {"no.such": Secret(WORD)}}, "no.such"),
        ({"properties": {"linger.ms": Secret(WORD)}}, "invalid value|Invalid value"),
        ({"producer_properties": {"acks": Secret("1")}}, "acks is not to be changed here"),
        ({"properties": {"sasl.password": Secret(WORD)}}, "set password"),
        ({"consumer_properties": {"enable.auto.commit": Secret("true")}}, "acked alone"),
    ],
)
def test_settings_are_refused_by_name_when_they_are_wrong(
    changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigurationError, match=problem) as refusal:
        settings(**changes)
    assert WORD not in str(refusal.value)


def test_settings_are_read_when_they_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "workflow.toml"
    file.write_text(
        """
        [workflow]
        record_store = "memory"
        role_scheduler = "memory"
        event_streamer = "kafka"
        [workflow.adapters.kafka]
        bootstrap_servers = ["broker:9092"]
        session_timeout = "6s"
        assignor = "range"
        [workflow.adapters.kafka.properties]
        "socket.timeout.ms" = "3000"
        """,
        encoding="utf-8",
    )
    config = Config.load(file, environ={})
    with config.build() as adapters:
        assert type(adapters.event_streamer).__name__ == "KafkaEventStreamer"
    assert "3000" not in str(config.values), "whatever is passed through may be a secret"
