"""Publishing: one long-lived idempotent producer for all topics.

A batch is produced whole, then flushed: it is over when the last of it is acknowledged. What is
not acknowledged in time is purged, so nothing is sent after its time; what was on its way just
then may have arrived, and whoever sends it again doubles it, which costs its readers a look.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import TypeAlias

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from workflow_core.errors import AdapterError, AdapterUnavailableError, ClosedError
from workflow_core.model import Event
from workflow_core.ports import EventSender, in_forked_child, leave_to_parent

from workflow_kafka.cluster import Cluster
from workflow_kafka.errors import error_of, kafka_error, unavailable
from workflow_kafka.names import in_namespace
from workflow_kafka.properties import LOGGER, of_producer
from workflow_kafka.settings import KafkaSettings
from workflow_kafka.wire import encode

__all__ = ["KafkaEventSender"]

Outcomes: TypeAlias = list[AdapterError | None]

_SLICE = 0.2  # seconds between two looks whether it was closed meanwhile
_AFTER_PURGE = 1.0  # seconds for the library to report what it purged
_DOING = "publishing an event"


class KafkaEventSender(EventSender):
    """Publishes to any topic. Any thread; batches of several threads go one after the other.

    Args:
        settings: of the adapter.
        cluster: makes missing topics.
        namespace: stands before each topic.
        forget: told when it is closed.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        cluster: Cluster,
        *,
        namespace: str,
        forget: Callable[[KafkaEventSender], object],
    ) -> None:
        self._settings = settings
        self._cluster = cluster
        self._namespace = namespace
        self._forget = forget
        self._longest = settings.send_timeout.total_seconds()
        self._producer: Producer | None = None
        self._closed = False
        self._turn = threading.Lock()
        in_forked_child(self._forked)

    def send(self, event: Event) -> None:
        """As `send_many` of one, within ``send_timeout``."""
        [outcome] = self.send_many([event], self._settings.send_timeout)
        if outcome is not None:
            raise outcome

    def send_many(
        self, events: Sequence[Event], timeout: timedelta
    ) -> Sequence[AdapterError | None]:
        """At most ``send_timeout``, however long the timeout is."""
        self._check_open()
        if not events:
            return []
        end = time.monotonic() + min(timeout.total_seconds(), self._longest)
        if not self._turn.acquire(timeout=max(0.0, end - time.monotonic())):
            raise unavailable("other batches took all the time")
        try:
            self._check_open()
            return self._send(events, end)
        finally:
            self._turn.release()

    def close(self) -> None:
        """Ends a blocked call, and purges what it has not sent."""
        self._closed = True
        self._forget(self)
        with self._turn:
            self._drop_producer()

    # ------------------------------------------------------------------------------------------

    def _send(self, events: Sequence[Event], end: float) -> Outcomes:
        topics = {event.topic: in_namespace(self._namespace, event.topic) for event in events}
        refused = self._cluster.ensure(list(topics.values()), max(0.1, end - time.monotonic()))
        not_yet = unavailable("an event was not acknowledged in time")
        outcomes: Outcomes = [not_yet] * len(events)
        for index, event in enumerate(events):
            topic = topics[event.topic]
            if topic in refused:
                outcomes[index] = refused[topic]
            else:
                report = partial(self._report, outcomes, index)
                outcomes[index] = self._produce(event, topic, report, end) or not_yet
        self._flush(end)
        # the topic may have been deleted: it is looked for, and made, before the next batch
        self._cluster.forget(
            {
                topics[event.topic]
                for event, outcome in zip(events, outcomes, strict=True)
                if isinstance(outcome, AdapterUnavailableError)
            }
        )
        return outcomes

    def _produce(
        self, event: Event, topic: str, report: Callable[..., None], end: float
    ) -> AdapterError | None:
        try:
            key, value, headers = encode(event)
        except ValueError as problem:
            return AdapterError.of("kafka", problem, doing=f"writing an event for topic {topic}")
        while True:
            producer = self._client()
            try:
                producer.produce(topic, value, key, headers=headers, on_delivery=report)
            except BufferError:  # the library's queue is full: let it get rid of some
                rest = end - time.monotonic()
                if rest <= 0:
                    return unavailable("the queue of events to be sent is full")
                producer.poll(min(rest, _SLICE))
                self._check_open()
            except KafkaException as problem:
                error = kafka_error(problem)
                if error.fatal() or error.code() == KafkaError._FATAL:
                    self._drop_producer()
                return error_of(error, doing=_DOING)
            else:
                return None

    def _flush(self, end: float) -> None:
        producer = self._producer
        if producer is None:
            return
        while producer.flush(max(0.0, min(end - time.monotonic(), _SLICE))):
            if self._closed or time.monotonic() >= end:
                producer.purge()
                producer.flush(_AFTER_PURGE)
                self._check_open()
                return

    def _report(
        self,
        outcomes: Outcomes,
        index: int,
        error: KafkaError | None,
        message: Message,
    ) -> None:
        """Called within ``flush`` and ``poll`` for each message, when its fate is known."""
        if error is None:
            outcomes[index] = None
            return
        outcomes[index] = error_of(error, doing=_DOING)
        if error.fatal():
            self._producer = None  # flushing goes on, on the one that the caller holds

    def _client(self) -> Producer:
        if self._producer is None:
            self._producer = Producer(of_producer(self._settings), logger=LOGGER)
        return self._producer

    def _drop_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()
            producer.flush(0)

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the event sender was closed", adapter="kafka")

    def _forked(self) -> None:
        self._turn = threading.Lock()
        if self._producer is not None:
            leave_to_parent(self._producer)
            self._producer = None
