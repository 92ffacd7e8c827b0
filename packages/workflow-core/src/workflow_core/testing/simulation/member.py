"""A member of the simulated cluster: one process with its engine, adapters and clock."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from datetime import datetime, timedelta
from typing import Any, TypeVar

from workflow_core.discovery import Adapters
from workflow_core.engine import Engine, EngineSettings
from workflow_core.engine.bodies import AsyncBodies, Done
from workflow_core.engine.process import Process
from workflow_core.engine.runtime import Runtime
from workflow_core.errors import WouldWaitForeverError
from workflow_core.memory import MemoryDatabase
from workflow_core.model import Event, Record
from workflow_core.ports import AdapterContext, Capability, Clock, ConnectorSource
from workflow_core.testing.clock import FakeClock
from workflow_core.testing.loop import DrivenLoop
from workflow_core.testing.simulation.faults import (
    Faults,
    FaultyRoles,
    FaultyStore,
    FaultyStreamer,
)
from workflow_core.testing.simulation.faulty_timeouts import FaultyTimeouts
from workflow_core.testing.simulation.pools import Pools

__all__ = ["Member", "SkewedClock"]

T = TypeVar("T")

_NOW = timedelta(0)
_TICK = timedelta(milliseconds=1)


class SkewedClock(Clock):
    """A machine's clock that is wrong by a constant.

    Args:
        true: the right one.
        by: how much this one is ahead; negative: behind.
    """

    def __init__(self, true: Clock, by: timedelta) -> None:
        self._true = true
        self._by = by

    def now(self) -> datetime:
        """The wrong time."""
        return self._true.now() + self._by

    def monotonic(self) -> float:
        """Counted from another instant."""
        return self._true.monotonic() + abs(self._by.total_seconds())


class Member:
    """A process.

    Args:
        name: its instance, unique.
        records: the database with runs and roles.
        stream: the database with events: the same where they are joined.
        timers: the database with timers: that of the runs where they are joined.
        pools: what is served, by whom.
        pool: the one that it is a member of.
        settings: its engine's.
        faults: what happens to its calls.
        without: capabilities that its record store does without.
        clock: its own.
        true_clock: moved where a verb waits for a body.
        dice: where its engine's ids and jitter come from.
        connectors: what its engine's connectors are bound to.
    """

    def __init__(
        self,
        name: str,
        *,
        records: MemoryDatabase,
        stream: MemoryDatabase,
        timers: MemoryDatabase,
        pools: Pools,
        pool: str,
        settings: EngineSettings,
        faults: Faults,
        without: frozenset[Capability],
        clock: Clock,
        true_clock: FakeClock,
        dice: random.Random,
        connectors: Mapping[str, ConnectorSource] | None = None,
    ) -> None:
        self.name = name
        self.pool = pool
        self.faults = faults
        self.is_alive = True
        self._databases = (records, stream)
        self._loop = DrivenLoop(clock)
        adapters = Adapters(
            record_store=FaultyStore(records, faults, without=without),
            event_streamer=FaultyStreamer(stream, faults, instance=name),
            role_scheduler=FaultyRoles(records, faults, instance=name),
            timeout_store=FaultyTimeouts(timers, faults),
            context=AdapterContext(instance=name, clock=clock),
        )
        self.engine = Engine(
            adapters, settings=settings, clock=clock, entropy=dice, connectors=connectors or {}
        )
        self._crew = self.engine.be_driven(_MemberRuntime(self._loop, true_clock))
        self._serving = pools.serving(self.engine, pool).start()

    @property
    def activities(self) -> list[tuple[str, Callable[[], bool]]]:
        """What can be polled in it: a name, and what says whether there was work."""
        polls = [(process.name, _polling(process)) for process in self._crew.processes]
        return [*polls, ("async steps", self._loop.poll)]

    def next_due(self, *, upkeep: bool = True) -> timedelta | None:
        """How long until time alone gives it work; `upkeep`: be it what only repeats itself."""
        dues = [p.next_due() for p in self._crew.processes if upkeep or not p.upkeep]
        dues.append(self._loop.next_due())
        return min((due for due in dues if due is not None), default=None)

    def holds(self, record: Record) -> bool:
        """Whether it has the run in hand as it is."""
        receptions = self._serving._receptions
        return self._serving._window.has(record) or any(r.has(record) for r in receptions)

    @property
    def held(self) -> list[Event]:
        """The events that its receptions hold back."""
        return [
            delivery.event
            for reception in self._serving._receptions
            for holding in reception._holdings
            for _, delivery in holding._held
        ]

    def stop(self) -> None:
        """End in order."""
        self.engine.close()
        self.is_alive = False

    def die(self) -> None:
        """As by kill -9: nothing is given back, others notice in time."""
        self.is_alive = False
        for database in dict.fromkeys(self._databases):
            database.vanish(self.name)

    def clean_up(self) -> None:
        """Give the loop back, when nobody looks any more."""
        self._serving._bodies.close()  # what is cancelled now ends nothing and begins nothing
        self._loop.close()


def _polling(process: Process) -> Callable[[], bool]:
    return lambda: process.poll(_NOW)


class _MemberRuntime(Runtime):
    manual = True

    def __init__(self, loop: DrivenLoop, clock: FakeClock) -> None:
        self._loop = loop
        self._clock = clock

    def bodies(self) -> AsyncBodies:
        return _Bodies(self._loop)

    def result(self, future: Future[T], timeout: timedelta) -> T:
        """Of an async callback: whatever else runs on the loop goes on meanwhile."""
        while not self._loop.is_running:
            self._loop.poll()
            due = self._loop.next_due()
            if future.done() or due is None:
                break
            self._clock.advance(max(due, _TICK))
        if future.done():
            return future.result()
        raise WouldWaitForeverError("nothing waits within a simulation but for an async callback")

    def errand(self, call: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        future.set_result(call())
        return future


class _Bodies(AsyncBodies):
    """The member's loop, which outlives its serving."""

    def __init__(self, loop: DrivenLoop) -> None:
        self._loop = loop

    def start(self, body: Coroutine[Any, Any, object], done: Done) -> None:
        self._loop.start(body, done)

    def cancel(self, body: Coroutine[Any, Any, object]) -> None:
        self._loop.cancel(body)

    def close(self) -> None:
        """What runs is abandoned: its answer reaches nobody."""
        self.is_closed = True
