"""The configurations that need no file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from workflow_core.discovery import Catalogue, embedded, in_memory
from workflow_core.errors import ConfigurationError
from workflow_core.ports import Secret

Pretend = Callable[..., None]
Factory = Callable[[str, type[Any]], Any]
PORTS = ("record_store", "timeout_store", "event_streamer", "role_scheduler")


@dataclass(frozen=True)
class Sql:
    url: Secret
    echo: bool = False


@dataclass(frozen=True)
class NoSettings:
    pass


@pytest.fixture(autouse=True)
def installed(
    pretend: Pretend,
    factory: Factory,
    catalogue: Catalogue,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """In place of what is installed; and an environment that these configurations do not read."""
    pretend("workflow-core", {port: {"memory": factory(port, NoSettings)} for port in PORTS})
    monkeypatch.setattr("workflow_core.discovery.config.Catalogue", lambda: catalogue)
    monkeypatch.setenv("WORKFLOW_RECORD_STORE", "elsewhere")
    monkeypatch.setenv("WORKFLOW_CONFIG", "no-such-file.toml")
    monkeypatch.chdir(tmp_path)


def test_embedded_puts_all_four_ports_into_one_file(
    pretend: Pretend, factory: Factory, made: list[Any], tmp_path: Path
) -> None:
    pretend("workflow-sql", {port: {"sql": factory(port, Sql)} for port in PORTS})
    config = embedded("orders.db", overrides={"adapters.sql.echo": True})
    with config.build() as adapters:
        assert dict(adapters.names) == dict.fromkeys(PORTS, "sql")
        expected = Sql(Secret(f"sqlite:///{tmp_path / 'orders.db'}"), echo=True)
        assert [it.settings for it in made] == [expected] * 4


def test_embedded_tells_the_wheel_when_it_is_not_installed() -> None:
    with pytest.raises(ConfigurationError, match="workflow-sql") as caught:
        embedded("orders.db")
    assert len(caught.value.problems) == 4


def test_embedded_refuses_a_path_that_a_url_cannot_hold(pretend: Pretend, factory: Factory) -> None:
    pretend("workflow-sql", {port: {"sql": factory(port, Sql)} for port in PORTS})
    with pytest.raises(ConfigurationError, match=r"what\?\.db"):
        embedded("what?.db")


def test_in_memory_puts_all_four_ports_into_memory() -> None:
    with in_memory(overrides={"namespace": "shop"}).build() as adapters:
        assert dict(adapters.names) == dict.fromkeys(PORTS, "memory")
        assert adapters.context.namespace == "shop"


def test_sections_are_checked_too() -> None:
    with pytest.raises(ConfigurationError, match=r"engine\.echo, given by the caller"):
        in_memory(overrides={"engine.echo": "?", "engine.url": "x"}, sections={"engine": Sql})
