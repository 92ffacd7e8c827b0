"""The ways to reach a server, what is asked of it at start, and what is said about it."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis
from workflow_adaptertest.servers import Space
from workflow_adaptertest.servers.kinds.certificates import certify
from workflow_adaptertest.servers.place import Tools
from workflow_adaptertest.servers.ports import free_ports
from workflow_core.errors import AdapterError, AdapterUnavailableError, ConfigurationError
from workflow_core.ports import Secret
from workflow_redis_timeout import RedisTimeoutStore
from workflow_redis_timeout.keeping import Keeping

if TYPE_CHECKING:
    from tests.conftest import Make, OpenStore, StartRedis

BRIEFLY = timedelta(milliseconds=50)
PATIENTLY = timedelta(minutes=1)

# what the documentation says that a user needs, and nothing else
RIGHTS = (
    "~workflow-timers:* +@hash +@sortedset +@string +eval +evalsha +time +exists"
    " +ping +info +config|get +cluster|slots +command"
)


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A socket's whole path has to be shorter than the test's own folder may be."""
    with tempfile.TemporaryDirectory(prefix="redis-", dir=Path(os.sep, "tmp")) as folder:
        yield Path(folder)


def works(store: RedisTimeoutStore, make: Make) -> bool:
    """All methods once."""
    one, other = make.timeout(), make.timeout()
    store.create_many([one, other])
    store.park(one.key)
    store.reschedule(other.key, timedelta(0), attempts=1, error="no")
    assert [each.key for each in store.list_valid(["orders"], limit=9)] == [other.key]
    assert len(store.list_timeouts("orders").items) == 2
    assert store.next_due(["orders"]) is not None
    done = store.complete(one.key) and store.cancel(other.key)
    store.forget([one.run_id, other.run_id])
    return done


# -- ways there --------------------------------------------------------------------------------


def test_store_works_over_tls_when_the_certificate_is_trusted(
    start_redis: StartRedis, open_at: OpenStore, make: Make, tools: Tools, tmp_path: Path
) -> None:
    authority, server = tmp_path / "ca.pem", tmp_path / "server.pem"
    certify(tmp_path, tools)
    encrypted = start_redis(
        tls_cert_file=str(server), tls_key_file=str(server), tls_ca_cert_file=str(authority)
    )
    url = f"rediss://127.0.0.1:{encrypted.port}"
    client = {"certificate_file": server, "retry_for": BRIEFLY}
    assert works(open_at(url, ca_file=authority, **client), make)
    with pytest.raises(AdapterError, match="certificate") as strange:
        open_at(url, **client)
    assert not isinstance(strange.value, AdapterUnavailableError), "no patience would help"
    with pytest.raises(ConfigurationError, match=r"nowhere\.pem"):
        open_at(url, ca_file=tmp_path / "nowhere.pem")


def test_store_works_over_tls_through_sentinels(
    start_redis: StartRedis, open_at: OpenStore, make: Make, tools: Tools, tmp_path: Path
) -> None:
    """Seen to fail with Sentinels that are asked in plain."""
    files = encryption(tmp_path, tools)
    primary = start_redis(**files)
    sentinel = start_redis.sentinel(
        [
            *(f"{name.replace('_', '-')} {value}" for name, value in files.items()),
            "tls-replication yes",
            f"sentinel monitor shop 127.0.0.1 {primary.port} 1",
        ]
    )
    url = f"rediss+sentinel://127.0.0.1:{sentinel.port}/shop"
    assert works(open_at(url, **trusted(tmp_path)), make)


def test_store_works_over_tls_on_a_cluster(
    start_redis: StartRedis, open_at: OpenStore, make: Make, tools: Tools, tmp_path: Path
) -> None:
    """Seen to fail with nodes that are asked in plain. One node, with all the slots."""
    files = encryption(tmp_path, tools)
    (bus,) = free_ports(1)
    node = start_redis(cluster_enabled="yes", cluster_port=bus, tls_cluster="yes", **files)
    client: Any = node.client(ssl=True, ssl_ca_certs=tmp_path / "ca.pem", **own(tmp_path))
    with closing(client):
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16_383)
    url = f"rediss+cluster://127.0.0.1:{node.port}"
    assert works(open_at(url, **trusted(tmp_path)), make)


def encryption(folder: Path, tools: Tools) -> dict[str, str]:
    """A server's options; it asks its clients for a certificate too."""
    certify(folder, tools)
    both = str(folder / "server.pem")
    return {
        "tls_cert_file": both,
        "tls_key_file": both,
        "tls_ca_cert_file": str(folder / "ca.pem"),
    }


def trusted(folder: Path) -> dict[str, Any]:
    """A store's settings for such a server."""
    return {
        "ca_file": folder / "ca.pem",
        "certificate_file": folder / "server.pem",
        "retry_for": PATIENTLY,
    }


def own(folder: Path) -> dict[str, Any]:
    """The same for a client of the library's."""
    return {"ssl_certfile": folder / "server.pem", "ssl_keyfile": folder / "server.pem"}


def test_store_works_over_a_socket(
    start_redis: StartRedis, open_at: OpenStore, make: Make, short_path: Path
) -> None:
    start_redis(unixsocket=str(short_path / "redis.sock"))
    assert works(open_at(f"unix://{short_path}/redis.sock"), make)


def test_store_works_in_a_numbered_database(
    start_redis: StartRedis, open_at: OpenStore, make: Make
) -> None:
    redis = start_redis()
    store = open_at(f"{redis.url}/3")
    store.create(make.timeout())
    assert list(redis.client().scan_iter()) == []
    assert list(redis.client(db=3).scan_iter()) != []


def test_user_needs_few_rights_and_lacking_ones_are_told(
    start_redis: StartRedis, open_at: OpenStore, make: Make
) -> None:
    redis = start_redis()
    redis.ask("ACL", "SETUSER", "timers", "on", ">secret", *RIGHTS.split())
    redis.ask("ACL", "SETUSER", "guest", "on", ">secret", "+ping")
    place = redis.url.removeprefix("redis://")
    assert works(open_at(f"redis://timers:secret@{place}"), make)
    for credentials in ("timers:wrong", "guest:secret", "nobody:secret"):
        with pytest.raises(AdapterError, match="does not let this user in") as caught:
            open_at(f"redis://{credentials}@{place}")
        assert not isinstance(caught.value, AdapterUnavailableError)
        assert "secret" not in str(caught.value)
        assert "rights" in caught.value.hint


def test_user_of_a_cluster_needs_few_rights_too(
    open_at: OpenStore, redis_cluster_space: Space, make: Make
) -> None:
    name = redis_cluster_space.name
    nodes: list[Any] = [Redis(host=h, port=p) for h, p in redis_cluster_space.url.addresses]
    for node in nodes:
        node.execute_command("ACL", "SETUSER", name, "on", ">x", *RIGHTS.split())
    try:
        places = ",".join(f"{host}:{port}" for host, port in redis_cluster_space.url.addresses)
        assert works(open_at(f"redis+cluster://{name}:x@{places}", name), make)
        with pytest.raises(AdapterError, match="does not let this user in"):
            open_at(f"redis+cluster://{name}:wrong@{places}", name)
    finally:
        for node in nodes:
            node.execute_command("ACL", "DELUSER", name)
            node.close()


def test_namespaces_can_be_kept_apart_by_rights(
    start_redis: StartRedis, open_at: OpenStore, make: Make
) -> None:
    redis = start_redis()
    rights = RIGHTS.replace("~workflow-timers:*", "~workflow-timers:{shop*")
    redis.ask("ACL", "SETUSER", "shop", "on", ">x", *rights.split())
    url = redis.url.replace("redis://", "redis://shop:x@")
    assert works(open_at(url, "shop"), make)
    with pytest.raises(AdapterError, match="does not let this user in"):
        open_at(url, "bank")


def test_server_is_unavailable_by_name_when_nobody_listens(open_at: OpenStore) -> None:
    with pytest.raises(AdapterUnavailableError, match="Redis does not serve") as caught:
        open_at("redis://:hunter2@127.0.0.1:1", retry_for=BRIEFLY)
    assert "hunter2" not in str(caught.value)


def test_cluster_is_refused_by_name_when_the_url_is_one_servers(
    open_at: OpenStore, redis_cluster_space: Space
) -> None:
    (host, port), *_ = redis_cluster_space.url.addresses
    with pytest.raises(ConfigurationError, match=r"redis\+cluster://"):
        open_at(f"redis://{host}:{port}")


def test_one_server_is_refused_by_name_when_the_url_is_a_clusters(
    open_at: OpenStore, redis_space: Space
) -> None:
    url = str(redis_space.url).replace("redis://", "redis+cluster://").removesuffix("/0")
    with pytest.raises(AdapterError):
        open_at(url, redis_space.name, retry_for=BRIEFLY)


def test_store_works_through_sentinels_that_ask_for_a_password(
    start_redis: StartRedis, open_at: OpenStore, make: Make
) -> None:
    primary = start_redis(requirepass="data")
    sentinel = start_redis.sentinel(
        [
            f"sentinel monitor shop 127.0.0.1 {primary.port} 1",
            "sentinel auth-pass shop data",
            "requirepass watch",
        ]
    )
    url = f"redis+sentinel://:data@127.0.0.1:1,127.0.0.1:{sentinel.port}/shop"
    assert works(open_at(url, sentinel_password=Secret("watch")), make)


# -- what the server keeps ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "keeps nothing on disk"),
        ({"save": "3600 1"}, "writes snapshots only"),
        ({"appendonly": "yes"}, ""),
        ({"appendonly": "yes", "maxmemory_policy": "allkeys-lru"}, ""),
        (
            {"appendonly": "yes", "maxmemory_policy": "volatile-ttl", "maxmemory": "100mb"},
            "may throw timers away when its memory is full (maxmemory-policy volatile-ttl)",
        ),
        ({"appendonly": "yes", "maxmemory": "100mb"}, ""),
    ],
)
def test_warning_is_given_at_start_when_the_server_may_lose_timers(
    options: dict[str, Any],
    expected: str,
    start_redis: StartRedis,
    open_at: OpenStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    redis = start_redis(**options)
    with caplog.at_level(logging.INFO, logger="workflow_redis_timeout"):
        store = open_at(redis.url)
    warned = [record.getMessage() for record in caplog.records]
    assert len(warned) == bool(expected)
    assert expected in "".join(warned)
    assert store.check_health().startswith("Redis 7.")


def test_health_says_what_is_kept(start_redis: StartRedis, open_at: OpenStore) -> None:
    redis = start_redis(appendonly="yes")
    store = open_at(redis.url)
    assert store.check_health().endswith("appendfsync everysec")
    redis.client().config_set("appendfsync", "always")
    assert store.check_health().endswith("appendfsync always")
    redis.client().config_set("appendonly", "no")
    assert store.check_health().endswith("nothing on disk")


def test_health_counts_the_primaries_of_a_cluster(open_on_cluster: OpenStore) -> None:
    assert open_on_cluster().check_health().endswith("(3 primaries)")


def test_nothing_is_claimed_when_the_user_may_not_ask(
    start_redis: StartRedis, open_at: OpenStore, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    redis = start_redis(appendonly="yes")
    rights = RIGHTS.replace(" +config|get", "")
    redis.ask("ACL", "SETUSER", "timers", "on", ">x", *rights.split())
    store = open_at(redis.url.replace("redis://", "redis://timers:x@"))
    assert works(store, make)
    assert caplog.records == []
    assert store.check_health().endswith("appendonly yes")


@pytest.mark.parametrize("version", ["6.2.14", "5.0.7", ""])
def test_server_is_refused_by_name_when_it_is_too_old(version: str) -> None:
    keeping = Keeping(
        version=version, cluster=False, appends=True, syncs="", snapshots="", evicts=""
    )
    with pytest.raises(ConfigurationError, match=r"7\.0 or newer"):
        keeping.refuse_too_old()


@pytest.mark.parametrize("version", ["7.0.0", "7.2.4", "8.0", "10.1.1"])
def test_server_is_accepted_when_it_is_new_enough(version: str) -> None:
    Keeping(
        version=version, cluster=False, appends=True, syncs="", snapshots="", evicts=""
    ).refuse_too_old()
