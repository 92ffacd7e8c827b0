"""The log of events: topics in partitions, read through cursors."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, TypeAlias, cast

from workflow_core.errors import InputError
from workflow_core.model import UNSTAMPED, Event
from workflow_core.ports import Delivery, Shards

__all__ = ["PARTITIONS", "EventLog", "LogReader", "partition_of"]

PARTITIONS = 16
"""Partitions per topic; so many shards at most."""

_UNREAD_AGE = timedelta(hours=1)  # a topic without a consumer keeps its events so long …
_UNREAD_MOST = 1_024  # … and so many per partition: some 10 MB a topic, with half a kB an event
_CONSUMER_LIFE = timedelta(days=7)  # a name without an open receiver keeps its cursors so long
_TRIM_EVERY = 256  # events of a partition between two attempts to trim it


@lru_cache(maxsize=16_384)
def partition_of(run_id: str) -> int:
    """Where the run's events go: FNV-1a of 32 bits, the same in every process and for ever."""
    digest = 0x811C9DC5
    for byte in run_id.encode():
        digest = (digest ^ byte) * 0x01000193 & 0xFFFFFFFF
    return digest % PARTITIONS


class _Cursor:
    """How far a name has come in one partition."""

    __slots__ = ("acked", "position", "suspects")

    def __init__(self, position: int) -> None:
        self.position = position  # all before it is acked
        self.acked: set[int] = set()  # beyond it
        self.suspects: set[int] = set()  # un-acked, in the hands of a member that vanished

    def ack(self, offset: int) -> None:
        if offset < self.position:
            return
        self.suspects.discard(offset)
        self.acked.add(offset)
        while self.position in self.acked:
            self.acked.discard(self.position)
            self.position += 1


class _Partition:
    """Events with the time at which they came, and those who read them."""

    __slots__ = ("arrivals", "base", "cursors", "events", "feeds", "trim_at")

    def __init__(self) -> None:
        self.base = 0  # the offset of the first event
        self.events: list[Event] = []
        self.arrivals: list[datetime] = []
        self.cursors: dict[str, _Cursor] = {}
        self.feeds: list[_Feed] = []
        self.trim_at = _TRIM_EVERY

    @property
    def end(self) -> int:
        return self.base + len(self.events)

    def trim(self, now: datetime) -> None:
        """Drop what every name has passed; where there is no name, what is old or too much."""
        if self.cursors:
            floor = min(cursor.position for cursor in self.cursors.values())
        else:
            young = bisect_left(self.arrivals, now - _UNREAD_AGE)
            floor = max(self.base + young, self.end - _UNREAD_MOST)
        if floor > self.base:
            del self.events[: floor - self.base], self.arrivals[: floor - self.base]
            self.base = floor
        self.trim_at = len(self.events) + _TRIM_EVERY


class _Feed:
    """One reader's place in one partition."""

    __slots__ = ("cursor", "next", "partition", "queued", "reader")

    def __init__(self, reader: LogReader, partition: _Partition, cursor: _Cursor) -> None:
        self.reader = reader
        self.partition = partition
        self.cursor = cursor
        self.next = cursor.position
        self.queued = False

    def take(self, limit: int, into: list[Delivery[Event]]) -> None:
        partition, cursor = self.partition, self.cursor
        base, end = partition.base, partition.end
        offset = max(self.next, cursor.position, base)
        while offset < end and len(into) < limit:
            if offset not in cursor.acked:
                event = partition.events[offset - base]
                suspect = offset in cursor.suspects
                into.append(Delivery(event=event, receipt=(self, offset), suspect=suspect))
            offset += 1
        self.next = offset

    @property
    def is_behind(self) -> bool:
        return self.next < self.partition.end


_Receipt: TypeAlias = tuple[_Feed, int]


class LogReader:
    """One receiver's side of the log: the partitions that have something for it, in a queue."""

    def __init__(self, name: str, instance: str, lock: threading.Lock) -> None:
        self.name = name
        self.instance = instance
        self.is_open = True
        self.changed = threading.Condition(lock)
        self.feeds: list[_Feed] = []
        self._ready: deque[_Feed] = deque()

    def wake(self, feed: _Feed) -> None:
        """There is something in this partition."""
        if not feed.queued:
            feed.queued = True
            self._ready.append(feed)
            self.changed.notify()

    def take(self, limit: int) -> list[Delivery[Event]]:
        """What is there, at most ``limit``, each event once; partitions take turns."""
        deliveries: list[Delivery[Event]] = []
        while self._ready and len(deliveries) < limit:
            feed = self._ready.popleft()
            feed.take(limit, deliveries)
            if feed.is_behind:
                self._ready.append(feed)
            else:
                feed.queued = False
        return deliveries


class _Consumer:
    """A name under which is read."""

    __slots__ = ("readers", "seen")

    def __init__(self, now: datetime) -> None:
        self.readers: set[LogReader] = set()
        self.seen = now


class EventLog:
    """All topics. The database's lock is held by whoever calls."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._topics: dict[str, Sequence[_Partition]] = {}
        self._consumers: dict[str, _Consumer] = {}

    def append(self, event: Event, now: datetime) -> None:
        """Publish, and wake who reads it."""
        if event.created_at == UNSTAMPED:
            event = event.replace(created_at=now)
        partition = self._partitions(event.topic)[partition_of(event.run_id)]
        partition.events.append(event)
        partition.arrivals.append(now)
        for feed in partition.feeds:
            feed.reader.wake(feed)
        if len(partition.events) >= partition.trim_at:
            self._drop_idle_consumers(now)
            partition.trim(now)

    def open(
        self,
        topics: Iterable[str],
        name: str,
        *,
        shards: Shards | None,
        from_latest: bool,
        instance: str,
        now: datetime,
    ) -> LogReader:
        """A new reader, its position fixed.

        Raises:
            InputError: more shards than partitions.
        """
        mine = _partitions_of(shards)
        reader = LogReader(name, instance, self._lock)
        consumer = self._consumers.setdefault(name, _Consumer(now))
        consumer.readers.add(reader)
        consumer.seen = now
        for topic in dict.fromkeys(topics):
            # every partition's, not only this shard's: the topic's place is fixed for the name
            for number, partition in enumerate(self._partitions(topic)):
                cursor = partition.cursors.get(name)
                if cursor is None:
                    cursor = _Cursor(partition.end if from_latest else partition.base)
                    partition.cursors[name] = cursor
                if number in mine:
                    feed = _Feed(reader, partition, cursor)
                    reader.feeds.append(feed)
                    partition.feeds.append(feed)
                    if feed.is_behind:
                        reader.wake(feed)
        return reader

    def ack(self, deliveries: Iterable[Delivery[Any]], now: datetime) -> None:
        """These are done."""
        touched: set[_Feed] = set()
        for delivery in deliveries:
            feed, offset = cast(_Receipt, delivery.receipt)
            feed.cursor.ack(offset)
            touched.add(feed)
        for feed in touched:
            partition = feed.partition
            passed = feed.cursor.position - partition.base
            # cutting a list costs as much as what is left of it, so not before half of it can go
            if passed >= _TRIM_EVERY and 2 * passed >= len(partition.events):
                partition.trim(now)

    def close(self, reader: LogReader, now: datetime) -> None:
        """Give up what the reader holds, and end its blocked call. Twice is harmless."""
        if not reader.is_open or reader.name not in self._consumers:
            return  # closed already, or a forked child's: its parent has the log
        reader.is_open = False
        for feed in reader.feeds:
            feed.partition.feeds.remove(feed)
        consumer = self._consumers[reader.name]
        consumer.readers.discard(reader)
        consumer.seen = now
        reader.changed.notify_all()

    def vanish(self, instance: str, now: datetime) -> None:
        """The readers of this process are gone; what they held un-acked is suspect."""
        for consumer in self._consumers.values():
            for reader in [each for each in consumer.readers if each.instance == instance]:
                for feed in reader.feeds:
                    in_hand = range(feed.cursor.position, feed.next)
                    feed.cursor.suspects.update(set(in_hand) - feed.cursor.acked)
                self.close(reader, now)

    def lag(self, topics: Iterable[str], name: str, now: datetime) -> timedelta:
        """How long the oldest event that the name has not acked is in the log."""
        oldest = now
        for topic in dict.fromkeys(topics):
            for partition in self._topics.get(topic, ()):
                cursor = partition.cursors.get(name)
                position = partition.base if cursor is None else cursor.position
                if position < partition.end:
                    oldest = min(oldest, partition.arrivals[position - partition.base])
        return now - oldest

    def waiting(self, topic: str, name: str, run_id: str) -> list[Event]:
        """The run's events that the name will yet be handed: for simulations.

        What an open reader has handed out, and the name has not acked, comes again only when that
        reader is closed.
        """
        if topic not in self._topics:
            return []
        partition = self._topics[topic][partition_of(run_id)]
        cursor = partition.cursors.get(name) or _Cursor(partition.base)
        feeds = [feed.next for feed in partition.feeds if feed.reader.name == name]
        first = max(cursor.position, partition.base, min(feeds, default=0))
        return [
            partition.events[offset - partition.base]
            for offset in range(first, partition.end)
            if offset not in cursor.acked
            and partition.events[offset - partition.base].run_id == run_id
        ]

    def blank(self, run_id: str, topics: Iterable[str]) -> None:
        """Empty the headers of this run's events."""
        for topic in topics:
            if topic in self._topics:
                events = self._topics[topic][partition_of(run_id)].events
                for at, event in enumerate(events):
                    if event.run_id == run_id and event.headers:
                        events[at] = event.replace(headers={})

    def is_read(self, topic: str, name: str) -> bool:
        """Whether the name has a place in the topic: for simulations."""
        return topic in self._topics and name in self._topics[topic][0].cursors

    def size(self) -> int:
        """How many events are kept."""
        return sum(len(part.events) for parts in self._topics.values() for part in parts)

    def _partitions(self, topic: str) -> Sequence[_Partition]:
        partitions = self._topics.get(topic)
        if partitions is None:
            partitions = [_Partition() for _ in range(PARTITIONS)]
            self._topics[topic] = partitions
        return partitions

    def _drop_idle_consumers(self, now: datetime) -> None:
        idle = [
            name
            for name, consumer in self._consumers.items()
            if not consumer.readers and now - consumer.seen > _CONSUMER_LIFE
        ]
        for name in idle:
            del self._consumers[name]
            for partitions in self._topics.values():
                for partition in partitions:
                    partition.cursors.pop(name, None)


def _partitions_of(shards: Shards | None) -> frozenset[int]:
    if shards is None:
        return frozenset(range(PARTITIONS))
    if shards.count > PARTITIONS:
        raise InputError(
            f"{shards.count} shards asked for, but the memory streamer has {PARTITIONS} partitions"
        )
    return frozenset(number for number in range(PARTITIONS) if number % shards.count in shards.held)
