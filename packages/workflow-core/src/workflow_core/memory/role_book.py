"""Who plays which role, and who should."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from hashlib import blake2b

from workflow_core.errors import ClosedError
from workflow_core.ports import Clock, Lease

__all__ = ["LEASE_TIME", "Member", "RoleBook"]

LEASE_TIME = timedelta(seconds=10)
"""After so long the roles of a vanished member are free."""

_WISH_LIFE = timedelta(seconds=10)  # what was asked for so long ago is no longer wanted
_KEPT = timedelta(seconds=1)  # a recalled role is kept so long for whom it was recalled


class Member:
    """One process among those that share the roles."""

    def __init__(self, instance: str, lock: threading.Lock) -> None:
        self.instance = instance
        self.is_open = True
        self.changed = threading.Condition(lock)
        self.wishes: set[str] = set()
        self.is_waiting = False
        self.asked_at: datetime | None = None
        self._ranks: dict[str, bytes] = {}

    def rank(self, role: str) -> bytes:
        """How well the role suits this member: the same in every process and for ever."""
        rank = self._ranks.get(role)
        if rank is None:
            text = f"{len(role)}:{role}{self.instance}"
            rank = self._ranks[role] = blake2b(text.encode(), digest_size=8).digest()
        return rank

    def wants(self, role: str, now: datetime) -> bool:
        """Whether it asks for the role, or did a moment ago."""
        if role not in self.wishes:
            return False
        return self.is_waiting or (self.asked_at is not None and now - self.asked_at <= _WISH_LIFE)


class _Grant:
    def __init__(self, lease: Lease, member: Member) -> None:
        self.lease = lease
        self.member = member
        self.heir: Member | None = None  # for whom it was recalled
        self.ends_at: datetime | None = None  # set once its member vanished


class RoleBook:
    """Grants and wishes.

    A role suits one of the members that want it best, by rendezvous hashing: a member that comes
    or goes moves only its own share. A free role goes to whoever asks; that it is recalled from
    those it suits less is what spreads the roles, and a recalled role is kept for its heir for a
    moment, so that the one who gave it up does not take it again.
    """

    def __init__(self, lock: threading.Lock, clock: Clock) -> None:
        self._lock = lock
        self._clock = clock
        self._grants: dict[str, _Grant] = {}
        self._members: dict[str, Member] = {}
        self._heirs: dict[str, tuple[Member, datetime]] = {}  # roles kept, for whom, until when
        self._tokens = 0

    def join(self, instance: str) -> Member:
        """A new member."""
        with self._lock:
            member = self._members[instance] = Member(instance, self._lock)
            return member

    def try_acquire(self, member: Member, role: str) -> Lease | None:
        """The role if it is free, whomever it suits."""
        with self._lock:
            self._check_open(member)
            return self._grant(member, role) if self._is_free(role, self._clock.now()) else None

    def acquire(self, member: Member, roles: Sequence[str], timeout: timedelta) -> Sequence[Lease]:
        """Wait until one of the roles is granted."""
        deadline = time.monotonic() + timeout.total_seconds()
        with self._lock:
            self._check_open(member)
            self._wish(member, roles)
            member.is_waiting = True
            try:
                while True:
                    now = self._clock.now()
                    leases = [
                        self._grant(member, role)
                        for role in sorted(member.wishes)
                        if self._is_free(role, now) and self._may_take(member, role, now)
                    ]
                    rest = deadline - time.monotonic()
                    if leases or rest <= 0:
                        return leases
                    member.changed.wait(min(rest, self._next_change(member.wishes, now)))
                    self._check_open(member)
            finally:
                member.is_waiting = False
                member.asked_at = self._clock.now()

    def holders(self, roles: Iterable[str]) -> dict[str, str]:
        """Who holds which of the roles."""
        with self._lock:
            now = self._clock.now()
            return {
                role: self._grants[role].member.instance
                for role in roles
                if not self._is_free(role, now)
            }

    def leave(self, member: Member) -> None:
        """A clean end: its roles are free at once. Twice is harmless."""
        with self._lock:
            if not member.is_open:
                return
            self._dismiss(member)
            for role, grant in [*self._grants.items()]:
                if grant.member is member:
                    grant.lease.lost.set()
                    self._free(role, grant)

    def vanish(self, instance: str) -> None:
        """No end at all: its roles are free when their leases run out. The lock is held."""
        member = self._members.get(instance)
        if member is None:
            return
        self._dismiss(member)
        ends_at = self._clock.now() + LEASE_TIME
        for grant in self._grants.values():
            if grant.member is member:
                grant.ends_at = ends_at
        self._wake_all()  # those who wait look again when the leases end

    def _dismiss(self, member: Member) -> None:
        member.is_open = False
        if self._members.get(member.instance) is member:
            del self._members[member.instance]
        for role in [role for role, (heir, _) in self._heirs.items() if heir is member]:
            del self._heirs[role]
        self._wake_all()
        member.changed.notify_all()

    def _check_open(self, member: Member) -> None:
        if not member.is_open:
            raise ClosedError("the role scheduler was closed", adapter="memory")

    def _wish(self, member: Member, roles: Sequence[str]) -> None:
        """Note what the member would like, and recall what suits it better than the holder."""
        held = {role for role, grant in self._grants.items() if grant.member is member}
        member.wishes = set(roles) - held
        member.asked_at = now = self._clock.now()
        for role in member.wishes:
            grant = self._grants.get(role)
            if grant is None or grant.ends_at is not None:
                continue
            heir = self._suits(role, now, among=[grant.member])
            if heir is not grant.member:
                grant.heir = heir
                grant.lease.recalled.set()

    def _suits(self, role: str, now: datetime, *, among: Collection[Member]) -> Member:
        """Whom the role suits best of all that want it and of these."""
        wanting = [member for member in self._members.values() if member.wants(role, now)]
        return max([*among, *wanting], key=lambda member: member.rank(role))

    def _is_free(self, role: str, now: datetime) -> bool:
        grant = self._grants.get(role)
        return grant is None or (grant.ends_at is not None and grant.ends_at <= now)

    def _may_take(self, member: Member, role: str, now: datetime) -> bool:
        heir, until = self._heirs.get(role, (member, now))
        return heir is member or until <= now

    def _grant(self, member: Member, role: str) -> Lease:
        last = self._grants.get(role)
        if last is not None:
            last.lease.lost.set()
        self._heirs.pop(role, None)
        member.wishes.discard(role)
        self._tokens += 1
        lease = Lease(
            role, self._tokens, release=lambda: self._release(role, grant), suspect=last is not None
        )
        grant = self._grants[role] = _Grant(lease, member)
        return lease

    def _release(self, role: str, grant: _Grant) -> None:
        with self._lock:
            if self._grants.get(role) is grant and grant.ends_at is None:
                if grant.heir is not None and grant.heir.is_open:
                    self._heirs[role] = (grant.heir, self._clock.now() + _KEPT)
                self._free(role, grant)

    def _free(self, role: str, grant: _Grant) -> None:
        del self._grants[role]
        self._wake_all(role)

    def _wake_all(self, role: str | None = None) -> None:
        for member in self._members.values():
            if member.is_waiting and (role is None or role in member.wishes):
                member.changed.notify()

    def _next_change(self, roles: Iterable[str], now: datetime) -> float:
        """Seconds until one of the roles may get free by time alone."""
        ends = [grant.ends_at for role in roles if (grant := self._grants.get(role)) is not None]
        kept = [self._heirs[role][1] for role in roles if role in self._heirs]
        moments = [moment for moment in (*ends, *kept) if moment is not None and moment > now]
        return (min(moments) - now).total_seconds() if moments else threading.TIMEOUT_MAX
