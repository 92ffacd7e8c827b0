"""The part of `Workflow` that declares timers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any, TypeVar, overload

from workflow_core.definition.declaring import Declaring
from workflow_core.definition.decorators import BodyDecorator
from workflow_core.definition.options import timer_options
from workflow_core.definition.retry import Retry
from workflow_core.definition.run import Run
from workflow_core.definition.steps import TimeoutStep

__all__ = ["DeclaresTimers"]

DataT = TypeVar("DataT")
StatusT = TypeVar("StatusT", bound=IntEnum)


class DeclaresTimers(Declaring[DataT, StatusT]):
    """Base of `Workflow`."""

    @overload
    def timeout(
        self,
        status: StatusT,
        /,
        *,
        after: timedelta,
        name: str | None = None,
        retry: Retry | None = None,
    ) -> BodyDecorator[DataT, StatusT]: ...
    @overload
    def timeout(
        self,
        status: StatusT,
        /,
        *,
        fires_at: Callable[[Run[DataT, StatusT], datetime], datetime | None],
        name: str | None = None,
        retry: Retry | None = None,
    ) -> BodyDecorator[DataT, StatusT]: ...
    def timeout(
        self,
        status: StatusT,
        /,
        *,
        after: timedelta | None = None,
        fires_at: Callable[[Run[DataT, StatusT], datetime], datetime | None] | None = None,
        name: str | None = None,
        retry: Retry | None = None,
    ) -> BodyDecorator[DataT, StatusT]:
        """Make the decorated function one that a durable timer fires while runs are at ``status``.

        Args:
            status: leaving it cancels the timer.
            after: fires so long after the run entered the status; more than zero.
            fires_at: given the run and when it entered the status: when to fire, None for never.
                In place of ``after``.
            name: stored with waiting timers; the function's name if left out. No two timers of a
                status share one.
            retry: the workflow's if left out.

        Raises:
            DefinitionError: from here or from the decorator, naming function, file and line.
        """
        site = self._site("timeout", status, sys._getframe(1))
        options = timer_options(
            retry=retry or self.retry, after=after, fires_at=fires_at, name=name
        )
        return BodyDecorator(
            lambda body: self._contents.add_timeout(
                TimeoutStep(**{**site.declared(body), **options})
            )
        )

    def add_timeout(
        self,
        status: StatusT,
        body: Callable[[Run[DataT, StatusT]], Any],
        *,
        to: Collection[StatusT],
        after: timedelta | None = None,
        fires_at: Callable[[Run[DataT, StatusT], datetime], datetime | None] | None = None,
        name: str | None = None,
        retry: Retry | None = None,
    ) -> None:
        """As `timeout`, for generated graphs.

        Raises:
            DefinitionError: naming function, file and line.
        """
        site = self._site("add_timeout", status, sys._getframe(1))
        options = timer_options(
            retry=retry or self.retry, after=after, fires_at=fires_at, name=name
        )
        fields = site.generated(body, self._targets(to))
        self._contents.add_timeout(TimeoutStep(**{**fields, **options}))
