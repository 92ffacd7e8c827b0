"""Reflex's tables as workflow-core's event streamer, and its events as a connector source."""

from workflow_reflex.database import create_tables
from workflow_reflex.settings import ReflexSettings
from workflow_reflex.source import ReflexConnectorSource, ReflexSourceSettings
from workflow_reflex.streamer import ReflexEventStreamer

__all__ = [
    "ReflexConnectorSource",
    "ReflexEventStreamer",
    "ReflexSettings",
    "ReflexSourceSettings",
    "create_tables",
]
