"""The table of timers."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import count, islice

from workflow_core.memory.agenda import Agenda, earliest
from workflow_core.memory.sorted_keys import SortedKeys
from workflow_core.model import Timeout

__all__ = ["TimerTable"]


class _WorkflowTimers:
    def __init__(self) -> None:
        self.agenda = Agenda()  # those that are not parked
        self.keys: SortedKeys[str] = SortedKeys()  # all open ones
        self.runs: SortedKeys[str] = SortedKeys()  # of open and closed ones


class TimerTable:
    """Open timers by key, closed keys until their run is forgotten.

    The database's lock is held by whoever calls.
    """

    def __init__(self) -> None:
        self._open: dict[str, Timeout] = {}
        self._closed: dict[str, Timeout] = {}
        self._keys_of_run: dict[str, set[str]] = {}
        self._workflow_of_run: dict[str, str] = {}
        self._workflows: dict[str, _WorkflowTimers] = {}
        self._numbers = count()

    def create(self, timeout: Timeout, now: datetime) -> None:
        """Arm a new timer, un-park a parked one, leave any other as it is."""
        key = timeout.key
        if key in self._closed:
            return
        known = self._open.get(key)
        if known is None:
            armed = timeout.replace(due_at=now + timeout.delay, delay=timedelta(0), parked=False)
            self._workflow(timeout.workflow).keys.add(key)
            if timeout.run_id not in self._keys_of_run:
                self._keys_of_run[timeout.run_id] = set()
                self._workflow(timeout.workflow).runs.add(timeout.run_id)
                self._workflow_of_run[timeout.run_id] = timeout.workflow
            self._keys_of_run[timeout.run_id].add(key)
            self._arm(armed)
        elif known.parked:
            self._arm(known.replace(parked=False))

    def close(self, key: str) -> bool:
        """Close an open timer: True for the one call that did."""
        timeout = self._open.get(key)
        if timeout is None:
            return False
        self._drop(timeout)
        self._closed[key] = timeout.replace(error="")
        return True

    def park(self, key: str) -> None:
        """Not due until it is created again."""
        timeout = self._open.get(key)
        if timeout is not None and not timeout.parked:
            self._open[key] = timeout.replace(parked=True)
            self._workflow(timeout.workflow).agenda.discard(key)

    def reschedule(
        self, key: str, due_at: datetime, *, attempts: int, error: str, repeat: int
    ) -> None:
        """Due again at another time; a parked one stays parked, and `repeat` never falls."""
        timeout = self._open.get(key)
        if timeout is None:
            return
        later = timeout.replace(
            due_at=due_at, attempts=attempts, error=error, repeat=max(repeat, timeout.repeat)
        )
        if later.parked:
            self._open[key] = later
        else:
            self._workflow(timeout.workflow).agenda.discard(key)
            self._arm(later)

    def forget(self, run_id: str) -> None:
        """Drop all that is kept of the run."""
        if run_id in self._workflow_of_run:
            self._workflows[self._workflow_of_run.pop(run_id)].runs.discard(run_id)
        for key in self._keys_of_run.pop(run_id, ()):
            timeout = self._open.get(key)
            if timeout is not None:
                self._drop(timeout)
            self._closed.pop(key, None)

    def of_run(self, workflow: str, run_id: str) -> list[Timeout]:
        """Its open ones, in order of key."""
        if self._workflow_of_run.get(run_id) != workflow:
            return []
        return [self._open[key] for key in sorted(self._keys_of_run[run_id]) if key in self._open]

    def closed_of(self, run_id: str) -> list[str]:
        """The keys of the run's closed ones, in order."""
        return [key for key in sorted(self._keys_of_run.get(run_id, ())) if key in self._closed]

    def due(self, workflows: Iterable[str], now: datetime, *, limit: int) -> list[Timeout]:
        """What is due, earliest first."""
        return [self._open[key] for key in earliest(self._agendas(workflows), now, limit=limit)]

    def soon(
        self, workflows: Iterable[str], now: datetime, until: datetime, *, limit: int
    ) -> list[Timeout]:
        """What is due by `until`, earliest first, each with how long that is from now."""
        each = [agenda.soon(now, until, limit) for agenda in self._agendas(workflows)]
        found = [self._open[key] for _, _, key in islice(heapq.merge(*each), limit)]
        return [timeout.replace(delay=timeout.due_at - now) for timeout in found]

    def next_due(self, workflows: Iterable[str], now: datetime) -> timedelta | None:
        """How long until a timer is due; None: there is none."""
        times = [at for agenda in self._agendas(workflows) if (at := agenda.next(now)) is not None]
        return min(times) - now if times else None

    def page(self, workflow: str, after: str | None, limit: int) -> tuple[list[Timeout], bool]:
        """Open timers in order of key, and whether there are more."""
        timers = self._workflows.get(workflow)
        if timers is None:
            return [], False
        items: list[Timeout] = []
        for key in timers.keys.after(after):
            if len(items) == limit:
                return items, True
            items.append(self._open[key])
        return items, False

    def closed_runs(
        self, workflow: str, after: str | None, limit: int
    ) -> tuple[list[str], str | None]:
        """Of the next `limit` runs those with closed keys; the last looked at, if more follow."""
        timers = self._workflows.get(workflow)
        items: list[str] = []
        last: str | None = None
        for number, run_id in enumerate(timers.runs.after(after) if timers else ()):
            if number == limit:
                return items, last
            last = run_id
            if not self._closed.keys().isdisjoint(self._keys_of_run[run_id]):
                items.append(run_id)
        return items, None

    def _workflow(self, name: str) -> _WorkflowTimers:
        timers = self._workflows.get(name)
        if timers is None:
            timers = self._workflows[name] = _WorkflowTimers()
        return timers

    def _agendas(self, workflows: Iterable[str]) -> Sequence[Agenda]:
        names = dict.fromkeys(workflows)
        return [self._workflows[name].agenda for name in names if name in self._workflows]

    def _arm(self, timeout: Timeout) -> None:
        self._open[timeout.key] = timeout
        self._workflow(timeout.workflow).agenda.put(
            timeout.key, next(self._numbers), due=timeout.due_at, visible=timeout.due_at
        )

    def _drop(self, timeout: Timeout) -> None:
        del self._open[timeout.key]
        timers = self._workflow(timeout.workflow)
        timers.agenda.discard(timeout.key)
        timers.keys.discard(timeout.key)
