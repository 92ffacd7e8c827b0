"""Durable, typed, event-driven workflows on the infrastructure you already run.

A run of a workflow moves through the values of an `IntEnum`; a function consumes one status and
answers the next. Each change is one compare-and-swap write of the run's record together with its
event, so nothing is lost and nothing is committed twice, whatever dies when.
"""

from workflow_core.definition import (
    Answer,
    Callback,
    Cancel,
    JsonCodec,
    Pause,
    Repeat,
    Retry,
    Run,
    RunView,
    Skip,
    Workflow,
)
from workflow_core.engine import (
    AsyncEngine,
    Engine,
    EngineSettings,
    ProcessState,
    ProcessStatus,
    Serving,
    Trigger,
)
from workflow_core.model import Page, Record, RecordQuery, RunState, SortOrder

__all__ = [
    "Answer",
    "AsyncEngine",
    "Callback",
    "Cancel",
    "Engine",
    "EngineSettings",
    "JsonCodec",
    "Page",
    "Pause",
    "ProcessState",
    "ProcessStatus",
    "Record",
    "RecordQuery",
    "Repeat",
    "Retry",
    "Run",
    "RunState",
    "RunView",
    "Serving",
    "Skip",
    "SortOrder",
    "Trigger",
    "Workflow",
]
