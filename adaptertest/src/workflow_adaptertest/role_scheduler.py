"""The contract of a role scheduler."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial
from typing import ClassVar, cast

import pytest
from workflow_core.errors import ClosedError
from workflow_core.ports import Lease, RoleScheduler

from workflow_adaptertest.asking import (
    ROLE,
    ZERO,
    acquired,
    granted,
    inherited,
    reconnected,
    spread,
)
from workflow_adaptertest.contract import Opener
from workflow_adaptertest.env import Env
from workflow_adaptertest.idle import IdleRoleCases
from workflow_adaptertest.samples import Samples, refuses
from workflow_adaptertest.telling import not_applicable
from workflow_adaptertest.threads import Background, at_once, race

__all__ = ["RoleSchedulerContract"]


class RoleSchedulerContract(IdleRoleCases):
    """What every `RoleScheduler` does. Write ``adapter``: each handle is a member of its own."""

    port: ClassVar[str] = "role scheduler"
    _settable: ClassVar[frozenset[str]] = IdleRoleCases._settable | {"crash", "cut_off"}

    def crash(self, env: Env, handle: RoleScheduler) -> timedelta | None:
        """End this handle's process as ``kill -9`` does: it gives nothing back, and renews nothing.

        Answers within what time, by the clock that the scheduler goes by, its roles are free. None,
        as here: there is no way to do that to a handle of this adapter.
        """
        return None

    def cut_off(self, env: Env, handle: RoleScheduler) -> AbstractContextManager[timedelta] | None:
        """For the time of the block, cut this handle alone off from its service, as a network does.

        The block is given within what time, by the clock that the scheduler goes by, its roles are
        free. None, as here: there is no service, or no way to cut one handle off.
        """
        return None

    def adapter(self, env: Env) -> AbstractContextManager[RoleScheduler]:
        """Make the role scheduler; each call is another process, with `Env.new_instance`."""
        return cast("AbstractContextManager[RoleScheduler]", super().adapter(env))

    def _basic_calls(
        self, handle: RoleScheduler, env: Env, make: Samples
    ) -> Mapping[str, Callable[[], object]]:
        def acquire_and_release() -> None:
            (lease,) = acquired(handle, [ROLE], env)
            lease.release()

        return {"acquire and release one role": acquire_and_release}

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
        lease = granted(one.try_acquire(ROLE))
        assert lease.role == ROLE
        assert not lease.lost.is_set(), "a fresh lease is not lost"
        assert not lease.suspect, "the role had no holder that vanished"

    def test_role_is_refused_when_another_member_holds_it(
        self, one: RoleScheduler, two: RoleScheduler
    ) -> None:
        granted(one.try_acquire(ROLE))
        assert two.try_acquire(ROLE) is None, "two members hold one role"
        assert list(two.acquire([ROLE], ZERO)) == [], "two members hold one role"

    def test_role_is_refused_when_the_same_process_holds_it(self, one: RoleScheduler) -> None:
        lease = granted(one.try_acquire(ROLE))
        assert one.try_acquire(ROLE) is None, "a process that holds it already is refused too"
        assert list(one.acquire([ROLE], ZERO)) == []
        assert not lease.lost.is_set()

    @race
    def test_one_member_is_granted_the_role_when_many_ask_at_once(
        self, open_handle: Opener, env: Env
    ) -> None:
        members: list[RoleScheduler] = [open_handle() for _ in range(10)]
        answers = at_once(
            [partial(member.try_acquire, ROLE) for member in members],
            doing="asking for a role",
            patience=env.patience,
        )
        leases = [answer for answer in answers if isinstance(answer, Lease)]
        errors = [answer for answer in answers if isinstance(answer, Exception)]
        if errors:
            raise errors[0]
        assert len(leases) <= 1, f"{len(leases)} members hold one role"
        if not leases:  # they may all have given way to each other, but not for long
            assert members[0].acquire([ROLE], env.patience)

    @race
    def test_holders_never_overlap_when_a_role_is_handed_on_and_on(
        self, open_handle: Opener, env: Env
    ) -> None:
        members: list[RoleScheduler] = [open_handle() for _ in range(4)]
        inside = threading.Lock()
        tokens: list[int] = []

        def take_turns(member: RoleScheduler) -> int:
            turns = 0
            while turns < 6:
                (lease,) = acquired(member, [ROLE], env)
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
            granted(one.try_acquire(name))
        for name in names[1::2]:
            assert granted(two.try_acquire(name)).role == name

    # -- handing over --------------------------------------------------------------------------

    def test_released_role_is_free_at_once_when_another_asks(
        self, one: RoleScheduler, two: RoleScheduler, env: Env
    ) -> None:
        lease = granted(one.try_acquire(ROLE))
        lease.release()
        assert lease.lost.is_set(), "release sets lost"
        (next_lease,) = acquired(two, [ROLE], env)
        assert next_lease.token > lease.token, "a token grows with each grant"
        assert not next_lease.suspect, "the last holder resigned"
        lease.release()  # twice is harmless …
        assert one.try_acquire(ROLE) is None, "… and takes nothing from the next holder"
        assert not next_lease.lost.is_set()

    def test_role_comes_back_to_the_same_process_when_it_was_released(
        self, one: RoleScheduler, env: Env
    ) -> None:
        with granted(one.try_acquire(ROLE)) as first:
            assert not first.lost.is_set()
        assert first.lost.is_set(), "leaving the block releases"
        (second,) = acquired(one, [ROLE], env)
        assert second.token > first.token

    def test_roles_are_free_when_their_holder_is_closed(
        self, one: RoleScheduler, two: RoleScheduler, env: Env
    ) -> None:
        roles = [f"{ROLE}-{number}" for number in range(3)]
        leases = [granted(one.try_acquire(role)) for role in roles]
        one.close()
        assert all(lease.lost.is_set() for lease in leases), "lost, before another can hold it"
        got = acquired(two, roles, env)
        assert sorted(lease.role for lease in got) == roles
        assert not any(lease.suspect for lease in got), "closing is resigning"
        for lease in leases:
            lease.release()  # late, and harmless
        assert not any(lease.lost.is_set() for lease in got)

    def test_closed_scheduler_refuses_by_name_when_asked(self, one: RoleScheduler) -> None:
        one.close()
        one.close()
        with refuses(ClosedError, "the scheduler was closed"):
            one.try_acquire(ROLE)
        with refuses(ClosedError, "the scheduler was closed"):
            one.acquire([ROLE], ZERO)

    def test_role_of_a_crashed_holder_is_free_within_its_time_and_suspect(
        self, one: RoleScheduler, two: RoleScheduler, env: Env
    ) -> None:
        lease = granted(one.try_acquire(ROLE))
        within = self.crash(env, one)
        if within is None:
            not_applicable("crash() is not told")
        heir, waited = inherited(two, within, env)
        assert lease.lost.is_set(), "when another holds the role, the old holder has been told"
        assert heir.token > lease.token, "a token grows with each grant"
        assert heir.suspect, "the last holder vanished without resigning"
        lease.release()  # late, and harmless
        assert not heir.lost.is_set()
        if env.clock is not None:
            assert waited <= within + within / 40

    def test_holder_that_is_cut_off_has_lost_its_role_before_another_has_it(
        self, one: RoleScheduler, two: RoleScheduler, env: Env
    ) -> None:
        lease = granted(one.try_acquire(ROLE))
        cut = self.cut_off(env, one)
        if cut is None:
            not_applicable("cut_off() is not told")
        with cut as within:
            heir, _ = inherited(two, within, env)
            assert lease.lost.is_set(), "who cannot know that he holds it has to take it for lost"
            assert heir.token > lease.token, "a token grows with each grant"
        assert granted(reconnected(one, env)).role == "another"
        lease.release()  # late, and harmless
        assert not heir.lost.is_set()

    # -- acquire -------------------------------------------------------------------------------

    def test_acquire_grants_what_is_free_when_some_roles_are_held(
        self, one: RoleScheduler, two: RoleScheduler, env: Env
    ) -> None:
        roles = [f"{ROLE}-{number}" for number in range(4)]
        granted(one.try_acquire(roles[0]))
        got = acquired(two, roles, env, count=3)
        assert sorted(lease.role for lease in got) == roles[1:]

    def test_acquire_answers_nothing_when_there_is_nothing_to_wait_for(
        self, one: RoleScheduler
    ) -> None:
        assert list(one.acquire([], ZERO)) == []

    def test_acquire_wakes_when_the_role_is_released(
        self, one: RoleScheduler, two: RoleScheduler, env: Env
    ) -> None:
        lease = granted(one.try_acquire(ROLE))
        waiting = Background(
            partial(two.acquire, [ROLE], 2 * env.patience), doing="a blocked acquire"
        )
        lease.release()
        assert [each.role for each in waiting.result(env.patience)] == [ROLE]

    def test_acquire_wakes_when_the_holder_is_closed(
        self, one: RoleScheduler, two: RoleScheduler, env: Env
    ) -> None:
        granted(one.try_acquire(ROLE))
        waiting = Background(
            partial(two.acquire, [ROLE], 2 * env.patience), doing="a blocked acquire"
        )
        one.close()
        assert [each.role for each in waiting.result(env.patience)] == [ROLE]

    def test_acquire_ends_when_the_scheduler_is_closed_by_another_thread(
        self, one: RoleScheduler, two: RoleScheduler, env: Env
    ) -> None:
        granted(one.try_acquire(ROLE))
        waiting = Background(
            partial(two.acquire, [ROLE], 10 * env.patience), doing="a blocked acquire"
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
        spread(members, roles, env, least=13, most=80)

    def test_newcomer_gets_its_share_when_it_asks_for_roles_that_are_held(
        self, open_handle: Opener, env: Env
    ) -> None:
        roles = [f"orders-main-steps-{number}-of-100" for number in range(100)]
        first: RoleScheduler = open_handle()
        held = {lease.role: lease for lease in acquired(first, roles, env)}
        newcomer: RoleScheduler = open_handle()
        spread([first, newcomer], roles, env, least=20, most=80, held=[held, {}])

    # -- people --------------------------------------------------------------------------------

    def test_holders_are_told_or_unknown_when_asked(
        self, one: RoleScheduler, two: RoleScheduler, env: Env
    ) -> None:
        mine, theirs, free = "role-1", "role-2", "role-3"
        lease = granted(one.try_acquire(mine))
        granted(two.try_acquire(theirs))
        told = dict(one.holders([mine, theirs, free]))
        if not told:
            not_applicable("who holds a role is not known")
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
        granted(one.try_acquire(ROLE))
        granted(stranger.try_acquire(ROLE))

    def test_health_is_a_phrase_when_all_is_well(self, one: RoleScheduler) -> None:
        assert one.check_health().strip()
