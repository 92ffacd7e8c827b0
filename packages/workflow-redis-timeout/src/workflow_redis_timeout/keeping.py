"""What the servers keep: asked at start, so that nobody learns it from a loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError
from workflow_core.errors import ConfigurationError

from workflow_redis_timeout.failures import ADAPTER

__all__ = ["Keeping"]

_OLDEST = (7, 0)


@dataclass(frozen=True)
class Keeping:
    """How one server keeps what it is given.

    Attributes:
        version: the server's, as Redis counts; a kin of Redis tells the one that it equals.
        cluster: whether it is one of a cluster.
        appends: whether it writes each change to a file.
        syncs: when that file is forced to disk, "" where it does not tell.
        snapshots: when it writes all to a file, "" for never; None where it does not tell.
        evicts: by which policy it may throw keys away, "" where it does not.
    """

    version: str
    cluster: bool
    appends: bool
    syncs: str
    snapshots: str | None
    evicts: str

    @classmethod
    def of(cls, server: Redis) -> Keeping:
        """Asks `server`. Raises RedisError."""
        told: Mapping[str, Any] = server.info()
        policy = str(told.get("maxmemory_policy", "noeviction"))
        may_evict = policy != "noeviction" and int(told.get("maxmemory", 0)) > 0
        return cls(
            version=str(told.get("redis_version", "")),
            cluster=bool(int(told.get("cluster_enabled", 0))),
            appends=bool(int(told.get("aof_enabled", 0))),
            syncs=_configured(server, "appendfsync") or "",
            snapshots=_configured(server, "save"),
            evicts=policy if may_evict else "",
        )

    def refuse_too_old(self) -> None:
        """Raises ConfigurationError for a server that is older than 7.0."""
        numbers = tuple(int(part) for part in self.version.split(".")[:2] if part.isdigit())
        if numbers < _OLDEST:
            raise ConfigurationError(
                f"Redis {self.version or 'of unknown version'} is too old for timers: 7.0 or newer"
                " is needed",
                adapter=ADAPTER,
            )

    def warnings(self) -> Sequence[str]:
        """What may be lost that a person would not expect; a sentence each."""
        found = []
        if not self.appends and self.snapshots == "":
            found.append(
                "Redis keeps nothing on disk (appendonly no, save ''): a restart loses all timers"
                " until the reconciler arms them again"
            )
        elif not self.appends:
            found.append(
                "Redis writes snapshots only (appendonly no): a crash loses the timers armed since"
                " the last one until the reconciler arms them again, and timers closed since then"
                " are open again"
            )
        if self.evicts:
            found.append(
                f"Redis may throw timers away when its memory is full (maxmemory-policy"
                f" {self.evicts}): set noeviction"
            )
        return found

    def __str__(self) -> str:
        if self.appends:
            kept = f"appendfsync {self.syncs}" if self.syncs else "appendonly yes"
        elif self.snapshots == "":
            kept = "nothing on disk"
        else:
            kept = "snapshots only"
        evicts = f", evicts by {self.evicts}" if self.evicts else ""
        return f"Redis {self.version}, {kept}{evicts}"


def _configured(server: Redis, name: str) -> str | None:
    try:
        found: Mapping[Any, Any] = server.config_get(name)
    except ResponseError:
        return None  # the user may not ask, or the host does not let anybody
    value = found.get(name)
    return None if value is None else str(value)
