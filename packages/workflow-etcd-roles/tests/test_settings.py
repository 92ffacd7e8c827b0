"""What may be configured, and what is said of mistakes."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from workflow_core.discovery import Config
from workflow_core.errors import AdapterUnavailableError, ConfigurationError, InputError
from workflow_core.ports import AdapterContext, Secret
from workflow_etcd_roles import (
    Endpoint,
    EtcdRoleScheduler,
    EtcdSettings,
    RinkRoleScheduler,
    RinkSettings,
)


@pytest.mark.parametrize(
    ("text", "target", "secure"),
    [
        ("etcd-1", "etcd-1:2379", False),
        ("etcd-1:2380", "etcd-1:2380", False),
        ("http://10.0.0.1:1", "10.0.0.1:1", False),
        ("https://etcd.example.com/", "etcd.example.com:2379", True),
        ("https://[::1]:2379", "[::1]:2379", True),
    ],
)
def test_endpoint_is_read_as_people_write_it(text: str, target: str, secure: bool) -> None:
    assert Endpoint.parse(text) == Endpoint(target, secure)


@pytest.mark.parametrize("text", ["", "ftp://etcd", "etcd:port", "user:secret@etcd:2379", "a b"])
def test_endpoint_that_is_none_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ConfigurationError) as failure:
        EtcdSettings(endpoints=(text,))
    assert "endpoints: expected host:port" in str(failure.value)
    assert "secret" not in str(failure.value)


@pytest.mark.parametrize(
    ("problem", "settings"),
    [
        ("endpoints: expected one or more", {"endpoints": ()}),
        ("password: ", {"user": "somebody"}),
        ("password: ", {"password": Secret("x")}),
        ("key_file: ", {"cert_file": Path("cert.pem")}),
        ("lease: ", {"lease": timedelta(seconds=1)}),
        ("lease: ", {"lease": timedelta(seconds=2.5)}),
        ("request_timeout: ", {"request_timeout": timedelta(0)}),
        ("prefix: ", {"prefix": "/"}),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(problem: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        EtcdSettings(**{"endpoints": ("etcd:2379",), **settings})


@pytest.mark.parametrize(
    ("problem", "settings"),
    [
        ("cluster: ", {"cluster": ""}),
        ("new_member_wait: ", {"new_member_wait": timedelta(seconds=-1)}),
        ("unclaimed_after: ", {"unclaimed_after": timedelta(seconds=-1)}),
    ],
)
def test_rinks_settings_that_cannot_be_meant_are_refused(
    problem: str, settings: dict[str, Any]
) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        RinkSettings(**{"endpoints": ("etcd:2379",), "cluster": "c", **settings})


@pytest.mark.parametrize("name", ["etcd", "rink"])
def test_adapter_is_chosen_by_its_name_and_opens_nothing(name: str, tmp_path: Path) -> None:
    file = tmp_path / "workflow.toml"
    file.write_text(
        '[workflow]\nrecord_store = "memory"\nevent_streamer = "memory"\n'
        f'role_scheduler = "{name}"\nnamespace = "shop"\n'
        f'[workflow.adapters.{name}]\nendpoints = ["nowhere.invalid:2379"]\nlease = "15s"\n'
        + ('cluster = "orders"\n' if name == "rink" else ""),
        encoding="utf-8",
    )
    config = Config.load(file, environ={})
    assert f"adapters.{name}.lease" in {value.key for value in config.values()}


def test_keys_of_a_namespace_are_apart() -> None:
    context = AdapterContext(instance="one", namespace="shop")
    with EtcdRoleScheduler.from_config(EtcdSettings(endpoints=("e",)), context) as one:
        assert one._rules.prefix == b"shop/workflow/live/"
    settings = RinkSettings(endpoints=("e",), cluster="orders")
    with RinkRoleScheduler.from_config(settings, context) as one:
        assert one._rules.prefix == b"shop/orders/"


def test_nobody_answers_is_said_with_the_addresses() -> None:
    settings = EtcdSettings(
        endpoints=("127.0.0.1:1", "127.0.0.1:2"), request_timeout=timedelta(milliseconds=50)
    )
    with (
        EtcdRoleScheduler.from_config(settings, AdapterContext(instance="one")) as one,
        pytest.raises(AdapterUnavailableError, match=r"127\.0\.0\.1:1, 127\.0\.0\.1:2"),
    ):
        one.check_health()


@pytest.mark.parametrize("role", ["", "/role", "a//b", "a/../b", "role/", "..", "../x"])
def test_role_that_is_no_path_is_refused_by_rink(role: str) -> None:
    """Go cleans paths: two such roles would be one, or lie outside of the cluster."""
    settings = RinkSettings(endpoints=("127.0.0.1:1",), cluster="orders")
    with RinkRoleScheduler.from_config(settings, AdapterContext(instance="one")) as one:
        session: Any = type("Session", (), {"name": "1"})()
        with pytest.raises(InputError):
            one._rules.key(role, session)
