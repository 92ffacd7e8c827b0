"""Every server that tests and people can ask for, by name."""

from __future__ import annotations

from collections.abc import Mapping

from workflow_adaptertest.servers.errors import NotAvailableError
from workflow_adaptertest.servers.kinds.base import Image, Kind
from workflow_adaptertest.servers.kinds.etcd import Etcd, EtcdCluster
from workflow_adaptertest.servers.kinds.kafka import KafkaBroker, KafkaCluster, KafkaSecure
from workflow_adaptertest.servers.kinds.mysql import (
    MariaDb,
    MariaDbReplica,
    MySql,
    MySqlReplica,
)
from workflow_adaptertest.servers.kinds.postgres import Postgres, PostgresReplica, PostgresSecure
from workflow_adaptertest.servers.kinds.redis import RedisCluster, RedisServer
from workflow_adaptertest.servers.kinds.toxiproxy import Toxiproxy

__all__ = ["KINDS", "Image", "Kind", "kind"]

KINDS: Mapping[str, Kind] = {
    each.name: each
    for each in (
        # the slowest to start come first
        KafkaCluster(),
        MySqlReplica(),
        MySql(),
        KafkaBroker(),
        KafkaSecure(),
        Postgres(),
        PostgresReplica(),
        PostgresSecure(),
        MariaDb(),
        MariaDbReplica(),
        EtcdCluster(),
        RedisCluster(),
        Etcd(),
        RedisServer(),
        Toxiproxy(),
        Postgres(disk_megabytes=160),
        MySql(disk_megabytes=256),
        MariaDb(disk_megabytes=192),
        Etcd(disk_megabytes=160),
    )
}


def kind(name: str) -> Kind:
    """The kind of that name.

    Raises:
        NotAvailableError: there is none.
    """
    try:
        return KINDS[name]
    except KeyError:
        raise NotAvailableError(f"no server {name!r}; there are {', '.join(KINDS)}") from None
