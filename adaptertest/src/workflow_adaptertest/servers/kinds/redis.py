"""Redis, alone and as a cluster of three."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import ClassVar

from workflow_adaptertest.servers.errors import DidNotStartError
from workflow_adaptertest.servers.kinds.base import Image, Kind
from workflow_adaptertest.servers.place import Node, Place, Tools, hand_over
from workflow_adaptertest.servers.protocols.redis import Redis, RedisError
from workflow_adaptertest.servers.recipes import SystemPackages, run
from workflow_adaptertest.servers.url import Address, ServerUrl

__all__ = ["RedisCluster", "RedisServer"]

_SLOTS = 16_384
_FORMING_SECONDS = 30.0
_SCANNED_AT_ONCE = 1_000


class RedisServer(Kind):
    """One Redis, which keeps its data over a kill."""

    title = "redis"
    port_names: ClassVar[Sequence[str]] = ("primary",)
    default_port = 6379
    needs = (SystemPackages(("redis-server", "redis-tools"), ("redis-server", "redis-cli")),)
    image: ClassVar[Image | None] = Image("redis:7", 6379)

    def nodes(self, place: Place) -> list[Node]:
        return [self._node(place, name) for name in self.port_names]

    def prepare(self, node: Node, place: Place) -> None:
        node.data.mkdir(exist_ok=True)

    def url(self, place: Place) -> ServerUrl:
        addresses = [("127.0.0.1", place.ports[name]) for name in self.port_names]
        return ServerUrl(scheme="redis", addresses=addresses, path="0")

    def hello(self, url: ServerUrl) -> str:
        with self._connect(url, url.address) as redis:
            info = redis.info("server")
            if redis.info("persistence").get("loading") == "1":
                raise ConnectionError("it is loading its data")
        return info.get("redis_version", "")

    def version(self, tools: Tools) -> str:
        words = run([tools.need("redis-server"), "--version"]).split()
        return next(word[2:] for word in words if word.startswith("v="))

    def client(self, url: ServerUrl, tools: Tools) -> list[str]:
        return [tools.need("redis-cli"), "-u", str(url.at([url.address]))]

    @contextmanager
    def own_space(self, url: ServerUrl, name: str, tools: Tools) -> Iterator[ServerUrl]:
        try:
            yield url
        finally:
            for address in url.addresses:
                with self._connect(url, address) as redis:
                    _remove(redis, name)

    def _connect(self, url: ServerUrl, address: Address) -> Redis:
        redis = Redis(address, user=url.user, password=url.password)
        if url.path not in {"", "0"}:
            redis.call("SELECT", url.path)
        return redis

    def _node(self, place: Place, name: str) -> Node:
        folder = hand_over(place.folder / name, None)
        node = Node(name=name, folder=folder, port=place.ports[name])
        options = {
            "port": str(node.port),
            "bind": "127.0.0.1",
            "dir": str(node.data),
            "save": "",
            # written to the file before each answer: what was answered outlives a kill
            "appendonly": "yes",
            "appendfsync": "no",
            **self._more(place, name),
        }
        words = [word for key, value in options.items() for word in (f"--{key}", value)]
        return node.running(place.tools.need("redis-server"), *words)

    def _more(self, place: Place, name: str) -> dict[str, str]:
        return {}


class RedisCluster(RedisServer):
    """Three masters that share the slots; the URL names all of them."""

    title = "redis-cluster"
    port_names = ("1", "2", "3", "1-bus", "2-bus", "3-bus")
    image = None
    tells_addresses = True

    def nodes(self, place: Place) -> list[Node]:
        return [self._node(place, name) for name in ("1", "2", "3")]

    def url(self, place: Place) -> ServerUrl:
        addresses = [("127.0.0.1", place.ports[name]) for name in ("1", "2", "3")]
        return ServerUrl(scheme="redis", addresses=addresses)

    def form(self, place: Place) -> None:
        nodes = self.nodes(place)
        share = _SLOTS // len(nodes) + 1
        for number, node in enumerate(nodes):
            first, last = number * share, min((number + 1) * share, _SLOTS) - 1
            with Redis(("127.0.0.1", node.port)) as redis:
                with suppress(RedisError):  # it has an epoch, or knows others: from an earlier try
                    redis.call("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
                with suppress(RedisError):  # it has the slots already
                    redis.call("CLUSTER", "ADDSLOTSRANGE", first, last)
        with Redis(("127.0.0.1", nodes[0].port)) as redis:
            for node in nodes[1:]:
                bus = place.ports[f"{node.name}-bus"]
                redis.call("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        for node in nodes:
            self._wait_for_all(node, len(nodes))

    def announce(self, place: Place, ports: Sequence[int]) -> None:
        nodes = self.nodes(place)
        for node, port in zip(nodes, ports, strict=True):
            with Redis(("127.0.0.1", node.port)) as redis:
                told = 0 if port == node.port else port
                redis.call("CONFIG", "SET", "cluster-announce-port", told)
        deadline = time.monotonic() + _FORMING_SECONDS
        for node in nodes:
            with Redis(("127.0.0.1", node.port)) as redis:
                while _told_ports(redis) != set(ports):
                    if time.monotonic() > deadline:
                        raise DidNotStartError("the cluster's nodes do not tell their new ports")
                    time.sleep(0.05)

    def client(self, url: ServerUrl, tools: Tools) -> list[str]:
        return [*super().client(url, tools), "-c"]

    def _wait_for_all(self, node: Node, count: int) -> None:
        deadline = time.monotonic() + _FORMING_SECONDS
        while time.monotonic() < deadline:
            with Redis(("127.0.0.1", node.port)) as redis:
                told = redis.info("cluster")
            good = told["cluster_state"] == "ok" and told["cluster_size"] == str(count)
            if good and told["cluster_known_nodes"] == str(count):
                return
            time.sleep(0.05)
        raise DidNotStartError("the three nodes of Redis do not become a cluster")

    def _more(self, place: Place, name: str) -> dict[str, str]:
        return {
            "cluster-enabled": "yes",
            "cluster-port": str(place.ports[f"{name}-bus"]),
            "cluster-config-file": "nodes.conf",
            "cluster-node-timeout": "2000",
        }


def _remove(redis: Redis, name: str) -> None:
    cursor = b"0"
    while True:
        pattern = f"*{name}*"
        cursor, keys = redis.call("SCAN", cursor, "MATCH", pattern, "COUNT", _SCANNED_AT_ONCE)
        for key in keys:  # one by one: in a cluster a command's keys must be of one slot
            redis.call("UNLINK", key)
        if cursor == b"0":
            return


def _told_ports(redis: Redis) -> set[int]:
    return {slots[2][1] for slots in redis.call("CLUSTER", "SLOTS")}
