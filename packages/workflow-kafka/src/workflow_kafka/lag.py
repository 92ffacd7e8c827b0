"""How long messages have waited: for a group, which has not done with them, or for one member."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta

from confluent_kafka import Consumer, KafkaError, TopicPartition

from workflow_kafka.cluster import Cluster
from workflow_kafka.errors import unavailable
from workflow_kafka.inbox import Hungry, Key
from workflow_kafka.properties import LOGGER, common
from workflow_kafka.settings import KafkaSettings

__all__ = ["oldest_waiting", "unheard_for"]

_READING = 5.0  # seconds for the first message of each partition that is behind


def oldest_waiting(
    settings: KafkaSettings, cluster: Cluster, topics: Sequence[str], group: str
) -> timedelta:
    """The age of the oldest message that a group has not done with; zero where none waits.

    Reads one message of each partition that is behind, as no member of the group.

    Raises:
        AdapterUnavailableError: no answer.
    """
    partitions = _partitions(cluster, topics)
    if not partitions:
        return timedelta(0)
    committed = cluster.committed(group, partitions)
    firsts = cluster.firsts(partitions)
    starts = {key: max(firsts[key], committed.get(key, 0)) for key in partitions}
    ages = _ages(settings, cluster, starts)
    return timedelta(seconds=max(ages.values(), default=0.0))


def unheard_for(settings: KafkaSettings, cluster: Cluster, hungry: Sequence[Hungry]) -> timedelta:
    """For how long a message has been there that a member asks for and does not get.

    Args:
        settings: of the adapter.
        cluster: tells where partitions end.
        hungry: what the member asks for.

    Raises:
        AdapterUnavailableError: no answer.
    """
    existing = set(_partitions(cluster, [each.key[0] for each in hungry]))
    asked = {each.key: each for each in hungry if each.key in existing}
    ages = _ages(settings, cluster, {key: each.offset for key, each in asked.items()})
    waits = [min(age, asked[key].seconds) for key, age in ages.items()]
    return timedelta(seconds=max(waits, default=0.0))


def _partitions(cluster: Cluster, topics: Sequence[str]) -> list[Key]:
    counts = cluster.partitions()
    return [
        (topic, number) for topic in dict.fromkeys(topics) for number in range(counts.get(topic, 0))
    ]


def _ages(settings: KafkaSettings, cluster: Cluster, starts: Mapping[Key, int]) -> dict[Key, float]:
    """Of each partition the seconds since the first message from there on; none where none is.

    That an offset is below the end is no proof of a message: transactions end in marks, which
    nobody is handed.
    """
    ends = cluster.ends(list(starts))
    missing = {key for key, start in starts.items() if start < ends[key]}
    if not missing:
        return {}
    properties = common(settings) | {
        "group.id": "none",  # it joins no group, but the library wants a name
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",  # what was there is gone: then what is kept
        "queued.min.messages": 1,
        "fetch.message.max.bytes": 65_536,
    }
    ages: dict[Key, float] = {}
    consumer = Consumer(properties, logger=LOGGER)
    try:
        consumer.assign([TopicPartition(*key, starts[key]) for key in sorted(missing)])
        end = time.monotonic() + _READING
        while missing and time.monotonic() < end:
            message = consumer.poll(0.1)
            if message is None:
                continue
            key, error = (message.topic() or "", message.partition() or 0), message.error()
            if error is None and key in missing:
                ages[key] = max(0.0, time.time() - message.timestamp()[1] / 1000)
            if error is None or error.code() == KafkaError._PARTITION_EOF:
                missing.discard(key)
    finally:
        consumer.close()
    if missing and not ages:
        raise unavailable("no waiting message could be read in time")
    return ages
