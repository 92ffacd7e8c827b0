"""The event streamer: topics of a Kafka cluster."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from confluent_kafka import Message
from workflow_core.errors import InputError
from workflow_core.model import Event
from workflow_core.ports import (
    AdapterContext,
    Capability,
    EventSender,
    EventStreamer,
    Receiver,
    Shards,
)

from workflow_kafka.cluster import Cluster
from workflow_kafka.lag import oldest_waiting
from workflow_kafka.names import check_topic, in_namespace, out_of_namespace
from workflow_kafka.receiver import KafkaReceiver
from workflow_kafka.sender import KafkaEventSender
from workflow_kafka.settings import KafkaSettings
from workflow_kafka.wire import decode

__all__ = ["KafkaEventStreamer"]


class KafkaEventStreamer(EventStreamer):
    """Events in topics. Each method does what `EventStreamer` says; any thread.

    Nothing is connected before it is needed. Each sender and each receiver is a client of its own,
    with its own threads and connections; the engine has two senders, and one receiver per workflow
    and pool.

    Args:
        settings: where, and how.
        instance: this process among its peers.
        namespace: stands before the names of topics and groups; "" for none.
    """

    def __init__(self, settings: KafkaSettings, *, instance: str, namespace: str = "") -> None:
        self._settings = settings
        self._instance = instance
        self._namespace = namespace
        self._cluster = Cluster(settings)
        self._senders: set[KafkaEventSender] = set()
        self._receivers: set[KafkaReceiver[Event]] = set()

    @classmethod
    def from_config(cls, settings: KafkaSettings, context: AdapterContext) -> KafkaEventStreamer:
        """The entry point."""
        return cls(settings, instance=context.instance, namespace=context.namespace)

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Members divide the partitions among themselves, and the broker wakes them."""
        return frozenset({Capability.BALANCES_MEMBERS, Capability.WAKES})

    def check_health(self) -> str:
        """How many brokers there are, and the cluster's id."""
        return self._cluster.describe()

    def new_sender(self) -> EventSender:
        """Costs nothing yet: the client is made with the first batch."""
        sender = KafkaEventSender(
            self._settings,
            self._cluster,
            namespace=self._namespace,
            forget=self._senders.discard,
        )
        self._senders.add(sender)
        return sender

    def new_receiver(
        self,
        topics: Sequence[str],
        name: str,
        *,
        shards: Shards | None = None,
        from_latest: bool = False,
    ) -> Receiver[Event]:
        """Makes missing topics, and joins the group ``name`` in the namespace."""
        if shards is not None:
            raise InputError(
                "the members of a Kafka group divide its partitions among themselves",
                adapter="kafka",
                hint="Ask for no shards",
            )
        if not topics:
            raise InputError("a receiver needs topics", adapter="kafka")
        self.check_topics(topics)
        whole = [in_namespace(self._namespace, topic) for topic in dict.fromkeys(topics)]
        for refused in self._cluster.ensure(whole).values():
            raise refused
        receiver = KafkaReceiver(
            self._settings,
            self._cluster,
            topics=whole,
            group=in_namespace(self._namespace, name),
            instance=self._instance,
            from_latest=from_latest,
            decode=self._decode,
            forget=self._receivers.discard,
        )
        self._receivers.add(receiver)
        return receiver

    def check_topics(self, topics: Sequence[str]) -> None:
        """Letters, digits, full stops, underscores and hyphens; 249 of them at most."""
        for topic in topics:
            check_topic(topic, namespace=self._namespace)

    def lag(self, topics: Sequence[str], name: str) -> timedelta | None:
        """Counts from the message's timestamp, by this machine's clock."""
        group = in_namespace(self._namespace, name)
        for receiver in [mine for mine in list(self._receivers) if mine.group == group]:
            receiver.save()
        whole = [in_namespace(self._namespace, topic) for topic in dict.fromkeys(topics)]
        return oldest_waiting(self._settings, self._cluster, whole, group)

    def close(self) -> None:
        """Close the senders and receivers, which ends their blocked calls."""
        for receiver in list(self._receivers):
            receiver.close()
        for sender in list(self._senders):
            sender.close()
        self._cluster.close()

    def _decode(self, message: Message) -> Event:
        return decode(message, out_of_namespace(self._namespace, message.topic() or ""))
