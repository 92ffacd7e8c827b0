"""How a workflow is written: statuses, the functions between them, and what they answer."""

from workflow_core.definition.answers import Answer, Cancel, Pause, Repeat, Skip
from workflow_core.definition.callback import Callback
from workflow_core.definition.connectors import Call, Connector, ConnectorAnswer
from workflow_core.definition.hooks import Hook
from workflow_core.definition.json_codec import JsonCodec
from workflow_core.definition.retry import Retry
from workflow_core.definition.run import CancelReason, Run, RunView
from workflow_core.definition.schedules import Missed, Schedule
from workflow_core.definition.steps import CallbackStep, Consumer, Step, TimeoutStep
from workflow_core.definition.trigger import Trigger
from workflow_core.definition.workflow import Workflow

__all__ = [
    "Answer",
    "Call",
    "Callback",
    "CallbackStep",
    "Cancel",
    "CancelReason",
    "Connector",
    "ConnectorAnswer",
    "Consumer",
    "Hook",
    "JsonCodec",
    "Missed",
    "Pause",
    "Repeat",
    "Retry",
    "Run",
    "RunView",
    "Schedule",
    "Skip",
    "Step",
    "TimeoutStep",
    "Trigger",
    "Workflow",
]
