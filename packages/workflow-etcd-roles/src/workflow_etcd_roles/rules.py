"""What one way of sharing out roles has to say: its keys, and who should have what.

The machinery around it, `Desk`, is the same for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from workflow_etcd_roles import requests
from workflow_etcd_roles.requests import Message
from workflow_etcd_roles.session import Session
from workflow_etcd_roles.view import View

__all__ = ["Book", "Claimant", "Rules"]


@dataclass(frozen=True, order=True)
class Claimant:
    """A key that stands for a role: the oldest one holds it, the others wait.

    Attributes:
        created: the revision at which the key was created; the holder's is the grant's token.
        lease: the id of the session that it hangs on.
    """

    created: int
    lease: int


class Book(ABC):
    """Members and roles at one revision.

    Args:
        claimants: for each role that has any, in the order of their creation.
        instances: the members' names by their lease.
    """

    def __init__(
        self, claimants: Mapping[str, Sequence[Claimant]], instances: Mapping[int, str]
    ) -> None:
        self.claimants = claimants
        self.instances = instances

    def holder(self, role: str) -> Claimant | None:
        """Who holds the role."""
        return next(iter(self.claimants.get(role, ())), None)

    def claim(self, role: str, lease: int) -> Claimant | None:
        """The key by which this member holds the role or waits for it."""
        return next((one for one in self.claimants.get(role, ()) if one.lease == lease), None)

    def claims(self, lease: int) -> Iterator[tuple[str, Claimant]]:
        """All roles that this member holds or waits for."""
        for role, claimants in self.claimants.items():
            for one in claimants:
                if one.lease == lease:
                    yield role, one

    @abstractmethod
    def due(self, lease: int, wanted: Collection[str]) -> Collection[str]:
        """Which of the roles that it wants this member should take now, or wait for in line."""

    @abstractmethod
    def excess(self, lease: int) -> Collection[str]:
        """Which of the roles that this member holds others should have."""


class Rules(ABC):
    """Keys and transactions.

    Attributes:
        prefix: what has to be watched.
        patience: seconds for which a free role is left to whom it is due.
        queues: whether members wait in line for the roles that are due to them.
    """

    prefix: bytes
    patience: float
    queues = False

    @abstractmethod
    def read(self, view: View) -> Book:
        """What the keys say."""

    @abstractmethod
    def key(self, role: str, session: Session) -> bytes:
        """By which a member claims a role.

        Raises:
            InputError: no role can be called that.
        """

    @abstractmethod
    def mark(self, role: str) -> bytes:
        """Names the last holder for as long as it has not resigned, and outlives its lease."""

    def enter(self, session: Session) -> Message | None:
        """Makes the session a member; reads who is one where somebody of that name is."""
        return None

    def tell(self, session: Session, wants: Collection[str]) -> Message | None:
        """Makes known what a member would like to have; None: nobody is to know."""
        return None

    def leave(self, session: Session) -> Sequence[bytes]:
        """The keys that go when a member leaves, before its lease does."""
        return ()

    def lead(self, book: Book, session: Session) -> tuple[Message | None, float]:
        """What this member has to write for all, and after how many seconds to ask again."""
        return None, float("inf")

    @abstractmethod
    def claim(self, role: str, session: Session, *, wait: bool) -> Message:
        """Take the role if it is free; else get in line, if `wait`.

        The first request on success is `_sign`; the else branch reads the oldest claimant.
        """

    @abstractmethod
    def confirm(self, role: str, session: Session, claim: Claimant) -> Message:
        """Make sure that this claim is the oldest. The first request on success is `_sign`."""

    def give_up(self, role: str, session: Session, created: int) -> Message:
        """Take back the claim that was created then, whether it holds the role or waits."""
        mark, name = self.mark(role), session.name.encode()
        resign = requests.transaction([requests.value_is(mark, name)], [requests.delete(mark)])
        key = self.key(role, session)
        return requests.transaction(
            [requests.created(key, created)], [requests.delete(key), requests.nested(resign)]
        )

    def _sign(self, role: str, session: Session) -> Message:
        """Writes the mark, and tells the last holder's."""
        return requests.put(self.mark(role), session.name.encode(), told=True)
