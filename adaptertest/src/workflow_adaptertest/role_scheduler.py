"""The contract of a role scheduler."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial
from typing import cast

import pytest
from workflow_core.errors import ClosedError
from workflow_core.ports import Lease, RoleScheduler

from workflow_adaptertest.contract import Contract, Opener
from workflow_adaptertest.env import Env
from workflow_adaptertest.samples import refuses
from workflow_adaptertest.threads import Background, at_once

__all__ = ["RoleSchedulerContract"]

_ZERO = timedelta(0)
_ROLE = "orders-main-steps-0-of-16"
_A_MOMENT = timedelta(milliseconds=20)  # a turn of one member among several


class RoleSchedulerContract(Contract):
    """What every `RoleScheduler` does. Write ``adapter``: each handle is a member of its own."""

    def adapter(self, env: Env) -> AbstractContextManager[RoleScheduler]:
        """Make the role scheduler; each call is another process, with `Env.new_instance`."""
        return cast("AbstractContextManager[RoleScheduler]", super().adapter(env))

    @pytest.fixture
    def one(self, open_handle: Opener) -> RoleScheduler:
        """A member."""
        return cast(RoleScheduler, open_handle())

    @pytest.fixture
    def two(self, one: RoleScheduler, open_handle: Opener) -> RoleScheduler:
        """Another member, as another process."""
        return cast(RoleScheduler, open_handle())

    # -- one holder ----------------------------------------------------------------------------

    def test_free_role_is_granted_when_asked_for(self, one: RoleScheduler) -> None:
        lease = _granted(one.try_acquire(_ROLE))
        assert lease.role == _ROLE
        assert not lease.lost.is_set(), "a fresh lease is not lost"
        assert not lease.suspect, "the role had no holder that vanished"

    def test_role_is_refused_when_another_member_holds_it(
        self, one: RoleScheduler, two: RoleScheduler
    ) -> None:
        _granted(one.try_acquire(_ROLE))
        assert two.try_acquire(_ROLE) is None, "two members hold one role"
        assert list(two.acquire([_ROLE], _ZERO)) == [], "two members hold one role"

    def test_role_is_refused_when_the_same_process_holds_it(self, one: RoleScheduler) -> None:
        lease = _granted(one.try_acquire(_ROLE))
        assert one.try_acquire(_ROLE) is None, "a process that holds it already is refused too"
        assert list(one.acquire([_ROLE], _ZERO)) == []
        assert not lease.lost.is_set()

    def test_one_member_is_granted_the_role_when_many_ask_at_once(
        self, open_handle: Opener, env: Env
    ) -> None:
        members: list[RoleScheduler] = [open_handle() for _ in range(10)]
        answers = at_once(
            [partial(member.try_acquire, _ROLE) for member in members],
            doing="asking for a role",
            patience=env.patience,
        )
        leases = [answer for answer in answers if isinstance(answer, Lease)]
        errors = [answer for answer in answers if isinstance(answer, Exception)]
        if errors:
            raise errors[0]
        assert len(leases) <= 1, f"{len(leases)} members hold one role"
        if not leases:  # they may all have given way to each other, but not for long
            assert members[0].acquire([_ROLE], env.patience)

    def test_holders_never_overlap_when_a_role_is_handed_on_and_on(
        self, open_handle: Opener, env: Env
    ) -> None:
        members: list[RoleScheduler] = [open_handle() for _ in range(4)]
        inside = threading.Lock()
        tokens: list[int] = []

        def take_turns(member: RoleScheduler) -> int:
            turns = 0
            while turns < 6:
                (lease,) = _acquired(member, [_ROLE], env)
                assert inside.acquire(blocking=False), "two members hold one role"
                tokens.append(lease.token)
                turns += 1
                inside.release()
                lease.release()
            return turns

        answers = at_once(
            [partial(take_turns, member) for member in members],
            doing="taking turns at a role",
            patience=4 * env.patience,
        )
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        assert tokens == sorted(set(tokens)), "a token grows with each grant, over all members"

    def test_roles_are_apart_when_their_names_are_alike(
        self, one: RoleScheduler, two: RoleScheduler
    ) -> None:
        names = ["role", "role ", "Role", "rôle", "role/1", "role-1", "ro%e", "r" * 200]
        for name in names[::2]:
            _granted(one.try_acquire(name))
        for name in names[1::2]:
            assert _granted(two.try_acquire(name)).role == name

    # -- handing over --------------------------------------------------------------------------

    def test_released_role_is_free_at_once_when_another_asks(
        self, one: RoleScheduler, two: RoleScheduler, env: Env
    ) -> None:
        lease = _granted(one.try_acquire(_ROLE))
        lease.release()
        assert lease.lost.is_set(), "release sets lost"
        (next_lease,) = _acquired(two, [_ROLE], env)
        assert next_lease.token > lease.token, "a token grows with each grant"
        assert not next_lease.suspect, "the last holder resigned"
        lease.release()  # twice is harmless …
        assert one.try_acquire(_ROLE) is None, "… and takes nothing from the next holder"
        assert not next_lease.lost.is_set()

    def test_role_comes_back_to_the_same_process_when_it_was_released(
        self, one: RoleScheduler, env: Env
    ) -> None:
        with _granted(one.try_acquire(_ROLE)) as first:
            assert not first.lost.is_set()
        assert first.lost.is_set(), "leaving the block releases"
        (second,) = _acquired(one, [_ROLE], env)
        assert second.token > first.token

    def test_roles_are_free_when_their_holder_is_closed(
        self, one: RoleScheduler, two: RoleScheduler, env: Env
    ) -> None:
        roles = [f"{_ROLE}-{number}" for number in range(3)]
        leases = [_granted(one.try_acquire(role)) for role in roles]
        one.close()
        assert all(lease.lost.is_set() for lease in leases), "lost, before another can hold it"
        got = _acquired(two, roles, env)
        assert sorted(lease.role for lease in got) == roles
        assert not any(lease.suspect for lease in got), "closing is resigning"
        for lease in leases:
            lease.release()  # late, and harmless
        assert not any(lease.lost.is_set() for lease in got)

    def test_closed_scheduler_refuses_by_name_when_asked(self, one: RoleScheduler) -> None:
        one.close()
        one.close()
        with refuses(ClosedError, "the scheduler was closed"):
            one.try_acquire(_ROLE)
        with refuses(ClosedError, "the scheduler was closed"):
            one.acquire([_ROLE], _ZERO)

    # -- acquire -------------------------------------------------------------------------------

    def test_acquire_grants_what_is_free_when_some_roles_are_held(
        self, one: RoleScheduler, two: RoleScheduler, env: Env
    ) -> None:
        roles = [f"{_ROLE}-{number}" for number in range(4)]
        _granted(one.try_acquire(roles[0]))
        got = _acquired(two, roles, env, count=3)
        assert sorted(lease.role for lease in got) == roles[1:]

    def test_acquire_answers_nothing_when_there_is_nothing_to_wait_for(
        self, one: RoleScheduler
    ) -> None:
        assert list(one.acquire([], _ZERO)) == []

    def test_acquire_wakes_when_the_role_is_released(
        self, one: RoleScheduler, two: RoleScheduler, env: Env
    ) -> None:
        lease = _granted(one.try_acquire(_ROLE))
        waiting = Background(
            partial(two.acquire, [_ROLE], 2 * env.patience), doing="a blocked acquire"
        )
        lease.release()
        assert [each.role for each in waiting.result(env.patience)] == [_ROLE]

    def test_acquire_wakes_when_the_holder_is_closed(
        self, one: RoleScheduler, two: RoleScheduler, env: Env
    ) -> None:
        _granted(one.try_acquire(_ROLE))
        waiting = Background(
            partial(two.acquire, [_ROLE], 2 * env.patience), doing="a blocked acquire"
        )
        one.close()
        assert [each.role for each in waiting.result(env.patience)] == [_ROLE]

    def test_acquire_ends_when_the_scheduler_is_closed_by_another_thread(
        self, one: RoleScheduler, two: RoleScheduler, env: Env
    ) -> None:
        _granted(one.try_acquire(_ROLE))
        waiting = Background(
            partial(two.acquire, [_ROLE], 10 * env.patience), doing="a blocked acquire"
        )
        two.close()
        with refuses(ClosedError, "the scheduler was closed"):
            waiting.result(env.patience)

    # -- spreading -----------------------------------------------------------------------------

    def test_roles_are_spread_when_several_members_want_them(
        self, open_handle: Opener, env: Env
    ) -> None:
        members: list[RoleScheduler] = [open_handle() for _ in range(5)]
        roles = [f"orders-main-steps-{number}-of-200" for number in range(200)]
        # 40 each on average: by a fair hash nobody has less than 13 or more than 80, ever
        _spread(members, roles, env, least=13, most=80)

    def test_newcomer_gets_its_share_when_it_asks_for_roles_that_are_held(
        self, open_handle: Opener, env: Env
    ) -> None:
        roles = [f"orders-main-steps-{number}-of-100" for number in range(100)]
        first: RoleScheduler = open_handle()
        held = {lease.role: lease for lease in _acquired(first, roles, env)}
        newcomer: RoleScheduler = open_handle()
        _spread([first, newcomer], roles, env, least=20, most=80, held=[held, {}])

    # -- people --------------------------------------------------------------------------------

    def test_holders_are_told_or_unknown_when_asked(
        self, one: RoleScheduler, two: RoleScheduler, env: Env
    ) -> None:
        mine, theirs, free = "role-1", "role-2", "role-3"
        lease = _granted(one.try_acquire(mine))
        _granted(two.try_acquire(theirs))
        told = dict(one.holders([mine, theirs, free]))
        if not told:
            return  # not known
        assert set(told) == {mine, theirs}, "free ones are left out"
        assert told[mine] != told[theirs], "a member is told by its AdapterContext.instance"
        assert told == dict(two.holders([mine, theirs, free])), "all members are told the same"
        lease.release()
        assert set(two.holders([mine, theirs])) == {theirs}

    # -- the adapter ---------------------------------------------------------------------------

    def test_scheduler_keeps_to_its_namespace_when_there_is_another(
        self, one: RoleScheduler, env: Env, open_handle: Opener
    ) -> None:
        stranger: RoleScheduler = open_handle(env.elsewhere())
        _granted(one.try_acquire(_ROLE))
        _granted(stranger.try_acquire(_ROLE))

    def test_health_is_a_phrase_when_all_is_well(self, one: RoleScheduler) -> None:
        assert one.check_health().strip()


def _granted(lease: Lease | None) -> Lease:
    assert lease is not None, "a free role was refused"
    return lease


def _acquired(
    member: RoleScheduler, roles: Sequence[str], env: Env, *, count: int | None = None
) -> list[Lease]:
    """All of the roles, or so many, which may take several calls."""
    wanted = len(roles) if count is None else count
    leases: list[Lease] = []
    while len(leases) < wanted:
        missing = [role for role in roles if role not in {lease.role for lease in leases}]
        got = member.acquire(missing, env.patience)
        assert got, f"free roles were not granted within {env.patience}"
        leases += got
    return leases


def _spread(
    members: Sequence[RoleScheduler],
    roles: Sequence[str],
    env: Env,
    *,
    least: int,
    most: int,
    held: Sequence[dict[str, Lease]] | None = None,
) -> None:
    """Let members acquire and honour recalls until each has its share, or fail."""
    hands = [dict(each) for each in held] if held else [{} for _ in members]
    end = time.monotonic() + env.patience.total_seconds()
    while True:
        for member, hand in zip(members, hands, strict=True):
            for role, lease in [*hand.items()]:
                if lease.recalled.is_set():
                    lease.release()
                if lease.lost.is_set():
                    del hand[role]
            missing = [role for role in roles if role not in hand]
            hand |= {lease.role: lease for lease in member.acquire(missing, _A_MOMENT)}
            owners = Counter(role for each in hands for role in each)
            assert max(owners.values()) == 1, "two members hold one role"
        shares = [len(hand) for hand in hands]
        settled = not any(lease.recalled.is_set() for hand in hands for lease in hand.values())
        if settled and sum(shares) == len(roles) and least <= min(shares) <= max(shares) <= most:
            return
        assert time.monotonic() < end, (
            f"{len(members)} members that keep asking for {len(roles)} roles and release what is"
            f" recalled hold {shares}: each should have {least} to {most}, and all be held"
        )
