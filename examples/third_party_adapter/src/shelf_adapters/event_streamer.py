"""An event streamer on plain files: a file a topic, an event a line.

A topic's file only ever grows; an event is known by the offset of its line. Beside it each name has
a file of cursors: per topic the offset below which all is acked, and what is acked beyond it, so
that a gap comes again and nothing else. Shards are taken from a stable hash of the run's id when
a line is read, so changing their number moves no cursor.

Whoever writes holds a lock on a file of its own, over all processes, which falls when its process
dies. A line that a dying writer left half-written has no line end: readers wait for it, and the
next writer cuts it off. Nothing is ever deleted: retention is left to you.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from typing import cast
from weakref import WeakSet

import msgspec
from workflow_core.errors import AdapterError, AdapterUnavailableError, ClosedError, InputError
from workflow_core.model import UNSTAMPED, Event
from workflow_core.ports import (
    AdapterContext,
    Closable,
    Delivery,
    EventSender,
    EventStreamer,
    Receiver,
    Shards,
    SystemClock,
)

__all__ = ["FilesEventStreamer", "FilesSettings"]

POLL = 0.005  # seconds between two looks at the files' sizes …
REST = 0.1  # … and when nothing has come for a while
NAME_BYTES = 200  # of a file, well within what file systems take


@dataclass(frozen=True)
class FilesSettings:
    """What may be configured.

    Attributes:
        folder: where the files are kept; it must exist, on a disk of this machine.
    """

    folder: Path


class FilesEventStreamer(EventStreamer):
    """Events in the folder, for all processes of one machine."""

    def __init__(self, settings: FilesSettings, context: AdapterContext) -> None:
        self.clock = context.clock or SystemClock()
        self.folder = settings.folder / f"{context.namespace or 'files'}.events"
        self.folder.mkdir(exist_ok=True)
        self._given: WeakSet[Closable] = WeakSet()

    def close(self) -> None:
        """Close what was handed out."""
        for each in list(self._given):
            each.close()

    def check_health(self) -> str:
        """Counts the topics."""
        with unavailable():
            return f"files, {len(list(self.folder.glob('*.topic')))} topics"

    def check_topics(self, topics: Sequence[str]) -> None:
        """A file's name can only be so long."""
        for topic in topics:
            if len(file_name(topic)) > NAME_BYTES:
                raise InputError(f"topic {topic!r} is too long for the name of a file")

    def new_sender(self) -> EventSender:
        """Any number of them, in any number of processes."""
        sender = FilesSender(self)
        self._given.add(sender)
        return sender

    def new_receiver(
        self,
        topics: Sequence[str],
        name: str,
        *,
        shards: Shards | None = None,
        from_latest: bool = False,
    ) -> Receiver[Event]:
        """The cursor is kept before this returns, so that nothing sent later is missed."""
        self.check_topics(topics)
        with self.locked():
            cursors = self.cursors(name)
            for topic in topics:
                start = size_of(self.topic(topic)) if from_latest else 0
                cursors.setdefault(topic, Cursor(low=start))
            self.keep(name, cursors)
        receiver = FilesReceiver(self, topics, name, shards)
        self._given.add(receiver)
        return receiver

    # -- the files -----------------------------------------------------------------------------

    @contextmanager
    def locked(self) -> Iterator[None]:
        """The one who changes anything, over all threads and processes."""
        with unavailable(), (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def topic(self, topic: str) -> Path:
        """Its file."""
        return self.folder / f"{file_name(topic)}.topic"

    def cursors(self, name: str) -> dict[str, Cursor]:
        """By topic."""
        try:
            text = self._cursors_of(name).read_bytes()
        except FileNotFoundError:
            return {}
        return msgspec.json.decode(text, type=dict[str, Cursor])

    def keep(self, name: str, cursors: dict[str, Cursor]) -> None:
        """In one step: whoever reads meanwhile sees the old ones or these."""
        file = self._cursors_of(name)
        new = file.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(cursors))
        new.replace(file)

    def _cursors_of(self, name: str) -> Path:
        return self.folder / f"{file_name(name)[:NAME_BYTES]}.cursors"


class Cursor(msgspec.Struct):
    """How far a name has come in a topic."""

    low: int = 0
    """All lines before this offset are acked."""
    done: dict[int, int] = {}
    """Lines acked beyond it: where they begin and end."""

    def ack(self, begin: int, end: int) -> None:
        """Twice, or late, is harmless."""
        if begin >= self.low:
            self.done[begin] = end
        while self.low in self.done:
            self.low = self.done.pop(self.low)


class FilesSender(EventSender):
    """Appends lines."""

    def __init__(self, files: FilesEventStreamer) -> None:
        self._files = files
        self._is_open = True

    def close(self) -> None:
        """Nothing is on its way."""
        self._is_open = False

    def send(self, event: Event) -> None:
        """A batch of one."""
        self.send_many([event], timedelta(0))

    def send_many(
        self, events: Sequence[Event], timeout: timedelta
    ) -> Sequence[AdapterError | None]:
        """All lines of a topic at once; they are on the disk on return."""
        if not self._is_open:
            raise ClosedError("the event sender was closed", adapter="files")
        with self._files.locked():
            now = self._files.clock.now()
            for topic, batch in groupby(events, key=lambda event: event.topic):
                self._append(
                    topic,
                    [
                        each.replace(created_at=now) if each.created_at == UNSTAMPED else each
                        for each in batch
                    ],
                )
        return [None] * len(events)

    def _append(self, topic: str, events: Sequence[Event]) -> None:
        lines = b"".join(msgspec.json.encode(event) + b"\n" for event in events)
        with self._files.topic(topic).open("a+b") as file:
            cut_off_half_a_line(file.fileno())
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())


class FilesReceiver(Receiver[Event]):
    """Reads lines."""

    def __init__(
        self, files: FilesEventStreamer, topics: Sequence[str], name: str, shards: Shards | None
    ) -> None:
        self._files = files
        self._name = name
        self._shards = shards
        self._places = {
            topic: cursor.low for topic, cursor in files.cursors(name).items() if topic in topics
        }
        self._paths = {topic: files.topic(topic) for topic in self._places}
        self._closed = threading.Event()

    def close(self) -> None:
        """What was not acked is read again by the next receiver of the name."""
        self._closed.set()

    def recv(self, timeout: timedelta) -> Delivery[Event] | None:
        """A batch of one."""
        return next(iter(self.recv_many(1, timeout)), None)

    def recv_many(self, limit: int, timeout: timedelta) -> Sequence[Delivery[Event]]:
        """Looks at the sizes of the files until one has grown."""
        end = time.monotonic() + timeout.total_seconds()
        pause = POLL
        while True:
            self._check_open()
            with unavailable():
                deliveries = self._read(limit)
            rest = end - time.monotonic()
            if deliveries or rest <= 0:
                return deliveries
            self._closed.wait(min(pause, rest))
            pause = min(2 * pause, REST)

    def ack(self, deliveries: Sequence[Delivery[Event]]) -> None:
        """Kept for the name, whoever reads it next."""
        self._check_open()
        if not deliveries:
            return
        with self._files.locked():
            cursors = self._files.cursors(self._name)
            for delivery in deliveries:
                begin, end = cast(tuple[int, int], delivery.receipt)
                cursors[delivery.event.topic].ack(begin, end)
            self._files.keep(self._name, cursors)

    def _read(self, limit: int) -> list[Delivery[Event]]:
        deliveries: list[Delivery[Event]] = []
        grown = [
            topic for topic, place in self._places.items() if size_of(self._paths[topic]) > place
        ]
        cursors = self._files.cursors(self._name) if grown else {}
        for topic in grown:
            for begin, end, line in self._lines(topic):
                if len(deliveries) == limit:
                    return deliveries
                self._places[topic] = end
                if begin < cursors[topic].low or begin in cursors[topic].done:
                    continue
                event = msgspec.json.decode(line, type=Event)
                if self._is_mine(event):
                    deliveries.append(Delivery(event=event, receipt=(begin, end)))
        return deliveries

    def _lines(self, topic: str) -> Iterator[tuple[int, int, bytes]]:
        place = self._places[topic]
        with self._paths[topic].open("rb") as file:
            file.seek(place)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # its writer is at it, or has died
                yield place, place + len(line), line
                place += len(line)

    def _is_mine(self, event: Event) -> bool:
        if self._shards is None:
            return True
        return zlib.crc32(event.run_id.encode()) % self._shards.count in self._shards.held

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise ClosedError("the event receiver was closed", adapter="files")


@contextmanager
def unavailable() -> Iterator[None]:
    """Only errors of workflow-core come out of an adapter."""
    try:
        yield
    except OSError as problem:
        raise AdapterUnavailableError.of("files", problem, doing="the file") from problem


def size_of(file: Path) -> int:
    """Zero while there is none."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def cut_off_half_a_line(file: int) -> None:
    """What a writer that died left behind. Whole lines end in a line end."""
    size = os.fstat(file).st_size
    whole = size
    while whole and os.pread(file, 1, whole - 1) != b"\n":
        whole -= 1
    if whole < size:
        os.ftruncate(file, whole)


def file_name(text: str) -> str:
    """Different for different texts, on file systems that know no case too."""
    plain = "abcdefghijklmnopqrstuvwxyz0123456789-_"
    return "".join(
        chr(byte) if chr(byte) in plain else f"%{byte:02x}" for byte in text.encode("utf-8")
    )
