"""The definition of a workflow: its statuses, and the functions that move runs between them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from enum import IntEnum
from types import FrameType
from typing import Any, Generic, TypeVar, overload

from workflow_core.definition.bodies import Body
from workflow_core.definition.callback import Callback
from workflow_core.definition.contents import Contents
from workflow_core.definition.decorators import BodyDecorator, CallbackDecorator
from workflow_core.definition.json_codec import JsonCodec
from workflow_core.definition.options import (
    at_least_one,
    check_name,
    step_options,
    timer_options,
)
from workflow_core.definition.registration import Site
from workflow_core.definition.retry import Retry
from workflow_core.definition.run import Run
from workflow_core.definition.run_data import RunData
from workflow_core.definition.statuses import Statuses
from workflow_core.definition.steps import CallbackStep, Step, TimeoutStep
from workflow_core.errors import DefinitionError, UnknownStatusError
from workflow_core.model import Codec

__all__ = ["Workflow"]

DataT = TypeVar("DataT")
StatusT = TypeVar("StatusT", bound=IntEnum)
PayloadT = TypeVar("PayloadT")


class Workflow(Generic[DataT, StatusT]):
    """A definition: holds no adapter and does no I/O.

    Functions are added by one thread, usually while modules are imported. `check` freezes the
    definition; from then on it is safe to share among threads.

    Args:
        name: at most 255 characters, no leading underscore; stored with every run.
        data_type: what a run carries: a dataclass, msgspec Struct, attrs class, pydantic model or
            TypedDict.
        statuses: an IntEnum with values from 1; stored, so never renumber it.
        ends: statuses that complete a run.
        starts: statuses at which runs may begin; the first is the usual one. Left out, runs begin
            at the first status that no other leads to.
        retry: what steps and timers do on failure that say nothing else.
        concurrency: the same for how many runs a step has in hand in one process; 1 or more.
        codec: how data becomes bytes; JSON if left out.
        max_data_bytes: the largest encoded data that is accepted.

    Attributes:
        ends: the numbers of the statuses that complete a run.
        steps: the step of each status that has one, by number.

    Raises:
        DefinitionError: one of these does not hold, or the data type has no JSON form.
    """

    def __init__(
        self,
        name: str,
        data_type: type[DataT],
        statuses: type[StatusT],
        *,
        ends: Collection[StatusT],
        starts: Collection[StatusT] = (),
        retry: Retry = Retry(),  # noqa: B008 - frozen
        concurrency: int = 10,
        codec: Codec[DataT] | None = None,
        max_data_bytes: int = 1024 * 1024,
    ) -> None:
        check_name(name)
        self.name = name
        self.data_type = data_type
        self.statuses = statuses
        self.retry = retry
        self.concurrency = at_least_one(concurrency, "concurrency")
        self.max_data_bytes = at_least_one(max_data_bytes, "max_data_bytes")
        self._statuses = Statuses(statuses, name)
        self.ends = frozenset(int(end) for end in self._statuses.parse_all(ends, "ends"))
        known_starts = self._statuses.parse_all(starts, "starts")
        self._contents = Contents(self._statuses, self.ends, known_starts, name)
        self.steps: Mapping[int, Step] = self._contents.steps
        self._start: StatusT | None = None  # known once the definition is frozen
        self._data = RunData(name, data_type, codec or JsonCodec(data_type), max_data_bytes)

    # -- adding functions ----------------------------------------------------------------------

    def step(
        self,
        status: StatusT,
        /,
        *,
        retry: Retry | None = None,
        concurrency: int | None = None,
        lag: timedelta | None = None,
        lag_alert: timedelta | None = None,
    ) -> BodyDecorator[DataT, StatusT]:
        """Make the decorated function the one that works on runs at ``status``.

        It takes the run and answers a status or a directive; its return annotation, evaluated
        here, is the list of what it may answer. Async bodies run concurrently, others in threads.

        Args:
            status: consumed by this function and no other.
            retry: the workflow's if left out.
            concurrency: the workflow's if left out.
            lag: work on no run before it has been this long in the status; zero if left out.
            lag_alert: warn of runs that wait longer; 30 minutes if left out.

        Raises:
            DefinitionError: from here or from the decorator, naming function, file and line.
        """
        site = self._site("step", status, sys._getframe(1))
        options = step_options(
            retry=retry or self.retry,
            concurrency=self.concurrency if concurrency is None else concurrency,
            lag=lag,
            lag_alert=lag_alert,
        )
        return BodyDecorator(
            lambda body: self._contents.add_step(Step(**site.declared(body), **options))
        )

    def add_step(
        self,
        status: StatusT,
        body: Callable[[Run[DataT, StatusT]], Any],
        *,
        to: Collection[StatusT],
        retry: Retry | None = None,
        concurrency: int | None = None,
        lag: timedelta | None = None,
        lag_alert: timedelta | None = None,
    ) -> None:
        """As `step`, for generated graphs: ``to`` names the targets, annotations are not read.

        Every directive is allowed, Skip where a callback or timer can move the run on.

        Raises:
            DefinitionError: naming function, file and line.
        """
        site = self._site("add_step", status, sys._getframe(1))
        options = step_options(
            retry=retry or self.retry,
            concurrency=self.concurrency if concurrency is None else concurrency,
            lag=lag,
            lag_alert=lag_alert,
        )
        self._contents.add_step(Step(**site.generated(body, self._targets(to)), **options))

    def callback(self, status: StatusT, /) -> CallbackDecorator[DataT, StatusT]:
        """Make the decorated function one that moves runs on from ``status`` when it is called.

        It takes the run and, if it likes, one payload, whose type is read from its annotation.

        Raises:
            DefinitionError: from here or from the decorator, naming function, file and line.
        """
        site = self._site("callback", status, sys._getframe(1))
        return CallbackDecorator(
            lambda body: self._add_callback(
                CallbackStep(**site.declared(body), payload_type=site.payload_of(body))
            )
        )

    @overload
    def add_callback(
        self,
        status: StatusT,
        body: Callable[[Run[DataT, StatusT]], Any],
        *,
        payload: None,
        to: Collection[StatusT],
    ) -> Callback[DataT, StatusT, None]: ...
    @overload
    def add_callback(
        self,
        status: StatusT,
        body: Callable[[Run[DataT, StatusT], PayloadT], Any],
        *,
        payload: type[PayloadT],
        to: Collection[StatusT],
    ) -> Callback[DataT, StatusT, PayloadT]: ...
    def add_callback(
        self, status: StatusT, body: Body, *, payload: Any, to: Collection[StatusT]
    ) -> Callback[DataT, StatusT, Any]:
        """As `callback`, for generated graphs; ``payload`` is its type, None for none.

        Raises:
            DefinitionError: naming function, file and line.
        """
        site = self._site("add_callback", status, sys._getframe(1))
        fields = site.generated(body, self._targets(to))
        return self._add_callback(CallbackStep(**fields, payload_type=payload))

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

    # -- the definition as a whole -------------------------------------------------------------

    def check(self) -> None:
        """Check the whole graph and freeze the definition. Again: does nothing.

        Raises:
            DefinitionError: the message tells every problem of the graph; nothing is frozen.
        """
        if not self._contents.frozen:
            self._contents.freeze()
            self._start = self.status(self._contents.start())

    @property
    def start(self) -> StatusT:
        """Where runs begin: the first of ``starts``, else the first that no other leads to.

        First in the order of the enum, among statuses with a step, callback or timer; where all
        lie on cycles, the first of these.
        """
        return self._start or self.status(self._contents.start())

    @property
    def callbacks(self) -> Sequence[CallbackStep]:
        """Every callback, in the order of their declaration."""
        return self._contents.callbacks

    @property
    def timeouts(self) -> Sequence[TimeoutStep]:
        """Every timer, in the order of their declaration."""
        return self._contents.timeouts

    def __repr__(self) -> str:
        return f"<Workflow {self.name!r}>"

    # -- statuses ------------------------------------------------------------------------------

    def status(self, number: int) -> StatusT:
        """The status with this number.

        Raises:
            UnknownStatusError: there is none.
        """
        return self._statuses.of_number(number)

    def parse_status(self, status: object) -> StatusT:
        """The same value, if it is one of this workflow's own statuses.

        Raises:
            UnknownStatusError: it is a number, a text or another enum's, be it equal to one.
        """
        return self._statuses.parse(status)

    def is_end(self, number: int) -> bool:
        """Whether this status completes a run."""
        return number in self.ends

    # -- data ----------------------------------------------------------------------------------

    def encode(self, data: object, original: bytes | None = None, *, run_id: str = "") -> bytes:
        """The bytes to store for this data.

        Args:
            data: a value of the data type itself.
            original: the bytes that it was decoded from, so that what newer code has put there
                survives; None for a new run.
            run_id: for errors.

        Raises:
            PayloadError: a value of another type, at the top or within.
            PayloadTooLargeError: more than ``max_data_bytes``.
            DecodeError: ``original`` cannot be read.
        """
        return self._data.encode(data, original, run_id)

    def decode(self, stored: bytes, *, run_id: str = "") -> DataT:
        """The data that these bytes hold.

        Raises:
            DecodeError: they are not of the data type; the message holds none of them.
        """
        return self._data.decode(stored, run_id)

    # ------------------------------------------------------------------------------------------

    def _site(self, verb: str, status: object, frame: FrameType) -> Site:
        try:
            known = self.parse_status(status)
        except UnknownStatusError as error:
            raise DefinitionError(
                f"{verb}(…): {error.message}", workflow=self.name, hint=error.hint
            ) from None
        return Site(self, verb, known, frame)

    def _targets(self, to: Collection[StatusT]) -> Sequence[StatusT]:
        return self._statuses.parse_all(to, "to")

    def _add_callback(self, callback: CallbackStep) -> Callback[DataT, StatusT, Any]:
        self._contents.add_callback(callback)
        return Callback(self, callback)
