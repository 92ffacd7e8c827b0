"""The role scheduler in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Self

from workflow_core.memory.adapter import MemoryAdapter, MemorySettings, shared_database
from workflow_core.memory.database import MemoryDatabase
from workflow_core.ports import AdapterContext, Capability, Lease, RoleScheduler

__all__ = ["MemoryRoleScheduler"]


class MemoryRoleScheduler(MemoryAdapter, RoleScheduler):
    """Roles shared out among the instances over one database.

    A holder keeps its roles until it releases them, is closed, or vanishes: they are free ten
    seconds after `MemoryDatabase.vanish`.

    Args:
        database: where the roles are.
        instance: this member; each has a scheduler of its own.
    """

    def __init__(self, database: MemoryDatabase, *, instance: str) -> None:
        super().__init__(database)
        self._member = database.roles.join(instance)

    @classmethod
    def from_config(cls, settings: MemorySettings, context: AdapterContext) -> Self:
        """For the entry point: all memory adapters of one engine share one database."""
        return cls(shared_database(context), instance=context.instance)

    @property
    def capabilities(self) -> frozenset[Capability]:
        """A blocked ``acquire`` wakes at once."""
        return frozenset({Capability.WAKES})

    def try_acquire(self, role: str) -> Lease | None:
        """As the port says."""
        return self.database.roles.try_acquire(self._member, role)

    def acquire(self, roles: Sequence[str], timeout: timedelta) -> Sequence[Lease]:
        """As the port says; by rendezvous hashing."""
        return self.database.roles.acquire(self._member, roles, timeout)

    def holders(self, roles: Sequence[str]) -> Mapping[str, str]:
        """As the port says."""
        return self.database.roles.holders(roles)

    def close(self) -> None:
        """Resign from all roles."""
        super().close()
        if not self._database.is_parents:  # they are not a forked child's to resign from
            self._database.roles.leave(self._member)
