"""One etcd lease for all roles of a process, and how long it can be trusted.

Two processes must never both believe that they hold a role. etcd keeps a role's key for as long as
the lease that it hangs on lives; so what a process believes has to end before etcd ends the lease.
The two do not see each other's clocks. What is known:

1. A keep-alive that this process *started* at ``t`` by its own clock was carried out, if at all, at
   ``t`` or later. etcd then keeps the lease for its whole time, ``TTL``, counted by the clock of
   its leader from that later moment. So at ``t + TTL`` by our clock the lease still lives, provided
   that both clocks tick alike. Counting from when the *answer* arrived would be wrong by the
   network's delay, which nothing bounds.
2. No two clocks tick quite alike, and a virtual machine's may be steered by a tenth of a percent.
   So trust ends early, at ``t + 0.9 TTL``: that allows for clocks that drift apart by ten percent.
3. Only durations count, never the time of day: setting a clock, on either side, changes nothing.
   The clock is one that also counts while the machine sleeps (`clock.elapsed`).
4. When etcd changes its leader, the new one gives every lease its whole time again. But an old
   leader that was frozen or cut off may not know yet, and answers keep-alives out of its own
   memory: an answer that nobody else will honour. So an answer is believed only when a read that
   needs the majority succeeds afterwards *and* was answered in the same term as the keep-alive:
   then the leader that renewed the lease was the only one. Else the old deadline stands, and the
   keep-alive is tried again at once.
5. etcd may grant a longer time than was asked for; what it answers is what counts.

What the process believes is not a flag that some thread has to clear in time: a thread may be
starved, stuck in the very call that should have renewed the lease, or frozen with all the others.
`Lost.is_set` compares the deadline with the clock each time that it is asked. So a process that was
stopped (SIGSTOP, a debugger, a suspended machine) past its deadline and goes on finds ``lost`` set
at its next look, before any thread of ours has run. What no clock can prevent: a process that looks
and is stopped between the look and the act. Who acts on something outside passes the lease's
token along, and what is acted on refuses tokens smaller than the greatest it has seen.

Somebody blocked in ``lost.wait`` wakes at the deadline. After a sleep of the whole machine, whose
time waits do not count, it wakes at the next round of the keep-alive thread at the latest, a third
of the lease later.

When trust has ended, the lease is revoked if etcd can be reached, so that others need not wait for
the rest of its time, and a new one is made when roles are next asked for. A deadline that has
passed is never moved again, even if a late answer says that the lease lived on: who looked in
between was told that the role is lost.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable

from etcd3 import etcdrpc
from workflow_core.errors import AdapterError, AdapterUnavailableError, ClosedError

from workflow_etcd_roles.clock import elapsed
from workflow_etcd_roles.connection import Connection
from workflow_etcd_roles.failures import is_already_there
from workflow_etcd_roles.requests import Message, revocation

__all__ = ["MARGIN", "Deadline", "Lost", "Session"]

logger = logging.getLogger(__name__)

MARGIN = 0.1  # of the lease
_RENEW_AFTER = 1 / 3  # of the lease
_TRY = 0.2  # of the lease: one attempt may take so long, so that two members fit before the end
_PAUSE = 0.02  # of the lease, between attempts


class Deadline:
    """Until when the lease is trusted. Any thread; without a lock, which a fork could leave locked.

    Once it has passed, or was ended, it stays so.

    Args:
        clock: the clock; seconds.
    """

    def __init__(self, clock: Callable[[], float] = elapsed) -> None:
        self._clock = clock
        self._ends: float | None = None
        self._over = False
        self.begun = float("-inf")

    def move(self, begun: float, ttl: float) -> bool:
        """It lives for `ttl` seconds from `begun` at least; False: too late, it is over.

        One thread at a time.
        """
        if self._ends is not None and self.rest <= 0:
            return False
        self.begun = begun
        self._ends = begun + ttl * (1 - MARGIN)
        return self.rest > 0

    def end(self) -> None:
        """It is over now, whatever the clock says."""
        self._over = True

    @property
    def rest(self) -> float:
        """Seconds until it is over; 0 or less: it is."""
        if self._over or self._ends is None:
            return float("-inf")
        rest = self._ends - self._clock()
        if rest <= 0:
            self._over = True  # for good: whoever asked was told
        return rest


class Lost(threading.Event):
    """Set by hand or by the deadline, whichever is first: the deadline itself, no thread's word."""

    def __init__(self, deadline: Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def is_set(self) -> bool:
        """Whether the right is gone."""
        return super().is_set() or self._deadline.rest <= 0

    def wait(self, timeout: float | None = None) -> bool:
        """Block until it is gone, or for `timeout` seconds; whether it is gone."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self.is_set():
            rest = self._deadline.rest
            if end is not None:
                rest = min(rest, end - time.monotonic())
                if rest <= 0:
                    return self.is_set()
            super().wait(max(rest, 0))
        return True


class Session:
    """A lease that a thread of its own keeps alive. Any thread.

    Args:
        connection: to the cluster.
        lease: its time in whole seconds.
        instance: this process among its peers.
        proof: reads a key; proves that a majority stands behind the answer.
        ended: called once, by any thread, when it is over before `end`.
        clock: what trust is counted by.
    """

    def __init__(
        self,
        connection: Connection,
        lease: int,
        *,
        instance: str,
        proof: Message,
        ended: Callable[[Session], None],
        clock: Callable[[], float] = elapsed,
    ) -> None:
        self.id = random.SystemRandom().randrange(1, 2**63)
        self.deadline = Deadline(clock)
        self.instance = instance
        self._connection = connection
        self._ttl = lease
        self._proof = proof
        self._ended = ended
        self._clock = clock
        self._stop = threading.Event()
        self._resigned = False
        self._thread = threading.Thread(target=self._keep, name="workflow-etcd-lease", daemon=True)

    @property
    def name(self) -> str:
        """The lease's id as it stands in keys: hexadecimal."""
        return f"{self.id:x}"

    def begin(self) -> None:
        """Have the lease granted, and keep it from now on.

        Raises:
            AdapterUnavailableError: no answer, or it came too late.
            AdapterError: refused for good: the user may not.
        """
        begun = self._clock()
        request = etcdrpc.LeaseGrantRequest(TTL=self._ttl, ID=self.id)
        try:
            self._ttl = self._connection.ask(request, doing="joining").TTL
        except AdapterError as error:
            if not is_already_there(error):  # an earlier try, whose answer was lost
                raise
        # what each renewal will need: a user without permission is to hear of it now
        self._connection.ask(self._proof, doing="joining")
        if not self.deadline.move(begun, self._ttl):
            raise AdapterUnavailableError("joining failed: the lease's answer came too late")
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Whether it can no longer be trusted."""
        return self.deadline.rest <= 0

    def lose(self) -> None:
        """Trust it no longer; its thread tells whoever waits, and revokes it in a moment."""
        self.deadline.end()
        self._stop.set()

    def end(self) -> None:
        """Trust it no longer and let it be: whoever ends it revokes it."""
        self._resigned = True
        self.lose()

    def _keep(self) -> None:
        while not self._stop.wait(self._renew_in()):
            if self.is_over or not self._renewed():
                break
        if self._resigned:
            return
        self.lose()
        self._ended(self)
        # should the lease live on in etcd: what hangs on it is free once whoever acts had time to
        # notice, as if the lease had run out
        if self._connection.pause(self._ttl * MARGIN):
            return
        try:
            self._connection.ask(revocation(self.id), doing="revoking the lease")
        except AdapterError as error:
            logger.info("the lease runs out by itself: %s", error)

    def _renew_in(self) -> float:
        return max(self.deadline.begun + self._ttl * _RENEW_AFTER - self._clock(), 0)

    def _renewed(self) -> bool:
        """Try until it is renewed; False: it is over."""
        level = logging.WARNING
        while not self.is_over:
            begun = self._clock()
            try:
                kept = self._renew_once(begun)
            except ClosedError:
                return False
            except AdapterError as error:
                logger.log(level, "the roles' lease could not be renewed yet: %s", error)
                level = logging.DEBUG  # once for each renewal
                kept = None
            if kept is not None:
                return kept
            if self._stop.wait(self._ttl * _PAUSE):
                return False
        return False

    def _renew_once(self, begun: float) -> bool | None:
        """One attempt; None: try again."""
        answer = self._connection.keep_alive(self.id, timeout=self._ttl * _TRY)
        if answer.TTL <= 0:
            logger.warning("the roles' lease is gone")
            return False
        proof = self._connection.ask_once(
            self._proof,
            doing="renewing the lease",
            timeout=self._ttl * _TRY,
        )
        if proof.header.raft_term != answer.header.raft_term:
            return None
        return self.deadline.move(begun, answer.TTL)
