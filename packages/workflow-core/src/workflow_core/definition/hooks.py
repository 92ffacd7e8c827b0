"""The part of `Workflow` that declares hooks: functions told of what has become of a run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Generic, TypeVar, overload

from workflow_core.definition.bodies import Body
from workflow_core.definition.declaring import Declaring
from workflow_core.definition.retry import Retry
from workflow_core.definition.run import RunView
from workflow_core.model import RunState

__all__ = ["DeclaresHooks", "Hook", "HookDecorator"]

DataT = TypeVar("DataT")
StatusT = TypeVar("StatusT", bound=IntEnum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A function that is called when runs come to a run state."""

    name: str
    """Stored with what failed and is tried again: keep it stable over deploys."""
    where: str
    """File and line of the function, or ""."""
    body: Body
    is_async: bool
    state: RunState
    retry: Retry

    @property
    def told(self) -> str:
        """Its name and place, as errors tell it."""
        return f"{self.name} ({self.where})" if self.where else self.name


class HookDecorator(Generic[DataT, StatusT]):
    """Registers a hook's function and leaves it as it is.

    Raises:
        DefinitionError: the function cannot be a hook.
    """

    def __init__(self, register: Callable[[Body], object]) -> None:
        self._register = register

    @overload
    def __call__(
        self, body: Callable[[RunView[DataT, StatusT]], Coroutine[Any, Any, None]], /
    ) -> Callable[[RunView[DataT, StatusT]], Coroutine[Any, Any, None]]: ...
    @overload
    def __call__(
        self, body: Callable[[RunView[DataT, StatusT]], None], /
    ) -> Callable[[RunView[DataT, StatusT]], None]: ...
    def __call__(self, body: Body, /) -> Body:
        """Register ``body``; called by Python as the decorator."""
        self._register(body)
        return body


class DeclaresHooks(Declaring[DataT, StatusT]):
    """Base of `Workflow`.

    A hook is called at least once for each time that a run comes to its state, in any process that
    serves the workflow, and is told the run as it was then. Each hook is tried again by itself, as
    its ``retry`` says, and then set aside as a dead letter; what it raises never touches the run.
    It begins with what happens after the first process with any hook of the workflow has begun to
    serve, not with all that ever happened.
    """

    def on_pause(
        self, *, name: str | None = None, retry: Retry | None = None
    ) -> HookDecorator[DataT, StatusT]:
        """Call the decorated function when a run is paused, by whom ever.

        Args:
            name: stored with what is tried again; the function's name if left out. No two hooks of
                a workflow share one.
            retry: the workflow's if left out; ``pause_after`` says after how many failures the call
                is set aside.

        Raises:
            DefinitionError: from here or from the decorator, naming function, file and line.
        """
        return self._hook("on_pause", RunState.PAUSED, name, retry)

    def on_cancel(
        self, *, name: str | None = None, retry: Retry | None = None
    ) -> HookDecorator[DataT, StatusT]:
        """As `on_pause`, when a run is cancelled."""
        return self._hook("on_cancel", RunState.CANCELLED, name, retry)

    def on_complete(
        self, *, name: str | None = None, retry: Retry | None = None
    ) -> HookDecorator[DataT, StatusT]:
        """As `on_pause`, when a run has come to one of the workflow's ends."""
        return self._hook("on_complete", RunState.COMPLETED, name, retry)

    def on_data_deleted(
        self, *, name: str | None = None, retry: Retry | None = None
    ) -> HookDecorator[DataT | None, StatusT]:
        """As `on_pause`, when a run's data was deleted.

        ``data`` is what is left of it, None where that cannot be read as the data type.
        """
        return self._hook("on_data_deleted", RunState.DATA_DELETED, name, retry)

    @property
    def hooks(self) -> Sequence[Hook]:
        """Every hook, in the order of their declaration."""
        return self._outlets.hooks

    def _hook(
        self, verb: str, state: RunState, name: str | None, retry: Retry | None
    ) -> HookDecorator[Any, Any]:
        frame = sys._getframe(2)

        def register(body: Body) -> None:
            fields = self._outlets.fields_of(self, verb, frame, body, parameters=1)
            self._outlets.add_hook(
                Hook(
                    **{**fields, "name": fields["name"] if name is None else name},
                    state=state,
                    retry=self._outlets.retry_of(retry, self.retry),
                )
            )

        return HookDecorator(register)
