"""Makes the adapters that a configuration chose, and gives them back."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from workflow_core.discovery.choosing import Plan
from workflow_core.discovery.groups import (
    EVENT_STREAMER,
    LOGGING,
    OBSERVER,
    RECORD_STORE,
    ROLE_SCHEDULER,
    TIMEOUT_STORE,
    Port,
)
from workflow_core.errors import AdapterError, ConfigurationError, WorkflowError
from workflow_core.ports import (
    AdapterContext,
    Closable,
    ConnectorSource,
    EventStreamer,
    Observer,
    RecordStore,
    RoleScheduler,
    TimeoutStore,
)

__all__ = ["Adapters", "build", "new_instance"]


@dataclass(frozen=True)
class Adapters(Closable):
    """The adapters of one engine, open. A context manager that closes them all.

    Attributes:
        record_store: where runs are kept.
        context: what the adapters share.
        event_streamer: how events travel; None: this process can only be a client.
        role_scheduler: who does what; None: this process can only be a client.
        timeout_store: durable timers; None: no workflow with timers can be served.
        connectors: foreign streams, by the name that a workflow gives them.
        observers: what is told of all that happens.
        logging: what set up the standard ``logging``, if anything.
        names: the adapter's name by port, such as {"record_store": "sql"}; connectors by
            "connectors.payments".
    """

    record_store: RecordStore
    context: AdapterContext
    event_streamer: EventStreamer | None = None
    role_scheduler: RoleScheduler | None = None
    timeout_store: TimeoutStore | None = None
    connectors: Mapping[str, ConnectorSource] = field(default_factory=dict)
    observers: Sequence[Observer] = ()
    logging: Closable | None = None
    names: Mapping[str, str] = field(default_factory=dict)

    def close(self) -> None:
        """Close what feeds work in before what keeps it, then what they share.

        Goes on when one fails to close; the last failure is raised at the end. Twice is harmless.
        """
        in_order = [
            *self.connectors.values(),
            self.role_scheduler,
            self.event_streamer,
            self.timeout_store,
            self.record_store,
            *self.observers,
            self.logging,
            self.context,
        ]
        with ExitStack() as closing:
            for adapter in reversed(in_order):
                if adapter is not None:
                    closing.callback(adapter.close)


def build(plans: Sequence[Plan], context: AdapterContext) -> Adapters:
    """Make every adapter, in order. The context is closed with them, and when this fails.

    Raises:
        ConfigurationError: a factory made something else than its port takes, or refused.
        AdapterError: a factory failed. Whatever was made before is closed.
    """
    made: list[tuple[Plan, Closable]] = []
    with ExitStack() as undo:
        undo.callback(context.close)
        try:
            for plan in plans:
                adapter = _make(plan, context)
                undo.callback(adapter.close)
                made.append((plan, adapter))
        except BaseException as failure:
            _close(undo.pop_all(), failure)
            raise
        undo.pop_all()
    return _arrange(made, context)


def new_instance() -> str:
    """A name for this process: host, process id and a few random digits, new at each call."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


def _make(plan: Plan, context: AdapterContext) -> Closable:
    try:
        adapter = plan.make(plan.settings, context)
    except WorkflowError as problem:
        problem.adapter = problem.adapter or plan.name
        raise
    except Exception as problem:
        doing = f"making the {plan.port.title}"
        raise AdapterError.of(plan.name, problem, doing=doing) from problem
    if not isinstance(adapter, plan.port.kind) or not isinstance(adapter, Closable):
        if hasattr(adapter, "close"):
            adapter.close()
        raise ConfigurationError(
            f"the factory of {plan.adapter} made a {type(adapter).__name__},"
            f" which is no {plan.port.kind.__name__}"
        )
    return adapter


def _close(made: ExitStack, failure: BaseException) -> None:
    """Close what was made, and let no trouble with that hide why it is closed."""
    try:
        made.close()
    except Exception as problem:
        failure.add_note(f"closing what had been made failed too: {type(problem).__name__}")


def _arrange(made: Sequence[tuple[Plan, Closable]], context: AdapterContext) -> Adapters:
    # Any: which class each one is of was checked when it was made
    by_port: dict[Port, Any] = {plan.port: adapter for plan, adapter in made}
    connectors: dict[str, Any] = {plan.connector: it for plan, it in made if plan.connector}
    names = {plan.key: plan.name for plan, _ in made if plan.port is not OBSERVER}
    observers: list[Any] = [adapter for plan, adapter in made if plan.port is OBSERVER]
    return Adapters(
        record_store=by_port[RECORD_STORE],
        context=context,
        event_streamer=by_port.get(EVENT_STREAMER),
        role_scheduler=by_port.get(ROLE_SCHEDULER),
        timeout_store=by_port.get(TIMEOUT_STORE),
        connectors=MappingProxyType(connectors),
        observers=observers,
        logging=by_port.get(LOGGING),
        names=MappingProxyType(names),
    )
