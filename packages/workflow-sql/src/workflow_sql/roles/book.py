"""The members and the roles, as the database has them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

import msgspec
from workflow_core.ports import Lease

from workflow_sql.database import Database, Writing
from workflow_sql.dialects import Change, Cursor
from workflow_sql.instants import later, span
from workflow_sql.roles.spreading import Spreading

__all__ = ["Book", "Ledger"]

_KEPT = timedelta(seconds=1)  # a role that was given up for others is theirs alone for so long

_wanted = msgspec.json.Decoder(frozenset[str]).decode


@dataclass(frozen=True)
class _Member:
    instance: str
    wanted: frozenset[str]
    fresh_until: int
    expires_at: int


@dataclass(frozen=True)
class _Role:
    session: str | None
    token: int
    kept_until: int


_NEVER_HELD = _Role(None, 0, 0)


class Book:
    """One look at the tables. A member that is not live counts for nothing.

    Args:
        members: the live ones by session.
        roles: those that were ever held.
        now: when.
    """

    def __init__(
        self, members: Mapping[str, _Member], roles: Mapping[str, _Role], now: int
    ) -> None:
        self._members = members
        self._roles = roles
        self._now = now

    def is_live(self, session: str) -> bool:
        """Whether this member's lease has not run out."""
        return session in self._members

    def wanted_by(self, session: str) -> frozenset[str] | None:
        """What this member is known to want; None: it is not known, or no longer."""
        member = self._members.get(session)
        return member.wanted if member is not None and member.fresh_until > self._now else None

    def holder(self, role: str) -> str | None:
        """The session that holds the role."""
        session = self._roles.get(role, _NEVER_HELD).session
        return session if session in self._members else None

    def not_granted(self, session: str, leases: Mapping[str, Lease]) -> list[str]:
        """What this member believes to hold, and the grant went with a server that is gone."""
        stand = {role: (row.session, row.token) for role, row in self._roles.items()}
        return [r for r, lease in leases.items() if stand.get(r) != (session, lease.token)]

    def instance(self, session: str) -> str:
        """The name of the process."""
        return self._members[session].instance

    def next_token(self, role: str) -> int:
        """Greater than all tokens of this role so far."""
        return self._roles.get(role, _NEVER_HELD).token + 1

    def abandoned_by(self, role: str) -> str | None:
        """The session that last held the role and ended without giving it up."""
        return None if self.holder(role) else self._roles.get(role, _NEVER_HELD).session

    def takeable(self, session: str, wanted: Iterable[str], held: Collection[str]) -> list[str]:
        """The free ones among `wanted`, but for those kept for others.

        Of the member's own those are free that it does not know itself to have `held`.
        """
        taken: list[str] = []
        for role in sorted(set(wanted).difference(held)):
            if self.holder(role) in (None, session) and self._is_for(session, role, taken):
                taken.append(role)
        return taken

    def _is_for(self, session: str, role: str, taken: Sequence[str]) -> bool:
        if self._roles.get(role, _NEVER_HELD).kept_until <= self._now:
            return True
        return role in self._claims and self._spreading.has_room(session, role, taken)

    def recalled(self, session: str) -> set[str]:
        """What this member holds and others should have."""
        return self._spreading.too_many(session)

    @property
    def next_moment(self) -> int | None:
        """When time alone may change an answer; None: never."""
        moments = [role.kept_until for role in self._roles.values()]
        for member in self._members.values():
            moments += [member.expires_at, member.fresh_until]
        return min((moment for moment in moments if moment > self._now), default=None)

    @cached_property
    def _claims(self) -> dict[str, set[str]]:
        """For each role the members that want it or hold it."""
        claims: dict[str, set[str]] = {}
        for session, member in self._members.items():
            if member.fresh_until > self._now:
                for role in member.wanted:
                    claims.setdefault(role, set()).add(session)
        for role in self._roles:
            holder = self.holder(role)
            if holder is not None:
                claims.setdefault(role, set()).add(holder)
        return claims

    @cached_property
    def _spreading(self) -> Spreading:
        held = {role: holder for role in self._roles if (holder := self.holder(role)) is not None}
        return Spreading(self._claims, held)


class Ledger:
    """The statements about members and roles. Any thread.

    Args:
        database: where.
        lease: how long a member lasts without being renewed, and a wish without being repeated.
    """

    def __init__(self, database: Database, lease: timedelta) -> None:
        self._database = database
        self._lease = lease
        tables = database.tables
        self._sessions = tables.sessions.fullname
        self._roles = tables.roles.fullname
        self._held_by = Change(tables.roles, ("session", "token", "kept_until"), ("role",))
        self._installation = tables.installation.fullname

    def read(self, cursor: Cursor, now: int) -> Book:
        """All of it."""
        cursor.execute(
            f"select id, instance, wanted, asked_at, expires_at from {self._sessions}"
            " where expires_at > ?",
            (now,),
        )
        members = {
            id: _Member(instance, _wanted(wanted), asked_at + span(self._lease), expires_at)
            for id, instance, wanted, asked_at, expires_at in cursor.fetchall()
        }
        cursor.execute(f"select role, session, token, kept_until from {self._roles}")
        roles = {row[0]: _Role(*row[1:]) for row in cursor.fetchall()}
        return Book(members, roles, now)

    def lock(self, writing: Writing) -> None:
        """Let nobody else judge and grant until the transaction's end."""
        writing.cursor.execute(
            f"select role_changes from {self._installation}{self._database.dialect.locking}"
        )
        writing.cursor.fetchall()

    def enter(self, writing: Writing, session: str, instance: str) -> None:
        """A new member. Those whose time is long over are taken out."""
        expired = writing.now - span(self._lease)
        writing.cursor.execute(f"delete from {self._sessions} where expires_at < ?", (expired,))
        self._database.dialect.insert_new(
            writing.cursor,
            self._database.tables.sessions,
            ("id", "instance", "wanted", "asked_at", "expires_at"),
            [(session, instance, "[]", 0, later(writing.now, self._lease))],
        )

    def renew(self, session: str, *, asking: bool) -> bool:
        """The member is there, and still wants what it asked for; False: it was too late.

        One statement: it is all that a process at rest writes.
        """
        asked = ", asked_at = {now}" if asking else ""
        renewed = self._database.alone(
            "renewing the roles' lease",
            f"update {self._sessions} set expires_at = {{now}} + ?{asked}"
            " where id = ? and expires_at > {now}",
            (span(self._lease), session),
            urgent=True,
        )
        return renewed == 1

    def wish(self, writing: Writing, session: str, wanted: Collection[str]) -> None:
        """What the member would like to have."""
        writing.cursor.execute(
            f"update {self._sessions} set wanted = ?, asked_at = ? where id = ?",
            (msgspec.json.encode(sorted(wanted)).decode(), writing.now, session),
        )

    def grant(self, writing: Writing, session: str, leases: Sequence[Lease]) -> None:
        """The roles are the member's: two statements, however many there are."""
        dialect = self._database.dialect
        granted = [(session, lease.token, 0, lease.role) for lease in leases]
        dialect.update_each(writing.cursor, self._held_by, granted)
        new = [row for row in granted if row[1] == 1]  # nobody ever had it
        if new:
            dialect.insert_new(
                writing.cursor,
                self._database.tables.roles,
                ("role", "session", "token", "kept_until"),
                [(role, holder, token, kept_until) for holder, token, kept_until, role in new],
            )

    def give_up(
        self, writing: Writing, role: str, session: str, token: int, *, for_others: bool
    ) -> None:
        """The role is free, unless it is another's by now."""
        writing.cursor.execute(
            f"update {self._roles} set session = null, kept_until = ?"
            " where role = ? and session = ? and token = ?",
            (later(writing.now, _KEPT) if for_others else 0, role, session, token),
        )

    def leave(self, writing: Writing, session: str) -> None:
        """A clean end: all that the member held is free."""
        writing.cursor.execute(
            f"update {self._roles} set session = null, kept_until = 0 where session = ?",
            (session,),
        )
        writing.cursor.execute(f"delete from {self._sessions} where id = ?", (session,))

    def tell(self, writing: Writing) -> None:
        """Let all members look again."""
        writing.cursor.execute(f"update {self._installation} set role_changes = role_changes + 1")
        writing.wakes = True
