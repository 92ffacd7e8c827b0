"""What all parts of one engine share."""

from __future__ import annotations

from dataclasses import dataclass

from workflow_core.engine.crew import Crew
from workflow_core.engine.journal import Journal
from workflow_core.engine.publisher import Publisher
from workflow_core.engine.settings import EngineSettings
from workflow_core.engine.transition import Identity
from workflow_core.ports import Clock, EventStreamer, RecordStore, RoleScheduler, TimeoutStore

__all__ = ["Core"]


@dataclass(frozen=True)
class Core:
    """The ports, and the parts that exist once per engine."""

    store: RecordStore
    streamer: EventStreamer | None
    scheduler: RoleScheduler | None
    timeouts: TimeoutStore | None
    settings: EngineSettings
    clock: Clock
    identity: Identity
    crew: Crew
    journal: Journal
    publisher: Publisher | None
