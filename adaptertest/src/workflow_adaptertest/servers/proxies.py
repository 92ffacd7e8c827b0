"""A server behind Toxiproxy: what happens between a client and it is up to the test."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import quote

from workflow_adaptertest.servers.ports import free_ports
from workflow_adaptertest.servers.protocols.http import HttpError, call
from workflow_adaptertest.servers.url import Address, ServerUrl

__all__ = ["Proxied", "proxied"]

_NOT_FOUND = 404


@dataclass
class Proxied:
    """A server as seen through its proxies, one for each of its addresses.

    Every verb takes ``only``, the number of one address (from 0, as in ``url``), and means all of
    them without it. The faults add up until `mend` takes them away. For one thread.

    Attributes:
        url: where clients are to connect.
    """

    url: ServerUrl
    _api: Address = field(repr=False)
    _names: Sequence[str] = field(repr=False)

    def cut(self, *, only: int | None = None) -> None:
        """Closes what is open and refuses what is new, as when the server is gone."""
        for name in self._chosen(only):
            call(self._api, "POST", f"/proxies/{quote(name)}", {"enabled": False})

    def swallow(self, *, only: int | None = None) -> None:
        """Lets nothing through any more, in either direction, and tells nobody.

        As when a cable is pulled: connections stay open, and an answer never comes.
        """
        for way in ("upstream", "downstream"):
            self._spoil("timeout", way, {"timeout": 0}, only)

    def slow_down(
        self, latency: timedelta, *, jitter: timedelta = timedelta(0), only: int | None = None
    ) -> None:
        """Delays each answer by ``latency``, give or take ``jitter``."""
        delay = {"latency": _milliseconds(latency), "jitter": _milliseconds(jitter)}
        self._spoil("latency", "downstream", delay, only)

    def throttle(self, kilobytes_per_second: int, *, only: int | None = None) -> None:
        """Lets no more than that through, in each direction."""
        for way in ("upstream", "downstream"):
            self._spoil("bandwidth", way, {"rate": kilobytes_per_second}, only)

    def break_after(self, sent_bytes: int, *, only: int | None = None) -> None:
        """Closes a connection once it has answered that many bytes: in the midst of an answer."""
        self._spoil("limit_data", "downstream", {"bytes": sent_bytes}, only)

    def move(self, to: Address, *, only: int | None = None) -> None:
        """Leads elsewhere from now on, as an address that moves; closes what is open."""
        for name in self._chosen(only):
            moved = {"upstream": f"{to[0]}:{to[1]}", "enabled": True}
            call(self._api, "POST", f"/proxies/{quote(name)}", moved)

    def mend(self, *, only: int | None = None) -> None:
        """Takes all faults away; what was cut has to connect anew."""
        for name in self._chosen(only):
            path = f"/proxies/{quote(name)}"
            for toxic in call(self._api, "GET", f"{path}/toxics"):
                call(self._api, "DELETE", f"{path}/toxics/{quote(toxic['name'])}")
            call(self._api, "POST", path, {"enabled": True})

    def _spoil(self, kind: str, way: str, values: dict[str, int], only: int | None) -> None:
        toxic = {"name": f"{kind}-{way}", "type": kind, "stream": way, "attributes": values}
        for name in self._chosen(only):
            path = f"/proxies/{quote(name)}/toxics"
            try:
                call(self._api, "POST", f"{path}/{quote(str(toxic['name']))}", toxic)
            except HttpError as error:
                if error.status != _NOT_FOUND:
                    raise
                call(self._api, "POST", path, toxic)

    def _chosen(self, only: int | None) -> Sequence[str]:
        return self._names if only is None else [self._names[only]]


@contextmanager
def proxied(
    url: ServerUrl, upstreams: Sequence[tuple[int, Address]], *, toxiproxy: Address, name: str
) -> Iterator[Proxied]:
    """Puts a proxy before each upstream, and removes them at the end.

    Args:
        url: of the server itself.
        upstreams: for each address of ``url``, where its proxy listens (0: anywhere) and leads to.
        toxiproxy: the address of Toxiproxy's API.
        name: unique; the proxies' names begin with it.
    """
    ports = free_ports(len(upstreams))
    names: list[str] = []
    addresses: list[Address] = []
    try:
        for number, ((port, (host, upstream)), spare) in enumerate(
            zip(upstreams, ports, strict=True)
        ):
            wanted = {
                "name": f"{name}-{number}",
                "listen": f"127.0.0.1:{port or spare}",
                "upstream": f"{host}:{upstream}",
            }
            call(toxiproxy, "POST", "/proxies", wanted)
            names.append(wanted["name"])
            addresses.append(("127.0.0.1", port or spare))
        yield Proxied(url.at(addresses), toxiproxy, names)
    finally:
        for made in names:
            call(toxiproxy, "DELETE", f"/proxies/{quote(made)}")


def _milliseconds(time: timedelta) -> int:
    return round(time / timedelta(milliseconds=1))
