"""Adapters are made in order, given back in order, and nothing stays open when one fails."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from workflow_core.discovery import Adapters, Catalogue, Config
from workflow_core.errors import (
    AdapterError,
    AdapterUnavailableError,
    ConfigurationError,
)
from workflow_core.ports import AdapterContext
from workflow_core.testing import FakeClock

Pretend = Callable[..., None]
Factory = Callable[[str, type[Any]], Any]


@dataclass(frozen=True)
class NoSettings:
    pass


PORTS = ("record_store", "timeout_store", "event_streamer", "role_scheduler")
CHOSEN = {
    **dict.fromkeys(PORTS, "fake"),
    "logging": "fake",
    "observers": ["fake", "fake2"],
    "adapters.fake2.adapter": "fake",
    "connectors.payments.adapter": "fake",
}
IN_ORDER = [
    "logging",
    "observer",
    "observer",
    "record_store",
    "timeout_store",
    "event_streamer",
    "role_scheduler",
    "connector_source",
]


class Pool:
    """What adapters share."""

    def __init__(self, journal: list[str]) -> None:
        self.journal = journal

    def __enter__(self) -> "Pool":
        self.journal.append("pool open")
        return self

    def __exit__(self, *failure: object) -> None:
        self.journal.append("pool closed")


@pytest.fixture(autouse=True)
def installed(pretend: Pretend, factory: Factory) -> None:
    pretend("fake-wheel", {port: {"fake": factory(port, NoSettings)} for port in set(IN_ORDER)})


@pytest.fixture
def replace(pretend: Pretend) -> Callable[..., None]:
    """Installs another adapter, ``other``, for a port."""

    def install(port: str, make: Any) -> None:
        make.__annotations__["settings"] = NoSettings
        pretend("other-wheel", {port: {"other": make}})

    return install


def load(catalogue: Catalogue, **chosen: object) -> Config:
    return Config.load(environ={}, overrides={**CHOSEN, **chosen}, catalogue=catalogue)


def test_nothing_is_made_before_build(catalogue: Catalogue, journal: list[str]) -> None:
    load(catalogue)
    assert journal == []


def test_adapters_are_made_in_order_and_closed_work_first(
    catalogue: Catalogue, journal: list[str]
) -> None:
    with load(catalogue).build() as adapters:
        adapters.context.shared("pool", lambda: Pool(journal))
        assert journal == [*(f"made {port}" for port in IN_ORDER), "pool open"]
        assert len(adapters.observers) == 2
        assert adapters.names["connectors.payments"] == "fake"
        journal.clear()
    closed = ["connector_source", "role_scheduler", "event_streamer", "timeout_store"]
    closed += ["record_store", "observer", "observer"]
    assert journal == [*(f"closed {port}" for port in closed), "closed logging", "pool closed"]
    adapters.close()  # twice is harmless: each adapter's own close is


def test_each_build_makes_new_adapters_with_an_instance_of_their_own(
    catalogue: Catalogue, made: list[Any]
) -> None:
    config = load(catalogue)
    with config.build() as one, config.build() as two:
        assert one.record_store is not two.record_store
        assert one.context.instance != two.context.instance
        assert one.context.clock is None


def test_context_carries_what_the_caller_gave(catalogue: Catalogue) -> None:
    clock = FakeClock()
    with load(catalogue, namespace="shop").build(instance="me", clock=clock) as adapters:
        context = adapters.context
        assert (context.instance, context.namespace, context.clock) == ("me", "shop", clock)


def test_what_was_made_is_closed_when_a_later_factory_fails(
    catalogue: Catalogue, journal: list[str], replace: Callable[..., None]
) -> None:
    """Seen to fail with the undoing left out of `build`."""

    def make(settings: Any, context: AdapterContext) -> Any:
        context.shared("pool", lambda: Pool(journal))
        raise AdapterUnavailableError("nobody at home")

    replace("event_streamer", make)
    with pytest.raises(AdapterUnavailableError) as caught:
        load(catalogue, event_streamer="other").build()
    assert caught.value.adapter == "other"
    assert [it for it in journal if not it.startswith("made")] == [
        "pool open",
        "closed timeout_store",
        "closed record_store",
        "closed observer",
        "closed observer",
        "closed logging",
        "pool closed",
    ]


def test_failure_of_a_driver_is_told_by_its_type_alone(
    catalogue: Catalogue, replace: Callable[..., None]
) -> None:
    def make(settings: Any, context: AdapterContext) -> Any:
        raise OSError("cannot reach x://u:hunter2@h")

    replace("record_store", make)
    with pytest.raises(AdapterError) as caught:
        load(catalogue, record_store="other").build()
    assert str(caught.value) == "making the record store failed with OSError (adapter other)"
    assert isinstance(caught.value.__cause__, OSError)


def test_interruption_while_building_closes_what_was_made(
    catalogue: Catalogue, journal: list[str], replace: Callable[..., None]
) -> None:
    def make(settings: Any, context: AdapterContext) -> Any:
        raise KeyboardInterrupt

    replace("timeout_store", make)
    with pytest.raises(KeyboardInterrupt):
        load(catalogue, timeout_store="other").build()
    assert "closed record_store" in journal


def test_trouble_with_closing_does_not_hide_the_first_failure(
    catalogue: Catalogue, factory: Factory, replace: Callable[..., None], journal: list[str]
) -> None:
    well = factory("timeout_store", NoSettings)

    def unclosable(settings: Any, context: AdapterContext) -> Any:
        adapter = well(settings, context)
        adapter.close = lambda: [][0]
        return adapter

    def make(settings: Any, context: AdapterContext) -> Any:
        raise AdapterUnavailableError("nobody at home")

    replace("timeout_store", unclosable)
    replace("event_streamer", make)
    with pytest.raises(AdapterUnavailableError) as caught:
        load(catalogue, timeout_store="other", event_streamer="other").build()
    assert caught.value.__notes__ == ["closing what had been made failed too: IndexError"]
    assert "closed record_store" in journal


def test_adapter_of_another_port_is_refused_and_closed(
    catalogue: Catalogue, factory: Factory, replace: Callable[..., None], journal: list[str]
) -> None:
    other = factory("timeout_store", NoSettings)
    replace("record_store", lambda settings, context: other(settings, context))
    with pytest.raises(
        ConfigurationError, match="'other' of the distribution other-wheel"
    ) as caught:
        load(catalogue, record_store="other").build()
    assert "which is no RecordStore" in str(caught.value)
    assert journal.count("closed timeout_store") == 1


def test_closing_goes_on_when_one_adapter_fails_to_close(
    catalogue: Catalogue, journal: list[str]
) -> None:
    adapters = load(catalogue).build()
    adapters.event_streamer.close = lambda: [][0]  # type: ignore[union-attr, method-assign]
    with pytest.raises(IndexError):
        adapters.close()
    assert "closed record_store" in journal
    assert "closed logging" in journal


def test_adapters_can_be_put_together_by_hand(catalogue: Catalogue, journal: list[str]) -> None:
    """What a test of the engine does."""
    made = load(catalogue).build()
    journal.clear()
    with Adapters(record_store=made.record_store, context=AdapterContext(instance="one")):
        pass
    assert journal == ["closed record_store"]
