"""URLs and settings, read before anything is connected."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from workflow_core.errors import ConfigurationError
from workflow_core.ports import Secret
from workflow_redis_timeout import RedisSettings
from workflow_redis_timeout.address import Address, Topology


def read(url: str) -> Address:
    return Address.parse(Secret(url))


def test_one_server_is_read_when_little_is_said() -> None:
    assert read("redis://cache") == Address(Topology.SINGLE, (("cache", 6379),))
    assert read("redis://[::1]:7000/3") == Address(Topology.SINGLE, (("::1", 7000),), database=3)


def test_credentials_are_decoded_when_they_hold_signs_of_a_url() -> None:
    address = read("rediss://shop%40eu:p%2Fa%3As%3Fs%2C@host:7000/0")
    assert address.tls
    assert (address.user, address.hosts) == ("shop@eu", (("host", 7000),))
    assert address.password == Secret("p/a:s?s,")
    assert read("redis://:only@host").user == ""
    assert "p/a:s" not in repr(address)


def test_sentinels_are_read_with_their_service() -> None:
    assert read("redis+sentinel://u:p@one,two:7000/primary/2") == Address(
        Topology.SENTINEL,
        (("one", 26379), ("two", 7000)),
        service="primary",
        database=2,
        user="u",
        password=Secret("p"),
    )
    assert read("rediss+sentinel://one/primary").tls


def test_cluster_is_read_with_all_its_hosts() -> None:
    address = read("redis+cluster://one:1,two:2,three/")
    assert address == Address(Topology.CLUSTER, (("one", 1), ("two", 2), ("three", 6379)))


def test_socket_is_read_with_its_path() -> None:
    assert read("unix:///run/redis%20one.sock").socket == "/run/redis one.sock"
    assert read("unix://u:p@/run/redis.sock").user == "u"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "begins with one of"),
        ("host:6379", "begins with one of"),
        ("http://host", "begins with one of"),
        ("redis://", "a host is missing"),
        ("redis://one,two", "several hosts are for"),
        ("redis://host:port", "cannot be read"),
        ("redis://host/x", "number of a database"),
        ("redis://host/0/1", "number of a database"),
        ("redis://host/²", "number of a database"),
        ("redis://host?db=1", "settings of their own"),
        ("redis+sentinel://host", "name of the service"),
        ("redis+sentinel://host/", "name of the service"),
        ("redis+sentinel://host/primary/x", "number of a database"),
        ("redis+cluster://host/1", "no numbered databases"),
        ("unix://run/redis.sock", "three slashes"),
        ("unix:///", "three slashes"),
    ],
)
def test_slip_is_told_without_the_password_when_a_url_is_none_of_ours(
    url: str, problem: str
) -> None:
    with_password = url.replace("://", "://shop:hunter2@", 1)
    for each in {url, with_password}:
        with pytest.raises(ConfigurationError, match=problem) as caught:
            read(each)
        assert "hunter2" not in f"{caught.value} {caught.value!r} {caught.value.__cause__}"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"buckets": 0}, "buckets"),
        ({"buckets": 5000}, "buckets"),
        ({"remember": timedelta(0)}, "remember"),
        ({"answer_timeout": timedelta(0)}, "answer_timeout"),
        ({"retry_for": timedelta(seconds=-1)}, "retry_for"),
        ({"retry_for": timedelta(hours=1)}, "retry_for"),
        ({"key_file": Path("key.pem")}, "certificate_file"),
    ],
)
def test_settings_are_refused_when_they_make_no_sense(
    changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        RedisSettings(url=Secret("redis://host"), **changes)
