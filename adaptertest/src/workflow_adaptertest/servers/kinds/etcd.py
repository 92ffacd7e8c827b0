"""etcd, alone and with three members."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

from workflow_adaptertest.servers.kinds.base import Image, Kind
from workflow_adaptertest.servers.place import Node, Place, Tools, hand_over
from workflow_adaptertest.servers.protocols.http import call
from workflow_adaptertest.servers.recipes import SystemPackages, run
from workflow_adaptertest.servers.url import ServerUrl

__all__ = ["Etcd", "EtcdCluster"]

_ALL = b64encode(b"\0").decode()  # as key and as range end: every key there is


class Etcd(Kind):
    """One etcd."""

    title = "etcd"
    port_names: ClassVar[Sequence[str]] = ("1", "1-peer")
    default_port = 2379
    needs = (SystemPackages(("etcd-server", "etcd-client"), ("etcd", "etcdctl")),)
    image: ClassVar[Image | None] = Image(
        "quay.io/coreos/etcd:v3.5.21",
        2379,
        command=(
            "etcd",
            "--listen-client-urls=http://0.0.0.0:2379",
            "--advertise-client-urls=http://127.0.0.1:{port}",
        ),
    )
    members: ClassVar[Sequence[str]] = ("1",)

    def nodes(self, place: Place) -> list[Node]:
        return [self._node(place, name) for name in self.members]

    def url(self, place: Place) -> ServerUrl:
        addresses = [("127.0.0.1", place.ports[name]) for name in self.members]
        return ServerUrl(scheme="http", addresses=addresses)

    def hello(self, url: ServerUrl) -> str:
        if call(url.address, "GET", "/health").get("health") != "true":
            raise ConnectionError("it has no leader yet")
        return str(call(url.address, "GET", "/version")["etcdserver"])

    def version(self, tools: Tools) -> str:
        return run([tools.need("etcd"), "--version"]).split()[2]

    def client(self, url: ServerUrl, tools: Tools) -> list[str]:
        host, port = url.address
        # the variable is for versions before 3.4, whose client speaks the old API by default
        command = ["env", "ETCDCTL_API=3", tools.need("etcdctl")]
        return [*command, f"--endpoints=http://{host}:{port}"]

    @contextmanager
    def own_space(self, url: ServerUrl, name: str, tools: Tools) -> Iterator[ServerUrl]:
        try:
            yield url
        finally:
            every = {"key": _ALL, "range_end": _ALL, "keys_only": True}
            listed = call(url.address, "POST", "/v3/kv/range", every)
            for found in listed.get("kvs", []):
                if name.encode() in b64decode(found["key"]):
                    call(url.address, "POST", "/v3/kv/deleterange", {"key": found["key"]})

    def _node(self, place: Place, name: str) -> Node:
        node = Node(
            name=name,
            folder=hand_over(place.folder / name, None),
            port=place.ports[name],
            disk_megabytes=self.disk_megabytes,
        )
        clients = f"http://127.0.0.1:{node.port}"
        peers = {member: place.ports[f"{member}-peer"] for member in self.members}
        addresses = {member: f"http://127.0.0.1:{port}" for member, port in peers.items()}
        options = {
            "name": name,
            "data-dir": str(node.data),
            "listen-client-urls": clients,
            "advertise-client-urls": clients,
            "listen-peer-urls": addresses[name],
            "initial-advertise-peer-urls": addresses[name],
            "initial-cluster": ",".join(f"{key}={value}" for key, value in addresses.items()),
            "initial-cluster-state": "new",
        }
        words = [f"--{key}={value}" for key, value in options.items()]
        return node.running(place.tools.need("etcd"), *words)


class EtcdCluster(Etcd):
    """Three members, so that one may fail; the URL names all of them."""

    title = "etcd-cluster"
    port_names = ("1", "2", "3", "1-peer", "2-peer", "3-peer")
    image = None
    members = ("1", "2", "3")
