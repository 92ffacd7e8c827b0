"""The entry-point groups, one a port, and the wheels that the project's own adapters come in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from workflow_core.ports import (
    Closable,
    ConnectorSource,
    EventStreamer,
    Observer,
    RecordStore,
    RoleScheduler,
    TimeoutStore,
)

__all__ = [
    "CONNECTOR_SOURCE",
    "EVENT_STREAMER",
    "LOGGING",
    "OBSERVER",
    "PORTS",
    "RECORD_STORE",
    "ROLE_SCHEDULER",
    "TIMEOUT_STORE",
    "Port",
]


@dataclass(frozen=True, eq=False)  # each is one of a kind
class Port:
    """A place that an adapter fills.

    Attributes:
        key: its name in code and, where one adapter fills it, in ``[workflow]``.
        group: the entry-point group in which its adapters are found.
        title: what a person calls it.
        kind: the class that an adapter's factory must make an instance of.
        wheels: of the adapters that this project makes, the wheel of each: for error texts.
    """

    key: str
    group: str
    title: str
    kind: type[Any] = field(repr=False)
    wheels: Mapping[str, str] = field(repr=False)


RECORD_STORE = Port(
    "record_store",
    "workflow_core.record_stores",
    "record store",
    RecordStore,
    {"memory": "workflow-core", "sql": "workflow-sql"},
)
EVENT_STREAMER = Port(
    "event_streamer",
    "workflow_core.event_streamers",
    "event streamer",
    EventStreamer,
    {
        "memory": "workflow-core",
        "sql": "workflow-sql",
        "kafka": "workflow-kafka",
        "reflex": "workflow-reflex",
    },
)
ROLE_SCHEDULER = Port(
    "role_scheduler",
    "workflow_core.role_schedulers",
    "role scheduler",
    RoleScheduler,
    {
        "memory": "workflow-core",
        "sql": "workflow-sql",
        "etcd": "workflow-etcd-roles",
        "rink": "workflow-etcd-roles",
    },
)
TIMEOUT_STORE = Port(
    "timeout_store",
    "workflow_core.timeout_stores",
    "timeout store",
    TimeoutStore,
    {"memory": "workflow-core", "sql": "workflow-sql", "redis": "workflow-redis-timeout"},
)
CONNECTOR_SOURCE = Port(
    "connector_source",
    "workflow_core.connector_sources",
    "connector source",
    ConnectorSource,
    {"memory": "workflow-core", "kafka": "workflow-kafka", "reflex": "workflow-reflex"},
)
OBSERVER = Port(
    "observer", "workflow_core.observers", "observer", Observer, {"otel": "workflow-otel"}
)
LOGGING = Port(
    "logging",
    "workflow_core.logging",
    "logging adapter",
    Closable,
    {"structlog": "workflow-structlog"},
)

PORTS = (
    RECORD_STORE,
    EVENT_STREAMER,
    ROLE_SCHEDULER,
    TIMEOUT_STORE,
    CONNECTOR_SOURCE,
    OBSERVER,
    LOGGING,
)
