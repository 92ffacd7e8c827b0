"""From our settings to librdkafka's properties, each with the reason for its value.

What a user passes through goes last and wins, but for properties on which a promise of the ports
rests: those are refused by name. All names and values are tried on a client that has no servers,
so a mistake is found when the configuration is read and not when the first event is to be sent.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from confluent_kafka import Consumer, KafkaException, Producer
from workflow_core.ports import Secret

if TYPE_CHECKING:  # settings are checked by what is here
    from workflow_kafka.settings import KafkaSettings

__all__ = ["LOGGER", "Properties", "check_properties", "common", "of_consumer", "of_producer"]

Properties: TypeAlias = dict[str, Any]

LOGGER = logging.getLogger("workflow_kafka.librdkafka")
"""What the library itself has to say; it knows names of hosts and topics, and no secret."""

_RESERVED = {
    "acks": "an event is published when all in-sync replicas have it",
    "allow.auto.create.topics": "set create_topics",
    "auto.commit.interval.ms": "offsets are committed for what is acked alone",
    "auto.offset.reset": "a name without a cursor begins as its reader asks",
    "bootstrap.servers": "set bootstrap_servers",
    "client.id": "set client_id",
    "delivery.report.only.error": "each event's outcome is waited for",
    "delivery.timeout.ms": "set send_timeout",
    "enable.auto.commit": "offsets are committed for what is acked alone",
    "enable.auto.offset.store": "offsets are committed for what is acked alone",
    "enable.idempotence": "a retry of the library must neither double nor reorder events",
    "enable.partition.eof": "it is no event",
    "group.id": "the engine names its consumers",
    "message.timeout.ms": "set send_timeout",
    "metadata.broker.list": "set bootstrap_servers",
    "partition.assignment.strategy": "set assignor",
    "partitioner": "a run's events must meet in one partition, also those that a Go process sends",
    "request.required.acks": "an event is published when all in-sync replicas have it",
    "sasl.mechanism": "set sasl_mechanism",
    "sasl.mechanisms": "set sasl_mechanism",
    "sasl.password": "set password",
    "sasl.username": "set username",
    "session.timeout.ms": "set session_timeout",
    "transactional.id": "the outbox does what a transaction would",
}


def common(settings: KafkaSettings) -> Properties:
    """What every client has: where the brokers are, and who asks."""
    secure = {(False, False): "plaintext", (True, False): "ssl"}
    secure |= {(False, True): "sasl_plaintext", (True, True): "sasl_ssl"}
    found: Properties = {
        "bootstrap.servers": ",".join(settings.bootstrap_servers),
        "client.id": settings.client_id,
        "security.protocol": secure[settings.tls, settings.sasl_mechanism is not None],
        # a broker that was restarted is found again within a second, not within ten
        "reconnect.backoff.max.ms": 1_000,
        # a broker that has frozen is given up after ten seconds, not after sixty
        "socket.timeout.ms": 10_000,
        "socket.keepalive.enable": True,
        "socket.nagle.disable": True,
        "log.connection.close": False,  # brokers close idle connections; that is no news
        "ssl.ca.location": _path(settings.tls_ca),
        "ssl.certificate.location": _path(settings.tls_certificate),
        "ssl.key.location": _path(settings.tls_key),
        "ssl.key.password": _revealed(settings.tls_key_password),
        "sasl.mechanism": settings.sasl_mechanism and str(settings.sasl_mechanism),
        "sasl.username": settings.username or None,
        "sasl.password": _revealed(settings.password),
    }
    given = {name: value for name, value in found.items() if value is not None}
    return given | _passed(settings.properties)


def of_producer(settings: KafkaSettings) -> Properties:
    """Durable, in order, nothing doubled by the library's own retries."""
    return {
        **common(settings),
        "acks": "all",
        "enable.idempotence": True,
        "partitioner": "fnv1a",
        "allow.auto.create.topics": False,  # the broker would make them with its own defaults
        # a batch is flushed as soon as it is complete; this is how long its parts may wait before
        "linger.ms": 1,
        # the last resort against late sending: a batch that timed out is purged by its sender
        "message.timeout.ms": _milliseconds(settings.send_timeout),
        **_passed(settings.producer_properties),
    }


def of_consumer(settings: KafkaSettings, group: str) -> Properties:
    """Nothing is committed but what is acked; small queues, since the engine has its own window."""
    session = _milliseconds(settings.session_timeout)
    return {
        **common(settings),
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "partition.assignment.strategy": str(settings.assignor),
        "session.timeout.ms": session,
        # a rebalance waits until the last member has heard of it, which is with its next heartbeat
        "heartbeat.interval.ms": min(1_000, session // 3),
        "max.poll.interval.ms": max(300_000, session),
        "allow.auto.create.topics": False,
        # 100,000 messages per partition are fetched ahead by default: with many topics too much
        "queued.min.messages": settings.window,
        "queued.max.messages.kbytes": 16_384,
        # a full queue is looked at again after a second by default: that long it may then be empty
        "fetch.queue.backoff.ms": 20,
        # new partitions, and topics that were made anew, are noticed within half a minute
        "topic.metadata.refresh.interval.ms": 30_000,
        **_passed(settings.consumer_properties),
    }


def check_properties(settings: KafkaSettings) -> list[str]:
    """What is wrong with them, a sentence each."""
    problems = [
        problem
        for field in ("properties", "producer_properties", "consumer_properties")
        for problem in _reserved(field, getattr(settings, field))
    ]
    if problems:
        return problems
    tries = {
        "producer": (Producer, of_producer(settings)),
        "consumer": (Consumer, of_consumer(settings, "none")),
    }
    for kind, (client, properties) in tries.items():
        del properties["bootstrap.servers"]  # so that it reaches for nothing
        quiet = logging.Logger("unheard", logging.CRITICAL + 1)  # noqa: LOG001 - in no tree
        try:
            made = client(properties, logger=quiet)
        except (KafkaException, TypeError, ValueError) as error:
            problems.append(f"a {kind} cannot be made: {_said(error, settings)}")
        else:
            made.close()
    return problems


def _reserved(field: str, given: Iterable[str]) -> list[str]:
    return [
        f"{field}: {name} is not to be changed here: {_RESERVED[name]}"
        for name in given
        if name in _RESERVED
    ]


def _said(error: Exception, settings: KafkaSettings) -> str:
    """What librdkafka says of a property names it; a value that it quotes is left out."""
    text = str(error.args[0].str() if isinstance(error, KafkaException) else error)
    secrets = [*settings.properties.values(), *settings.producer_properties.values()]
    secrets += [*settings.consumer_properties.values()]
    secrets += [each for each in (settings.password, settings.tls_key_password) if each]
    for secret in secrets:
        if secret.reveal():
            text = text.replace(secret.reveal(), "…")
    return text


def _passed(given: Mapping[str, Secret]) -> Properties:
    return {name: value.reveal() for name, value in given.items()}


def _path(path: object) -> str | None:
    return None if path is None else str(path)


def _revealed(secret: Secret | None) -> str | None:
    return None if secret is None else secret.reveal()


def _milliseconds(time: timedelta) -> int:
    return round(time / timedelta(milliseconds=1))
