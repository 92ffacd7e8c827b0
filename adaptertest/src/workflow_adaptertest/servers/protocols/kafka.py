"""Kafka: which APIs there are, which topics, whether copies lag, how to delete; with SASL PLAIN."""

from __future__ import annotations

import ssl
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from workflow_adaptertest.servers.protocols.wire import Wire
from workflow_adaptertest.servers.url import ServerUrl

__all__ = ["Kafka"]

_METADATA, _SASL_HANDSHAKE, _API_VERSIONS, _DELETE_TOPICS, _SASL_AUTHENTICATE = 3, 17, 18, 20, 36
_CLIENT = "workflow-adaptertest"
_DELETE_MILLISECONDS = 10_000


class Kafka(Wire):
    """A connection to one broker. Requests are in the oldest versions that Kafka 4 still knows."""

    @classmethod
    def connect(cls, url: ServerUrl) -> Self:
        """Connects to the first address, encrypted where the URL says so, and logs in.

        Raises:
            OSError: nobody answers, or the login is refused.
        """
        encrypted = "ssl" in url.scheme
        authority = url.query.get("ca")
        if encrypted and authority and not Path(authority).exists():
            raise ConnectionError(f"there is no certificate authority's file {authority}")
        wire = cls(
            url.address, tls=ssl.create_default_context(cafile=authority) if encrypted else None
        )
        try:
            if url.password:
                wire.log_in(url.user, url.password)
        except BaseException:
            wire.__exit__(None, None, None)
            raise
        return wire

    def log_in(self, user: str, password: str) -> None:
        """SASL PLAIN.

        Raises:
            OSError: refused.
        """
        answer = self._ask(_SASL_HANDSHAKE, 1, _text("PLAIN"))
        _refuse(answer[:2])
        token = f"\0{user}\0{password}".encode()
        answer = self._ask(_SASL_AUTHENTICATE, 0, struct.pack("!i", len(token)) + token)
        _refuse(answer[:2])

    def apis(self) -> int:
        """How many APIs the broker knows: the first question of every client.

        Raises:
            OSError: this is no broker that answers.
        """
        answer = self._ask(_API_VERSIONS, 0, b"")
        _refuse(answer[:2])
        return int(struct.unpack("!i", answer[2:6])[0])

    def topics(self) -> list[str]:
        """The names of all topics, the broker's internal ones left out."""
        return [topic.name for topic in self._metadata()[1] if not topic.is_internal]

    def brokers_in_sync(self) -> int:
        """How many brokers this one knows; none while a copy of any topic lags."""
        brokers, topics = self._metadata()
        return brokers if all(topic.is_in_sync for topic in topics) else 0

    def delete_topics(self, names: Sequence[str]) -> None:
        """Deletes them all in one request; unknown ones are fine."""
        wanted = struct.pack("!i", len(names)) + b"".join(map(_text, names))
        self._ask(_DELETE_TOPICS, 1, wanted + struct.pack("!i", _DELETE_MILLISECONDS))

    def _metadata(self) -> tuple[int, list[_Topic]]:
        """How many brokers there are, and all topics."""
        answer = _Reader(self._ask(_METADATA, 1, struct.pack("!i", -1)))
        brokers = answer.int32()
        for _ in range(brokers):
            answer.skip(4)
            answer.text()
            answer.skip(4)
            answer.text()
        answer.skip(4)  # the controller
        return brokers, [answer.topic() for _ in range(answer.int32())]

    def _ask(self, api: int, version: int, body: bytes) -> bytes:
        request = struct.pack("!hhi", api, version, 1) + _text(_CLIENT) + body
        self.send(struct.pack("!i", len(request)) + request)
        length = struct.unpack("!i", self.read(4))[0]
        if not 4 <= length <= 1 << 24:
            raise ConnectionError("this is no answer of Kafka's")
        return self.read(length)[4:]


@dataclass(frozen=True)
class _Topic:
    name: str
    is_internal: bool
    is_in_sync: bool


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def skip(self, count: int) -> bytes:
        part = self._data[self._at : self._at + count]
        self._at += count
        return part

    def int32(self) -> int:
        return max(0, int(struct.unpack("!i", self.skip(4))[0]))

    def text(self) -> str:
        length = struct.unpack("!h", self.skip(2))[0]
        return self.skip(max(0, length)).decode()

    def topic(self) -> _Topic:
        self.skip(2)
        name, is_internal = self.text(), bool(self.skip(1)[0])
        partitions = [self._partition() for _ in range(self.int32())]
        return _Topic(name, is_internal, all(partitions))

    def _partition(self) -> bool:
        """Whether each copy has all: error, number and leader come before the two lists."""
        self.skip(10)
        copies = self.int32()
        self.skip(4 * copies)
        in_sync = self.int32()
        self.skip(4 * in_sync)
        return in_sync == copies


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("!h", len(data)) + data


def _refuse(code: bytes) -> None:
    number = struct.unpack("!h", code)[0]
    if number:
        raise ConnectionError(f"the broker refused with error {number}")
