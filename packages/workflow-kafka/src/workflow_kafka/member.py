"""A member of a consumer group: its own thread polls, whatever the engine is busy with.

So a step of ten minutes never costs the membership: the thread goes on polling, with the partitions
paused while there is no room. The same thread commits, about once a second, and answers
rebalances, so an offset is never committed for a partition that is not ours.

Beside each offset a member leaves a *mark*, the committed metadata: who it is, and up to which
offset events may be in its hands. A member that leaves in order wipes it out. So whoever takes a
partition over knows whether its last holder vanished, and which events it may have died of.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from workflow_core.errors import AdapterError, AdapterUnavailableError

from workflow_kafka.cluster import Cluster
from workflow_kafka.errors import error_of, kafka_error
from workflow_kafka.inbox import Inbox, Key, Place, Received
from workflow_kafka.offsets import Partition
from workflow_kafka.properties import LOGGER, of_consumer
from workflow_kafka.settings import Assignor, KafkaSettings

__all__ = ["Member"]

T = TypeVar("T")

logger = logging.getLogger(__name__)

_BATCH = 500
_POLL = 0.2  # seconds; bounds how long closing takes to be noticed
_COMMIT_EVERY = 1.0  # seconds
_FULL = 1.0  # seconds without room after which the partitions are paused
_ANSWER = 5.0  # seconds for the answer to a question about offsets
_AHEAD = 4_096  # offsets beyond what was received that a mark covers
_RESIGN = 4.0  # seconds for a rebalance to end, in the midst of which nobody can resign or leave
_MOMENT = 0.01  # seconds without news after which there is none
_SETTLED = 2.0  # seconds beyond the hand-over after which a rebalance is over, whoever is slow
_AGAIN_AFTER = 1.0  # seconds before a client that failed for good is made anew
_TOPICS_EVERY = 5.0  # seconds between two attempts to make topics that have vanished
_REBALANCING = {KafkaError.REBALANCE_IN_PROGRESS, KafkaError.ILLEGAL_GENERATION}
_OF_ONE_BROKER = {KafkaError._TRANSPORT, KafkaError._RESOLVE}  # none left: _ALL_BROKERS_DOWN
_GONE = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}


class Member(Generic[T]):
    """Receives into an inbox until that is closed.

    Args:
        inbox: where to.
        settings: of the adapter.
        cluster: makes missing topics.
        topics: as Kafka names them.
        group: the consumer group, as Kafka names it.
        instance: this process among its peers.
        from_latest: where a partition without a committed offset begins.
        decode: answers the item that a message tells, or None where there is none for us.
    """

    def __init__(
        self,
        inbox: Inbox[T],
        *,
        settings: KafkaSettings,
        cluster: Cluster,
        topics: Sequence[str],
        group: str,
        instance: str,
        from_latest: bool,
        decode: Callable[[Message], T | None],
    ) -> None:
        self._inbox = inbox
        self._settings = settings
        self._cluster = cluster
        self._topics = list(topics)
        self._group = group
        self._instance = instance
        self._from_latest = from_latest
        self._decode = decode
        self._is_cooperative = settings.assignor is Assignor.COOPERATIVE_STICKY
        self._consumer: Consumer | None = None
        self._paused: bool | None = False  # None: what was assigned of late is not as the rest
        self._commit_at = 0.0
        self._saving = threading.Event()
        self._saved = threading.Event()
        self._positioned = threading.Event()
        self._told_of_idleness = False
        self._rebalanced_at = time.monotonic()
        self._topics_at = 0.0
        self._thread = threading.Thread(target=self._run, name=f"kafka {group}", daemon=True)

    def start(self) -> None:
        """Begin. Once only."""
        self._thread.start()

    def wait_positioned(self, timeout: float) -> bool:
        """Whether a first assignment has come, and with it a place to begin."""
        return self._positioned.wait(timeout)

    def save(self, timeout: float) -> bool:
        """Try to commit what is acked; answers whether the try was over in so many seconds."""
        self._saved.clear()
        self._saving.set()
        return self._saved.wait(timeout)

    def join(self, timeout: float) -> bool:
        """After the inbox was closed: wait for the end; answers whether it has come."""
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def client(self) -> object:
        """What a forked child must leave to its parent."""
        return self._consumer

    # -- the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._inbox.is_closed:
            try:
                self._live()
            except KafkaException as problem:
                error = kafka_error(problem)
                self._failed(error_of(error, doing=f"receiving as {self._group}"))
            except AdapterError as error:
                self._failed(error)
            except Exception as error:  # whatever it is, the thread must not end in silence
                logger.exception("receiving as %s", self._group)
                self._failed(AdapterUnavailableError.of("kafka", error, doing="receiving"))

    def _failed(self, error: AdapterError) -> None:
        self._inbox.drop([partition.key for partition in self._inbox.held()])
        self._inbox.fail(error)
        self._inbox.pause(_AGAIN_AFTER)

    def _live(self) -> None:
        """One client's life."""
        properties = of_consumer(self._settings, self._group)
        consumer = self._consumer = Consumer({**properties, "error_cb": self._heard}, logger=LOGGER)
        try:
            consumer.subscribe(
                self._topics,
                on_assign=self._on_assign,
                on_revoke=self._on_revoke,
                on_lost=self._on_lost,
            )
            while not self._inbox.is_closed:
                self._round(consumer)
            self._resign(consumer)
        finally:
            self._leave(consumer)
            self._consumer = None
            consumer.close()

    def _round(self, consumer: Consumer) -> None:
        room = self._inbox.room(0.0 if self._paused else _FULL)
        if room > 0:
            self._let_flow(consumer, True)
            self._take_in(self._receive(consumer, _POLL, min(room, _BATCH)))
        else:
            self._let_flow(consumer, False)
            self._take_in(self._receive(consumer, 0, 1))
            self._inbox.room(_POLL)
        self._commit_if_due(consumer)
        self._tell_of_idleness()

    def _resign(self, consumer: Consumer) -> None:
        """Once closed: commit what is done, and wipe our marks out.

        While a rebalance goes on the coordinator refuses that, and who leaves would pass for one
        that vanished; so it is helped to its end. What is received meanwhile is nobody's.
        """
        end = time.monotonic() + _RESIGN
        while not self._commit(consumer, self._inbox.held(), resign=True):
            if time.monotonic() >= end:
                return
            consumer.poll(_POLL)

    def _leave(self, consumer: Consumer) -> None:
        """Have all revoked before the client is closed: no rebalance may end within ``close``."""
        # its callbacks there may wait for ever, with Python's lock held: librdkafka's issue 4884
        end = time.monotonic() + _RESIGN
        with suppress(KafkaException):
            consumer.unsubscribe()
            while consumer.poll(_MOMENT) is not None or consumer.assignment():
                if time.monotonic() >= end:
                    return

    def _receive(self, consumer: Consumer, wait: float, limit: int) -> list[Message]:
        """Wait for the first, then take what is there."""
        first = consumer.poll(wait)
        if first is None:  # never by its truth: a message is as true as its value is long
            return []
        return [first, *(consumer.consume(limit - 1, 0) if limit > 1 else [])]

    def _let_flow(self, consumer: Consumer, flow: bool) -> None:
        if self._paused is not None and self._paused is not flow:
            return
        assigned = consumer.assignment()
        if flow:
            consumer.resume(assigned)
        else:
            consumer.pause(assigned)
        self._paused = not flow

    def _take_in(self, messages: Sequence[Message]) -> None:
        received: list[Received[T]] = []
        for message in messages:
            error = message.error()
            if error is not None:
                self._heard_in_stream(error)
                continue
            key = (message.topic() or "", message.partition() or 0)
            received.append(Received(key, message.offset() or 0, self._read(message)))
        if received:
            self._inbox.put(received)

    def _read(self, message: Message) -> T | None:
        try:
            return self._decode(message)
        except ValueError as error:
            place = f"{message.topic()}[{message.partition()}] at offset {message.offset()}"
            logger.error("%s holds no event, passed over: %s", place, error)
            return None

    # -- errors --------------------------------------------------------------------------------

    def _heard(self, error: KafkaError) -> None:
        """Of the client as a whole; it goes on by itself, with the brokers that are left."""
        if error.code() not in _OF_ONE_BROKER:
            self._inbox.fail(error_of(error, doing=f"receiving as {self._group}"))

    def _heard_in_stream(self, error: KafkaError) -> None:
        if error.fatal():
            raise KafkaException(error)
        if error.code() not in _GONE:
            self._inbox.fail(error_of(error, doing=f"receiving as {self._group}"))
        elif time.monotonic() >= self._topics_at:  # deleted; or so new that not all know of it yet
            self._topics_at = time.monotonic() + _TOPICS_EVERY
            self._cluster.forget(self._topics)
            for refused in self._cluster.ensure(self._topics).values():
                self._inbox.fail(refused)

    def _tell_of_idleness(self) -> None:
        settled = self._rebalanced_at + self._settings.hand_over.total_seconds() + _SETTLED
        if self._told_of_idleness or not self._positioned.is_set() or time.monotonic() < settled:
            return
        self._told_of_idleness = True
        if not self._inbox.held():
            logger.warning(
                "%s has more members than its %d topics have partitions: this one gets no events;"
                " give the topics more partitions, or run fewer members",
                self._group,
                len(self._topics),
            )

    # -- rebalances; called within poll --------------------------------------------------------

    def _on_assign(self, consumer: Consumer, assigned: list[TopicPartition]) -> None:
        self._changed("assigned", assigned)
        partitions: list[Partition] = []
        # once closed nothing is begun with: where all stop for each change, nothing is taken
        starts = assigned if self._is_cooperative or not self._inbox.is_closed else []
        if assigned and not self._inbox.is_closed:  # else the marks there are for others to read
            partitions = self._inbox.assign(self._places(consumer, assigned))
            starts = [TopicPartition(*each.key, each.next) for each in partitions]
        if self._is_cooperative:
            consumer.incremental_assign(starts)
        else:
            consumer.assign(starts)
        self._paused = None
        if partitions:
            self._commit(consumer, partitions, anew=True)
        self._positioned.set()

    def _on_revoke(self, consumer: Consumer, revoked: list[TopicPartition]) -> None:
        """In order: what is in hand may still be finished, then the partitions are let go."""
        self._changed("revoked", revoked)
        keys = _keys(revoked)
        self._inbox.withdraw(keys, self._settings.hand_over.total_seconds())
        self._commit(consumer, self._inbox.held(keys), resign=True)
        self._inbox.drop(keys)

    def _on_lost(self, consumer: Consumer, lost: list[TopicPartition]) -> None:
        """They are another's already."""
        self._changed("lost", lost)
        self._told_of_idleness = True  # it has none since it is no member
        self._inbox.drop(_keys(lost))

    def _changed(self, what: str, partitions: Sequence[TopicPartition]) -> None:
        self._rebalanced_at = time.monotonic()
        self._told_of_idleness = False
        names = ", ".join(f"{each.topic}[{each.partition}]" for each in partitions)
        logger.debug("%s: %s %s", self._group, what, names or "nothing")

    # -- where to begin ------------------------------------------------------------------------

    def _places(self, consumer: Consumer, assigned: list[TopicPartition]) -> list[Place]:
        committed = consumer.committed(assigned, timeout=_ANSWER)
        new = [each for each in committed if each.offset < 0]
        ends = self._ends(new) if self._from_latest and new else {}
        vanished = [each for each in committed if self._was_left_in_hand(each)]
        ends |= self._ends(vanished) if vanished else {}
        places = []
        for each in committed:
            key = (each.topic, each.partition)
            if each.offset < 0:
                start = ends[key] if self._from_latest else 0
                places.append(Place(*key, start, start))
            else:
                suspect_to = min(_mark_of(each)[1], ends[key]) if each in vanished else 0
                places.append(Place(*key, each.offset, suspect_to))
        return places

    def _was_left_in_hand(self, committed: TopicPartition) -> bool:
        """Whether its last holder, another than this process, did not resign."""
        holder, told_to = _mark_of(committed)
        return bool(holder) and holder != self._instance and told_to > committed.offset

    def _ends(self, partitions: Sequence[TopicPartition]) -> dict[Key, int]:
        return self._cluster.ends(_keys(partitions))

    # -- committing ----------------------------------------------------------------------------

    def _commit_if_due(self, consumer: Consumer) -> None:
        now = time.monotonic()
        wanted = self._saving.is_set()
        if wanted or (self._inbox.has_news and now >= self._commit_at):
            self._saving.clear()
            self._commit_at = now + _COMMIT_EVERY
            self._commit(consumer, self._inbox.held())
            self._saved.set()

    def _commit(
        self,
        consumer: Consumer,
        partitions: Sequence[Partition],
        *,
        anew: bool = False,
        resign: bool = False,
    ) -> bool:
        """Commit what is done. What cannot be committed now is tried again with the next.

        Answers False where a rebalance is the reason, which ends by itself.

        Args:
            consumer: the client.
            partitions: of which.
            anew: also where nothing is done yet, to leave our mark.
            resign: wipe our mark out.
        """
        offsets = []
        progress = self._inbox.progress(partitions)
        for partition, safe in progress:
            if anew or resign or safe > partition.committed:
                mark = "" if resign else _mark(self._instance, partition.next + _AHEAD)
                offsets.append(TopicPartition(*partition.key, safe, metadata=mark))
        if not offsets:
            return True
        try:
            answers = consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as problem:
            logger.debug("%s: not committed, some may come again: %s", self._group, problem)
            return kafka_error(problem).code() not in _REBALANCING
        refused = {(it.topic, it.partition): it.error for it in answers if it.error is not None}
        for partition, safe in progress:
            if partition.key not in refused:
                partition.committed = max(partition.committed, safe)
        if refused:
            logger.debug("%s: %d partitions not committed", self._group, len(refused))
        return not any(error.code() in _REBALANCING for error in refused.values())


def _mark(instance: str, told_to: int) -> str:
    return f"{instance} {told_to}"


def _mark_of(committed: TopicPartition) -> tuple[str, int]:
    """Holder and end of a mark; nobody where there is none, or one that is not ours to read."""
    holder, _, told_to = (committed.metadata or "").rpartition(" ")
    return (holder, int(told_to)) if holder and told_to.isdecimal() else ("", 0)


def _keys(partitions: Collection[TopicPartition]) -> list[Key]:
    return [(each.topic, each.partition) for each in partitions]
