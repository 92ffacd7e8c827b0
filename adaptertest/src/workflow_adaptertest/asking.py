"""How the cases of a role scheduler ask for roles, and wait for them."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from workflow_core.errors import AdapterUnavailableError
from workflow_core.ports import Lease, RoleScheduler

from workflow_adaptertest.env import Env

__all__ = ["ROLE", "ZERO", "acquired", "granted", "inherited", "reconnected", "spread"]

ZERO = timedelta(0)
ROLE = "orders-main-steps-0-of-16"
_A_MOMENT = timedelta(milliseconds=20)  # a turn of one member among several


def granted(lease: Lease | None) -> Lease:
    """The lease of a role that was free."""
    assert lease is not None, "a free role was refused"
    return lease


def inherited(member: RoleScheduler, within: timedelta, env: Env) -> tuple[Lease, timedelta]:
    """Ask for the role until it is free; answers how long that took by the scheduler's clock."""
    waited = ZERO
    step = within / 40
    while True:
        lease = member.try_acquire(ROLE)
        if lease is not None:
            return lease, waited
        assert waited <= 2 * within, f"no heir within twice the {within} that it may take"
        waited += step
        if env.clock is not None:
            env.clock.advance(step)
        else:
            threading.Event().wait(step.total_seconds())


def reconnected(member: RoleScheduler, env: Env) -> Lease | None:
    """What it is granted once its service is there again; errors until then are its right."""
    end = time.monotonic() + env.patience.total_seconds()
    while True:
        try:
            return next(iter(member.acquire(["another"], env.patience)), None)
        except AdapterUnavailableError:
            assert time.monotonic() < end, f"not back within {env.patience} of its service"
            threading.Event().wait(_A_MOMENT.total_seconds())


def acquired(
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


def spread(
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
            assert max(owners.values(), default=1) == 1, "two members hold one role"
        shares = [len(hand) for hand in hands]
        settled = not any(lease.recalled.is_set() for hand in hands for lease in hand.values())
        if settled and sum(shares) == len(roles) and least <= min(shares) <= max(shares) <= most:
            return
        assert time.monotonic() < end, (
            f"{len(members)} members that keep asking for {len(roles)} roles and release what is"
            f" recalled hold {shares}: each should have {least} to {most}, and all be held"
        )
