"""The keeper of roles: acquires what this process would like to do, and hands it over in order."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from workflow_core.engine.gate import Gate
from workflow_core.engine.process import Process
from workflow_core.engine.standings import Standings
from workflow_core.model import RoleChange
from workflow_core.ports import Lease, RoleScheduler

__all__ = ["Duty", "GateDuty", "Keeper", "ReadsShards", "ShardDuty"]

logger = logging.getLogger("workflow_core.engine")

_WHILE_HANDING_OVER = timedelta(milliseconds=20)
_SHORT_ROUNDS = 50  # a second's: what takes longer takes minutes


class Duty(ABC):
    """What a role is for.

    Attributes:
        players: the names of the processes that play the role.
    """

    players: Sequence[str]

    @abstractmethod
    def begin(self) -> None:
        """The role is held now."""

    @abstractmethod
    def end(self) -> None:
        """Begin no more of it."""

    def wants(self) -> bool:
        """Whether this process has any use for the role now; asked at each round."""
        return True

    @property
    @abstractmethod
    def is_ended(self) -> bool:
        """After `end`: whether nothing of it is in hand any more."""


class GateDuty(Duty):
    """A process, named `player`, that works while its gate is open."""

    def __init__(self, gate: Gate, player: str) -> None:
        self._gate = gate
        self.players = [player]

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


class ReadsShards(Protocol):
    """What reads the shards that this process holds: a lane's reception, an intake."""

    name: str

    def hold(self, index: int, /) -> None:
        """Read this shard too. Any thread."""

    def let_go(self, index: int, /) -> None:
        """Read this shard no more. Any thread."""

    def is_free_of(self, index: int, /) -> bool:
        """Whether nothing of a shard that was let go is in hand any more. Any thread."""


class ShardDuty(Duty):
    """One shard of a lane, and of what shares the lane's shards."""

    def __init__(self, readers: Sequence[ReadsShards], index: int) -> None:
        self._readers = readers
        self._index = index
        self.players = [reader.name for reader in readers]

    def begin(self) -> None:
        """Read the shard."""
        for reader in self._readers:
            reader.hold(self._index)

    def end(self) -> None:
        """Read it no more."""
        for reader in self._readers:
            reader.let_go(self._index)

    @property
    def is_ended(self) -> bool:
        """Whether all that came from it is done."""
        return all(reader.is_free_of(self._index) for reader in self._readers)


class Keeper(Process):
    """One per process, for all its roles: all that are free are asked for in one call."""

    name = "roles"
    upkeep = True

    def __init__(
        self,
        scheduler: RoleScheduler,
        duties: Mapping[str, Duty],
        standings: Standings | None = None,
    ) -> None:
        self._scheduler = scheduler
        self._standings = standings
        self._duties = dict(duties)
        self._held: dict[str, Lease] = {}
        self._handing_over: dict[str, Lease] = {}
        self._rounds = 0  # short ones, since the last hand-over began

    def poll(self, wait: timedelta) -> bool:
        """End what is lost or recalled, then ask for what is not held."""
        changed = self._end_lost() | self._begin_hand_overs() | self._finish_hand_overs()
        if self._handing_over and self._rounds < _SHORT_ROUNDS:
            self._rounds += 1
            wait = min(wait, _WHILE_HANDING_OVER)
        wanted = [
            role
            for role, duty in self._duties.items()
            if role not in self._held and role not in self._handing_over and duty.wants()
        ]
        leases = self._scheduler.acquire(wanted, wait)
        for lease in leases:
            self._held[lease.role] = lease
            self._duties[lease.role].begin()
            self._tell(lease, RoleChange.GAINED)
            logger.debug(
                "role %s acquired, token %d", lease.role, lease.token, extra={"role": lease.role}
            )
        return changed or bool(leases)

    @property
    def held(self) -> list[str]:
        """The roles that this process plays."""
        return sorted(self._held)

    @property
    def playing(self) -> dict[str, Sequence[str]]:
        """The same, each with the names of the processes that play it."""
        return {role: self._duties[role].players for role in self.held}

    def release_all(self) -> None:
        """Give up everything, after its work has stopped."""
        for lease in [*self._held.values(), *self._handing_over.values()]:
            self._duties[lease.role].end()
            lease.release()
            self._tell(lease, RoleChange.GIVEN_UP)
            _tell_release(lease)
        self._held.clear()
        self._handing_over.clear()

    def _end_lost(self) -> bool:
        lost = [lease for lease in self._held.values() if lease.lost.is_set()]
        for lease in lost:
            logger.warning("role %s was lost", lease.role, extra={"role": lease.role})
            self._duties[lease.role].end()
            lease.release()
            del self._held[lease.role]
            self._tell(lease, RoleChange.LOST)
        return bool(lost)

    def _begin_hand_overs(self) -> bool:
        recalled = [
            lease
            for role, lease in self._held.items()
            if lease.recalled.is_set() or not self._duties[role].wants()
        ]
        for lease in recalled:
            self._rounds = 0
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
            was_lost = lease.lost.is_set()
            lease.release()
            self._tell(lease, RoleChange.LOST if was_lost else RoleChange.GIVEN_UP)
            _tell_release(lease)
            del self._handing_over[lease.role]
        return bool(ended)

    def _tell(self, lease: Lease, change: RoleChange) -> None:
        if self._standings is not None:
            self._standings.changed(lease.role, change)


def _tell_release(lease: Lease) -> None:
    logger.debug("role %s released", lease.role, extra={"role": lease.role})
