from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from workflow_core.discovery import Catalogue, adapters
from workflow_core.discovery.factories import load_factory
from workflow_core.discovery.groups import PORTS, RECORD_STORE
from workflow_core.errors import ConfigurationError

if TYPE_CHECKING:
    from nowhere import Something  # type: ignore[import-not-found] # as authors do it

Pretend = Callable[..., None]


@dataclass(frozen=True)
class Settings:
    url: str


@dataclass
class Thawed:
    url: str


@dataclass(frozen=True)
class Reserving:
    adapter: str


class Store:
    """Annotations are texts here, and not all of them can be read at run time."""

    def __init__(self, settings: Settings, context: Something) -> None: ...

    @classmethod
    def from_config(cls, settings: Settings, context: Something) -> Something: ...

    def __call__(self, settings: Settings, context: Something) -> Something: ...


def function(settings: Settings, context: Something) -> Something: ...


def with_an_option(settings: Settings, context: Something, option: str) -> Something: ...


def without_annotation(settings, context): ...  # type: ignore[no-untyped-def]


def of_text(settings: str, context: Something) -> Something: ...


def of_thawed(settings: Thawed, context: Something) -> Something: ...


def of_reserving(settings: Reserving, context: Something) -> Something: ...


def of_nothing() -> Something: ...


@pytest.mark.parametrize(
    "make", [function, Store, Store.from_config, partial(with_an_option, option="x")]
)
def test_schema_is_read_off_the_first_parameter(
    make: Any, pretend: Pretend, catalogue: Catalogue
) -> None:
    pretend("shelf-wheel", {"record_store": {"shelf": make}})
    (installed,) = catalogue.adapters(RECORD_STORE)
    assert load_factory(installed).schema is Settings


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (without_annotation, "no annotation"),
        (of_nothing, "no annotation"),
        (of_text, "no dataclass"),
        (of_thawed, "not frozen"),
        (of_reserving, "'adapter', which is reserved"),
        (Settings("not callable"), "not a callable"),
    ],
)
def test_factory_is_refused_by_distribution_when_it_tells_no_settings(
    make: Any, complaint: str, pretend: Pretend, catalogue: Catalogue
) -> None:
    pretend("shelf-wheel", {"record_store": {"shelf": make}}, version="3.1")
    (installed,) = catalogue.adapters(RECORD_STORE)
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        load_factory(installed)
    assert "'shelf' of the distribution shelf-wheel 3.1" in str(caught.value)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("value", ["nowhere_at_all:make", "math:no_such_thing"])
def test_broken_entry_point_is_told_by_distribution_with_its_cause(
    value: str, pretend: Pretend, catalogue: Catalogue
) -> None:
    pretend("shelf-wheel", {"record_store": {"shelf": value}})
    (installed,) = catalogue.adapters(RECORD_STORE)
    with pytest.raises(
        ConfigurationError, match=r"shelf-wheel 0\.1\.0 cannot be imported"
    ) as caught:
        load_factory(installed)
    assert isinstance(caught.value.__cause__, ImportError | AttributeError)
    assert str(caught.value.__cause__) in str(caught.value)


def test_adapters_of_a_port_are_listed_by_name_with_their_distribution(
    pretend: Pretend, catalogue: Catalogue
) -> None:
    pretend("b-wheel", {"record_store": {"z": "a:b", "a": "a:b"}, "observer": {"o": "a:b"}}, "2.0")
    pretend("a-wheel", {"record_store": {"m": "a:b", "a": "a:b"}})
    listed = [(it.name, it.distribution, it.version) for it in catalogue.adapters(RECORD_STORE)]
    assert listed == [
        ("a", "a-wheel", "0.1.0"),
        ("a", "b-wheel", "2.0"),
        ("m", "a-wheel", "0.1.0"),
        ("z", "b-wheel", "2.0"),
    ]
    assert catalogue.names() == {"a", "m", "o", "z"}


def test_installed_adapters_of_this_very_environment_are_listed() -> None:
    of_group = adapters("workflow_core.record_stores")
    memory = [it for it in of_group if it.name == "memory"]
    assert [(it.port, it.distribution) for it in memory] == [("record_store", "workflow-core")]
    assert set(of_group) <= set(adapters())


def test_unknown_group_is_refused_naming_all_groups() -> None:
    with pytest.raises(ValueError, match=r"workflow_core\.record_stores"):
        adapters("workflow_core.recordstores")


def test_groups_are_what_adapter_authors_are_told() -> None:
    """They stand in every adapter's pyproject.toml, other people's too: never rename one."""
    assert [port.group.removeprefix("workflow_core.") for port in PORTS] == [
        "record_stores",
        "event_streamers",
        "role_schedulers",
        "timeout_stores",
        "connector_sources",
        "observers",
        "logging",
    ]
