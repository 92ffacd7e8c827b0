"""Roles beyond their contract: holders that vanish, recalls, and what they are kept for."""

from datetime import timedelta
from threading import Thread

import pytest
from workflow_core.errors import ClosedError
from workflow_core.memory import MemoryDatabase, MemoryRoleScheduler
from workflow_core.memory.role_book import LEASE_TIME
from workflow_core.ports import Lease
from workflow_core.testing import FakeClock

ZERO = timedelta(0)
ROLES = [f"orders-main-steps-{number}-of-16" for number in range(16)]


def member(database: MemoryDatabase, instance: str) -> MemoryRoleScheduler:
    return MemoryRoleScheduler(database, instance=instance)


def test_roles_are_free_and_suspect_when_the_lease_of_a_vanished_holder_is_over(
    database: MemoryDatabase, clock: FakeClock
) -> None:
    """Seen to fail when ``vanish`` frees at once, and when the new lease is not suspect."""
    doomed, other = member(database, "one"), member(database, "two")
    leases = doomed.acquire(ROLES, ZERO)
    database.vanish("one")
    clock.advance(LEASE_TIME - timedelta(microseconds=1))
    assert other.acquire(ROLES, ZERO) == []
    assert other.try_acquire(ROLES[0]) is None
    assert set(other.holders(ROLES).values()) == {"one"}
    clock.advance(timedelta(microseconds=1))
    assert other.holders(ROLES) == {}
    got = other.acquire(ROLES, ZERO)
    assert [lease.role for lease in got] == sorted(ROLES)
    assert all(lease.suspect for lease in got)
    assert all(lease.lost.is_set() for lease in leases), "lost before another one holds it"
    assert min(lease.token for lease in got) > max(lease.token for lease in leases)


def test_vanished_process_changes_nothing_when_it_wakes_up_again(
    database: MemoryDatabase, clock: FakeClock
) -> None:
    doomed, other = member(database, "one"), member(database, "two")
    lease = doomed.try_acquire("role")
    assert lease is not None
    database.vanish("one")
    with pytest.raises(ClosedError):
        doomed.acquire(["role"], ZERO)
    lease.release()
    doomed.close()
    assert other.try_acquire("role") is None, "its lease runs on, whatever it does"
    clock.advance(LEASE_TIME)
    assert other.try_acquire("role") is not None


def test_blocked_acquire_goes_on_when_a_lease_runs_out(
    database: MemoryDatabase, clock: FakeClock, patience: timedelta
) -> None:
    """The waiter that another member's vanishing leaves behind looks again."""
    doomed, other = member(database, "one"), member(database, "two")
    doomed.acquire(["role"], ZERO)
    got: list[Lease] = []
    waiting = Thread(target=lambda: got.extend(other.acquire(["role"], patience)), daemon=True)
    waiting.start()
    database.vanish("one")
    clock.advance(LEASE_TIME)
    member(database, "three").close()  # somebody else comes and goes: everyone looks again
    waiting.join(patience.total_seconds())
    assert [lease.role for lease in got] == ["role"]


def test_recalled_role_goes_to_its_heir_when_the_holder_asks_again_first(
    database: MemoryDatabase,
) -> None:
    """Seen to fail without the heirs: the one who gave it up takes it back, for ever."""
    one, two = member(database, "one"), member(database, "two")
    held = {lease.role: lease for lease in one.acquire(ROLES, ZERO)}
    assert two.acquire(ROLES, ZERO) == []
    recalled = {role for role, lease in held.items() if lease.recalled.is_set()}
    assert 0 < len(recalled) < len(ROLES), "a newcomer is given its share, no more"
    for role in recalled:
        held[role].release()
    assert one.acquire(sorted(recalled), ZERO) == [], "kept for the heir for a moment"
    assert {lease.role for lease in two.acquire(ROLES, ZERO)} == recalled
    assert not any(held[role].recalled.is_set() for role in held.keys() - recalled)


def test_recalled_role_is_not_kept_when_the_heir_does_not_come(
    database: MemoryDatabase, clock: FakeClock
) -> None:
    one, two = member(database, "one"), member(database, "two")
    held = {lease.role: lease for lease in one.acquire(ROLES, ZERO)}
    two.acquire(ROLES, ZERO)
    recalled = sorted(role for role, lease in held.items() if lease.recalled.is_set())
    for role in recalled:
        held[role].release()
    clock.advance(timedelta(seconds=1))
    assert [lease.role for lease in one.acquire(recalled, ZERO)] == recalled


def test_recalled_role_is_not_kept_when_the_heir_is_closed(database: MemoryDatabase) -> None:
    one, two = member(database, "one"), member(database, "two")
    held = {lease.role: lease for lease in one.acquire(ROLES, ZERO)}
    two.acquire(ROLES, ZERO)
    recalled = sorted(role for role, lease in held.items() if lease.recalled.is_set())
    held[recalled[0]].release()
    two.close()
    for role in recalled[1:]:
        held[role].release()
    assert [lease.role for lease in one.acquire(recalled, ZERO)] == recalled


def test_nothing_is_recalled_for_a_member_when_it_has_been_silent(clock: FakeClock) -> None:
    """Seen to fail when wishes live for ever: roles would wander to one that wants none."""

    def recalled(*, silent_asked: bool) -> set[str]:
        database = MemoryDatabase(clock)
        one = member(database, "one")
        held = one.acquire(ROLES, ZERO)
        if silent_asked:
            silent = member(database, "silent")
            silent.acquire([lease.role for lease in held], ZERO)
            for lease in held:
                lease.release()
        clock.advance(timedelta(minutes=1))
        held = [*one.acquire(ROLES, ZERO)] if silent_asked else held
        assert len(held) == len(ROLES)
        member(database, "newcomer").acquire(ROLES, ZERO)
        return {lease.role for lease in held if lease.recalled.is_set()}

    assert recalled(silent_asked=True) == recalled(silent_asked=False)
