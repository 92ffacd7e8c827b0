from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
from workflow_core.errors import AdapterUnavailableError
from workflow_core.ports import Lease
from workflow_core.testing import FakeClock
from workflow_sql import Database, SqlRoleScheduler
from workflow_sql.roles.spreading import Spreading

ZERO = timedelta(0)
LEASE = timedelta(seconds=15)
ROLES = [f"orders-main-steps-{number}-of-16" for number in range(16)]


@pytest.fixture
def member(
    open_database: Callable[..., Database], clock: FakeClock
) -> Iterator[Callable[[str], SqlRoleScheduler]]:
    with ExitStack() as members:

        def join(name: str) -> SqlRoleScheduler:
            database = open_database(clock=clock)
            return members.enter_context(SqlRoleScheduler(database, instance=name, lease=LEASE))

        yield join


def granted(lease: Lease | None) -> Lease:
    assert lease is not None
    return lease


# -- leases ------------------------------------------------------------------------------------


def test_role_of_a_crashed_holder_is_free_after_its_lease_and_suspect(
    member: Callable[[str], SqlRoleScheduler], clock: FakeClock
) -> None:
    one, two = member("one"), member("two")
    lease = granted(one.try_acquire("role"))
    clock.advance(LEASE - timedelta(seconds=1))
    assert two.try_acquire("role") is None
    clock.advance(timedelta(seconds=1))
    heir = granted(two.try_acquire("role"))
    assert heir.suspect
    assert heir.token > lease.token
    assert lease.lost.is_set()


def test_lease_is_lost_before_another_can_hold_the_role(
    member: Callable[[str], SqlRoleScheduler], clock: FakeClock
) -> None:
    """Asked at each half second. Seen to fail without the margin, at the very end of the lease."""
    one, two = member("one"), member("two")
    lease = granted(one.try_acquire("role"))
    for _ in range(40):
        clock.advance(timedelta(seconds=0.5))
        lost_before = lease.lost.is_set()
        if two.try_acquire("role") is not None:
            assert lost_before
            return
    pytest.fail("the role was never free")


def test_role_stays_held_when_its_lease_is_renewed(
    member: Callable[[str], SqlRoleScheduler], clock: FakeClock
) -> None:
    one, two = member("one"), member("two")
    lease = granted(one.try_acquire("role"))
    for _ in range(10):
        clock.advance(LEASE / 3)
        one.renew()
    assert not lease.lost.is_set()
    assert two.try_acquire("role") is None
    assert two.holders(["role"]) == {"role": "one"}


def test_all_leases_are_lost_when_the_renewal_comes_too_late(
    member: Callable[[str], SqlRoleScheduler], clock: FakeClock
) -> None:
    one = member("one")
    leases = one.acquire(ROLES, ZERO)
    clock.advance(2 * LEASE)
    one.renew()
    assert all(lease.lost.is_set() for lease in leases)
    two = member("two")
    assert granted(two.try_acquire(ROLES[0])).suspect, "nobody resigned"
    again = one.acquire(ROLES, ZERO)
    assert len(again) == 15
    assert not any(lease.suspect for lease in again), "it was this very process, which is here"


def test_waiting_for_the_end_of_a_lease_ends_with_it(
    member: Callable[[str], SqlRoleScheduler], clock: FakeClock
) -> None:
    lease = granted(member("one").try_acquire("role"))
    assert not lease.lost.wait(0)
    ended: list[bool] = []
    thread = threading.Thread(target=lambda: ended.append(lease.lost.wait(30)))
    thread.start()
    clock.advance(LEASE)
    thread.join(30)
    assert ended == [True]


def test_role_is_given_up_later_when_the_release_could_not_be_told(
    member: Callable[[str], SqlRoleScheduler],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Seen to fail without the second try: the process's other roles kept this one alive too."""
    one, two = member("one"), member("two")
    lease = granted(one.try_acquire("role"))

    def busy(*_: object, **__: object) -> None:
        raise AdapterUnavailableError("nobody answers")

    with monkeypatch.context() as patched:
        patched.setattr(one.database, "writing", busy)
        lease.release()
    assert lease.lost.is_set()
    assert two.try_acquire("role") is None
    one.renew()
    assert not granted(two.try_acquire("role")).suspect


def test_role_is_granted_again_when_the_answer_to_its_grant_was_lost(
    member: Callable[[str], SqlRoleScheduler], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail where a role held by the own session was taken for held: for ever."""
    one = member("one")
    connections = one.database._connections
    end = connections.end

    def lose_answer(connection: Any, *, commit: bool) -> None:
        end(connection, commit=commit)
        raise AdapterUnavailableError("the answer was lost")

    with monkeypatch.context() as patched:
        patched.setattr(connections, "end", lose_answer)
        with pytest.raises(AdapterUnavailableError):
            one.acquire(["role"], ZERO)
    assert [lease.role for lease in one.acquire(["role"], ZERO)] == ["role"]


# -- spreading ---------------------------------------------------------------------------------


def test_recalled_role_is_not_taken_back_by_the_one_who_gave_it_up(
    member: Callable[[str], SqlRoleScheduler], clock: FakeClock
) -> None:
    """Seen to fail with the role free for whoever asks first."""
    one, two = member("one"), member("two")
    leases = {lease.role: lease for lease in one.acquire(ROLES, ZERO)}
    assert len(leases) == 16
    assert two.acquire(ROLES, ZERO) == []
    one.acquire([], ZERO)
    recalled = {role for role, lease in leases.items() if lease.recalled.is_set()}
    assert len(recalled) == 8
    for role in recalled:
        leases[role].release()
    assert one.acquire(sorted(recalled), ZERO) == []
    assert {lease.role for lease in two.acquire(ROLES, ZERO)} == recalled


def test_recalled_role_is_anyones_when_its_heir_does_not_come(
    member: Callable[[str], SqlRoleScheduler], clock: FakeClock
) -> None:
    one, two = member("one"), member("two")
    leases = one.acquire(["a", "b"], ZERO)
    two.acquire(["a", "b"], ZERO)
    one.acquire([], ZERO)
    (recalled,) = [lease for lease in leases if lease.recalled.is_set()]
    recalled.release()
    clock.advance(timedelta(seconds=2))
    assert [lease.role for lease in one.acquire([recalled.role], ZERO)] == [recalled.role]


def test_nothing_is_recalled_when_a_wish_is_out_of_date(
    member: Callable[[str], SqlRoleScheduler], clock: FakeClock
) -> None:
    one, two = member("one"), member("two")
    two.acquire([*ROLES, "x"], ZERO)
    two.close()
    leases = one.acquire(ROLES, ZERO)
    three = member("three")
    three.acquire(ROLES, ZERO)
    for _ in range(4):
        clock.advance(LEASE / 3)
        one.renew()
        three.renew()
    one.acquire([], ZERO)
    clock.advance(timedelta(seconds=0.1))
    fresh = one.acquire(["y"], ZERO)
    assert not fresh[0].recalled.is_set()
    assert len(leases) == 16


@pytest.mark.parametrize("members", [1, 2, 3, 5, 16, 20])
def test_spreading_settles_evenly_and_moves_only_what_is_too_much(members: int) -> None:
    """Seen to fail with shares rounded up for all: somebody was left with too little."""
    names = [f"member-{number}" for number in range(members)]
    held = dict.fromkeys(ROLES, names[0])
    moved = 0
    while True:
        spreading = Spreading(dict.fromkeys(ROLES, names), held)
        given_up = [role for name in names for role in spreading.too_many(name)]
        if not given_up:
            break
        for role in given_up:
            del held[role]
            moved += 1
        for role in given_up:
            spreading = Spreading(dict.fromkeys(ROLES, names), held)
            held[role] = next(name for name in names if spreading.has_room(name, role))
    shares = Counter(held.values())
    counts = [shares[name] for name in names]
    assert sum(counts) == 16
    assert max(counts) - min(counts) <= 1
    assert moved == 16 - max(counts), "what the first member kept was never moved"


def test_members_with_wishes_of_their_own_take_no_part_in_sharing_others() -> None:
    wanted = {"a": ["one", "two"], "b": ["one", "two"], "c": ["one"], "d": ["one"]}
    spreading = Spreading(wanted, {"c": "one", "d": "one", "a": "one"})
    assert spreading.too_many("one") == set()
    assert not spreading.has_room("one", "b")
    assert spreading.has_room("two", "b")


# -- resting -----------------------------------------------------------------------------------


def test_members_ask_nothing_when_nothing_happens(
    statements: list[Any], member: Callable[[str], SqlRoleScheduler]
) -> None:
    """Seen to fail with a look into the tables in each round of the wait."""
    one, two = member("one"), member("two")
    one.acquire(["a"], ZERO)
    for _ in range(3):
        two.acquire(["a"], timedelta(milliseconds=60))
        one.acquire([], timedelta(milliseconds=60))
    statements.clear()
    for _ in range(3):
        two.acquire(["a"], timedelta(milliseconds=60))
        one.acquire([], timedelta(milliseconds=60))
    assert statements == []


def test_blocked_acquire_takes_the_role_when_its_holders_lease_ends(
    member: Callable[[str], SqlRoleScheduler], clock: FakeClock
) -> None:
    one, two = member("one"), member("two")
    one.acquire(["a"], ZERO)
    got: list[Lease] = []
    thread = threading.Thread(target=lambda: got.extend(two.acquire(["a"], timedelta(seconds=30))))
    thread.start()
    clock.advance(LEASE)
    thread.join(30)
    assert [lease.suspect for lease in got] == [True]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing to test without fork")
def test_roles_stay_the_parents_when_it_forks(member: Callable[[str], SqlRoleScheduler]) -> None:
    """Seen to fail with the session kept: the child went on as the holder, and closing freed it."""
    one = member("one")
    lease = granted(one.try_acquire("role"))
    child = os.fork()
    if not child:
        try:
            lost = lease.lost.is_set()
            refused = one.try_acquire("role") is None
            one.close()
            os._exit(0 if lost and refused else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not lease.lost.is_set()
    assert one.holders(["role"]) == {"role": "one"}
