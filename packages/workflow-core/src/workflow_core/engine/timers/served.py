"""A workflow as the poller of timers sees it."""

from __future__ import annotations

from dataclasses import dataclass

from workflow_core.engine.gate import Gate
from workflow_core.engine.timers.book import WorkflowTimers
from workflow_core.engine.transition import Transition

__all__ = ["Served"]


@dataclass(frozen=True, slots=True)
class Served:
    """A workflow whose timers this process may let fire."""

    timers: WorkflowTimers
    transition: Transition
    gate: Gate
