"""Real servers behind the real Toxiproxy."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from workflow_adaptertest.servers import Proxied, Server
from workflow_adaptertest.servers.protocols.redis import Redis

BEHIND = [
    "postgres",
    "postgres-replica",
    "mysql",
    "mariadb",
    "redis",
    "redis-cluster",
    "etcd",
    "etcd-cluster",
    "kafka",
    "kafka-cluster",
    "kafka-secure",
]
VALUE = "x" * 8_000


@pytest.mark.parametrize("name", BEHIND)
def test_server_is_gone_while_it_is_cut_off(name: str, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(f"{name.replace('-', '_')}_server")
    through: Proxied = request.getfixturevalue(f"{name.replace('-', '_')}_behind")
    assert len(through.url.addresses) == len(server.url.addresses)
    assert not set(through.url.addresses) & set(server.url.addresses)
    ways = [through.url.at([address]) for address in through.url.addresses]
    for way in ways:
        server.kind.hello(way)
    through.cut()
    for way in ways:
        with pytest.raises(OSError, match="refused"):
            server.kind.hello(way)
    server.kind.hello(server.url)  # the server itself is there for everybody else
    through.mend()
    for way in ways:
        server.kind.hello(way)


def test_one_address_is_cut_off_alone(
    etcd_cluster_server: Server, etcd_cluster_behind: Proxied
) -> None:
    etcd_cluster_behind.cut(only=1)
    first, second, third = etcd_cluster_behind.url.addresses
    for there in (first, third):
        etcd_cluster_server.kind.hello(etcd_cluster_behind.url.at([there]))
    with pytest.raises(OSError, match="refused"):
        etcd_cluster_server.kind.hello(etcd_cluster_behind.url.at([second]))


def test_open_connection_dies_of_a_cut(redis_behind: Proxied) -> None:
    with Redis(redis_behind.url.address) as redis:
        assert redis.call("PING") == b"PONG"
        redis_behind.cut()
        with pytest.raises(ConnectionError):
            redis.call("PING")


def test_swallowed_answer_never_comes(redis_behind: Proxied, impatient: None) -> None:
    with Redis(redis_behind.url.address) as redis:
        redis_behind.swallow()
        with pytest.raises(TimeoutError):
            redis.call("PING")
    redis_behind.mend()
    with Redis(redis_behind.url.address) as redis:
        assert redis.call("PING") == b"PONG"


def test_slow_answer_comes_late(redis_behind: Proxied, impatient: None) -> None:
    redis_behind.slow_down(timedelta(minutes=1))
    with Redis(redis_behind.url.address) as redis, pytest.raises(TimeoutError):
        redis.call("PING")
    redis_behind.slow_down(timedelta(milliseconds=1))  # takes the other one's place
    with Redis(redis_behind.url.address) as redis:
        assert redis.call("PING") == b"PONG"


def test_throttled_answer_comes_in_pieces(
    redis_behind: Proxied, redis_space: Any, impatient: None
) -> None:
    """Of 8,000 bytes at 1,000 a second, those of half a second cannot be all."""
    with Redis(redis_behind.url.address) as redis:
        redis.call("SET", redis_space.name, VALUE)
        redis_behind.throttle(1)
        redis.send(b"*2\r\n$3\r\nGET\r\n$13\r\n%b\r\n" % redis_space.name.encode())
        redis._socket.settimeout(0.5)
        first = redis._socket.recv(len(VALUE))
        assert 0 < len(first) < len(VALUE)
        redis_behind.mend()


def test_answer_breaks_off_in_its_midst(redis_behind: Proxied, redis_space: Any) -> None:
    with Redis(redis_behind.url.address) as redis:
        redis.call("SET", redis_space.name, VALUE)
    redis_behind.break_after(1_000)
    with Redis(redis_behind.url.address) as redis, pytest.raises(ConnectionError):
        redis.call("GET", redis_space.name)


def test_kafka_sends_no_client_round_its_proxy(
    kafka_server: Server, kafka_behind: Proxied, ask: Callable[..., str]
) -> None:
    tool = "org.apache.kafka.tools.BrokerApiVersionsCommand"
    told = ask(*kafka_server.client(), tool, "--bootstrap-server", kafka_behind.url.bootstrap)
    assert told.startswith(f"{kafka_behind.url.bootstrap} (id: 1 ")


def test_redis_cluster_sends_no_client_round_its_proxies(
    redis_cluster_server: Server, toxiproxy_server: Server
) -> None:
    with redis_cluster_server.behind(toxiproxy_server) as through:
        for address in through.url.addresses:
            assert told_ports(address) == {port for _, port in through.url.addresses}
    own = {port for _, port in redis_cluster_server.url.addresses}
    assert told_ports(redis_cluster_server.url.address) == own


def test_proxies_are_removed_at_the_end(
    etcd_cluster_server: Server, toxiproxy_server: Server
) -> None:
    with etcd_cluster_server.behind(toxiproxy_server) as through:
        address = through.url.addresses[2]
    with pytest.raises(OSError, match="refused"):
        etcd_cluster_server.kind.hello(through.url.at([address]))


def told_ports(address: tuple[str, int]) -> set[int]:
    with Redis(address) as redis:
        return {slots[2][1] for slots in redis.call("CLUSTER", "SLOTS")}
