"""The engine: moves runs through their statuses, over whatever ports it is given."""

from workflow_core.engine.aio import AsyncEngine
from workflow_core.engine.engine import Engine
from workflow_core.engine.process import ProcessState, ProcessStatus
from workflow_core.engine.serving import Serving
from workflow_core.engine.settings import EngineSettings
from workflow_core.engine.triggers import Trigger

__all__ = [
    "AsyncEngine",
    "Engine",
    "EngineSettings",
    "ProcessState",
    "ProcessStatus",
    "Serving",
    "Trigger",
]
