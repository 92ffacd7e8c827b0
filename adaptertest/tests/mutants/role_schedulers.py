"""Role schedulers that break one promise each, and the case that has to notice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta

from workflow_adaptertest import Env, RoleSchedulerContract
from workflow_core.memory import MemoryDatabase, MemoryRoleScheduler
from workflow_core.ports import Lease, RoleScheduler


class AllowsTwoHolders(MemoryRoleScheduler):
    def try_acquire(self, role: str) -> Lease | None:
        return super().try_acquire(role) or Lease(role, 10**9, release=lambda: None)


class GrantsTheHolderAgain(MemoryRoleScheduler):
    def try_acquire(self, role: str) -> Lease | None:
        lease = super().try_acquire(role)
        if lease is None and self.holders([role]).get(role) == self._member.instance:
            return Lease(role, 10**9, release=lambda: None)
        return lease


class NeverGrowsItsTokens(MemoryRoleScheduler):
    def acquire(self, roles: Sequence[str], timeout: timedelta) -> Sequence[Lease]:
        leases = super().acquire(roles, timeout)
        for lease in leases:
            lease.token = 1
        return leases


class KeepsItsRolesWhenClosed(MemoryRoleScheduler):
    def close(self) -> None:
        self._member.is_open = False


class TellsNobodyThatItClosed(MemoryRoleScheduler):
    """Frees its roles, but leaves those who play them in the belief that they hold them."""

    def close(self) -> None:
        leases = [grant.lease for grant in self._database.roles._grants.values()]
        super().close()
        for lease in leases:
            lease.lost.clear()


class ReleasesByName(MemoryRoleScheduler):
    """A late release takes the role from whoever holds it by then."""

    def try_acquire(self, role: str) -> Lease | None:
        return self._by_name(super().try_acquire(role))

    def acquire(self, roles: Sequence[str], timeout: timedelta) -> Sequence[Lease]:
        leases = [self._by_name(lease) for lease in super().acquire(roles, timeout)]
        return [lease for lease in leases if lease is not None]

    def _by_name(self, lease: Lease | None) -> Lease | None:
        if lease is None:
            return None

        def release() -> None:
            grant = self.database.roles._grants.get(lease.role)
            if grant is not None:
                grant.lease.release()

        mine = Lease(lease.role, lease.token, release=release)
        mine._lock = threading.RLock()  # type: ignore[assignment]
        mine.lost = lease.lost
        return mine


class SleepsThroughReleases(MemoryRoleScheduler):
    def acquire(self, roles: Sequence[str], timeout: timedelta) -> Sequence[Lease]:
        leases = super().acquire(roles, timedelta(0))
        if not leases:
            threading.Event().wait(timeout.total_seconds())
            leases = super().acquire(roles, timedelta(0))
        return leases


class KeepsWhatItHas(MemoryRoleScheduler):
    """Never recalls: whoever came first keeps all."""

    def acquire(self, roles: Sequence[str], timeout: timedelta) -> Sequence[Lease]:
        leases = super().acquire(roles, timeout)
        for grant in self.database.roles._grants.values():
            grant.heir = None
            grant.lease.recalled.clear()
        return leases


class NamesFreeRolesToo(MemoryRoleScheduler):
    def holders(self, roles: Sequence[str]) -> Mapping[str, str]:
        return dict.fromkeys(roles, "") | dict(super().holders(roles))


NOTICED_BY: dict[type[MemoryRoleScheduler], str] = {
    AllowsTwoHolders: "test_role_is_refused_when_another_member_holds_it",
    GrantsTheHolderAgain: "test_role_is_refused_when_the_same_process_holds_it",
    NeverGrowsItsTokens: "test_holders_never_overlap_when_a_role_is_handed_on_and_on",
    KeepsItsRolesWhenClosed: "test_roles_are_free_when_their_holder_is_closed",
    TellsNobodyThatItClosed: "test_roles_are_free_when_their_holder_is_closed",
    ReleasesByName: "test_roles_are_free_when_their_holder_is_closed",
    SleepsThroughReleases: "test_acquire_wakes_when_the_role_is_released",
    KeepsWhatItHas: "test_roles_are_spread_when_several_members_want_them",
    NamesFreeRolesToo: "test_holders_are_told_or_unknown_when_asked",
}


def certified(mutant: type[MemoryRoleScheduler]) -> type[RoleSchedulerContract]:
    """The class that an author of this scheduler would write."""

    def adapter(self: object, env: Env) -> AbstractContextManager[RoleScheduler]:
        database = env.shared("database", lambda: MemoryDatabase(env.clock))
        return mutant(database, instance=env.new_instance())

    body: dict[str, Callable[..., object] | timedelta] = {
        "adapter": adapter,
        "patience": timedelta(milliseconds=200),
    }
    return type(f"Test{mutant.__name__}", (RoleSchedulerContract,), body)


globals().update({f"Test{each.__name__}": certified(each) for each in NOTICED_BY})
