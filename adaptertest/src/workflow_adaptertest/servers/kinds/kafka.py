"""Kafka: plain, with encryption and passwords, and as a cluster of three."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar

from workflow_adaptertest.servers.errors import DidNotStartError
from workflow_adaptertest.servers.kinds.base import Image, Kind
from workflow_adaptertest.servers.kinds.certificates import certify
from workflow_adaptertest.servers.place import Node, Place, Tools, hand_over
from workflow_adaptertest.servers.protocols.kafka import Kafka
from workflow_adaptertest.servers.recipes import MavenJars, Recipe, SystemPackages, run
from workflow_adaptertest.servers.url import Address, ServerUrl

__all__ = ["KafkaBroker", "KafkaCluster", "KafkaSecure"]

_VERSION = "4.1.0"
_CLUSTER = "d29ya2Zsb3ctdGVzdHMwMA"  # an id is 16 bytes in base64; no two clusters ever meet
_JAVA = SystemPackages(("default-jre-headless",), ("java",))
_JARS = MavenJars(
    f"kafka-{_VERSION}",
    (
        ("org.apache.kafka", "kafka_2.13", _VERSION),
        ("org.apache.kafka", "kafka-tools", _VERSION),
        ("org.slf4j", "slf4j-nop", "1.7.36"),
    ),
)
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
# quick to be up rather than quick for ever
_QUICK = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto")
_FORMING_SECONDS = 60.0
_LOOK_SECONDS = 0.05


class KafkaBroker(Kind):
    """One node that is broker and controller. Topics are made on first use, with one partition."""

    title = "kafka"
    # a broker tells clients where to go on, so what comes through a proxy has a listener of its own
    port_names: ClassVar[Sequence[str]] = ("1", "1-controller", "1-upstream", "1-proxy")
    default_port = 9092
    needs: ClassVar[tuple[Recipe, ...]] = (_JAVA, _JARS)
    image: ClassVar[Image | None] = Image(
        f"apache/kafka:{_VERSION}",
        9092,
        {
            "KAFKA_NODE_ID": "1",
            "KAFKA_PROCESS_ROLES": "broker,controller",
            "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@127.0.0.1:9093",
            "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
            "KAFKA_LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093",
            "KAFKA_ADVERTISED_LISTENERS": "PLAINTEXT://127.0.0.1:{port}",
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
            "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
            "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
            "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        },
    )
    tells_addresses = True
    protocol: ClassVar[str] = "PLAINTEXT"
    members: ClassVar[Sequence[str]] = ("1",)
    memory: ClassVar[Sequence[str]] = ("-Xms256m", "-Xmx512m")
    stop_signal: ClassVar[str] = "SIGTERM"

    def nodes(self, place: Place) -> list[Node]:
        return [self._node(place, name) for name in self.members]

    def prepare(self, node: Node, place: Place) -> None:
        settings = node.folder / "server.properties"
        if not node.data.exists():
            new = place.remade(node.data)
            _write(settings, {**self._settings(node, place), "log.dirs": str(new)})
            tool = [*_java(place.tools), "kafka.tools.StorageTool", "format"]
            run([*tool, "-t", _CLUSTER, "-c", str(settings)], folder=node.folder)
            new.rename(node.data)
        _write(settings, self._settings(node, place))

    def url(self, place: Place) -> ServerUrl:
        addresses = [("127.0.0.1", place.ports[name]) for name in self.members]
        return ServerUrl(scheme="kafka", addresses=addresses)

    def upstreams(self, place: Place) -> list[tuple[int, Address]]:
        return [
            (place.ports[f"{name}-proxy"], ("127.0.0.1", place.ports[f"{name}-upstream"]))
            for name in self.members
        ]

    def hello(self, url: ServerUrl) -> str:
        with Kafka.connect(url) as kafka:
            kafka.apis()
            kafka.topics()
        return ""  # the protocol tells what the broker can do, never its version

    def version(self, tools: Tools) -> str:
        return _VERSION

    def client(self, url: ServerUrl, tools: Tools) -> list[str]:
        """The java command with its class path; the name of one of Kafka's own tools follows."""
        return _java(tools)

    @contextmanager
    def own_space(self, url: ServerUrl, name: str, tools: Tools) -> Iterator[ServerUrl]:
        try:
            yield url
        finally:
            with Kafka.connect(url) as kafka:
                own = [topic for topic in kafka.topics() if name in topic]
                if own:
                    kafka.delete_topics(own)

    def _node(self, place: Place, name: str) -> Node:
        node = Node(
            name=name,
            folder=hand_over(place.folder / name, None),
            port=place.ports[name],
            stop_signal=self.stop_signal,
        )
        settings = str(node.folder / "server.properties")
        return node.running(*_java(place.tools), *self.memory, "kafka.Kafka", settings)

    def _settings(self, node: Node, place: Place) -> dict[str, str]:
        ports = place.ports
        controllers = {name: ports[f"{name}-controller"] for name in self.members}
        listeners = {"DIRECT": node.port, "PROXIED": ports[f"{node.name}-upstream"]}
        told = {"DIRECT": node.port, "PROXIED": ports[f"{node.name}-proxy"]}
        copies = str(len(self.members))
        enough = str(len(self.members) // 2 + 1)
        return {
            "process.roles": "broker,controller",
            "node.id": node.name,
            "controller.quorum.voters": ",".join(
                f"{name}@127.0.0.1:{port}" for name, port in controllers.items()
            ),
            "controller.listener.names": "CONTROLLER",
            "listeners": _listeners({**listeners, "CONTROLLER": controllers[node.name]}),
            "advertised.listeners": _listeners(told),
            "listener.security.protocol.map": (
                f"DIRECT:{self.protocol},PROXIED:{self.protocol},CONTROLLER:PLAINTEXT"
            ),
            "inter.broker.listener.name": "DIRECT",
            "log.dirs": str(node.data),
            "default.replication.factor": copies,
            "min.insync.replicas": enough,
            "offsets.topic.replication.factor": copies,
            "offsets.topic.num.partitions": "4",  # 50 by default: each takes its time and files
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": enough,
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": enough,
            # how long a killed or frozen broker leads on: also for the controller that was killed
            # with it, and waits for that broker's old self
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            "group.initial.rebalance.delay.ms": "0",  # else each first member waits for 3 s
            "group.min.session.timeout.ms": "1000",  # tests of dead members need not wait for 6 s
            **self._more(node),
        }

    def _more(self, node: Node) -> dict[str, str]:
        return {}


class KafkaCluster(KafkaBroker):
    """Three nodes, each of them broker and controller; the URL names all of them.

    A topic has three copies, and a write needs two of them: one node may fail. It is whole when
    each node knows all three, and no copy lags.
    """

    title = "kafka-cluster"
    members = ("1", "2", "3")
    port_names = tuple(
        f"{name}{use}" for name in members for use in ("", "-controller", "-upstream", "-proxy")
    )
    image = None
    memory = ("-Xms96m", "-Xmx256m")
    # told to end in good order, the last one would wait for the votes of the others
    stop_signal = "SIGKILL"

    def form(self, place: Place) -> None:
        deadline = time.monotonic() + _FORMING_SECONDS
        for address in self.url(place).addresses:
            while not self._is_whole(ServerUrl(scheme="kafka", addresses=[address])):
                if time.monotonic() > deadline:
                    raise DidNotStartError("the three nodes of Kafka do not become a cluster")
                time.sleep(_LOOK_SECONDS)

    def _is_whole(self, there: ServerUrl) -> bool:
        with suppress(OSError), Kafka.connect(there) as kafka:
            return kafka.brokers_in_sync() == len(self.members)
        return False


class KafkaSecure(KafkaBroker):
    """The same with TLS, and SASL PLAIN for the user in the URL; its ``ca`` signs the broker.

    SCRAM is there too, for users whom an administrator adds while the broker runs.
    """

    title = "kafka-secure"
    needs = (_JAVA, _JARS, SystemPackages(("openssl",), ("openssl",)))
    image = None
    protocol = "SASL_SSL"
    user = "workflow"
    password = "not a secret"

    def prepare(self, node: Node, place: Place) -> None:
        certify(node.folder, place.tools)
        super().prepare(node, place)

    def url(self, place: Place) -> ServerUrl:
        return ServerUrl(
            scheme="kafka+sasl-ssl",
            addresses=[("127.0.0.1", place.ports["1"])],
            user=self.user,
            password=self.password,
            query={"mechanism": "PLAIN", "ca": str(place.folder / "1" / "ca.pem")},
        )

    def _more(self, node: Node) -> dict[str, str]:
        module = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        account = f'username="{self.user}" password="{self.password}"'
        logins = {"PLAIN": f'{module} {account} user_{self.user}="{self.password}";'}
        logins |= dict.fromkeys(("SCRAM-SHA-256", "SCRAM-SHA-512"), f"{_SCRAM} required;")
        return {
            "sasl.enabled.mechanisms": ",".join(logins),
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            **{
                f"listener.name.{listener}.{mechanism.lower()}.sasl.jaas.config": login
                for listener in ("direct", "proxied")
                for mechanism, login in logins.items()
            },
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(node.folder / "server.pem"),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(node.folder / "ca.pem"),
        }


def _java(tools: Tools) -> list[str]:
    return [tools.need("java"), *_QUICK, "-cp", str(_JARS.folder(tools) / "lib" / "*")]


def _listeners(ports: Mapping[str, int]) -> str:
    return ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())


def _write(file: Path, settings: Mapping[str, str]) -> None:
    lines = (f"{key}={value}\n" for key, value in settings.items())
    file.write_text("".join(lines), encoding="utf-8")
