"""Rink's keys, as its Go original writes them.

Below the name of the cluster:

| key | value | hangs on |
|---|---|---|
| ``members/NAME`` | when it joined: milliseconds since 1970 | its lease |
| ``election/LEASE`` | the oldest one's: all members' ranks, in Go's gob encoding | its lease |
| ``roles/ROLE/LEASE`` | empty: the oldest one holds the role, the others wait in line | its lease |

and beside it, which Go members do not look at, ``CLUSTER.marks/ROLE``: the lease of a Python
holder that has not resigned.

A role belongs to the member whose rank its hash comes to. What is otherwise than in Go:

- A role is given up when its work has stopped, not when the rank moves; whom it belongs to waits in
  line, which is also how the holder learns that it should hand it over.
- A process that holds a role is refused it a second time.
- A member that leaves takes its keys with it at once, role by role.
- A role whose own member does not want it goes to one that does, after a while.
"""

from __future__ import annotations

import logging
import posixpath
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from workflow_core.errors import InputError

from workflow_etcd_roles import requests
from workflow_etcd_roles.requests import Message
from workflow_etcd_roles.rink import gob
from workflow_etcd_roles.rink.hashing import rank_of
from workflow_etcd_roles.rink.ranks import next_ranks
from workflow_etcd_roles.rules import Book, Claimant, Rules
from workflow_etcd_roles.session import Session
from workflow_etcd_roles.view import Entry, View

__all__ = ["RinkBook", "RinkRules"]

logger = logging.getLogger(__name__)

_LOOK_AGAIN = 60.0  # seconds: the leader looks at the members, though nothing has changed


class RinkRules(Rules):
    """Rink's keys.

    Args:
        cluster: its name.
        new_member_wait: how long a newcomer waits for somebody to leave.
        unclaimed_after: how long a free role is left to whom it belongs.
    """

    queues = True

    def __init__(
        self, cluster: str, *, new_member_wait: timedelta, unclaimed_after: timedelta
    ) -> None:
        cluster = posixpath.normpath(cluster)
        self.patience = unclaimed_after.total_seconds()
        self.prefix = f"{cluster}/".encode()
        self._members = f"{cluster}/members/".encode()
        self._election = f"{cluster}/election/".encode()
        self._roles = f"{cluster}/roles/".encode()
        self._marks = f"{cluster}.marks/".encode()
        self._wait = new_member_wait
        self._ranks: dict[str, int] = {}  # the last ones that any leader told
        self._joined: dict[str, datetime] = {}  # as far as this member leads

    def read(self, view: View) -> RinkBook:
        """As `Rules` says."""
        claimants: dict[str, list[Claimant]] = {}
        instances: dict[int, str] = {}
        joined: dict[str, datetime] = {}
        election: list[tuple[int, bytes, Entry]] = []
        for key, entry in view.entries.items():
            if key.startswith(self._roles):
                role, _, _ = key[len(self._roles) :].decode(errors="replace").rpartition("/")
                claimants.setdefault(role, []).append(Claimant(entry.created, entry.lease))
            elif key.startswith(self._members):
                name = key[len(self._members) :].decode(errors="replace")
                instances[entry.lease] = name
                joined[name] = _moment(entry.value)
            elif key.startswith(self._election):
                election.append((entry.created, key, entry))
        for each in claimants.values():
            each.sort()
        leader = min(election, default=None)
        told = _told(leader[2].value) if leader is not None else None
        if told is not None:
            self._ranks = told
        return RinkBook(
            claimants,
            instances,
            joined=joined,
            # a leader that has not told any yet goes on from those of the one before it
            ranks=self._ranks,
            leader=Claimant(leader[0], leader[2].lease) if leader is not None else None,
            told=told,
        )

    def key(self, role: str, session: Session) -> bytes:
        """As `Rules` says."""
        return self._line(role) + session.name.encode()

    def mark(self, role: str) -> bytes:
        """As `Rules` says."""
        return self._marks + role.encode()

    def enter(self, session: Session) -> Message:
        """As `Rules` says."""
        key, campaign = self._member(session), self._campaign(session)
        now = str(time.time_ns() // 1_000_000).encode()
        return requests.transaction(
            [requests.created(key, 0)],
            [
                requests.put(key, now, lease=session.id),
                requests.put(campaign, b"", lease=session.id),
            ],
            [requests.get(key)],
        )

    def leave(self, session: Session) -> Sequence[bytes]:
        """As `Rules` says."""
        return (self._campaign(session), self._member(session))

    def lead(self, book: Book, session: Session) -> tuple[Message | None, float]:
        """As `Rules` says: ranks, where this member leads."""
        assert isinstance(book, RinkBook)
        leader = book.leader
        if leader is None or leader.lease != session.id:
            return None, float("inf")
        now = datetime.now(UTC)
        # a member whose clock is ahead of ours waits no longer than others: it is here already
        self._joined = {
            name: min(joined, self._joined.get(name, now)) for name, joined in book.joined.items()
        }
        ranks, change = next_ranks(book.ranks, self._joined, now=now, wait=self._wait)
        again = _LOOK_AGAIN
        if change is not None:
            again = min(again, (change - now).total_seconds())
        if ranks == book.told:
            return None, again
        logger.info("rink: %d members are ranked", len(ranks))
        key = self._campaign(session)
        proclaim = requests.transaction(
            [requests.created(key, leader.created)],
            [requests.put(key, gob.encode(ranks), lease=session.id)],
        )
        return proclaim, again

    def claim(self, role: str, session: Session, *, wait: bool) -> Message:
        """As `Rules` says."""
        line, key = self._line(role), self.key(role, session)
        take = requests.put(key, b"", lease=session.id)
        otherwise = [requests.oldest(line)]
        if wait:
            queue = requests.transaction([requests.created(key, 0)], [take])
            otherwise.append(requests.nested(queue))
        return requests.transaction(
            [requests.created(line, 0, range_end=requests.after(line))],
            [self._sign(role, session), take],
            otherwise,
        )

    def confirm(self, role: str, session: Session, claim: Claimant) -> Message:
        """As `Rules` says."""
        line, key = self._line(role), self.key(role, session)
        return requests.transaction(
            [requests.created(key, claim.created), requests.none_older(line, claim.created)],
            [self._sign(role, session)],
        )

    def _line(self, role: str) -> bytes:
        """The keys of all that hold the role or wait for it."""
        if posixpath.normpath(role) != role or role.startswith(("/", "..")):
            raise InputError(
                f"rink keeps roles as paths, and {role!r} is none", role=role, adapter="rink"
            )
        return self._roles + role.encode() + b"/"

    def _member(self, session: Session) -> bytes:
        return self._members + session.instance.encode()

    def _campaign(self, session: Session) -> bytes:
        return self._election + session.name.encode()


class RinkBook(Book):
    """What the keys say, and what follows by rank."""

    def __init__(
        self,
        claimants: Mapping[str, Sequence[Claimant]],
        instances: Mapping[int, str],
        *,
        joined: Mapping[str, datetime],
        ranks: Mapping[str, int],
        leader: Claimant | None,
        told: Mapping[str, int] | None,
    ) -> None:
        super().__init__(claimants, instances)
        self.joined = joined
        self.ranks = ranks
        self.leader = leader
        self.told = told

    def due(self, lease: int, wanted: Collection[str]) -> Collection[str]:
        """As `Book` says."""
        rank = self.ranks.get(self.instances.get(lease, ""))
        if rank is None:
            return ()
        return [role for role in wanted if rank_of(role, len(self.ranks)) == rank]

    def excess(self, lease: int) -> Collection[str]:
        """As `Book` says: those for which whom they belong to waits in line."""
        waited_for = [
            role
            for role, claimants in self.claimants.items()
            if claimants[0].lease == lease and len(claimants) > 1
        ]
        return set(waited_for).difference(self.due(lease, waited_for))


def _moment(value: bytes) -> datetime:
    try:
        return datetime.fromtimestamp(int(value) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)  # of somebody else's making: a member of old


def _told(value: bytes) -> dict[str, int] | None:
    """The ranks that a leader tells; None: none yet, or none that can be read."""
    if not value:
        return None
    try:
        return gob.decode(value)
    except ValueError:
        logger.warning("rink: the leader's ranks cannot be read")
        return None
