"""What ``orders.step(…)`` and its siblings answer: the half that takes the function.

All typing of bodies is here. The body's exact type cannot be kept (a bound type variable cannot
mention the workflow's own), so a checker shows a wrong body at its ``def`` and the decorated name
has the general type.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from enum import IntEnum
from typing import Any, Generic, TypeVar, overload

from workflow_core.definition.answers import Answer
from workflow_core.definition.bodies import Body
from workflow_core.definition.callback import Callback
from workflow_core.definition.run import Run

__all__ = ["BodyDecorator", "CallbackDecorator"]

DataT = TypeVar("DataT")
StatusT = TypeVar("StatusT", bound=IntEnum)
PayloadT = TypeVar("PayloadT")


class BodyDecorator(Generic[DataT, StatusT]):
    """Registers a step's or timer's function and leaves it as it is.

    Raises:
        DefinitionError: the function's annotation says nothing, or what it must not.
    """

    def __init__(self, register: Callable[[Body], object]) -> None:
        self._register = register

    # Coroutine and not Awaitable: what is left must fit asyncio.run in a unit test
    @overload
    def __call__(
        self, body: Callable[[Run[DataT, StatusT]], Coroutine[Any, Any, Answer[StatusT]]], /
    ) -> Callable[[Run[DataT, StatusT]], Coroutine[Any, Any, Answer[StatusT]]]: ...
    @overload
    def __call__(
        self, body: Callable[[Run[DataT, StatusT]], Answer[StatusT]], /
    ) -> Callable[[Run[DataT, StatusT]], Answer[StatusT]]: ...
    def __call__(self, body: Body, /) -> Body:
        """Register ``body``; called by Python as the decorator."""
        self._register(body)
        return body


class CallbackDecorator(Generic[DataT, StatusT]):
    """Registers a callback's function and leaves a `Callback` under its name.

    Raises:
        DefinitionError: the function's annotations say nothing, or what they must not.
    """

    def __init__(self, register: Callable[[Body], Callback[DataT, StatusT, Any]]) -> None:
        self._register = register

    @overload
    def __call__(
        self,
        body: Callable[[Run[DataT, StatusT]], Answer[StatusT] | Awaitable[Answer[StatusT]]],
        /,
    ) -> Callback[DataT, StatusT, None]: ...
    @overload
    def __call__(
        self,
        body: Callable[
            [Run[DataT, StatusT], PayloadT], Answer[StatusT] | Awaitable[Answer[StatusT]]
        ],
        /,
    ) -> Callback[DataT, StatusT, PayloadT]: ...
    def __call__(self, body: Body, /) -> Callback[DataT, StatusT, Any]:
        """Register ``body``; called by Python as the decorator."""
        return self._register(body)
