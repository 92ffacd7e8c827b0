"""Finds, for each name in the configuration, the adapter that it chooses and its settings."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from workflow_core.discovery.entry_points import Catalogue, InstalledAdapter
from workflow_core.discovery.factories import RESERVED, Factory, load_factory
from workflow_core.discovery.groups import (
    CONNECTOR_SOURCE,
    EVENT_STREAMER,
    LOGGING,
    OBSERVER,
    PORTS,
    RECORD_STORE,
    ROLE_SCHEDULER,
    TIMEOUT_STORE,
    Port,
)
from workflow_core.discovery.masking import mask
from workflow_core.discovery.problems import nearest
from workflow_core.discovery.reader import Reader
from workflow_core.discovery.sources import TablePath, dotted
from workflow_core.errors import ConfigurationError
from workflow_core.ports import AdapterContext

__all__ = ["Chooser", "Plan"]

NAMESPACE = re.compile(r"[A-Za-z0-9_.-]{0,64}")
ADAPTERS: TablePath = ("adapters",)
CONNECTORS: TablePath = ("connectors",)


@dataclass(frozen=True)
class Choices:
    """The keys of ``[workflow]`` itself."""

    record_store: str
    event_streamer: str | None = None
    role_scheduler: str | None = None
    timeout_store: str | None = None
    logging: str | None = None
    observers: tuple[str, ...] = ()
    namespace: str = ""


@dataclass(frozen=True)
class Plan:
    """One adapter to be made.

    Attributes:
        port: the place that it fills.
        name: what chose it, perhaps an alias.
        adapter: what is made.
        make: its factory.
        settings: what the factory takes, checked.
        connector: which connector it is bound to, "" for other ports.
    """

    port: Port
    name: str
    adapter: InstalledAdapter
    make: Callable[[Any, AdapterContext], object]
    settings: Any
    connector: str = ""

    @property
    def key(self) -> str:
        """The place in ``[workflow]`` that chose it."""
        return f"connectors.{self.connector}" if self.connector else self.port.key


class Chooser:
    """Goes through the configuration once, noting problems in the reader; one thread.

    Attributes:
        plans: what is to be made, in the order in which it is made.
        namespace: the namespace, "" for none.
    """

    def __init__(self, reader: Reader, catalogue: Catalogue) -> None:
        self.plans: list[Plan] = []
        self.namespace = ""
        self._reader = reader
        self._catalogue = catalogue
        self._used: set[str] = set()

    def choose(self) -> None:
        """Fill in `plans` and `namespace`. They are good for nothing where a problem was noted."""
        choices = self._reader.fields(Choices, [()])
        self.namespace = choices.get("namespace", "")
        self._check_namespace()
        for port, key, names in (
            (LOGGING, "logging", _listed(choices.get("logging"))),
            (OBSERVER, "observers", choices.get("observers", ())),
            (RECORD_STORE, "record_store", _listed(choices.get("record_store"))),
            (TIMEOUT_STORE, "timeout_store", _listed(choices.get("timeout_store"))),
            (EVENT_STREAMER, "event_streamer", _listed(choices.get("event_streamer"))),
            (ROLE_SCHEDULER, "role_scheduler", _listed(choices.get("role_scheduler"))),
        ):
            for name in names:
                self._plan(port, name, self._source(key), [(*ADAPTERS, name)])
        self._reader.claim(CONNECTORS)
        for name in self._reader.sources.connector_names():
            self._plan_connector(name)
        self._reader.claim(ADAPTERS)
        self._leave_unused_tables_alone()

    def _check_namespace(self) -> None:
        if not NAMESPACE.fullmatch(self.namespace):
            expected = "at most 64 letters, digits, '_', '-' and '.'"
            self._reader.problems.add(
                self._source("namespace"), f"expected {expected}, got {mask(self.namespace)!r}"
            )

    def _plan_connector(self, name: str) -> None:
        table = (*CONNECTORS, name)
        adapter = self._reader.leaf((*table, RESERVED), str)
        if adapter is None:
            self._reader.ignore(table)
            return
        where = self._source(dotted((*table, RESERVED)))
        # the connector's own settings first, then what its adapter's table says for all
        tables = [table, (*ADAPTERS, adapter)]
        self._plan(CONNECTOR_SOURCE, adapter, where, tables, connector=name)

    def _plan(
        self, port: Port, name: str, where: str, tables: Sequence[TablePath], connector: str = ""
    ) -> None:
        self._used.add(name)
        adapter = self._adapter(port, name, where)
        factory = None if adapter is None else self._factory(adapter, where)
        if adapter is None or factory is None:
            for table in tables:
                self._reader.ignore(table)
            return
        settings = self._reader.settings(factory.schema, tables)
        self.plans.append(Plan(port, name, adapter, factory.make, settings, connector))

    def _adapter(self, port: Port, name: str, where: str) -> InstalledAdapter | None:
        path = (*ADAPTERS, name, RESERVED)
        named = self._reader.leaf(path, str, default=name)
        if named != name:
            where = self._source(dotted(path))
        candidates = [it for it in self._catalogue.adapters(port) if it.name == named]
        if not candidates:
            self._reader.problems.add(where, self._unknown(port, named))
            return None
        if len(candidates) > 1:
            both = " and ".join(f"{it.distribution} {it.version}" for it in candidates)
            what = f"two distributions give a {port.title} {named!r}: {both}; keep one"
            self._reader.problems.add(where, what)
            return None
        return candidates[0]

    def _factory(self, adapter: InstalledAdapter, where: str) -> Factory | None:
        try:
            return load_factory(adapter)
        except ConfigurationError as problem:
            cause = problem.__cause__ if isinstance(problem.__cause__, Exception) else None
            self._reader.problems.add(where, problem.message, cause=cause)
            return None

    def _unknown(self, port: Port, name: str) -> str:
        installed = {adapter.name for adapter in self._catalogue.adapters(port)}
        listed = f"installed: {', '.join(sorted(installed)) or 'none'}"
        told = repr(mask(name))  # somebody may have put a URL here
        if name in port.wheels:
            return f"the {port.title} {told} comes in the wheel {port.wheels[name]}; {listed}"
        serves = [other.title for other in PORTS if self._has(other, name)]
        if serves:
            return f"{told} serves as {' and '.join(serves)}, not as {port.title}; {listed}"
        near = nearest(name, installed | set(port.wheels) | self._aliases())
        if near is None:
            return f"no {port.title} is called {told}; {listed}"
        far = f", which comes in the wheel {port.wheels[near]}" if near in port.wheels else ""
        meant = f"{near!r}{'' if near in installed else far}"
        return f"no {port.title} is called {told}; did you mean {meant}? {listed}"

    def _has(self, port: Port, name: str) -> bool:
        installed = (adapter.name for adapter in self._catalogue.adapters(port))
        return name in port.wheels or name in installed

    def _aliases(self) -> set[str]:
        tables = self._reader.sources.table(ADAPTERS).items()
        return {name for name, it in tables if isinstance(it, dict) and RESERVED in it}

    def _leave_unused_tables_alone(self) -> None:
        """What is configured and not chosen is no mistake, as long as it could be chosen."""
        choosable = self._catalogue.names() | {name for port in PORTS for name in port.wheels}
        for name in (choosable | self._aliases()) - self._used:
            self._reader.ignore((*ADAPTERS, name))

    def _source(self, key: str) -> str:
        value = self._reader.values.get(key)
        return value.source if value else key


def _listed(name: str | None) -> tuple[str, ...]:
    return () if name is None else (name,)
