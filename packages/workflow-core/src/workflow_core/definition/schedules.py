"""The part of `Workflow` that declares schedules: runs that begin by the clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any, Generic, TypeAlias, TypeVar, overload

from workflow_core.definition.bodies import (
    UnfitBodyError,
    is_async,
    is_generator,
    name_of,
    parameters,
    place_of,
)
from workflow_core.definition.declaring import Declaring
from workflow_core.definition.options import check_name
from workflow_core.definition.recurrence import Cron, Interval, Recurrence
from workflow_core.definition.trigger import Trigger
from workflow_core.errors import DefinitionError

__all__ = ["DeclaresSchedules", "Missed", "Schedule", "ScheduleDecorator"]

DataT = TypeVar("DataT")
StatusT = TypeVar("StatusT", bound=IntEnum)

ScheduleBody: TypeAlias = Callable[[datetime], Trigger[DataT] | None]

_LONGEST = 254  # of the names of workflow and schedule together: they are one foreign id


class Missed(StrEnum):
    """What becomes of ticks at which nobody was there, or whose function kept failing."""

    SKIP = "skip"
    """Nothing: a tick is left out when it is more than a minute late."""
    RUN_ONCE = "run once"
    """The latest is made up for, however late; those before it are left out."""
    RUN_ALL = "run all"
    """Each is made up for, one after the other, the latest hundred at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A schedule of a workflow. Its name is stored: keep it stable over deploys."""

    name: str
    recurrence: Recurrence
    missed: Missed
    body: ScheduleBody[Any]
    where: str
    """File and line of the function."""


class ScheduleDecorator(Generic[DataT]):
    """Registers a schedule's function and leaves it as it is.

    Raises:
        DefinitionError: the function cannot be called with a time alone, or is async.
    """

    def __init__(self, register: Callable[[ScheduleBody[DataT]], None]) -> None:
        self._register = register

    def __call__(self, body: ScheduleBody[DataT], /) -> ScheduleBody[DataT]:
        """Register ``body``; called by Python as the decorator."""
        self._register(body)
        return body


class DeclaresSchedules(Declaring[DataT, StatusT]):
    """Base of `Workflow`."""

    _schedules: dict[str, Schedule]

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """Every schedule by its name, in the order of their declaration."""
        return MappingProxyType(self._schedules)

    @overload
    def schedule(
        self, name: str, /, *, cron: str, tz: str = "UTC", missed: Missed = Missed.RUN_ONCE
    ) -> ScheduleDecorator[DataT]: ...
    @overload
    def schedule(
        self,
        name: str,
        /,
        *,
        every: timedelta,
        anchor: datetime | None = None,
        missed: Missed = Missed.RUN_ONCE,
    ) -> ScheduleDecorator[DataT]: ...
    def schedule(
        self,
        name: str,
        /,
        *,
        cron: str | None = None,
        tz: str | None = None,
        every: timedelta | None = None,
        anchor: datetime | None = None,
        missed: Missed = Missed.RUN_ONCE,
    ) -> ScheduleDecorator[DataT]:
        """Begin a run at each tick, one over all processes, with what the decorated function says.

        It is given the tick (aware, in the schedule's zone) and answers a `Trigger`, or None where
        this tick begins no run. It may be called again for the same tick, and should be quick: it
        runs where all schedules of the process wait their turn. An exception is a tick that is
        tried again with back-off, until a later one is due in its stead (see ``missed``).

        Args:
            name: stored; unique in the workflow, without slashes. A new name is a new schedule.
            cron: minute, hour, day of month, month, day of week; or e.g. ``@daily``.
            tz: the IANA name of the zone that ``cron`` is meant in.
            every: in place of ``cron``: the interval, a second or more.
            anchor: a tick of ``every``, from which all others follow; midnight UTC if left out.
            missed: what becomes of ticks at which no process was there.

        Raises:
            DefinitionError: from here or from the decorator, naming the schedule.
        """
        try:
            recurrence = _recurrence(cron, tz, every, anchor)
            self._check_name(name)
            if not isinstance(missed, Missed):
                raise DefinitionError("missed is one of Missed.SKIP, .RUN_ONCE and .RUN_ALL")
        except DefinitionError as error:
            raise self._refusal(name, error.message, error.hint) from error.__cause__

        def register(body: ScheduleBody[DataT]) -> None:
            self._check_body(name, body)
            self._schedules[name] = Schedule(
                name=name,
                recurrence=recurrence,
                missed=missed,
                body=body,
                where=place_of(body),
            )

        return ScheduleDecorator(register)

    def _check_name(self, name: object) -> None:
        check_name(name, "schedule", "nightly")
        assert isinstance(name, str)
        if "/" in name:
            raise DefinitionError("a schedule's name holds no slash")
        if len(self.name) + len(name) > _LONGEST:
            raise DefinitionError(
                f"the names of workflow and schedule have at most {_LONGEST} characters together"
            )
        there = self._schedules.get(name)
        if there is not None:
            raise DefinitionError(f"there is one of this name already ({there.where})")

    def _check_body(self, name: str, body: Any) -> None:
        if self._contents.frozen:
            raise self._refusal(
                name,
                "the workflow is in use and cannot be changed any more",
                "Import the modules with its schedules before an engine is given the workflow",
            )
        self._check_name(name)  # again: the same decorator may be used twice
        if not callable(body):
            raise self._refusal(name, "what is decorated is no function")
        told = f"{name_of(body)} ({place_of(body)})"
        if is_async(body) or is_generator(body):
            raise self._refusal(
                name,
                f"{told} is no plain function",
                "It only says what to begin: leave the work to the run's steps",
            )
        try:
            parameters(body, most=1, given="the tick alone")
        except UnfitBodyError as error:
            raise self._refusal(name, f"{told} {error.problem}", error.hint) from error.__cause__

    def _refusal(self, name: object, problem: str, hint: str = "") -> DefinitionError:
        return DefinitionError(f"schedule {name!r}: {problem}", workflow=self.name, hint=hint)


def _recurrence(
    cron: str | None, tz: str | None, every: timedelta | None, anchor: datetime | None
) -> Recurrence:
    if (cron is None) == (every is None):
        raise DefinitionError("it takes either cron= or every=")
    if cron is not None:
        if anchor is not None:
            raise DefinitionError("anchor= goes with every=, cron= has its own times")
        return Cron(cron, "UTC" if tz is None else tz)
    if tz is not None:
        raise DefinitionError("tz= goes with cron=, every= has no zone: give anchor= one")
    assert every is not None
    return Interval(every) if anchor is None else Interval(every, anchor)
