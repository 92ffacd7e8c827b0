"""How long the oldest message has waited that a group has not done with."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta

from confluent_kafka import Consumer, TopicPartition

from workflow_kafka.cluster import Cluster
from workflow_kafka.errors import unavailable
from workflow_kafka.properties import LOGGER, common
from workflow_kafka.settings import KafkaSettings

__all__ = ["oldest_waiting"]

_READING = 5.0  # seconds for the first message of each partition that is behind


def oldest_waiting(
    settings: KafkaSettings, cluster: Cluster, topics: Sequence[str], group: str
) -> timedelta:
    """The age of that message by its timestamp; zero where none waits.

    Reads one message of each partition that is behind, as no member of the group.

    Raises:
        AdapterUnavailableError: no answer.
    """
    behind = _behind(cluster, topics, group)
    if not behind:
        return timedelta(0)
    oldest = _oldest(settings, behind)
    return timedelta(milliseconds=max(0, round(time.time() * 1000) - oldest))


def _behind(cluster: Cluster, topics: Sequence[str], group: str) -> list[TopicPartition]:
    """Where to read on, of each partition in which something waits."""
    counts = cluster.partitions()
    partitions = [(topic, number) for topic in topics for number in range(counts.get(topic, 0))]
    if not partitions:
        return []
    committed = cluster.committed(group, partitions)
    firsts, ends = cluster.firsts(partitions), cluster.ends(partitions)
    starts = {key: max(firsts[key], committed.get(key, 0)) for key in partitions}
    return [TopicPartition(*key, starts[key]) for key in partitions if starts[key] < ends[key]]


def _oldest(settings: KafkaSettings, behind: Sequence[TopicPartition]) -> int:
    """The least timestamp, in milliseconds since 1970."""
    properties = common(settings) | {
        "group.id": "none",  # it joins no group, but the library wants a name
        "enable.auto.commit": False,
        "queued.min.messages": 1,
        "fetch.message.max.bytes": 65_536,
    }
    missing = {(each.topic, each.partition) for each in behind}
    found: list[int] = []
    consumer = Consumer(properties, logger=LOGGER)
    try:
        consumer.assign(list(behind))
        end = time.monotonic() + _READING
        while missing and time.monotonic() < end:
            message = consumer.poll(0.1)
            if message is None or message.error() is not None:
                continue
            key = (message.topic() or "", message.partition() or 0)
            if key in missing:
                missing.discard(key)
                found.append(message.timestamp()[1])
    finally:
        consumer.close()
    if not found:
        raise unavailable("no waiting message could be read in time")
    return min(found)
