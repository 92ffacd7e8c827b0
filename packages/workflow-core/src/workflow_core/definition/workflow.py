"""The definition of a workflow: its statuses, and the functions that move runs between them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from enum import IntEnum
from typing import Any, TypeVar, overload

from workflow_core.definition.bodies import Body
from workflow_core.definition.callback import Callback
from workflow_core.definition.connectors import DeclaresConnectors
from workflow_core.definition.contents import Contents
from workflow_core.definition.decorators import BodyDecorator, CallbackDecorator
from workflow_core.definition.deletion import DeclaresDeletion
from workflow_core.definition.diagram import diagram
from workflow_core.definition.hooks import DeclaresHooks
from workflow_core.definition.json_codec import JsonCodec
from workflow_core.definition.options import (
    at_least_one,
    check_name,
    step_options,
)
from workflow_core.definition.outlets import Outlets
from workflow_core.definition.retry import Retry
from workflow_core.definition.run import Run
from workflow_core.definition.run_data import RunData
from workflow_core.definition.schedules import DeclaresSchedules, Schedule
from workflow_core.definition.search import Attributes, Declared
from workflow_core.definition.statuses import Statuses
from workflow_core.definition.steps import CallbackStep, Step, TimeoutStep
from workflow_core.definition.timers import DeclaresTimers
from workflow_core.model import Codec

__all__ = ["Workflow"]

DataT = TypeVar("DataT")
StatusT = TypeVar("StatusT", bound=IntEnum)
PayloadT = TypeVar("PayloadT")


class Workflow(
    DeclaresTimers[DataT, StatusT],
    DeclaresHooks[DataT, StatusT],
    DeclaresConnectors[DataT, StatusT],
    DeclaresSchedules[DataT, StatusT],
    DeclaresDeletion[DataT, StatusT],
):
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
        search: what runs are found by beside their foreign id: names of fields of the data, or a
            mapping of names to functions of it. Texts, whole numbers, aware times; at most 16.

    Attributes:
        attributes: reads what ``search`` declares.
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
        search: Declared[DataT] = (),
    ) -> None:
        check_name(name)
        self.name = name
        self.data_type = data_type
        self.statuses = statuses
        self.retry = retry
        self.concurrency = at_least_one(concurrency, "concurrency")
        self.max_data_bytes = at_least_one(max_data_bytes, "max_data_bytes")
        self._schedules: dict[str, Schedule] = {}
        self._statuses = Statuses(statuses, name)
        self.ends = frozenset(int(end) for end in self._statuses.parse_all(ends, "ends"))
        known_starts = self._statuses.parse_all(starts, "starts")
        self._contents = Contents(self._statuses, self.ends, known_starts, name)
        self._outlets = Outlets(self._contents, name)
        self.steps: Mapping[int, Step] = self._contents.steps
        self._start: StatusT | None = None  # known once the definition is frozen
        self.attributes = Attributes(name, data_type, search)
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
        at_most: int | None = None,
        timeout: timedelta | None = None,
        transaction: bool = False,
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
            at_most: so many of its bodies run at once over all processes; no limit if left out.
            timeout: a body that runs for longer has failed, with `StepTimeoutError`: an async one
                is cancelled, a plain function is left to itself. No limit if left out.
            transaction: what the body writes on ``run.connection`` commits together with its
                answer, exactly once. Plain functions only, with a record store in your database.

        Raises:
            DefinitionError: from here or from the decorator, naming function, file and line.
        """
        site = self._site("step", status, sys._getframe(1))
        options = step_options(
            retry=retry or self.retry,
            concurrency=self.concurrency if concurrency is None else concurrency,
            lag=lag,
            lag_alert=lag_alert,
            at_most=at_most,
            timeout=timeout,
            transaction=transaction,
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
        at_most: int | None = None,
        timeout: timedelta | None = None,
        transaction: bool = False,
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
            at_most=at_most,
            timeout=timeout,
            transaction=transaction,
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

    # -- the definition as a whole -------------------------------------------------------------

    def check(self) -> None:
        """Check the whole graph and freeze the definition. Again: does nothing.

        Raises:
            DefinitionError: the message tells every problem of the graph; nothing is frozen.
        """
        if not self._contents.frozen:
            self._contents.freeze()
            self._start = self.status(self._contents.start())

    def diagram(self) -> str:
        """The definition as a mermaid flowchart, the same text each time.

        Steps are solid arrows, callbacks dotted, timers thick; starts have a double side, ends are
        round. Put it in a test, and a change of the graph shows in review.
        """
        consumers = [*self.steps.values(), *self.callbacks, *self.timeouts]
        starts = self._contents.starts
        return diagram(self.statuses, consumers, starts=starts, ends=self.ends)

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

    def _add_callback(self, callback: CallbackStep) -> Callback[DataT, StatusT, Any]:
        self._contents.add_callback(callback)
        return Callback(self, callback)
