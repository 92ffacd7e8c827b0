"""Where a server is, as one line of text that fits into an environment variable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from workflow_adaptertest.servers.errors import BadUrlError

__all__ = ["Address", "ServerUrl"]

Address = tuple[str, int]


@dataclass(frozen=True, kw_only=True)
class ServerUrl:
    """A URL that may name several hosts, e.g. ``redis://127.0.0.1:7001,127.0.0.1:7002``.

    Attributes:
        scheme: such as ``postgresql`` or ``kafka+sasl-ssl``.
        addresses: host and port of each node, the first one is the node to write to.
        user: empty where there is none.
        password: shown by ``str()``, not by ``repr()``.
        path: the database or its like, without the slash; percent-decoded.
        query: what else a client needs to know, e.g. the certificate authority's file.
    """

    scheme: str
    addresses: Sequence[Address]
    user: str = ""
    password: str = field(default="", repr=False)
    path: str = ""
    query: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str, *, port: int) -> ServerUrl:
        """Reads a URL; ``port`` stands where it names none.

        Raises:
            BadUrlError: the text is no such URL.
        """
        parts = urlsplit(text)
        credentials, _, hosts = parts.netloc.rpartition("@")
        user, _, password = credentials.partition(":")
        if not parts.scheme or not hosts:
            raise BadUrlError(f"{text!r} is no URL: it needs a scheme and a host")
        return cls(
            scheme=parts.scheme,
            addresses=[_address(host, port) for host in hosts.split(",")],
            user=unquote(user),
            password=unquote(password),
            path=unquote(parts.path.removeprefix("/")),
            query=dict(parse_qsl(parts.query)),
        )

    def __str__(self) -> str:
        credentials = quote(self.user, safe="")
        if self.password:
            credentials += f":{quote(self.password, safe='')}"
        hosts = ",".join(_host(host, port) for host, port in self.addresses)
        path = f"/{quote(self.path)}" if self.path else ""
        query = f"?{urlencode(self.query, safe='/')}" if self.query else ""
        return f"{self.scheme}://{credentials}{'@' if credentials else ''}{hosts}{path}{query}"

    @property
    def address(self) -> Address:
        """The first address, which is the only one of most servers."""
        return self.addresses[0]

    @property
    def bootstrap(self) -> str:
        """The addresses alone: ``127.0.0.1:7001,127.0.0.1:7002``."""
        return ",".join(_host(host, port) for host, port in self.addresses)

    def at(self, addresses: Sequence[Address]) -> ServerUrl:
        """The same server reached by other addresses, e.g. those of its proxies."""
        return replace(self, addresses=list(addresses))

    def inside(self, path: str) -> ServerUrl:
        """The same server with another database."""
        return replace(self, path=path)


def _address(text: str, port: int) -> Address:
    if text.startswith("["):  # an IPv6 address is full of colons itself
        host, _, rest = text[1:].partition("]")
        number = rest.removeprefix(":")
    else:
        host, _, number = text.partition(":")
    if number and not number.isdecimal():
        raise BadUrlError(f"{text!r} is no host with a port")
    return host, int(number or port)


def _host(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
