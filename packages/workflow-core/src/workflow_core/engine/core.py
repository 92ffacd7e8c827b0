"""What all parts of one engine share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from workflow_core.engine.crew import Crew
from workflow_core.engine.journal import Journal
from workflow_core.engine.observers import Observers
from workflow_core.engine.publisher import Publisher
from workflow_core.engine.settings import EngineSettings
from workflow_core.engine.timers.book import TimerBook
from workflow_core.engine.transition import Identity
from workflow_core.ports import (
    Clock,
    ConnectorSource,
    EventStreamer,
    RecordStore,
    RoleScheduler,
    TimeoutStore,
)

__all__ = ["Core"]


@dataclass(frozen=True)
class Core:
    """The ports, and the parts that exist once per engine."""

    store: RecordStore
    streamer: EventStreamer | None
    scheduler: RoleScheduler | None
    timeouts: TimeoutStore | None
    timers: TimerBook
    settings: EngineSettings
    clock: Clock
    identity: Identity
    crew: Crew
    journal: Journal
    publisher: Publisher | None
    instance: str
    """This process among its peers."""
    connectors: Mapping[str, ConnectorSource]
    """Foreign streams, by the name that a workflow gives them."""
    observers: Observers | None
    """Who is told of what happens; None: nobody, and nothing is done for it."""
