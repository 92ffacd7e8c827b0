"""The engine: moves runs through their statuses, over whatever ports it is given."""

from workflow_core.definition import Trigger
from workflow_core.engine.aio import AsyncEngine
from workflow_core.engine.bulk import Bulk, BulkProgress
from workflow_core.engine.deletion import DeletionReceipt
from workflow_core.engine.engine import Engine
from workflow_core.engine.guard import DefinitionShape, GuardFinding, GuardReport, Missing
from workflow_core.engine.health import AdapterHealth, AdapterState, Health, RoleHealth
from workflow_core.engine.process import ProcessState, ProcessStatus
from workflow_core.engine.schedule_state import ScheduleView
from workflow_core.engine.serving import Serving
from workflow_core.engine.settings import EngineSettings
from workflow_core.engine.why import Cause, Reason, Why
from workflow_core.engine.worker_state import WorkerState, WorkerView

__all__ = [
    "AdapterHealth",
    "AdapterState",
    "AsyncEngine",
    "Bulk",
    "BulkProgress",
    "Cause",
    "DefinitionShape",
    "DeletionReceipt",
    "Engine",
    "EngineSettings",
    "GuardFinding",
    "GuardReport",
    "Health",
    "Missing",
    "ProcessState",
    "ProcessStatus",
    "Reason",
    "RoleHealth",
    "ScheduleView",
    "Serving",
    "Trigger",
    "Why",
    "WorkerState",
    "WorkerView",
]
