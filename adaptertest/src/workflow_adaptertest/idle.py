"""What an adapter costs while there is nothing to do: part of every port's contract.

The cases do what an engine at rest does, by the real clock, and look at two figures: what the
adapter asks of its service, where its author gives a counter of that, and the CPU time of this
process. An adapter may need a moment to come to rest; then it has to stay there.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import cast

from workflow_core.errors import ClosedError
from workflow_core.ports import (
    Capability,
    EventStreamer,
    RecordStore,
    RoleScheduler,
    Shards,
    TimeoutStore,
)

from workflow_adaptertest.contract import Contract
from workflow_adaptertest.env import Env
from workflow_adaptertest.samples import Samples

__all__ = ["IdleRecordStoreCases", "IdleRoleCases", "IdleStreamCases", "IdleTimerCases"]

_WAIT = timedelta(milliseconds=250)  # how long an engine's blocking calls wait at most
_TOPICS = [f"orders-{status}" for status in range(1, 6)]
_ROLE = "orders-main-steps-0-of-16"
_WINDOW = 1.0  # seconds that are looked at together
_OPERATIONS = 5  # a second, at most
_CPU = 0.02  # of a core
_NAMED = 3  # threads that are told
_LOOK_ANYWAY = 5.0  # seconds between two questions to a store that tells of changes
_LOOK = 1.0  # to one that does not


class IdleStreamCases(Contract):
    """A stream to which nothing is sent."""

    def test_waiting_receiver_costs_next_to_nothing_when_nothing_is_sent(
        self, resting_env: Env
    ) -> None:
        shards = Shards(count=16, held=frozenset(range(16)))
        with cast(EventStreamer, self.adapter(resting_env)) as streamer:
            balances = Capability.BALANCES_MEMBERS in streamer.capabilities
            with streamer.new_receiver(
                _TOPICS, "orders-main-steps", shards=None if balances else shards
            ) as receiver:
                work = [partial(receiver.recv_many, 500, _WAIT)]
                _assert_rests(work, self.operations(resting_env), self.patience)


class IdleRoleCases(Contract):
    """Roles that all have their holders."""

    def test_held_role_costs_next_to_nothing_when_another_member_waits_for_it(
        self, resting_env: Env
    ) -> None:
        with (
            cast(RoleScheduler, self.adapter(resting_env)) as holder,
            cast(RoleScheduler, self.adapter(resting_env)) as waiting,
        ):
            lease = holder.try_acquire(_ROLE)
            assert lease is not None, "a free role was refused"
            work = [partial(holder.acquire, [], _WAIT), partial(waiting.acquire, [_ROLE], _WAIT)]
            _assert_rests(work, self.operations(resting_env), self.patience, processes=2)
            assert not lease.lost.is_set(), "a role was lost at rest"


class IdleRecordStoreCases(Contract):
    """A store in which nothing is due."""

    def test_empty_outbox_costs_next_to_nothing_when_a_relay_watches_it(
        self, resting_env: Env
    ) -> None:
        with cast(RecordStore, self.adapter(resting_env)) as store:
            work = [_look_into_the_outbox(store, ["orders"])]
            _assert_rests(work, self.operations(resting_env), self.patience)


class IdleTimerCases(Contract):
    """Timers of which none is due."""

    def test_timers_cost_next_to_nothing_when_none_is_due(
        self, resting_env: Env, make: Samples
    ) -> None:
        with cast(TimeoutStore, self.adapter(resting_env)) as timers:
            timers.create_many([make.timeout(delay=timedelta(hours=1)) for _ in range(100)])

            def look() -> None:
                time.sleep(_LOOK)
                timers.next_due(["orders"])

            _assert_rests([look], self.operations(resting_env), self.patience)


def _assert_rests(
    work: Sequence[Callable[[], object]],
    operations: Callable[[], int] | None,
    patience: timedelta,
    *,
    processes: int = 1,
) -> None:
    """Each of `work` runs again and again in a thread of its own, and it costs next to nothing.

    Args:
        work: calls that wait by themselves.
        operations: a counter of what was asked of the service; None: not known.
        patience: how long it may take to come to rest.
        processes: for how many the handles stand; they all spend this one's CPU time.

    Raises:
        AssertionError: it costs more than the budget.
    """
    end = time.monotonic() + patience.total_seconds()
    with _repeated(work) as failures:
        while not (cost := _cost(operations, processes)).is_rest:
            assert not failures, f"a call failed while nothing was going on: {failures[0]!r}"
            assert time.monotonic() < end, f"it never comes to rest: {cost}"
        costs = [_cost(operations, processes) for _ in range(2)]
        # what else this machine does makes some moments dearer, what spins makes all of them so
        cheapest = min(costs, key=lambda cost: cost.cpu)
        stays = replace(cheapest, operations=max(each.operations for each in costs))
        assert stays.is_rest, f"it does not stay at rest: {stays}"
        assert not failures, f"a call failed while nothing was going on: {failures[0]!r}"


def _look_into_the_outbox(store: RecordStore, workflows: Sequence[str]) -> Callable[[], None]:
    """What a relay does at rest."""
    tells = Capability.WAKES in store.capabilities
    looked_at = 0.0

    def look() -> None:
        nonlocal looked_at
        time.sleep(_WAIT.total_seconds())
        now = time.monotonic()
        changed = tells and store.outbox_changed()
        if changed or now - looked_at >= (_LOOK_ANYWAY if tells else _LOOK):
            looked_at = now
            store.next_outbox_due(workflows)

    return look


@dataclass(frozen=True)
class _Cost:
    """Of one moment: what was asked of the service, each process's part of a core, and whose.

    Threads that another test has left count too, and are told by their names.
    """

    operations: int
    cpu: float
    busiest: str

    @property
    def is_rest(self) -> bool:
        return self.operations <= _OPERATIONS * _WINDOW and self.cpu <= _CPU

    def __str__(self) -> str:
        spent = f"{self.operations} operations and {self.cpu:.1%} of a core within {_WINDOW:g} s"
        return f"{spent}; threads: {self.busiest}"


def _cost(operations: Callable[[], int] | None, processes: int) -> _Cost:
    """What the next moment costs."""
    asked = operations() if operations is not None else 0
    before, used = _used_by_threads(), time.process_time()
    time.sleep(_WINDOW)
    used = time.process_time() - used
    made = operations() - asked if operations is not None else 0
    spent: defaultdict[str, float] = defaultdict(float)
    for thread, seconds in _used_by_threads().items():
        spent[thread.name] += seconds - before.get(thread, 0.0)
    most = sorted(spent.items(), key=itemgetter(1), reverse=True)[:_NAMED]
    busiest = ", ".join(f"{name} {own / _WINDOW:.1%}" for name, own in most)
    return _Cost(made, used / _WINDOW / processes, busiest)


def _used_by_threads() -> dict[threading.Thread, float]:
    """Seconds of CPU time, of those that Python knows; none where the system does not tell."""
    used: dict[threading.Thread, float] = {}
    for thread in threading.enumerate():
        told = Path(f"/proc/self/task/{thread.native_id}/schedstat")
        with suppress(OSError):  # it has ended, or this is no Linux
            used[thread] = int(told.read_text().split()[0]) / 1e9
    return used


@contextmanager
def _repeated(work: Sequence[Callable[[], object]]) -> Iterator[list[Exception]]:
    stop = threading.Event()
    failures: list[Exception] = []

    def repeat(call: Callable[[], object]) -> None:
        while not stop.is_set():
            try:
                call()
            except ClosedError:
                return
            except Exception as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=repeat, args=(call,), daemon=True) for call in work]
    for thread in threads:
        thread.start()
    try:
        yield failures
    finally:
        stop.set()
        for thread in threads:
            thread.join()
