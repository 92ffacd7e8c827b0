"""What ``@orders.callback(…)`` leaves behind under the function's name."""

from __future__ import annotations

import functools
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

from workflow_core.definition.run import Run
from workflow_core.definition.steps import CallbackStep

if TYPE_CHECKING:
    from workflow_core.definition.workflow import Workflow

__all__ = ["Callback"]

DataT = TypeVar("DataT")
StatusT = TypeVar("StatusT", bound=IntEnum)
# invariant, and to stay so: where it were inferred as covariant, checkers pass a wrong payload
PayloadT = TypeVar("PayloadT")


class Callback(Generic[DataT, StatusT, PayloadT]):
    """A registered callback: what an engine is given to move a run on from outside.

    It can still be called, so a unit test calls it as the function that it was. Safe to share
    among threads.

    Attributes:
        workflow: the workflow that it belongs to.
        step: its entry in the definition.
    """

    def __init__(self, workflow: Workflow[DataT, StatusT], step: CallbackStep) -> None:
        functools.update_wrapper(cast("Any", self), step.body)
        self.workflow = workflow
        self.step = step

    @property
    def status(self) -> StatusT:
        """Where a run must stand for it."""
        return self.workflow.status(self.step.status)

    @property
    def payload_type(self) -> Any:
        """What it takes beside the run; None: it takes the run alone."""
        return self.step.payload_type

    @overload
    def __call__(self: Callback[DataT, StatusT, None], run: Run[DataT, StatusT], /) -> Any: ...
    @overload
    def __call__(self, run: Run[DataT, StatusT], payload: PayloadT, /) -> Any: ...
    def __call__(self, run: Run[DataT, StatusT], /, *payload: Any) -> Any:
        """What the function itself answers: an answer, or the coroutine of one."""
        return self.step.body(run, *payload)

    def __repr__(self) -> str:
        return f"<callback {self.step.name} of {self.workflow.name!r} at {self.status.name}>"
