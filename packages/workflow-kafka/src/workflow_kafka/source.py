"""A foreign topic as a connector source.

Messages are handed out as they are: what their bytes mean is for the connector that a workflow
declares, and a message that it cannot read is set aside by the engine, as a dead letter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from confluent_kafka import Message
from workflow_core.errors import ClosedError, ConfigurationError, InputError
from workflow_core.model import ConnectorEvent
from workflow_core.ports import AdapterContext, Capability, ConnectorSource, Receiver, Shards

from workflow_kafka.cluster import Cluster
from workflow_kafka.names import check_topic, in_namespace
from workflow_kafka.receiver import KafkaReceiver
from workflow_kafka.settings import KafkaSettings
from workflow_kafka.wire import time_of

__all__ = ["KafkaConnectorSource", "KafkaTopicSettings"]


@dataclass(frozen=True, kw_only=True)
class KafkaTopicSettings(KafkaSettings):
    """Which topic it is; and where, which the table of the adapter says for all.

    Attributes:
        topic: its name, as it stands: it is somebody else's, so no namespace comes before it.
    """

    topic: str

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            check_topic(self.topic)
        except InputError as error:
            raise ConfigurationError(
                "the settings of kafka are wrong", problems=(f"topic: {error.message}",)
            ) from None


class KafkaConnectorSource(ConnectorSource):
    r"""Hands out the messages of one topic. Does what `ConnectorSource` says; any thread.

    An event's id is made of partition, offset and time: a topic that is deleted and made anew gives
    its new messages new ids. Bytes of a key or a header that are no UTF-8 stand as ``\xff``. A
    tombstone's value is empty. The topic is never made here.

    Args:
        settings: where, how, and which topic.
        instance: this process among its peers.
        namespace: stands before the names of consumer groups; "" for none.
    """

    def __init__(self, settings: KafkaTopicSettings, *, instance: str, namespace: str = "") -> None:
        self._settings = replace(settings, create_topics=False)
        self._instance = instance
        self._namespace = namespace
        self._cluster = Cluster(self._settings)
        self._receivers: set[KafkaReceiver[ConnectorEvent]] = set()
        self._closed = False

    @classmethod
    def from_config(
        cls, settings: KafkaTopicSettings, context: AdapterContext
    ) -> KafkaConnectorSource:
        """The entry point."""
        return cls(settings, instance=context.instance, namespace=context.namespace)

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Members divide the partitions among themselves, and the broker wakes them."""
        return frozenset({Capability.BALANCES_MEMBERS, Capability.WAKES})

    def check_health(self) -> str:
        """How many brokers there are, and the cluster's id."""
        return self._cluster.describe()

    def new_receiver(self, name: str, *, shards: Shards | None = None) -> Receiver[ConnectorEvent]:
        """Joins the group ``name`` in the namespace.

        Raises:
            AdapterError: there is no such topic.
        """
        if self._closed:
            raise ClosedError("the connector source was closed", adapter="kafka")
        if shards is not None:
            raise InputError(
                "the members of a Kafka group divide its partitions among themselves",
                adapter="kafka",
                hint="Ask for no shards",
            )
        for missing in self._cluster.ensure([self._settings.topic]).values():
            raise missing
        receiver: KafkaReceiver[ConnectorEvent] = KafkaReceiver(
            self._settings,
            self._cluster,
            topics=[self._settings.topic],
            group=in_namespace(self._namespace, name),
            instance=self._instance,
            from_latest=False,
            decode=_event,
            forget=self._receivers.discard,
        )
        self._receivers.add(receiver)
        return receiver

    def close(self) -> None:
        """Close the receivers, which ends their blocked calls."""
        self._closed = True
        for receiver in list(self._receivers):
            receiver.close()
        self._cluster.close()


def _event(message: Message) -> ConnectorEvent:
    headers = message.headers() or []
    pairs = headers.items() if isinstance(headers, dict) else headers
    return ConnectorEvent(
        id=f"{message.partition()}-{message.offset()}-{message.timestamp()[1]}",
        key=_text(message.key()),
        value=message.value() or b"",
        headers={name: _text(value) for name, value in pairs},
        created_at=time_of(message),
    )


def _text(raw: bytes | str | None) -> str:
    return raw if isinstance(raw, str) else (raw or b"").decode(errors="backslashreplace")
