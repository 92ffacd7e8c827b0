"""The machinery of a role scheduler over etcd: everything but who should have what.

Three threads work beside those that call. The session's keeps the lease and nothing else, so that
nothing can hold it up. The watcher's keeps the view. The clerk's, here, does what follows from a
changed view: it notes what is recalled and what is gone, gives up what could not be given up
before, takes back wishes that are out of date, and does a leader's work.

`_claiming` is held while roles are claimed, requests included, so that a claim of this process's
session that nobody here knows of can only be one whose answer was lost. No other lock is held over
a request: a release, a lost session and ``close`` wait for nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta

from etcd3 import etcdrpc
from workflow_core.errors import AdapterError, AdapterUnavailableError, ClosedError
from workflow_core.ports import Capability, Lease, RoleScheduler, in_forked_child, leave_to_parent

from workflow_etcd_roles import requests
from workflow_etcd_roles.claims import Claims
from workflow_etcd_roles.clock import elapsed
from workflow_etcd_roles.connection import Connection
from workflow_etcd_roles.holdings import Holdings
from workflow_etcd_roles.membership import Membership
from workflow_etcd_roles.news import News
from workflow_etcd_roles.rules import Book, Claimant, Rules
from workflow_etcd_roles.session import Session
from workflow_etcd_roles.view import View, Watcher, view_of

__all__ = ["Desk"]

logger = logging.getLogger(__name__)

_AFTER_FAILURE = 1.0  # seconds until what failed is tried again
_RESIGNING = 2.0  # seconds that a close may take to tell etcd
_FOREVER = float("inf")


class Desk(RoleScheduler):
    """One member. Each method does what `RoleScheduler` says; any thread.

    Args:
        connection: to the cluster; closed with this.
        rules: whose roles these are.
        instance: this process among its peers.
        lease: how long a crashed process still counts as holder; whole seconds.
        clock: what trust in the lease is counted by; seconds.
    """

    adapter = "etcd"

    def __init__(
        self,
        connection: Connection,
        rules: Rules,
        *,
        instance: str,
        lease: timedelta,
        clock: Callable[[], float] = elapsed,
    ) -> None:
        self._connection = connection
        self._rules = rules
        self._instance = instance
        self._lease = round(lease.total_seconds())
        self._clock = clock
        self._forked = False
        self._closed = threading.Event()
        self._claiming = threading.Lock()
        self._news = News()
        self._holdings = Holdings(self._news)
        self._watcher = Watcher(self._connection, self._rules.prefix, self._news.tell)
        self._membership = Membership(
            self._connection,
            self._rules,
            self._holdings,
            instance=self._instance,
            lease=self._lease,
            clock=self._clock,
        )
        self._claims = Claims(self._connection, self._rules, self._membership, self._holdings)
        self._clerk: threading.Thread | None = None
        self._free_since: dict[str, float] = {}
        self._read: tuple[View, Book] | None = None
        in_forked_child(self._stay_behind)

    @property
    def capabilities(self) -> frozenset[Capability]:
        """A blocked ``acquire`` wakes."""
        return frozenset({Capability.WAKES})

    def check_health(self) -> str:
        """The version of the member that answers, and that it has a leader."""
        self._check_open()
        status = self._connection.ask(etcdrpc.StatusRequest(), doing="asking for health")
        if not status.leader:
            raise AdapterUnavailableError(
                "etcd has no leader: a majority of its members is missing", adapter=self.adapter
            )
        return f"etcd {status.version}"

    # -- asking --------------------------------------------------------------------------------

    def try_acquire(self, role: str) -> Lease | None:
        """One transaction."""
        self._check_open()
        with self._claiming:
            if role in self._holdings.known:
                return None
            leases = self._claims.claim(self._entered(), {role: None})
            self._check_open()
        return leases[0] if leases else None

    def acquire(self, roles: Sequence[str], timeout: timedelta) -> Sequence[Lease]:
        """All that are due to this member in one transaction; at rest no request is made."""
        self._check_open()
        end = time.monotonic() + timeout.total_seconds()
        wanted = frozenset(roles)
        with self._membership.asking(wanted):
            while True:
                seen = self._news.number
                leases, again = self._take(wanted)
                rest = end - time.monotonic()
                if leases or rest <= 0:
                    return leases
                self._news.wait(seen, min(rest, again))

    def holders(self, roles: Sequence[str]) -> Mapping[str, str]:
        """One read, however many roles."""
        self._check_open()
        everything = requests.under(self._rules.prefix)
        answer = self._connection.ask(everything, doing="looking for holders")
        book = self._rules.read(view_of(answer))
        held = ((role, book.holder(role)) for role in roles)
        return {role: book.instances.get(one.lease, "") for role, one in held if one is not None}

    def close(self) -> None:
        """Resign: all roles are free at once.

        Where etcd does not answer within two seconds, they are when the lease runs out.
        """
        if self._closed.is_set():
            return
        self._closed.set()
        session = self._membership.leave()
        held = self._holdings.end(session.id) if session is not None else ()
        self._news.tell()
        self._watcher.close()
        self._connection.interrupt()
        try:
            if session is not None:
                self._claims.resign(session, held, seconds=_RESIGNING)
        except AdapterError as error:
            logger.warning("roles are free only when their lease has run out: %s", error)
        finally:
            self._connection.close()
            self._watcher.join(_RESIGNING)

    # -- taking --------------------------------------------------------------------------------

    def _take(self, wanted: frozenset[str]) -> tuple[Sequence[Lease], float]:
        """Claim what is due and free; else the seconds after which time alone may change that."""
        with self._claiming:
            self._check_open()
            if not wanted and self._membership.session is None:
                return (), _FOREVER
            session = self._entered()
            self._membership.tell(session)
            book = self._book()
            missing = wanted - self._holdings.known
            due = frozenset(book.due(session.id, missing))
            claims, again = self._open_claims(book, session, missing, due)
            leases = self._claims.claim(
                session, claims, wait=due if self._rules.queues else frozenset()
            )
            self._check_open()
            return leases, again

    def _open_claims(
        self, book: Book, session: Session, missing: frozenset[str], due: frozenset[str]
    ) -> tuple[dict[str, Claimant | None], float]:
        """What to claim or to confirm, and when what is not due is free for anyone."""
        now = time.monotonic()
        claims: dict[str, Claimant | None] = {}
        free_since: dict[str, float] = {}
        again = _FOREVER
        for role in sorted(missing):
            holder, mine = book.holder(role), book.claim(role, session.id)
            if holder is None:
                since = self._free_since.get(role, now)
                left = since + self._rules.patience - now
                if role in due or left <= 0:
                    claims[role] = None
                else:
                    free_since[role] = since
                    again = min(again, left)
            elif holder == mine or (mine is None and role in due):
                claims[role] = mine
        self._free_since = free_since
        return claims, again

    def _entered(self) -> Session:
        session = self._membership.entered()
        self._watcher.start()
        if self._clerk is None:
            self._clerk = threading.Thread(
                target=self._work, name="workflow-etcd-clerk", daemon=True
            )
            self._clerk.start()
        return session

    # -- the clerk -----------------------------------------------------------------------------

    def _work(self) -> None:
        while not self._closed.is_set():
            seen = self._news.number
            try:
                again = self._tend()
            except ClosedError:
                return
            except AdapterError as error:
                logger.warning("the roles' upkeep failed, it is tried again: %s", error)
                self._closed.wait(_AFTER_FAILURE)
            else:
                self._news.wait(seen, again)

    def _tend(self) -> float:
        """What is to be done now; the seconds after which to look again though nothing changed."""
        session = self._membership.session
        if session is None:
            return _FOREVER
        given_up = self._holdings.given_up
        if given_up:
            self._claims.give_up(session, given_up)
        held = self._holdings.held  # before the view
        view = self._view(timeout=0)
        if view is None:
            return _FOREVER
        book = self._book_of(view)
        self._holdings.judge(session.id, held, book, view.revision)
        request, again = self._rules.lead(book, session)
        if request is not None:
            self._connection.ask(request, doing="telling the ranks")
        self._clear()
        return min(again, self._membership.wish_life)

    def _clear(self) -> None:
        """Take back wishes and claims that nobody here has any more."""
        with self._claiming:
            session = self._membership.session
            if session is None:
                return
            self._membership.tell(session)
            view = self._view(timeout=0)
            if view is not None:
                self._claims.clear(session, self._strays(session, self._book_of(view)))

    def _strays(self, session: Session, book: Book) -> Iterator[tuple[str, Claimant]]:
        wishes, known = self._membership.wishes, self._holdings.known
        due = frozenset(book.due(session.id, wishes))
        for role, claim in book.claims(session.id):
            is_holder = book.holder(role) == claim
            if role not in known and not (role in wishes and (is_holder or role in due)):
                yield role, claim

    # -- the view ------------------------------------------------------------------------------

    def _view(self, *, timeout: float) -> View | None:
        """What is so since our own last write."""
        return self._watcher.view(since=self._membership.written, timeout=timeout)

    def _book(self) -> Book:
        view = self._view(timeout=self._connection.timeout)
        if view is None:
            self._check_open()
            raise AdapterUnavailableError(
                "looking for free roles failed: etcd's watch does not answer", adapter=self.adapter
            )
        return self._book_of(view)

    def _book_of(self, view: View) -> Book:
        read = self._read
        if read is None or read[0] is not view:
            read = self._read = (view, self._rules.read(view))
        return read[1]

    def _check_open(self) -> None:
        if self._forked:
            raise ClosedError(
                "this process was forked from the one that made the role scheduler; etcd's client "
                "does not work in a forked child: make one there, after the fork",
                adapter=self.adapter,
            )
        if self._closed.is_set():
            raise ClosedError("the role scheduler was closed", adapter=self.adapter)

    def _stay_behind(self) -> None:
        """In a forked child: session and roles are the parent's, and gRPC's threads as well.

        A fork while one of them is at work leaves gRPC in the child broken for good, by its own
        word; so nothing here is asked again.
        """
        session = self._membership.session
        leave_to_parent((self._connection, session, self._watcher, self._clerk, self._claims))
        if session is not None:
            session.deadline.end()
        self._forked = True
        self._closed = threading.Event()  # the inherited one's lock may be held by nobody
        self._closed.set()
