"""What all adapters share: how they are made, closed, asked for health, and what they may offer."""

from __future__ import annotations

import threading
from abc import ABC
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, ExitStack
from enum import Enum
from typing import Any, Protocol, Self, TypeVar, cast

from workflow_core.ports.clock import Clock
from workflow_core.ports.forking import in_forked_child

__all__ = ["Adapter", "AdapterContext", "AdapterFactory", "Capability", "Closable"]

T = TypeVar("T")
SettingsT = TypeVar("SettingsT", contravariant=True)
PortT = TypeVar("PortT", covariant=True)


class Capability(Enum):
    """What an adapter may offer beyond its contract: declared, never sniffed, tested both ways."""

    BALANCES_MEMBERS = "receivers of one name divide the partitions among themselves: no shards"
    TRANSACTIONS = "the store lends its transaction: user's rows, joined connections, events"
    SEARCH = "the store finds runs by the search attributes that were written with them"
    HISTORY = "the store keeps every version of a run"
    WAKES = "a blocked call returns as soon as there is something, without polling"
    CLAIMS = (
        "a claim hides outbox events from other claims: any number of relays, else it is a role"
    )


class Closable(ABC):
    """Something to be given back, also as a context manager."""

    def close(self) -> None:  # noqa: B027 - an empty body is the right default
        """Give everything back, even when it fails half-way. Twice is harmless.

        Any thread may call it; blocked calls end within a second with `ClosedError`. Default:
        there is nothing to give back.
        """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()


class AdapterContext(Closable):
    """What an adapter made from configuration gets besides its settings.

    Args:
        instance: this process among its peers: unique, readable, new at each start. A forked child
            has its parent's, and no use for it: it plays no roles and receives nothing.
        namespace: sets apart topics, groups, keys and tables; "" for none.
        clock: the clock to stamp and compare by; None: the server's own, and where there is no
            server the machine's.
    """

    def __init__(self, *, instance: str, namespace: str = "", clock: Clock | None = None) -> None:
        self.instance = instance
        self.namespace = namespace
        self.clock = clock
        self._shared: dict[Hashable, Any] = {}
        self._closing = ExitStack()
        self._lock = threading.RLock()
        in_forked_child(self._forked)

    def shared(self, key: Hashable, make: Callable[[], AbstractContextManager[T]]) -> T:
        """One ``make()`` per equal key and engine: one pool for four ports.

        It is entered here, and left after all adapters of the engine are closed. What ``make``
        raises is passed on and nothing is kept.
        """
        with self._lock:
            if key not in self._shared:
                self._shared[key] = self._closing.enter_context(make())
            return cast(T, self._shared[key])

    def _forked(self) -> None:
        self._lock = threading.RLock()

    def close(self) -> None:
        """Leave what ``shared`` entered, last first."""
        with self._lock:
            self._shared.clear()
            self._closing.close()


class AdapterFactory(Protocol[SettingsT, PortT]):
    """What an entry point names, e.g. ``sql = "workflow_sql:SqlRecordStore.from_config"``.

    The annotation of the first parameter is a frozen dataclass: its fields are the TOML keys, their
    types and defaults the schema. An adapter without settings takes an empty dataclass.
    """

    def __call__(self, settings: SettingsT, context: AdapterContext, /) -> PortT:
        """Make the adapter. May raise `AdapterError`; must not leave anything open then."""


class Adapter(Closable):
    """The base of all ports."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this instance offers; may depend on its settings. Default: nothing."""
        return frozenset()

    def check_health(self) -> str:
        """One cheap round trip; answers a phrase such as "PostgreSQL 15.4, schema 0007".

        The engine adds a time limit, the latency and the adapter's name. It asks from a thread of
        its own, one question at a time.

        Raises:
            AdapterUnavailableError: the service does not answer.
            ConfigurationError: it answers and cannot be used as it is: its schema is not ours.
            AdapterError: it refuses, for good.
        """
        return "no check"
