"""The part of `Workflow` that declares connectors: foreign streams that feed it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass
from enum import IntEnum
from types import FrameType
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, overload

from workflow_core.definition.bodies import Body
from workflow_core.definition.callback import Callback
from workflow_core.definition.declaring import Declaring
from workflow_core.definition.options import at_least_one
from workflow_core.definition.retry import Retry
from workflow_core.definition.run import RunView
from workflow_core.definition.trigger import Trigger
from workflow_core.errors import InputError
from workflow_core.model import ConnectorEvent, EventKind, RunState

if TYPE_CHECKING:
    from workflow_core.definition.workflow import Workflow

__all__ = ["Call", "Connector", "ConnectorAnswer", "DeclaresConnectors"]

DataT = TypeVar("DataT")
StatusT = TypeVar("StatusT", bound=IntEnum)
PayloadT = TypeVar("PayloadT")
OtherT = TypeVar("OtherT")
OtherStatusT = TypeVar("OtherStatusT", bound=IntEnum)
InT = TypeVar("InT")

_ENTERED = (EventKind.ENTERED,)


@dataclass(frozen=True)
class Call:
    """A callback to be called, as a connector answers it.

    Args:
        callback: what ``@orders.callback(…)`` left under the function's name.
        payload: what it takes beside the run.
        foreign_id: on the live run of this foreign id; or
        run_id: on this run.

    Raises:
        InputError: neither of the two is given, or both.
    """

    callback: Callback[Any, Any, Any]
    payload: Any = None
    foreign_id: str = ""
    run_id: str = ""

    def __post_init__(self) -> None:
        if bool(self.foreign_id) == bool(self.run_id):
            raise InputError("Call(…) takes either foreign_id= or run_id=")

    def __repr__(self) -> str:
        # never the payload: an answer ends up in tracebacks
        run = self.run_id or f"foreign id {self.foreign_id!r}"
        return f"Call({self.callback.step.name} on {run})"


ConnectorAnswer: TypeAlias = Trigger[DataT] | Call | Sequence[Trigger[DataT] | Call] | None
"""What a connector may answer: what is to be begun and called back; None: the event is ignored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connector:
    """A foreign stream, or another workflow's, and the function that its events are given to."""

    name: str
    """What binds it to a source; part of what makes its triggers idempotent: keep it stable."""
    where: str
    """File and line of the function, or ""."""
    body: Body
    is_async: bool
    parallel: int
    retry: Retry
    decode: Callable[[bytes], Any] | None = None
    follows: Workflow[Any, Any] | None = None
    """The workflow whose events it is given; None: a foreign stream's."""
    at: frozenset[int] = frozenset()
    """Of that workflow's statuses those that count; none: all."""
    states: frozenset[RunState] = frozenset()
    kinds: frozenset[EventKind] = frozenset()

    @property
    def told(self) -> str:
        """Its name and place, as errors tell it."""
        return f"{self.name} ({self.where})" if self.where else self.name


class ConnectorDecorator(Generic[InT, DataT]):
    """Registers a connector's function and leaves it as it is.

    Raises:
        DefinitionError: the function cannot be a connector.
    """

    def __init__(self, register: Callable[[Body], object]) -> None:
        self._register = register

    @overload
    def __call__(
        self, body: Callable[[InT], Coroutine[Any, Any, ConnectorAnswer[DataT]]], /
    ) -> Callable[[InT], Coroutine[Any, Any, ConnectorAnswer[DataT]]]: ...
    @overload
    def __call__(
        self, body: Callable[[InT], ConnectorAnswer[DataT]], /
    ) -> Callable[[InT], ConnectorAnswer[DataT]]: ...
    def __call__(self, body: Body, /) -> Body:
        """Register ``body``; called by Python as the decorator."""
        self._register(body)
        return body


class DecodingDecorator(Generic[PayloadT, DataT]):
    """As `ConnectorDecorator`, for a function that takes the event and what it carries."""

    def __init__(self, register: Callable[[Body], object]) -> None:
        self._register = register

    @overload
    def __call__(
        self,
        body: Callable[[ConnectorEvent, PayloadT], Coroutine[Any, Any, ConnectorAnswer[DataT]]],
        /,
    ) -> Callable[[ConnectorEvent, PayloadT], Coroutine[Any, Any, ConnectorAnswer[DataT]]]: ...
    @overload
    def __call__(
        self, body: Callable[[ConnectorEvent, PayloadT], ConnectorAnswer[DataT]], /
    ) -> Callable[[ConnectorEvent, PayloadT], ConnectorAnswer[DataT]]: ...
    def __call__(self, body: Body, /) -> Body:
        """Register ``body``; called by Python as the decorator."""
        self._register(body)
        return body


class DeclaresConnectors(Declaring[DataT, StatusT]):
    """Base of `Workflow`.

    A connector's function is given every event of its stream at least once, and answers what is to
    be done: a `Trigger`, a `Call`, several of them, or None. It does no I/O of the engine's, so
    that the engine can do it in batches, and once: a trigger is made once per connector and event,
    however often the event comes. What it raises, or what cannot be done, is tried again as
    ``retry`` says, aside from the stream, and then set aside as a dead letter.
    """

    @overload
    def connector(
        self, name: str, /, *, parallel: int = 1, retry: Retry | None = None
    ) -> ConnectorDecorator[ConnectorEvent, DataT]: ...
    @overload
    def connector(
        self,
        name: str,
        /,
        *,
        decode: Callable[[bytes], PayloadT],
        parallel: int = 1,
        retry: Retry | None = None,
    ) -> DecodingDecorator[PayloadT, DataT]: ...
    def connector(
        self,
        name: str,
        /,
        *,
        decode: Callable[[bytes], Any] | None = None,
        parallel: int = 1,
        retry: Retry | None = None,
    ) -> ConnectorDecorator[ConnectorEvent, DataT] | DecodingDecorator[Any, DataT]:
        """Give the decorated function the events of the foreign stream that is bound to ``name``.

        The engine binds it: ``Engine(…, connectors={name: source})``, or the configuration in
        ``[workflow.connectors.NAME]``.

        Args:
            name: keep it stable over deploys: its place in the stream hangs on it.
            decode: makes of the event's value what the function takes as its second argument,
                such as ``JsonCodec(Payment).decode``.
            parallel: into how many parts the stream is divided, by key; each part is one process's
                at a time. Where the stream balances its members by itself: how many events are
                in hand at once in each process.
            retry: the workflow's if left out; ``pause_after`` says after how many failures an
                event is set aside.

        Raises:
            DefinitionError: from here or from the decorator, naming function, file and line.
        """
        register = self._connector(
            "connector",
            sys._getframe(1),
            takes=1 if decode is None else 2,
            retry=retry,
            name=name,
            parallel=at_least_one(parallel, "parallel"),
            decode=decode,
        )
        return ConnectorDecorator(register) if decode is None else DecodingDecorator(register)

    def follow(
        self,
        workflow: Workflow[OtherT, OtherStatusT],
        /,
        *,
        at: Collection[OtherStatusT] = (),
        states: Collection[RunState] = tuple(RunState),
        kinds: Collection[EventKind] = _ENTERED,
        name: str | None = None,
        parallel: int = 1,
        retry: Retry | None = None,
    ) -> ConnectorDecorator[RunView[OtherT, OtherStatusT], DataT]:
        """Give the decorated function the runs of another workflow as they move.

        It is told each status that a run enters, its end, pause and cancellation, with the run as
        it was then (`RunView.stale` says where its data is younger). A new follower begins with
        what the stream still keeps of the past. Both workflows share the store and the streamer.

        Args:
            workflow: the workflow to follow.
            at: only of runs at these statuses; all if left out.
            states: only of runs in these run states.
            kinds: why an event exists; retries, repeats and resumes only where they are asked for.
            name: keep it stable over deploys; the followed workflow's name if left out.
            parallel: as for `connector`.
            retry: as for `connector`.

        Raises:
            DefinitionError: from here or from the decorator, naming function, file and line.
        """
        register = self._connector(
            "follow",
            sys._getframe(1),
            takes=1,
            retry=retry,
            name=workflow.name if name is None else name,
            parallel=at_least_one(parallel, "parallel"),
            follows=workflow,
            at=frozenset(int(workflow.parse_status(status)) for status in at),
            states=frozenset(states),
            kinds=frozenset(kinds),
        )
        return ConnectorDecorator(register)

    @property
    def connectors(self) -> Sequence[Connector]:
        """Every connector, in the order of their declaration."""
        return self._outlets.connectors

    @property
    def followers(self) -> Sequence[str]:
        """The names of the workflows that are declared in this process to `follow` this one."""
        return self._outlets.followers

    def _connector(
        self, verb: str, frame: FrameType, *, takes: int, retry: Retry | None, **options: Any
    ) -> Callable[[Body], None]:
        settled = self._outlets.retry_of(retry, self.retry)

        def register(body: Body) -> None:
            fields = self._outlets.fields_of(self, verb, frame, body, parameters=takes)
            connector = Connector(**{**fields, **options}, retry=settled)
            self._outlets.add_connector(connector)
            if connector.follows is not None:
                connector.follows._outlets.add_follower(self.name)

        return register
