"""Where Redis is: the URL read strictly, so that a slip is told at start and by name."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from urllib.parse import unquote, urlsplit

from workflow_core.errors import ConfigurationError
from workflow_core.ports import Secret

__all__ = ["Address", "Topology"]

_PORT = 6379
_SENTINEL_PORT = 26379


class Topology(Enum):
    """How the servers behind a URL stand together; the value ends the URL's scheme."""

    SINGLE = ""
    SENTINEL = "+sentinel"
    CLUSTER = "+cluster"


_SCHEMES = {
    f"{scheme}{topology.value}": (topology, scheme == "rediss")
    for scheme in ("redis", "rediss")
    for topology in Topology
}


@dataclass(frozen=True)
class Address:
    """What a URL says.

    Attributes:
        topology: one server, Sentinel or Cluster.
        hosts: host and port of each; of the Sentinels for Sentinel, none for a socket of this
            machine.
        socket: the path of the socket, "" for TCP.
        service: what Sentinels call the primary, else "".
        database: the number of the database.
        user: "" for Redis' default user.
        password: None where there is none.
        tls: whether connections are encrypted.
    """

    topology: Topology
    hosts: tuple[tuple[str, int], ...]
    socket: str = ""
    service: str = ""
    database: int = 0
    user: str = ""
    password: Secret | None = None
    tls: bool = False

    @classmethod
    def parse(cls, url: Secret) -> Address:
        """Reads `url`.

        Raises:
            ConfigurationError: it is none of ours; the password is not told.
        """
        text = url.reveal()
        scheme, _, rest = text.partition("://")
        if scheme != "unix" and scheme not in _SCHEMES:
            known = ", ".join(f"{name}://" for name in (*_SCHEMES, "unix"))
            raise _wrong(f"expected a URL that begins with one of {known}")
        if "?" in rest or "#" in rest:
            raise _wrong("nothing may follow a ? or #: options are settings of their own")
        authority, slash, path = rest.partition("/")
        credentials, _, places = authority.rpartition("@")
        user, _, password = credentials.partition(":")
        secret = Secret(unquote(password)) if password else None
        if scheme == "unix":
            if places or not path:
                raise _wrong("expected a path after unix://, three slashes in all")
            socket = slash + unquote(path)
            return cls(Topology.SINGLE, (), socket=socket, user=unquote(user), password=secret)
        topology, tls = _SCHEMES[scheme]
        service, database = _parts(topology, path)
        return cls(
            topology,
            _hosts(places, _SENTINEL_PORT if topology is Topology.SENTINEL else _PORT, topology),
            service=service,
            database=database,
            user=unquote(user),
            password=secret,
            tls=tls,
        )


def _hosts(places: str, port: int, topology: Topology) -> tuple[tuple[str, int], ...]:
    hosts = []
    for place in places.split(","):
        try:
            parsed = urlsplit(f"//{place}")
            host, number = parsed.hostname, parsed.port
        except ValueError:
            raise _wrong("a host or port cannot be read") from None
        if not host:
            raise _wrong("a host is missing")
        hosts.append((host, number or port))
    if topology is Topology.SINGLE and len(hosts) > 1:
        raise _wrong("several hosts are for redis+sentinel:// and redis+cluster://")
    return tuple(hosts)


def _parts(topology: Topology, path: str) -> tuple[str, int]:
    parts = [unquote(part) for part in path.split("/")] if path else []
    service = ""
    if topology is Topology.SENTINEL:
        if not parts or not parts[0]:
            raise _wrong("the name of the service that the Sentinels watch is missing: …/service")
        service, *parts = parts
    if parts in ([], [""], ["0"]):
        return service, 0
    if topology is Topology.CLUSTER:
        raise _wrong("Redis Cluster has no numbered databases: leave the path out")
    if len(parts) > 1 or not (parts[0].isascii() and parts[0].isdigit()):
        raise _wrong("the path has to be the number of a database")
    return service, int(parts[0])


def _wrong(what: str) -> ConfigurationError:
    return ConfigurationError("the settings of redis are wrong", problems=(f"url: {what}",))
