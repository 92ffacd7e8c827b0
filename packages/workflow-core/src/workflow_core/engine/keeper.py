"""The keeper of roles: acquires what this process would like to do, and hands it over in order."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import timedelta

from workflow_core.engine.gate import Gate
from workflow_core.engine.process import Process
from workflow_core.engine.reception import Reception
from workflow_core.ports import Lease, RoleScheduler

__all__ = ["Duty", "GateDuty", "Keeper", "ShardDuty"]

logger = logging.getLogger("workflow_core.engine")

_WHILE_HANDING_OVER = timedelta(milliseconds=20)


class Duty(ABC):
    """What a role is for."""

    @abstractmethod
    def begin(self) -> None:
        """The role is held now."""

    @abstractmethod
    def end(self) -> None:
        """Begin no more of it."""

    @property
    @abstractmethod
    def is_ended(self) -> bool:
        """After `end`: whether nothing of it is in hand any more."""


class GateDuty(Duty):
    """A process that works while its gate is open."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def begin(self) -> None:
        """Open the gate."""
        self._gate.open()

    def end(self) -> None:
        """Shut the gate."""
        self._gate.shut()

    @property
    def is_ended(self) -> bool:
        """A poll that is under way may still end; what such processes do is harmless twice."""
        return True


class ShardDuty(Duty):
    """One shard of a lane."""

    def __init__(self, reception: Reception, index: int) -> None:
        self._reception = reception
        self._index = index

    def begin(self) -> None:
        """Read the shard."""
        self._reception.hold(self._index)

    def end(self) -> None:
        """Read it no more."""
        self._reception.let_go(self._index)

    @property
    def is_ended(self) -> bool:
        """Whether all that came from it is done."""
        return self._reception.is_free_of(self._index)


class Keeper(Process):
    """One per process, for all its roles: all that are free are asked for in one call."""

    name = "roles"
    upkeep = True

    def __init__(self, scheduler: RoleScheduler, duties: Mapping[str, Duty]) -> None:
        self._scheduler = scheduler
        self._duties = dict(duties)
        self._held: dict[str, Lease] = {}
        self._handing_over: dict[str, Lease] = {}

    def poll(self, wait: timedelta) -> bool:
        """End what is lost or recalled, then ask for what is not held."""
        changed = self._end_lost() | self._begin_hand_overs() | self._finish_hand_overs()
        if self._handing_over:
            wait = min(wait, _WHILE_HANDING_OVER)
        wanted = [r for r in self._duties if r not in self._held and r not in self._handing_over]
        leases = self._scheduler.acquire(wanted, wait)
        for lease in leases:
            self._held[lease.role] = lease
            self._duties[lease.role].begin()
            logger.debug("role %s acquired, token %d", lease.role, lease.token)
        return changed or bool(leases)

    @property
    def held(self) -> list[str]:
        """The roles that this process plays."""
        return sorted(self._held)

    def release_all(self) -> None:
        """Give up everything, after its work has stopped."""
        for lease in [*self._held.values(), *self._handing_over.values()]:
            self._duties[lease.role].end()
            lease.release()
        self._held.clear()
        self._handing_over.clear()

    def _end_lost(self) -> bool:
        lost = [lease for lease in self._held.values() if lease.lost.is_set()]
        for lease in lost:
            logger.warning("role %s was lost", lease.role)
            self._duties[lease.role].end()
            lease.release()
            del self._held[lease.role]
        return bool(lost)

    def _begin_hand_overs(self) -> bool:
        recalled = [lease for lease in self._held.values() if lease.recalled.is_set()]
        for lease in recalled:
            self._duties[lease.role].end()
            self._handing_over[lease.role] = self._held.pop(lease.role)
        return bool(recalled)

    def _finish_hand_overs(self) -> bool:
        ended = [
            lease
            for lease in self._handing_over.values()
            if lease.lost.is_set() or self._duties[lease.role].is_ended
        ]
        for lease in ended:
            lease.release()
            del self._handing_over[lease.role]
        return bool(ended)
