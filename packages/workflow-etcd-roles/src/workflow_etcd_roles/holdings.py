"""What a process holds, as far as it knows."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from workflow_core.ports import Lease

from workflow_etcd_roles.news import News
from workflow_etcd_roles.rules import Book, Claimant

__all__ = ["Holdings"]

logger = logging.getLogger(__name__)

_BURST = 0.05  # seconds; what is released so soon after another is one of many


class Holdings:
    """Leases of one session, and those that are given up but not yet free. Any thread.

    Args:
        news: told of what others may wait for.
    """

    def __init__(self, news: News) -> None:
        self._news = news
        self._lock = threading.Lock()
        self._session = 0
        self._held: dict[str, Lease] = {}
        self._given_up: dict[str, Lease] = {}
        self._released_at = float("-inf")

    @property
    def known(self) -> frozenset[str]:
        """All roles that the session has, or had until it is known to be free of them."""
        with self._lock:
            return frozenset({*self._held, *self._given_up})

    @property
    def given_up(self) -> Sequence[Lease]:
        """Those that are still to be taken out of etcd."""
        with self._lock:
            return list(self._given_up.values())

    def begin(self, session: int) -> None:
        """From now on leases are this session's."""
        with self._lock:
            self._session = session

    def end(self, session: int) -> Sequence[Lease]:
        """The session is over, and with it all that it holds: which is told."""
        with self._lock:
            if self._session != session:
                return ()
            self._session = 0
            gone = [*self._held.values(), *self._given_up.values()]
            self._held.clear()
            self._given_up.clear()
        for lease in gone:
            lease.lost.set()
        self._news.tell()
        return gone

    def keep(self, session: int, leases: Sequence[Lease]) -> bool:
        """These were granted; False: too late, the session is over."""
        with self._lock:
            in_time = self._session == session
            if in_time:
                self._held.update((lease.role, lease) for lease in leases)
        if not in_time:
            for lease in leases:
                lease.lost.set()
        return in_time

    def release(self, lease: Lease) -> bool:
        """The lease is to be given up; whether that is worth a request of its own.

        Of many that are released one after the other only the first is: the clerk gives up the
        others together. Nor is it where an earlier one could not be given up, because etcd does
        not answer: nobody is to wait for each in turn.
        """
        with self._lock:
            if self._held.get(lease.role) is not lease:
                return False  # lost before
            del self._held[lease.role]
            is_alone = not self._given_up
            self._given_up[lease.role] = lease
            is_first = time.monotonic() - self._released_at > _BURST
            self._released_at = time.monotonic()
        if not (is_alone and is_first):
            self._news.tell()
            return False
        return True

    def freed(self, leases: Sequence[Lease]) -> None:
        """These are free in etcd now."""
        with self._lock:
            for lease in leases:
                if self._given_up.get(lease.role) is lease:
                    del self._given_up[lease.role]
        self._news.tell()

    @property
    def held(self) -> Sequence[Lease]:
        """The leases at this moment."""
        with self._lock:
            return list(self._held.values())

    def judge(self, session: int, held: Sequence[Lease], book: Book, revision: int) -> None:
        """Note which leases are recalled, and which are gone though nobody here gave them up.

        Args:
            session: whose they are.
            held: the leases as they were before the book was looked for: one that was confirmed
                since may still wait in line in it.
            book: at `revision`.
            revision: later grants are not in the book.
        """
        excess = book.excess(session)
        for lease in held:
            if lease.token > revision:
                continue  # granted since
            if book.holder(lease.role) == Claimant(lease.token, session):
                if lease.role in excess:
                    lease.recalled.set()
            elif self._forget(lease):
                logger.warning("role %s was taken away: its key is gone", lease.role)
                lease.lost.set()

    def _forget(self, lease: Lease) -> bool:
        with self._lock:
            is_held = self._held.get(lease.role) is lease
            if is_held:
                del self._held[lease.role]
            return is_held
