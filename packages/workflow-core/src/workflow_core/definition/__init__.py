"""How a workflow is written: statuses, the functions between them, and what they answer."""

from workflow_core.definition.answers import Answer, Cancel, Pause, Repeat, Skip
from workflow_core.definition.callback import Callback
from workflow_core.definition.json_codec import JsonCodec
from workflow_core.definition.retry import Retry
from workflow_core.definition.run import Run, RunView
from workflow_core.definition.steps import CallbackStep, Step, TimeoutStep
from workflow_core.definition.workflow import Workflow

__all__ = [
    "Answer",
    "Callback",
    "CallbackStep",
    "Cancel",
    "JsonCodec",
    "Pause",
    "Repeat",
    "Retry",
    "Run",
    "RunView",
    "Skip",
    "Step",
    "TimeoutStep",
    "Workflow",
]
