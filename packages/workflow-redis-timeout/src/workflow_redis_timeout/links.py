"""The driver: sends scripts to whichever server has their bucket, once, and says what came back.

A link retries nothing that a server cannot do just now: see `workflow_redis_timeout.caller`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis, RedisCluster
from redis.cluster import ClusterNode
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoScriptError,
    ReadOnlyError,
)
from redis.exceptions import ConnectionError as LostConnectionError
from redis.exceptions import TimeoutError as NoAnswerError
from redis.sentinel import Sentinel

from workflow_redis_timeout.buckets import Bucket
from workflow_redis_timeout.failures import DRIVER_ERRORS
from workflow_redis_timeout.scripts import Script

__all__ = ["Call", "ClusterLink", "Link", "SingleLink"]

# then who has which slots is asked anew; a slot that is on its way is waited for, not followed: it
# has but our six tables
_PERHAPS_MOVED = (
    AskError,
    MovedError,
    LostConnectionError,
    NoAnswerError,
    ClusterDownError,
    MasterDownError,
    ReadOnlyError,
)


@dataclass(frozen=True)
class Call:
    """A script to run in one bucket.

    Attributes:
        script: which.
        bucket: its tables, the script's KEYS, all in one slot.
        arguments: its ARGV.
    """

    script: Script
    bucket: Bucket
    arguments: tuple[str | bytes | int, ...]

    def by_digest(self) -> tuple[Any, ...]:
        """The command for a server that knows the script."""
        return ("EVALSHA", self.script.digest, len(self.bucket), *self.bucket, *self.arguments)

    def by_text(self) -> tuple[Any, ...]:
        """The command for a server that does not; it does afterwards."""
        return ("EVAL", self.script.text, len(self.bucket), *self.bucket, *self.arguments)


class Link(ABC):
    """Connections to all servers behind a URL. Any thread; a forked child makes its own."""

    def send(self, calls: Sequence[Call]) -> Sequence[Any]:
        """One answer a call: what the script answered, or the driver's error.

        One round trip a server, however many calls; one more where a server has to be given a
        script first. Raises what `DRIVER_ERRORS` has where nobody knows which server to ask.
        """
        answers = list(self._send([(call.bucket[0], call.by_digest()) for call in calls]))
        strange = [
            place for place, answer in enumerate(answers) if isinstance(answer, NoScriptError)
        ]
        if strange:
            texts = [(calls[place].bucket[0], calls[place].by_text()) for place in strange]
            for place, answer in zip(strange, self._send(texts), strict=True):
                answers[place] = answer
        return answers

    @abstractmethod
    def _send(self, commands: Sequence[tuple[str, tuple[Any, ...]]]) -> Sequence[Any]:
        """Keys with commands; an answer or an error for each."""

    @abstractmethod
    def settle(self, key: str, value: int) -> int:
        """What the key holds, `value` where it held nothing. Raises what `DRIVER_ERRORS` has."""

    @abstractmethod
    def servers(self) -> Sequence[Redis]:
        """A client for each server that holds data and takes writes. Raises as `settle`."""

    @abstractmethod
    def close(self) -> None:
        """Close all connections, those in use too: who waits for an answer gets an error."""


class SingleLink(Link):
    """To one server, or to the primary that Sentinels name."""

    def __init__(self, client: Redis, sentinel: Sentinel | None = None) -> None:
        self._client = client
        self._sentinel: Any = sentinel

    def _send(self, commands: Sequence[tuple[str, tuple[Any, ...]]]) -> Sequence[Any]:
        answers = _at_once(self._client, [command for _, command in commands])
        if any(isinstance(answer, ReadOnlyError) for answer in answers):
            # it was the primary once: whatever leads to the new one is asked anew
            self._client.connection_pool.disconnect(inuse_connections=False)
        return answers

    def settle(self, key: str, value: int) -> int:
        """As `Link` says."""
        return _settle(self._client, key, value)

    def servers(self) -> Sequence[Redis]:
        """The one."""
        return [self._client]

    def close(self) -> None:
        """Those to the Sentinels too."""
        self._client.connection_pool.disconnect()
        for client in self._sentinel.sentinels if self._sentinel else ():
            client.connection_pool.disconnect()


class ClusterLink(Link):
    """To the primaries of a cluster, each asked for its own buckets."""

    def __init__(self, cluster: RedisCluster) -> None:
        self._cluster: Any = cluster  # its types are there in part only

    def _send(self, commands: Sequence[tuple[str, tuple[Any, ...]]]) -> Sequence[Any]:
        answers: list[Any] = [None] * len(commands)
        for node, places in self._places(commands):
            client = self._cluster.get_redis_connection(node)
            found = _at_once(client, [commands[place][1] for place in places])
            for place, answer in zip(places, found, strict=True):
                answers[place] = answer
        if any(isinstance(answer, _PERHAPS_MOVED) for answer in answers):
            self._look_again()
        return answers

    def _places(
        self, commands: Sequence[tuple[str, tuple[Any, ...]]]
    ) -> Iterable[tuple[ClusterNode, Sequence[int]]]:
        places: dict[str, tuple[ClusterNode, list[int]]] = {}
        for place, (key, _) in enumerate(commands):
            node: ClusterNode = self._cluster.get_node_from_key(key)
            places.setdefault(node.name, (node, []))[1].append(place)
        return places.values()

    def _look_again(self) -> None:
        """Who has which slots may have changed; where nobody tells, the next try asks again."""
        try:
            self._cluster.nodes_manager.initialize()
        except DRIVER_ERRORS:
            return

    def settle(self, key: str, value: int) -> int:
        """As `Link` says."""
        return _settle(self._cluster, key, value)

    def servers(self) -> Sequence[Redis]:
        """All primaries."""
        return [self._cluster.get_redis_connection(node) for node in self._cluster.get_primaries()]

    def close(self) -> None:
        """Those to all nodes."""
        for node in self._cluster.get_nodes():
            if node.redis_connection is not None:
                node.redis_connection.connection_pool.disconnect()


def _settle(client: Any, key: str, value: int) -> int:
    client.set(key, value, nx=True)
    return int(client.get(key))


def _at_once(client: Any, commands: Sequence[tuple[Any, ...]]) -> Sequence[Any]:
    try:
        if len(commands) == 1:
            return [client.execute_command(*commands[0])]
        with client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            answers: list[Any] = pipeline.execute(raise_on_error=False)
            return answers
    except DRIVER_ERRORS as error:
        return [error] * len(commands)
