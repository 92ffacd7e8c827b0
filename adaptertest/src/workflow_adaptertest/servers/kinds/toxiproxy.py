"""Toxiproxy, which stands between a client and a server and spoils what passes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from workflow_adaptertest.servers.kinds.base import Kind
from workflow_adaptertest.servers.place import Node, Place, Tools, hand_over
from workflow_adaptertest.servers.protocols.http import call
from workflow_adaptertest.servers.recipes import GoProgram
from workflow_adaptertest.servers.url import ServerUrl

__all__ = ["Toxiproxy"]

_VERSION = "2.5.0"
_PROGRAM = GoProgram(
    f"toxiproxy-{_VERSION}", f"github.com/Shopify/toxiproxy/v2/cmd/server@v{_VERSION}"
)


class Toxiproxy(Kind):
    """One Toxiproxy, without any proxy yet. No container: it has to reach this machine's ports."""

    title = "toxiproxy"
    port_names = ("api",)
    default_port = 8474
    needs = (_PROGRAM,)

    def nodes(self, place: Place) -> list[Node]:
        folder = hand_over(place.folder / "api", None)
        node = Node(name="api", folder=folder, port=place.ports["api"])
        program = _PROGRAM.folder(place.tools) / "server"
        return [node.running(str(program), "-host=127.0.0.1", f"-port={node.port}")]

    def url(self, place: Place) -> ServerUrl:
        return ServerUrl(scheme="http", addresses=[("127.0.0.1", place.ports["api"])])

    def hello(self, url: ServerUrl) -> str:
        call(url.address, "GET", "/proxies")
        return _VERSION  # built without one, it only knows itself as "git"

    def version(self, tools: Tools) -> str:
        return _VERSION

    @contextmanager
    def own_space(self, url: ServerUrl, name: str, tools: Tools) -> Iterator[ServerUrl]:
        try:
            yield url
        finally:
            for proxy in call(url.address, "GET", "/proxies"):
                if name in proxy:
                    call(url.address, "DELETE", f"/proxies/{proxy}")
