"""What may be configured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from workflow_core.errors import ConfigurationError
from workflow_core.ports import Secret

from workflow_kafka.properties import check_properties

__all__ = ["Assignor", "KafkaSettings", "SaslMechanism"]

_ZERO = timedelta(0)


class Assignor(StrEnum):
    """How the members of a name divide the partitions; the same for all of them."""

    COOPERATIVE_STICKY = "cooperative-sticky"
    """Only what moves stops: the other partitions are worked on while members come and go."""
    RANGE = "range"
    """All stop for each change; for groups that a Go process is a member of."""
    ROUNDROBIN = "roundrobin"


class SaslMechanism(StrEnum):
    """How the user is proven."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"


@dataclass(frozen=True, kw_only=True)
class KafkaSettings:
    """The settings of the Kafka adapters; they are configured once.

    Attributes:
        bootstrap_servers: some brokers, each as ``host:port``; the others are learned from them.
        client_id: how the brokers name this client in logs, metrics and quotas.
        tls: whether connections are encrypted and the brokers' certificates checked.
        tls_ca: the file of the authorities that sign the brokers' certificates; None: the system's.
        tls_certificate, tls_key, tls_key_password: this client's own certificate, where brokers
            ask for one.
        sasl_mechanism, username, password: how this client proves who it is; None: not at all.
        create_topics: whether missing topics are made. Else a missing topic is an error.
        partitions: of topics that are made: at most so many members work on one topic.
        replication: copies of topics that are made; None: as the brokers' configuration says.
        topic_config: further settings of topics that are made, such as ``retention.ms``.
        assignor: how members divide the partitions.
        session_timeout: a member that has not been heard of for so long is taken for dead.
        hand_over: how long a partition that goes to another member waits for the work in hand.
        send_timeout: nothing is sent later than so long after it was asked for.
        window: events received ahead of the work, per receiver; beyond, partitions are paused.
        properties: settings of librdkafka, by their names there, for producers and consumers.
        producer_properties, consumer_properties: the same for the one or the other alone.
    """

    bootstrap_servers: Sequence[str]
    client_id: str = "workflow"
    tls: bool = False
    tls_ca: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_key_password: Secret | None = None
    sasl_mechanism: SaslMechanism | None = None
    username: str = ""
    password: Secret | None = None
    create_topics: bool = True
    partitions: int = 8
    replication: int | None = None
    topic_config: Mapping[str, str] = field(default_factory=dict)
    assignor: Assignor = Assignor.COOPERATIVE_STICKY
    session_timeout: timedelta = timedelta(seconds=10)
    hand_over: timedelta = timedelta(seconds=3)
    send_timeout: timedelta = timedelta(seconds=10)
    window: int = 1_000
    properties: Mapping[str, Secret] = field(default_factory=dict)
    producer_properties: Mapping[str, Secret] = field(default_factory=dict)
    consumer_properties: Mapping[str, Secret] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = [*self._ranges(), *self._security()]
        if not problems:
            problems = check_properties(self)
        if problems:
            raise ConfigurationError("the settings of kafka are wrong", problems=tuple(problems))

    def _ranges(self) -> list[str]:
        problems = []
        if not self.bootstrap_servers or not all(map(str.strip, self.bootstrap_servers)):
            problems.append("bootstrap_servers: expected one host:port or more")
        if self.partitions < 1:
            problems.append("partitions: expected 1 or more")
        if self.replication is not None and self.replication < 1:
            problems.append("replication: expected 1 or more, or to be left out")
        if self.session_timeout < timedelta(seconds=1):
            problems.append("session_timeout: expected one second or more")
        if self.hand_over < _ZERO:
            problems.append("hand_over: expected a duration of zero or more")
        if self.send_timeout < timedelta(milliseconds=100):
            problems.append("send_timeout: expected 100 ms or more")
        if self.window < 1:
            problems.append("window: expected 1 or more")
        return problems

    def _security(self) -> list[str]:
        problems = []
        given = {
            "tls_ca": self.tls_ca,
            "tls_certificate": self.tls_certificate,
            "tls_key": self.tls_key,
            "tls_key_password": self.tls_key_password,
        }
        if not self.tls:
            problems += [
                f"{name}: means nothing without tls = true" for name in given if given[name]
            ]
        if (self.tls_certificate is None) != (self.tls_key is None):
            problems.append("tls_certificate: expected together with tls_key")
        if self.sasl_mechanism is not None and not (self.username and self.password):
            problems.append("sasl_mechanism: expected together with username and password")
        if self.sasl_mechanism is None and (self.username or self.password):
            problems.append("username: expected together with sasl_mechanism and password")
        return problems
