"""Role schedulers that break one promise each, and the case that has to notice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta

from workflow_adaptertest import Env, RoleSchedulerContract
from workflow_core.errors import AdapterUnavailableError
from workflow_core.memory import MemoryDatabase, MemoryRoleScheduler
from workflow_core.ports import Lease, RoleScheduler

CRASH = "test_role_of_a_crashed_holder_is_free_within_its_time_and_suspect"
LEASE = timedelta(seconds=10)
CUT = "test_holder_that_is_cut_off_has_lost_its_role_before_another_has_it"


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


class SpinsWhileItWaits(MemoryRoleScheduler):
    def acquire(self, roles: Sequence[str], timeout: timedelta) -> Sequence[Lease]:
        end = time.monotonic() + timeout.total_seconds()
        leases: Sequence[Lease] = []
        while not leases and time.monotonic() < end:
            leases = super().acquire(roles, timedelta(0))
        return leases


class TakesACrashForAResignation(MemoryRoleScheduler):
    """Then the step that killed its process takes the next one with it, and nobody counts."""

    def try_acquire(self, role: str) -> Lease | None:
        lease = super().try_acquire(role)
        if lease is not None:
            lease.suspect = False
        return lease


class FreesNothingAfterACrash(MemoryRoleScheduler):
    """A lock without a lease."""

    def try_acquire(self, role: str) -> Lease | None:
        lease = super().try_acquire(role)
        if lease is not None and lease.suspect:
            lease.release()
            return None
        return lease


class TellsTheCrashedNothing(MemoryRoleScheduler):
    """Its lease ends for the others only: a process that was frozen goes on in the belief."""

    def try_acquire(self, role: str) -> Lease | None:
        lease = super().try_acquire(role)
        if lease is not None:
            lease.lost = Deaf()
        return lease


class BelievesWhatItCannotKnow(MemoryRoleScheduler):
    """It holds its roles until it is told otherwise, which a cut off process never is."""

    held: Lease | None = None

    def try_acquire(self, role: str) -> Lease | None:
        self.held = super().try_acquire(role)
        return self.held

    @contextmanager
    def cut_off(self) -> Iterator[timedelta]:
        with cut_off(self) as within:
            if self.held is not None:
                self.held.lost = Deaf()
            yield within


class StaysAwayForEver(MemoryRoleScheduler):
    """One lost connection, and it is of no use until its process is restarted."""

    was_cut = False

    def acquire(self, roles: Sequence[str], timeout: timedelta) -> Sequence[Lease]:
        if self.was_cut:
            raise AdapterUnavailableError("no connection", adapter="memory")
        return super().acquire(roles, timeout)

    @contextmanager
    def cut_off(self) -> Iterator[timedelta]:
        with cut_off(self) as within:
            self.was_cut = True
            yield within


@contextmanager
def cut_off(handle: MemoryRoleScheduler) -> Iterator[timedelta]:
    """As far as others can see it vanishes; afterwards it is a member again."""
    database, instance = handle.database, handle._member.instance
    database.vanish(instance)
    yield LEASE
    handle._member = database.roles.join(instance)


class Deaf(threading.Event):
    def set(self) -> None:
        pass


NOTICED_BY: dict[type[MemoryRoleScheduler], str] = {
    AllowsTwoHolders: "test_role_is_refused_when_another_member_holds_it",
    GrantsTheHolderAgain: "test_role_is_refused_when_the_same_process_holds_it",
    NeverGrowsItsTokens: "test_holders_never_overlap_when_a_role_is_handed_on_and_on",
    KeepsItsRolesWhenClosed: "test_roles_are_free_when_their_holder_is_closed",
    TellsNobodyThatItClosed: "test_roles_are_free_when_their_holder_is_closed",
    ReleasesByName: "test_roles_are_free_when_their_holder_is_closed",
    TakesACrashForAResignation: CRASH,
    FreesNothingAfterACrash: CRASH,
    TellsTheCrashedNothing: CRASH,
    BelievesWhatItCannotKnow: CUT,
    StaysAwayForEver: CUT,
    SleepsThroughReleases: "test_acquire_wakes_when_the_role_is_released",
    KeepsWhatItHas: "test_roles_are_spread_when_several_members_want_them",
    SpinsWhileItWaits: "test_held_role_costs_next_to_nothing_when_another_member_waits_for_it",
    NamesFreeRolesToo: "test_holders_are_told_or_unknown_when_asked",
}


def certified(mutant: type[MemoryRoleScheduler]) -> type[RoleSchedulerContract]:
    """The class that an author of this scheduler would write."""

    def adapter(self: object, env: Env) -> AbstractContextManager[RoleScheduler]:
        database = env.shared("database", lambda: MemoryDatabase(env.clock))
        return mutant(database, instance=env.new_instance())

    def crash(self: object, env: Env, handle: MemoryRoleScheduler) -> timedelta:
        database = env.shared("database", lambda: MemoryDatabase(env.clock))
        database.vanish(handle._member.instance)
        return LEASE

    def cut(self: object, env: Env, handle: MemoryRoleScheduler) -> object:
        own = getattr(handle, "cut_off", None)
        return own() if own else cut_off(handle)

    body: dict[str, Callable[..., object] | timedelta] = {
        "adapter": adapter,
        "crash": crash,
        "cut_off": cut,
        "patience": timedelta(milliseconds=200),
    }
    return type(f"Test{mutant.__name__}", (RoleSchedulerContract,), body)


globals().update({f"Test{each.__name__}": certified(each) for each in NOTICED_BY})
