"""Taking roles and giving them up: the transactions, and what their answers mean."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar

from workflow_core.errors import AdapterError, AdapterUnavailableError
from workflow_core.ports import Lease

from workflow_etcd_roles import requests
from workflow_etcd_roles.connection import Connection
from workflow_etcd_roles.failures import LeaseGoneError
from workflow_etcd_roles.holdings import Holdings
from workflow_etcd_roles.membership import Membership
from workflow_etcd_roles.requests import Message
from workflow_etcd_roles.rules import Claimant, Rules
from workflow_etcd_roles.session import Lost, Session

__all__ = ["Claims"]

logger = logging.getLogger(__name__)

_BATCH = 32  # roles in one transaction: etcd allows 128 operations, nested ones counted

T = TypeVar("T")


class Claims:
    """Claims and releases of one process. Any thread, but for `claim` and `clear`: one at a time.

    Args:
        connection: to the cluster.
        rules: whose roles.
        membership: who claims.
        holdings: what was granted.
    """

    def __init__(
        self, connection: Connection, rules: Rules, membership: Membership, holdings: Holdings
    ) -> None:
        self._connection = connection
        self._rules = rules
        self._membership = membership
        self._holdings = holdings

    def claim(
        self, session: Session, claims: Mapping[str, Claimant | None], *, wait: Collection[str] = ()
    ) -> Sequence[Lease]:
        """Take roles, or confirm the claims that are there: those that are this process's now.

        Args:
            session: whose claims these are.
            claims: roles, with the claim that is to be confirmed or None.
            wait: get in line for those among these that are held.

        Raises:
            AdapterUnavailableError: no answer. What was granted all the same shows as a claim of
                the session that nobody knows of, to be confirmed or given up.
        """
        granted: list[Lease] = []
        try:
            for batch in _batches(claims):
                asked = [self._request(session, role, claims[role], wait) for role in batch]
                answer = self._connection.ask(_all(asked), doing="taking roles")
                for role, response in zip(batch, answer.responses, strict=True):
                    lease = self._meaning(
                        session, role, claims[role], response.response_txn, answer.header.revision
                    )
                    if lease is not None:
                        granted.append(lease)
        except LeaseGoneError as error:
            self._membership.over(session)
            raise AdapterUnavailableError("taking roles failed: the lease had run out") from error
        self._holdings.keep(session.id, granted)
        return granted

    def give_up(self, session: Session, leases: Iterable[Lease]) -> None:
        """Let these roles be free.

        Raises:
            AdapterUnavailableError: no answer; they stay among those that are to be given up.
        """
        for batch in _batches(leases):
            asked = [self._rules.give_up(each.role, session, each.token) for each in batch]
            answer = self._connection.ask(_all(asked), doing="giving up roles")
            self._wrote_any(session, answer)
            self._holdings.freed(batch)

    def clear(self, session: Session, claims: Iterable[tuple[str, Claimant]]) -> None:
        """Take back claims that nobody here knows of, or wants any more.

        Raises:
            AdapterUnavailableError: no answer.
        """
        for batch in _batches(claims):
            asked = [self._rules.give_up(role, session, claim.created) for role, claim in batch]
            answer = self._connection.ask(_all(asked), doing="giving up roles")
            self._wrote_any(session, answer)

    def resign(self, session: Session, held: Iterable[Lease], *, seconds: float) -> None:
        """Leave: all that is held is free at once, and marked as resigned from.

        Raises:
            AdapterUnavailableError: not within so many seconds; the lease runs out by itself.
        """
        end = time.monotonic() + seconds

        def ask(request: Message) -> None:
            self._connection.ask(
                request,
                doing="resigning from all roles",
                timeout=end - time.monotonic(),
                final=True,
            )

        for batch in _batches(held):
            ask(_all([self._rules.give_up(each.role, session, each.token) for each in batch]))
        ask(requests.transaction([], [requests.delete(key) for key in self._rules.leave(session)]))
        with suppress(LeaseGoneError):
            ask(requests.revocation(session.id))

    def _request(
        self, session: Session, role: str, claim: Claimant | None, wait: Collection[str]
    ) -> Message:
        if claim is None:
            return self._rules.claim(role, session, wait=role in wait)
        return self._rules.confirm(role, session, claim)

    def _meaning(
        self, session: Session, role: str, claim: Claimant | None, answer: Message, revision: int
    ) -> Lease | None:
        """What was answered for one role: its lease, if it was granted."""
        if answer.succeeded:
            if claim is None:
                self._membership.wrote(session, revision)
            last = answer.responses[0].response_put.prev_kv.value.decode()
            # a process that overslept and finds its own role free has not vanished
            suspect = bool(last) and not self._membership.is_own(last)
            return self._lease(session, role, claim.created if claim else revision, suspect)
        if claim is not None:
            return None
        if len(answer.responses) > 1 and answer.responses[1].response_txn.succeeded:
            self._membership.wrote(session, revision)  # in line now
        for found in answer.responses[0].response_range.kvs:
            if found.lease == session.id and found.key == self._rules.key(role, session):
                # taken by an earlier try, whose answer was lost
                return self._lease(session, role, found.create_revision, suspect=False)
        return None

    def _lease(self, session: Session, role: str, token: int, suspect: bool) -> Lease:
        lease = Lease(role, token, release=lambda: self._release(session, lease), suspect=suspect)
        lease.lost = Lost(session.deadline)
        return lease

    def _release(self, session: Session, lease: Lease) -> None:
        if session.is_over:
            return  # it goes with the session; in a forked child it is the parent's
        if self._holdings.release(lease):
            try:
                self.give_up(session, [lease])
            except AdapterError as error:
                logger.warning("role %s is given up a little later: %s", lease.role, error)

    def _wrote_any(self, session: Session, answer: Message) -> None:
        if any(response.response_txn.succeeded for response in answer.responses):
            self._membership.wrote(session, answer.header.revision)


def _all(asked: Iterable[Message]) -> Message:
    """Each under its own condition, in one request and at one revision."""
    return requests.transaction([], [requests.nested(each) for each in asked])


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    every = list(items)
    for start in range(0, len(every), _BATCH):
        yield every[start : start + _BATCH]
