"""The brokers as an administrator sees them: topics made where missing, offsets looked up."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Mapping, Sequence, Set
from concurrent.futures import Future
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs export too little
    AdminClient,
    NewTopic,
    OffsetSpec,
)
from workflow_core.errors import AdapterError
from workflow_core.ports import in_forked_child, leave_to_parent

from workflow_kafka.errors import error_of, kafka_error
from workflow_kafka.inbox import Key
from workflow_kafka.properties import LOGGER, common
from workflow_kafka.settings import KafkaSettings

__all__ = ["Cluster"]

T = TypeVar("T")

logger = logging.getLogger(__name__)

_PATIENCE = 5.0  # seconds for an answer about topics
_ATTEMPT = 2.0  # seconds for making topics, before it is looked who may make them
_MOMENT = 0.02  # seconds between two questions about a topic that is just being made
_OF_THE_BROKER = -1  # the number of replicas that the broker's configuration says
# stamped by the broker: a producer whose clock is off would else set lag and retention wrong
_BROKERS_TIME = {"message.timestamp.type": "LogAppendTime"}


class Cluster:
    """The brokers as an administrator sees them; one per streamer. Any thread."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._used: set[str] = set()
        self._sure: set[str] = set()  # of them, those that are there
        self._lock = threading.Lock()
        self._admin: AdminClient | None = None
        in_forked_child(self._forked)

    @property
    def admin(self) -> AdminClient:
        """The client, made at the first use."""
        with self._lock:
            return self._client()

    def ensure(
        self, topics: Sequence[str], timeout: float = _PATIENCE
    ) -> Mapping[str, AdapterError]:
        """Make the topics that are missing; what cannot be had, and why, by topic.

        Args:
            topics: as Kafka names them.
            timeout: seconds for an answer.

        Raises:
            AdapterUnavailableError: no answer.
        """
        with self._lock:
            if self._sure.issuperset(topics):
                return {}
            # where one topic was deleted, others were too: all that were ever used are looked at
            self._used.update(topics)
            self._sure = self._used & self._list(timeout).keys()
            missing = self._used - self._sure
            if self._settings.create_topics:
                refused = self._made(sorted(missing), timeout)
            else:
                refused = {topic: _missing(topic) for topic in missing}
            return {topic: error for topic, error in refused.items() if topic in topics}

    def forget(self, topics: Collection[str]) -> None:
        """They may have been deleted: look again before the next use."""
        with self._lock:
            self._sure.difference_update(topics)

    def describe(self) -> str:
        """How many brokers there are, and the cluster's id.

        Raises:
            AdapterUnavailableError: no answer.
        """
        asked = self.admin.describe_cluster(request_timeout=_PATIENCE)
        found = self._answer(asked, "asking for the cluster")
        brokers = len(found.nodes)
        return f"Kafka, {brokers} broker{'s' if brokers != 1 else ''}, cluster {found.cluster_id}"

    def partitions(self) -> dict[str, int]:
        """The topics of the cluster, and how many partitions each has.

        Raises:
            AdapterUnavailableError: no answer.
        """
        with self._lock:
            return self._list()

    def firsts(self, partitions: Sequence[Key]) -> dict[Key, int]:
        """The first offset that is kept, of each.

        Raises:
            AdapterUnavailableError: no answer.
        """
        return self._offsets(partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call]

    def ends(self, partitions: Sequence[Key]) -> dict[Key, int]:
        """The offset that the next message gets, of each.

        Raises:
            AdapterUnavailableError: no answer.
        """
        return self._offsets(partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]

    def committed(self, group: str, partitions: Sequence[Key]) -> dict[Key, int]:
        """What a group has committed, of those of which it has.

        Asked for by a consumer that joins nothing. The administrator's own question would end the
        process: where the group's coordinator has just changed, librdkafka 2.16 looks for another
        one in the name of the client's group, and an administrator's client has none.

        Raises:
            AdapterUnavailableError: no answer.
        """
        properties = {**common(self._settings), "group.id": group, "enable.auto.commit": False}
        consumer = Consumer(properties, logger=LOGGER)
        try:
            asked = [TopicPartition(*key) for key in partitions]
            found = consumer.committed(asked, timeout=_PATIENCE)
        except KafkaException as error:
            raise _error_of(error, f"asking for {group}") from error
        finally:
            consumer.close()
        return {(each.topic, each.partition): each.offset for each in found if each.offset >= 0}

    def close(self) -> None:
        """Give the client back."""
        with self._lock:
            self._admin = None

    # ------------------------------------------------------------------------------------------

    def _offsets(self, partitions: Sequence[Key], which: Any) -> dict[Key, int]:
        if not partitions:
            return {}
        asked = {TopicPartition(*key): which for key in partitions}
        end = time.monotonic() + _PATIENCE
        while True:
            found = self.admin.list_offsets(asked, request_timeout=_PATIENCE)
            try:
                return {
                    (each.topic, each.partition): future.result(_PATIENCE + 1).offset
                    for each, future in found.items()
                }
            except (KafkaException, TimeoutError) as error:
                may_pass = isinstance(error, KafkaException) and _may_pass(kafka_error(error))
                if not may_pass or time.monotonic() >= end:
                    raise _error_of(error, "asking for offsets") from error
            time.sleep(_MOMENT)
            self.partitions()  # the client does not look for leaders again by itself

    def _answer(self, future: Future[T], doing: str) -> T:
        try:
            return future.result(_PATIENCE + 1)
        except (KafkaException, TimeoutError) as error:
            raise _error_of(error, doing) from error

    def _client(self) -> AdminClient:
        if self._admin is None:
            self._admin = AdminClient(common(self._settings), logger=LOGGER)
        return self._admin

    def _list(self, timeout: float = _PATIENCE) -> dict[str, int]:
        # of all topics: asking for one by its name would have the broker make it
        try:
            found = self._client().list_topics(timeout=timeout).topics
        except KafkaException as error:
            raise _error_of(error, "asking for topics") from error
        return {name: len(topic.partitions) for name, topic in found.items()}

    def _made(self, topics: Sequence[str], timeout: float) -> dict[str, AdapterError]:
        """Those that could not be made, and why."""
        if not topics:
            return {}
        errors: dict[str, KafkaError] = {}
        end = time.monotonic() + timeout
        left = topics
        while left:
            rest = max(_MOMENT, end - time.monotonic())
            tried = self._make(left, min(rest, _ATTEMPT))
            errors = {it: error for it, error in errors.items() if it not in left} | tried
            late = [it for it, error in tried.items() if error.code() == KafkaError._TIMED_OUT]
            left = late if time.monotonic() < end else []
            if left:  # it waited for a broker that is away: look which other one is to be asked
                self._list(timeout)
        self._wait_until_told(set(topics) - errors.keys(), timeout)
        return {topic: _not_made(topic, error) for topic, error in errors.items()}

    def _make(self, topics: Sequence[str], timeout: float) -> dict[str, KafkaError]:
        settings = self._settings
        wanted = [
            NewTopic(
                topic,
                num_partitions=settings.partitions,
                replication_factor=settings.replication or _OF_THE_BROKER,
                config={**_BROKERS_TIME, **settings.topic_config},
            )
            for topic in topics
        ]
        errors: dict[str, KafkaError] = {}
        futures = self._client().create_topics(wanted, request_timeout=timeout)
        for topic, future in futures.items():
            try:
                future.result(timeout + 1)
            except KafkaException as problem:
                error = kafka_error(problem)
                if error.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    errors[topic] = error
                    continue
            except TimeoutError as problem:
                raise _error_of(problem, f"making topic {topic}") from problem
            else:
                logger.info("made topic %s with %d partitions", topic, settings.partitions)
            self._sure.add(topic)
        return errors

    def _wait_until_told(self, made: Set[str], timeout: float) -> None:
        """A broker knows of a new topic a moment after the controller has made it.

        Until then it tells everybody that there is none.
        """
        end = time.monotonic() + timeout
        while not made <= self._list(timeout).keys() and time.monotonic() < end:
            time.sleep(_MOMENT)

    def _forked(self) -> None:
        self._lock = threading.Lock()
        if self._admin is not None:
            leave_to_parent(self._admin)
            self._admin = None


def _may_pass(error: KafkaError) -> bool:
    """Whether it is said of a topic that not all know of yet, or that has changed its leaders."""
    return error.code() in {
        KafkaError._NOENT,  # the client knows no leader: its broker was away
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }


def _missing(topic: str) -> AdapterError:
    return AdapterError(
        f"Kafka has no topic {topic!r}",
        adapter="kafka",
        hint="Make it, or set create_topics = true",
    )


def _not_made(topic: str, error: KafkaError) -> AdapterError:
    made = error_of(error, doing=f"making topic {topic!r}")
    if type(made) is AdapterError:
        # the broker's own words: they are about the topic's name and settings alone
        made.hint = f"{error.str()}. {made.hint or 'Make it by hand'}"
    return made


def _error_of(error: KafkaException | TimeoutError, doing: str) -> AdapterError:
    if isinstance(error, KafkaException):
        return error_of(kafka_error(error), doing=doing)
    return error_of(KafkaError(KafkaError._TIMED_OUT), doing=doing)
