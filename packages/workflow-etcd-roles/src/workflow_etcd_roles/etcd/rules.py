"""The keys of the scheduler `etcd`.

Below the prefix, and the namespace where there is one:

| key | value | hangs on |
|---|---|---|
| ``live/members/LEASE`` | the member's name, and the roles that it would like to have | its lease |
| ``live/roles/ROLE`` | the member's name | the holder's lease |
| ``marks/ROLE`` | the holder's lease; removed when it resigns | nothing |

A role is taken by creating its key, which etcd lets only one do; the revision at which that
happens is the token. All members know all wishes and holders by watching ``live/``, and work out
by the same rule who has too many and who too few. A mark without its key is what a holder leaves
that did not resign.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from urllib.parse import quote, unquote

import msgspec

from workflow_etcd_roles import requests
from workflow_etcd_roles.etcd.spreading import Spreading
from workflow_etcd_roles.requests import Message
from workflow_etcd_roles.rules import Book, Claimant, Rules
from workflow_etcd_roles.session import Session
from workflow_etcd_roles.view import View

__all__ = ["EtcdBook", "EtcdRules"]

_PATIENCE = 0.5  # seconds: longer than a member that waits needs to take what is due to it


class _Member(msgspec.Struct, frozen=True):
    instance: str
    wants: frozenset[str] = frozenset()


_decode = msgspec.json.Decoder(_Member).decode


class EtcdRules(Rules):
    """Args: prefix: of all keys, without a slash at its end."""

    patience = _PATIENCE

    def __init__(self, prefix: str) -> None:
        self.prefix = f"{prefix}/live/".encode()
        self._members = self.prefix + b"members/"
        self._roles = self.prefix + b"roles/"
        self._marks = f"{prefix}/marks/".encode()

    def read(self, view: View) -> EtcdBook:
        """As `Rules` says."""
        claimants: dict[str, Sequence[Claimant]] = {}
        instances: dict[int, str] = {}
        wants: dict[int, frozenset[str]] = {}
        for key, entry in view.entries.items():
            if key.startswith(self._roles):
                role = unquote(key[len(self._roles) :].decode(errors="replace"))
                claimants[role] = (Claimant(entry.created, entry.lease),)
                instances.setdefault(entry.lease, entry.value.decode(errors="replace"))
            elif key.startswith(self._members) and (member := _member(entry.value)):
                instances[entry.lease] = member.instance
                wants[entry.lease] = member.wants
        return EtcdBook(claimants, instances, wants)

    def key(self, role: str, session: Session) -> bytes:
        """As `Rules` says."""
        return self._roles + quote(role, safe=" ").encode()

    def mark(self, role: str) -> bytes:
        """As `Rules` says."""
        return self._marks + quote(role, safe=" ").encode()

    def tell(self, session: Session, wants: Collection[str]) -> Message:
        """As `Rules` says."""
        member = _Member(session.instance, frozenset(wants))
        value = msgspec.json.encode(member, order="deterministic")
        return requests.transaction(
            [], [requests.put(self._member(session), value, lease=session.id)]
        )

    def leave(self, session: Session) -> Sequence[bytes]:
        """As `Rules` says."""
        return (self._member(session),)

    def claim(self, role: str, session: Session, *, wait: bool) -> Message:
        """As `Rules` says."""
        key = self.key(role, session)
        take = requests.put(key, session.instance.encode(), lease=session.id)
        return requests.transaction(
            [requests.created(key, 0)], [self._sign(role, session), take], [requests.get(key)]
        )

    def confirm(self, role: str, session: Session, claim: Claimant) -> Message:
        """As `Rules` says."""
        key = self.key(role, session)
        return requests.transaction(
            [requests.created(key, claim.created), requests.compare_lease(key, session.id)],
            [self._sign(role, session)],
        )

    def _member(self, session: Session) -> bytes:
        return self._members + session.name.encode()


def _member(value: bytes) -> _Member | None:
    """None: it is not ours, whoever wrote it."""
    try:
        return _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class EtcdBook(Book):
    """What the keys say, and what follows by spreading."""

    def __init__(
        self,
        claimants: Mapping[str, Sequence[Claimant]],
        instances: Mapping[int, str],
        wants: Mapping[int, frozenset[str]],
    ) -> None:
        super().__init__(claimants, instances)
        self._wants = wants

    def due(self, lease: int, wanted: Collection[str]) -> Collection[str]:
        """As `Book` says."""
        return self._spreading.take(lease, [r for r in wanted if r not in self.claimants])

    def excess(self, lease: int) -> Collection[str]:
        """As `Book` says."""
        return self._spreading.give(lease)

    @cached_property
    def _spreading(self) -> Spreading:
        held = {role: claimants[0].lease for role, claimants in self.claimants.items()}
        wanting: dict[str, set[int]] = {role: {holder} for role, holder in held.items()}
        for lease, wants in self._wants.items():
            for role in wants:
                wanting.setdefault(role, set()).add(lease)
        return Spreading(wanting, held)
