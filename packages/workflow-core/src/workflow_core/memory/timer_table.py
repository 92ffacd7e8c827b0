"""The table of timers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import count

from workflow_core.memory.agenda import Agenda, earliest
from workflow_core.memory.sorted_keys import SortedKeys
from workflow_core.model import Timeout

__all__ = ["TimerTable"]


class _WorkflowTimers:
    def __init__(self) -> None:
        self.agenda = Agenda()  # those that are not parked
        self.keys: SortedKeys[str] = SortedKeys()  # all open ones


class TimerTable:
    """Open timers by key, closed keys until their run is forgotten.

    The database's lock is held by whoever calls.
    """

    def __init__(self) -> None:
        self._open: dict[str, Timeout] = {}
        self._closed: set[str] = set()
        self._keys_of_run: dict[str, set[str]] = {}
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
            self._keys_of_run.setdefault(timeout.run_id, set()).add(key)
            self._arm(armed)
        elif known.parked:
            self._arm(known.replace(parked=False))

    def close(self, key: str) -> bool:
        """Close an open timer: True for the one call that did."""
        timeout = self._open.get(key)
        if timeout is None:
            return False
        self._drop(timeout)
        self._closed.add(key)
        return True

    def park(self, key: str) -> None:
        """Not due until it is created again."""
        timeout = self._open.get(key)
        if timeout is not None and not timeout.parked:
            self._open[key] = timeout.replace(parked=True)
            self._workflow(timeout.workflow).agenda.discard(key)

    def reschedule(self, key: str, due_at: datetime, *, attempts: int, error: str) -> None:
        """Due again at another time; a parked one stays parked."""
        timeout = self._open.get(key)
        if timeout is None:
            return
        later = timeout.replace(due_at=due_at, attempts=attempts, error=error)
        if later.parked:
            self._open[key] = later
        else:
            self._workflow(timeout.workflow).agenda.discard(key)
            self._arm(later)

    def forget(self, run_id: str) -> None:
        """Drop all that is kept of the run."""
        for key in self._keys_of_run.pop(run_id, ()):
            timeout = self._open.get(key)
            if timeout is not None:
                self._drop(timeout)
            self._closed.discard(key)

    def due(self, workflows: Iterable[str], now: datetime, *, limit: int) -> list[Timeout]:
        """What is due, earliest first."""
        return [self._open[key] for key in earliest(self._agendas(workflows), now, limit=limit)]

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
