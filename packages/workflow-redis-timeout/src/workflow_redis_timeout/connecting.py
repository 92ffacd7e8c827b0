"""From settings to a link.

redis-py's own retries are off: it would repeat a call without saying so, and for longer than the
settings allow.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from redis import Redis, RedisCluster, cluster, sentinel
from redis.backoff import NoBackoff
from redis.retry import Retry
from workflow_core.errors import ConfigurationError
from workflow_core.ports import Secret

from workflow_redis_timeout.address import Address, Topology
from workflow_redis_timeout.failures import ADAPTER
from workflow_redis_timeout.links import ClusterLink, Link, SingleLink
from workflow_redis_timeout.settings import RedisSettings

__all__ = ["open_link"]

# redis-py has no types for these
_ClusterNode: Any = cluster.ClusterNode
_Sentinel: Any = sentinel.Sentinel

_CONNECTIONS = 100  # of one process to one server, far more than it has threads of ours


def open_link(address: Address, settings: RedisSettings) -> Link:
    """A link to what is at `address`; a cluster is asked for its nodes, others when first used.

    Raises:
        RedisError, RedisClusterException: no answer.
        ConfigurationError: a certificate's file cannot be used.
    """
    common = _common(address, settings)
    options = {**common, **_who(address.user, address.password)}
    if address.topology is Topology.CLUSTER:
        nodes = [_ClusterNode(host, port) for host, port in address.hosts]
        return ClusterLink(RedisCluster(startup_nodes=nodes, retry=_once(), **options))
    options |= {"retry": _once(), "db": address.database}
    if address.topology is Topology.SENTINEL:
        theirs = {**common, **_who(settings.sentinel_user, settings.sentinel_password)}
        theirs["retry"] = _once()
        sentinels = _Sentinel(list(address.hosts), sentinel_kwargs=theirs)
        return SingleLink(sentinels.master_for(address.service, **options), sentinels)
    if address.socket:
        return SingleLink(Redis(unix_socket_path=address.socket, **options))
    ((host, port),) = address.hosts
    return SingleLink(Redis(host=host, port=port, **options))


def _common(address: Address, settings: RedisSettings) -> dict[str, Any]:
    seconds = settings.answer_timeout / timedelta(seconds=1)
    options: dict[str, Any] = {
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
        "max_connections": _CONNECTIONS,
        "protocol": 2,  # nothing of ours needs the newer one, and its greeting needs more rights
    }
    if not address.socket:
        options["socket_keepalive"] = True
    if address.tls:
        options |= {
            "ssl": True,
            "ssl_cert_reqs": "required",
            "ssl_check_hostname": settings.check_hostname,
            "ssl_ca_certs": _readable(settings.ca_file),
            "ssl_certfile": _readable(settings.certificate_file),
            "ssl_keyfile": _readable(settings.key_file or settings.certificate_file),
        }
    return options


def _who(user: str, password: Secret | None) -> dict[str, Any]:
    return {"username": user or None, "password": password.reveal() if password else None}


def _once() -> Retry:
    return Retry(NoBackoff(), 0)


def _readable(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error.strerror}", adapter=ADAPTER
        ) from error
    return str(path)
