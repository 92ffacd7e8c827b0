"""Being a member: a session, what it has told the others, and what of its own it must see first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from etcd3 import etcdrpc
from workflow_core.errors import AdapterUnavailableError, ClosedError

from workflow_etcd_roles.connection import Connection
from workflow_etcd_roles.holdings import Holdings
from workflow_etcd_roles.requests import Message
from workflow_etcd_roles.rules import Rules
from workflow_etcd_roles.session import Session

__all__ = ["Membership"]

_WISH_LIFE = 10.0  # seconds; what was asked for so long ago is no longer wanted


class Membership:
    """One process among its peers. Any thread, but for `entered` and `tell`: one at a time.

    Args:
        connection: to the cluster.
        rules: whose member.
        holdings: what its sessions hold.
        instance: the process's name.
        lease: seconds that etcd keeps a session without a sign of life.
        clock: what trust in the lease is counted by.

    Attributes:
        session: the present one, which may be over; None: not a member.
        written: the revision of the session's last write that a watch shows.
    """

    wish_life = _WISH_LIFE

    def __init__(
        self,
        connection: Connection,
        rules: Rules,
        holdings: Holdings,
        *,
        instance: str,
        lease: int,
        clock: Callable[[], float],
    ) -> None:
        self._connection = connection
        self._rules = rules
        self._holdings = holdings
        self._instance = instance
        self._lease = lease
        self._clock = clock
        self._lock = threading.Lock()
        self._left = False
        self._own: set[str] = set()
        self._told: tuple[int, frozenset[str]] | None = None
        self._wanted: frozenset[str] = frozenset()
        self._asked_at = float("-inf")
        self._asking = 0
        self.session: Session | None = None
        self.written = 0

    # -- sessions ------------------------------------------------------------------------------

    def entered(self) -> Session:
        """The session, joined anew where there is none that can be trusted.

        Raises:
            AdapterUnavailableError: no answer, or a member of this name has not quite left.
            ClosedError: left for good.
        """
        session = self.session
        if session is not None:
            if not session.is_over:
                return session
            self.over(session)
        session = Session(
            self._connection,
            self._lease,
            instance=self._instance,
            proof=etcdrpc.RangeRequest(key=self._rules.prefix),
            ended=self.over,
            clock=self._clock,
        )
        session.begin()
        try:
            written = self._enter(session)
            with self._lock:
                if self._left:
                    raise ClosedError("the role scheduler was closed")
                self._holdings.begin(session.id)
                self._own.add(session.name)
                self.session, self.written = session, written
        except BaseException:
            session.lose()
            raise
        return session

    def over(self, session: Session) -> None:
        """The session can no longer be trusted: all that it holds is lost."""
        session.lose()
        with self._lock:
            if self.session is session:
                self.session = None
        self._holdings.end(session.id)

    def leave(self) -> Session | None:
        """No more sessions; the last one is the caller's to revoke."""
        with self._lock:
            self._left = True
            session, self.session = self.session, None
        if session is not None:
            session.end()
        return session

    def is_own(self, session: str) -> bool:
        """Whether the session of this name is or was this process's."""
        return session in self._own

    def wrote(self, session: Session, revision: int) -> None:
        """A write of this session was carried out, which the watch will show."""
        if self.session is session:
            self.written = max(self.written, revision)

    def _enter(self, session: Session) -> int:
        request = self._rules.enter(session)
        if request is None:
            return 0
        answer = self._connection.ask(request, doing="joining")
        if not answer.succeeded and not self._entered_before(answer, session):
            raise AdapterUnavailableError(
                f"joining failed: there is a member {self._instance!r}, perhaps this very process"
                " before it lost its lease, which is free again when that has run out"
            )
        return int(answer.header.revision)

    @staticmethod
    def _entered_before(answer: Message, session: Session) -> bool:
        """By an earlier try, whose answer was lost."""
        found = answer.responses[0].response_range.kvs
        return bool(found) and found[0].lease == session.id

    # -- wishes --------------------------------------------------------------------------------

    @contextmanager
    def asking(self, wanted: frozenset[str]) -> Iterator[None]:
        """Within the block, and for a while after it, the process would like to have these."""
        with self._lock:
            self._wanted = wanted
            self._asking += 1
        try:
            yield
        finally:
            with self._lock:
                self._asking -= 1
                self._asked_at = time.monotonic()

    @property
    def wishes(self) -> frozenset[str]:
        """What the process would like to have and does not hold."""
        with self._lock:
            fresh = self._asking or time.monotonic() - self._asked_at < _WISH_LIFE
            return self._wanted if fresh else frozenset()

    def tell(self, session: Session) -> None:
        """Let the others know what this process would like to have or holds, if that is news."""
        wants = self.wishes | self._holdings.known
        if self._told == (session.id, wants):
            return
        request = self._rules.tell(session, wants)
        if request is not None:
            answer = self._connection.ask(request, doing="telling what is wanted")
            self.wrote(session, answer.header.revision)
        self._told = (session.id, wants)
