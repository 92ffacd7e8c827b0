"""Adapters as the engine calls them where somebody observes: each call of a port is told once.

No adapter instruments itself, and where nobody observes the engine holds the adapters themselves.
What stands for an adapter has all that it has; the methods of its port are looked up and wrapped
when it is made. Adapters that work together (``streamer.joins(store)``) are given each other as
they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from contextlib import AbstractContextManager
from dataclasses import replace
from time import perf_counter
from types import TracebackType
from typing import Any, TypeVar, cast

from workflow_core.discovery import Adapters
from workflow_core.engine.observers import Observers
from workflow_core.errors import (
    AdapterError,
    AdapterUnavailableError,
    ClosedError,
    NotSupportedError,
    WorkflowError,
)
from workflow_core.model import Page, PortCalled
from workflow_core.ports import (
    ConnectorSource,
    EventSender,
    EventStreamer,
    Receiver,
    RecordStore,
    RoleScheduler,
    StoreTransaction,
    TimeoutStore,
)

__all__ = ["NOT_TOLD", "Observed", "adapter_of", "observed_adapters", "observed_sources"]

T = TypeVar("T")
Call = Callable[..., Any]

NOT_TOLD = frozenset(
    {
        *("capabilities", "transactions_at_once", "connection", "stamped_at"),  # properties
        *("close", "outbox_changed", "check_topics", "is_contention"),  # cost no round trip
        *("joins", "transaction", "join", "new_sender", "new_receiver"),  # below, each its own way
    }
)
"""What of the ports is no call of a service, or is told otherwise."""

_WAITS = frozenset({"recv", "recv_many", "acquire", "try_acquire"})
"""They wait for something to happen."""
_BROUGHT = frozenset(
    {
        *("recv_many", "acquire", "list_records", "list_outbox_events", "claim_outbox_events"),
        *("list_valid", "list_soon", "list_timeouts", "closed_runs", "closed_keys", "list_outbox"),
    }
)
"""They count in what comes back, all others in what they are given, if that is a sequence."""
_WITH_OUTCOMES = frozenset({"send_many", "store_many"})


class Observed:
    """Stands for an adapter, or for what an adapter has made.

    Attributes:
        inner: what it stands for.
    """

    def __init__(self, inner: Any, port: str, adapter: str, kind: type, tell: Observers) -> None:
        self.inner = inner
        self._label = (port, adapter)
        self._observers = tell
        for name in _methods(kind):
            setattr(self, name, self._told(name, getattr(inner, name)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __repr__(self) -> str:
        return f"<observed {self.inner!r}>"

    # -- what is handed out, or given to each other ----------------------------------------------

    def joins(self, store: object) -> bool:
        """Whether the two are one installation."""
        joins: bool = self.inner.joins(adapter_of(store))
        return joins

    def transaction(self) -> AbstractContextManager[StoreTransaction]:
        """The store's, its beginning and its end told."""
        return _Transaction(self.inner.transaction(), self)

    def join(self, connection: object) -> StoreTransaction:
        """Somebody else's transaction."""
        joined: StoreTransaction = self.made(self.inner.join(connection), StoreTransaction)
        return joined

    def new_sender(self) -> EventSender:
        """A sender."""
        sender: EventSender = self.made(
            self.timed("new_sender", self.inner.new_sender), EventSender
        )
        return sender

    def new_receiver(self, *args: Any, **kwargs: Any) -> Receiver[Any]:
        """A receiver."""

        def open_one() -> Receiver[Any]:
            opened: Receiver[Any] = self.inner.new_receiver(*args, **kwargs)
            return opened

        receiver: Receiver[Any] = self.made(self.timed("new_receiver", open_one), Receiver)
        return receiver

    def made(self, inner: object, kind: type) -> Any:
        """What the adapter has made, told under the adapter's name."""
        return Observed(inner, *self._label, kind, self._observers)

    # -- telling ---------------------------------------------------------------------------------

    def _told(self, name: str, call: Call) -> Call:
        port, adapter = self._label
        tell, is_wait, is_brought = self._observers.tell, name in _WAITS, name in _BROUGHT
        has_outcomes, takes_ours = name in _WITH_OUTCOMES, name in ("send_within", "write_within")

        def told(*args: Any, **kwargs: Any) -> Any:
            if takes_ours:
                args = (adapter_of(args[0]), *args[1:])
            began = perf_counter()
            try:
                answer = call(*args, **kwargs)
            except BaseException as error:
                tell(
                    PortCalled(
                        port=port,
                        adapter=adapter,
                        operation=name,
                        seconds=perf_counter() - began,
                        is_wait=is_wait,
                        error=_fault(error),
                    )
                )
                raise
            seconds = perf_counter() - began
            if is_brought:
                items = _count(answer)
            else:
                items = _count(args[-1] if takes_ours else args[0]) if args else None
            tell(
                PortCalled(
                    port=port,
                    adapter=adapter,
                    operation=name,
                    seconds=seconds,
                    items=items,
                    is_wait=is_wait,
                    error=_first_fault(answer) if has_outcomes else "",
                )
            )
            return answer

        return told

    def timed(self, name: str, call: Callable[[], T]) -> T:
        """What the call answers, told as this operation."""
        return cast("T", self._told(name, call)())


class _Transaction(AbstractContextManager[StoreTransaction]):
    """A transaction of the store: begun, and committed or rolled back."""

    def __init__(self, inner: AbstractContextManager[StoreTransaction], store: Observed) -> None:
        self._inner = inner
        self._store = store

    def __enter__(self) -> StoreTransaction:
        entered = self._store.timed("begin", self._inner.__enter__)
        transaction: StoreTransaction = self._store.made(entered, StoreTransaction)
        return transaction

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        def leave() -> bool | None:
            return self._inner.__exit__(kind, error, traceback)

        # a transaction that is left by an error raises it on: no fault of the store's
        return self._store.timed("commit", leave) if kind is None else leave()


def adapter_of(observed: object) -> Any:
    """The adapter itself."""
    return observed.inner if isinstance(observed, Observed) else observed


def observed_adapters(adapters: Adapters, observers: Observers) -> Adapters:
    """The same ports, each call told. Closing them closes the adapters themselves."""

    def stand_in(port: str, kind: type, adapter: object | None) -> Any:
        if adapter is None:
            return None
        name = adapters.names.get(port, type(adapter).__name__)
        return Observed(adapter, port, name, kind, observers)

    return replace(
        adapters,
        record_store=stand_in("record_store", RecordStore, adapters.record_store),
        event_streamer=stand_in("event_streamer", EventStreamer, adapters.event_streamer),
        role_scheduler=stand_in("role_scheduler", RoleScheduler, adapters.role_scheduler),
        timeout_store=stand_in("timeout_store", TimeoutStore, adapters.timeout_store),
        connectors=observed_sources(adapters.connectors, observers, adapters.names),
    )


def observed_sources(
    sources: Mapping[str, ConnectorSource], observers: Observers, names: Mapping[str, str]
) -> dict[str, ConnectorSource]:
    """The sources of connectors, each call told."""
    return {
        connector: cast(
            "ConnectorSource",
            Observed(
                source,
                "connector_source",
                names.get(f"connectors.{connector}", type(source).__name__),
                ConnectorSource,
                observers,
            ),
        )
        for connector, source in sources.items()
    }


def _methods(kind: type) -> Iterable[str]:
    public = {name for name in dir(kind) if not name.startswith("_")}
    return public - NOT_TOLD


def _count(value: object) -> int | None:
    items: object = value.items if isinstance(value, Page) else value
    return len(items) if isinstance(items, Sized) and not isinstance(items, str | bytes) else None


def _fault(error: BaseException) -> str:
    """The type of what went wrong with the adapter; "" for an answer that is raised, and a stop."""
    if isinstance(error, ClosedError | NotSupportedError):
        return ""
    if isinstance(error, WorkflowError) and not isinstance(error, AdapterError):
        return ""
    return type(error).__name__


def _first_fault(outcomes: Sequence[object]) -> str:
    return next((type(o).__name__ for o in outcomes if isinstance(o, AdapterUnavailableError)), "")
