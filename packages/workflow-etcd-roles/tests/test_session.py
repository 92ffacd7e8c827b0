"""Until when a lease is trusted, by an injected clock, and what becomes of answers that come late.

Each promise of the module's own text is tried here; the clock is moved by the test alone.
"""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from workflow_core.errors import AdapterUnavailableError
from workflow_etcd_roles import clock as clocks
from workflow_etcd_roles.session import Deadline, Lost, Session

TTL = 10


class HandClock:
    """Seconds that only the test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class FakeEtcd:
    """Answers a session as a cluster would; `meanwhile` runs while an answer is on its way."""

    def __init__(self, clock: HandClock) -> None:
        self.clock = clock
        self.ttl = TTL
        self.term, self.proven_term = 1, 1
        self.takes = 0.0  # seconds for each answer
        self.fails = 0
        self.asked: list[str] = []
        self.revoked = threading.Event()

    def ask(self, request: Any, *, doing: str, **_: Any) -> Any:
        self.asked.append(doing)
        self.clock.now += self.takes
        if doing == "revoking the lease":
            self.revoked.set()
        return SimpleNamespace(TTL=self.ttl, header=SimpleNamespace(raft_term=self.proven_term))

    ask_once = ask

    def keep_alive(self, lease: int, *, timeout: float) -> Any:
        self.asked.append("keep-alive")
        self.clock.now += self.takes
        if self.fails:
            self.fails -= 1
            raise AdapterUnavailableError("nobody answers")
        return SimpleNamespace(TTL=self.ttl, header=SimpleNamespace(raft_term=self.term))

    def pause(self, seconds: float) -> bool:
        return False


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def etcd(clock: HandClock) -> FakeEtcd:
    return FakeEtcd(clock)


@pytest.fixture
def session(etcd: FakeEtcd, clock: HandClock, monkeypatch: pytest.MonkeyPatch) -> Session:
    """Its thread is not started: the test does what the thread would."""
    connection: Any = etcd
    session = Session(
        connection, TTL, instance="one", proof=None, ended=lambda _: None, clock=clock
    )
    monkeypatch.setattr(session, "_thread", SimpleNamespace(start=lambda: None))
    session.begin()
    return session


# -- when trust ends ---------------------------------------------------------------------------


def test_trust_ends_early_and_counts_from_when_the_keep_alive_started(
    session: Session, etcd: FakeEtcd, clock: HandClock
) -> None:
    """Seen to fail with the answer's time, and without the margin."""
    clock.now += 3
    begun = clock.now
    etcd.takes = 1.5  # for each of the two answers
    assert session._renew_once(begun) is True
    assert session.deadline.rest == pytest.approx(begun + 9 - clock.now)
    assert clock.now == begun + 3


def test_first_trust_counts_from_before_the_lease_was_asked_for(
    etcd: FakeEtcd, clock: HandClock
) -> None:
    """Seen to fail with the answer's time."""
    connection: Any = etcd
    etcd.takes = 9.0
    late = Session(connection, TTL, instance="one", proof=None, ended=lambda _: None, clock=clock)
    with pytest.raises(AdapterUnavailableError, match="too late"):
        late.begin()


def test_what_etcd_grants_counts_and_not_what_was_asked_for(
    session: Session, etcd: FakeEtcd, clock: HandClock
) -> None:
    etcd.ttl = 20
    assert session._renew_once(clock.now) is True
    assert session.deadline.rest == pytest.approx(18)


def test_lost_is_set_by_the_clock_alone(session: Session, clock: HandClock) -> None:
    """As for a process that was stopped: no thread of ours has run since.

    Seen to fail with a flag that the renewing thread sets.
    """
    lost = Lost(session.deadline)
    clock.now += 8.9
    assert not lost.is_set()
    clock.now += 0.2
    assert lost.is_set()


def test_deadline_that_has_passed_is_never_moved_again(
    session: Session, etcd: FakeEtcd, clock: HandClock
) -> None:
    """Frozen in the midst of a keep-alive that etcd has carried out: the answer is there on waking.

    Seen to fail with a deadline that any good answer moves.
    """
    begun = clock.now
    etcd.takes = 5.0
    assert session._renew_once(begun) is False
    assert session.deadline.rest <= 0
    etcd.takes = 0.0
    assert session._renew_once(clock.now) is False, "it stays over"
    assert session.deadline.rest <= 0


def test_deadline_that_somebody_saw_pass_stays_passed_when_the_clock_is_asked_again(
    clock: HandClock,
) -> None:
    """Seen to fail without the note: a clock that jitters takes back what was told."""
    deadline = Deadline(clock)
    deadline.move(clock.now, TTL)
    clock.now += 9.1
    assert deadline.rest <= 0
    clock.now -= 0.2
    assert deadline.rest <= 0


def test_answer_of_a_leader_deposed_meanwhile_is_not_believed(
    session: Session, etcd: FakeEtcd, clock: HandClock
) -> None:
    """An old leader that was frozen renews leases out of its own memory.

    Seen to fail without the look at the term.
    """
    ends = session.deadline.rest + clock.now
    clock.now += 3
    etcd.term, etcd.proven_term = 1, 2
    assert session._renew_once(clock.now) is None, "to be tried again at once"
    assert session.deadline.rest + clock.now == pytest.approx(ends)
    etcd.term = 2
    assert session._renew_once(clock.now) is True
    assert session.deadline.rest == pytest.approx(9)


def test_session_is_over_when_etcd_has_no_such_lease(session: Session, etcd: FakeEtcd) -> None:
    etcd.ttl = 0
    assert session._renew_once(0) is False


def test_renewal_is_tried_again_until_the_deadline(
    session: Session, etcd: FakeEtcd, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(seconds: float) -> bool:
        clock.now += seconds
        return False

    monkeypatch.setattr(session, "_stop", SimpleNamespace(wait=wait, set=lambda: None))
    etcd.fails = 3
    assert session._renewed()
    assert session.deadline.rest == pytest.approx(9)
    etcd.fails = 10**6
    assert not session._renewed()
    assert session.is_over


# -- threads -----------------------------------------------------------------------------------


def test_who_waits_for_the_end_is_woken_by_it(clock: HandClock) -> None:
    """Seen to fail where only `set` woke."""
    deadline = Deadline()
    deadline.move(clocks.elapsed(), 0.2)
    lost = Lost(deadline)
    assert lost.wait(30)


def test_waiting_for_so_long_ends_though_nothing_is_lost(clock: HandClock) -> None:
    deadline = Deadline(clock)
    deadline.move(clock.now, TTL)
    assert not Lost(deadline).wait(0.01)


def test_session_lost_by_its_thread_is_told_and_revoked(etcd: FakeEtcd) -> None:
    """Seen to fail without the revocation: what a half-dead network keeps alive stays held."""
    told: list[Session] = []
    connection: Any = etcd
    etcd.fails = 10**6
    session = Session(connection, 2, instance="one", proof=None, ended=told.append)
    etcd.ttl = 1
    session.begin()
    assert etcd.revoked.wait(30)
    assert told == [session]
    assert session.is_over


def test_clock_counts_while_the_machine_sleeps() -> None:
    """As far as that can be seen on a machine that does not: it is the clock that does."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        assert clocks._CLOCK == time.CLOCK_BOOTTIME
    before = clocks.elapsed()
    assert clocks.elapsed() >= before
