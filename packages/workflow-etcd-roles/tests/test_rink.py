"""One cluster with members written in Go: the keys that they write and read, laid by hand.

What a Go member does with keys is played by `GoMember`, after Rink's own source: ranks in gob,
a place in line for a role, all of it on one lease.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import timedelta
from typing import Protocol

import pytest
from etcd3 import etcdrpc
from workflow_adaptertest.servers import Space
from workflow_core.errors import AdapterUnavailableError
from workflow_core.ports import Lease
from workflow_etcd_roles import Connection, Endpoint, RinkRoleScheduler, requests
from workflow_etcd_roles.failures import LeaseGoneError
from workflow_etcd_roles.rink.hashing import rank_of

LONG = timedelta(seconds=60)
ZERO = timedelta(0)
PREFIX = "147f0401010572616e6b7301ff8000010c01040000"
GO_0_PY_1 = bytes.fromhex(PREFIX + "0cff80000202676f00027079" + "02")
PY_0 = bytes.fromhex(PREFIX + "08ff800001027079" + "00")
PY_0_GO_1 = bytes.fromhex(PREFIX + "0cff800002027079" + "0002676f02")
MINE, THEIRS = (
    next(f"role-{number}" for number in range(99) if rank_of(f"role-{number}", 2) == rank)
    for rank in (1, 0)
)  # of py and of go, where go has rank 0 and py 1


class Join(Protocol):
    def __call__(self, name: str = "py", *, after: float = 60) -> RinkRoleScheduler: ...


@pytest.fixture
def cluster(etcd_space: Space) -> str:
    return f"{etcd_space.name}/orders"


@pytest.fixture
def etcd(etcd_space: Space) -> Iterator[Connection]:
    host, port = etcd_space.url.address
    with ExitStack() as closing:
        connection = Connection([Endpoint(f"{host}:{port}", secure=False)], adapter="test")
        closing.callback(connection.close)
        yield connection


@pytest.fixture
def join(etcd_space: Space, cluster: str) -> Iterator[Join]:
    with ExitStack() as members:

        def join_one(name: str = "py", *, after: float = 60) -> RinkRoleScheduler:
            host, port = etcd_space.url.address
            connection = Connection([Endpoint(f"{host}:{port}", secure=False)], adapter="rink")
            return members.enter_context(
                RinkRoleScheduler(
                    connection,
                    instance=name,
                    cluster=cluster,
                    new_member_wait=ZERO,
                    unclaimed_after=timedelta(seconds=after),
                )
            )

        yield join_one


class GoMember:
    """The keys of a member that is not ours."""

    def __init__(self, etcd: Connection, cluster: str) -> None:
        self._etcd = etcd
        self._cluster = cluster
        self.lease = random.SystemRandom().randrange(1, 2**63)
        etcd.ask(etcdrpc.LeaseGrantRequest(ID=self.lease, TTL=60), doing="joining")

    def put(self, key: str, value: bytes = b"") -> int:
        put = requests.put(f"{self._cluster}/{key}".encode(), value, lease=self.lease)
        answer = self._etcd.ask(requests.transaction([], [put]), doing="writing")
        return int(answer.header.revision)

    def delete(self, key: str) -> None:
        delete = requests.delete(f"{self._cluster}/{key}".encode())
        self._etcd.ask(requests.transaction([], [delete]), doing="removing")

    def lock(self, role: str) -> None:
        self.put(f"roles/{role}/{self.lease:x}")

    def unlock(self, role: str) -> None:
        self.delete(f"roles/{role}/{self.lease:x}")

    def join(self) -> None:
        self.put("members/go", str(time.time_ns() // 1_000_000).encode())

    def lead(self, ranks: bytes) -> None:
        self.put(f"election/{self.lease:x}", ranks)

    def leave(self) -> None:
        with suppress(LeaseGoneError):
            self._etcd.ask(requests.revocation(self.lease), doing="leaving")


@pytest.fixture
def go(etcd: Connection, cluster: str) -> Iterator[GoMember]:
    member = GoMember(etcd, cluster)
    yield member
    member.leave()


def keys(etcd: Connection, cluster: str) -> dict[str, bytes]:
    found = etcd.ask(requests.under(f"{cluster}/".encode()), doing="reading").kvs
    return {each.key.decode().removeprefix(f"{cluster}/"): each.value for each in found}


def only(leases: object) -> Lease:
    assert isinstance(leases, list)
    (lease,) = leases
    assert isinstance(lease, Lease)
    return lease


# -- what Go members see -----------------------------------------------------------------------


def test_keys_are_those_that_go_writes(
    join: Join, etcd: Connection, cluster: str, until: Callable[..., None]
) -> None:
    one = join()
    only(one.acquire(["orders-1"], LONG))
    session = one._membership.entered().name
    until(
        lambda: keys(etcd, cluster).get(f"election/{session}") == PY_0,
        what="the first member leads, and is ranked",
    )
    found = keys(etcd, cluster)
    assert set(found) == {"members/py", f"election/{session}", f"roles/orders-1/{session}"}
    assert abs(int(found["members/py"]) - time.time() * 1000) < 3_600_000
    assert found[f"roles/orders-1/{session}"] == b""
    one.close()
    assert keys(etcd, cluster) == {}, "a member that leaves takes its keys with it at once"


def test_go_member_is_ranked_when_a_python_member_leads(
    join: Join, go: GoMember, etcd: Connection, cluster: str, until: Callable[..., None]
) -> None:
    one = join()
    one.acquire(["orders-1"], LONG)
    session = one._membership.entered().name
    until(lambda: keys(etcd, cluster)[f"election/{session}"] == PY_0, what="py leads")
    go.lead(b"")  # second in line
    go.join()
    until(lambda: keys(etcd, cluster)[f"election/{session}"] == PY_0_GO_1, what="go is ranked")
    go.delete("members/go")
    until(lambda: keys(etcd, cluster)[f"election/{session}"] == PY_0, what="go has left")


def test_python_member_goes_on_from_the_ranks_of_the_leader_before_it(
    join: Join, go: GoMember, etcd: Connection, cluster: str, until: Callable[..., None]
) -> None:
    go.join()
    go.lead(GO_0_PY_1)
    one = join()
    only(one.acquire([MINE], LONG))
    session = one._membership.entered().name
    go.leave()
    until(lambda: keys(etcd, cluster).get(f"election/{session}") == PY_0, what="py leads alone")


# -- whose role it is --------------------------------------------------------------------------


def test_role_is_taken_by_the_rank_that_a_go_leader_gave(join: Join, go: GoMember) -> None:
    """Seen to fail with ranks that are not read."""
    go.join()
    go.lead(GO_0_PY_1)
    lease = only(join().acquire([MINE, THEIRS], LONG))
    assert lease.role == MINE


def test_role_that_a_go_member_holds_is_waited_for_in_line(
    join: Join, go: GoMember, etcd: Connection, cluster: str, until: Callable[..., None]
) -> None:
    go.join()
    go.lead(GO_0_PY_1)
    go.lock(MINE)
    one = join()
    assert one.acquire([MINE], timedelta(milliseconds=300)) == []
    assert one.try_acquire(MINE) is None
    assert len([key for key in keys(etcd, cluster) if key.startswith("roles/")]) == 2, "in line"
    go.unlock(MINE)
    assert only(one.acquire([MINE], LONG)).role == MINE


def test_place_in_line_is_given_up_when_the_role_is_no_longer_wanted(
    join: Join, go: GoMember, etcd: Connection, cluster: str, until: Callable[..., None]
) -> None:
    """Seen to fail without the clearing: the role would come to one who does not play it."""
    go.join()
    go.lead(GO_0_PY_1)
    go.lock(MINE)
    one = join()
    one.acquire([MINE], timedelta(milliseconds=300))
    one.acquire([], ZERO)
    go.put("members/other", b"0")  # something happens
    mine = f"roles/{MINE}/{one._membership.entered().name}"
    until(lambda: mine not in keys(etcd, cluster), what="the place in line is given up")


def test_role_is_kept_until_its_work_has_stopped_when_the_rank_moves(
    join: Join, go: GoMember, etcd: Connection, cluster: str, until: Callable[..., None]
) -> None:
    """Go's own members let go at once, and overlap. Seen to fail with no look at the line."""
    one = join(after=0)
    until(lambda: one.try_acquire(THEIRS) is not None, what="py, alone, holds the role")
    lease = one._holdings._held[THEIRS]
    go.join()
    session = one._membership.entered().name
    until(lambda: keys(etcd, cluster)[f"election/{session}"] == PY_0_GO_1, what="go is ranked")
    role = next(f"role-{n}" for n in range(99) if rank_of(f"role-{n}", 2) == 1)
    other = only(one.acquire([role], LONG))
    go.lock(role)
    assert other.recalled.wait(60)
    mine = f"roles/{role}/{session}"
    assert mine in keys(etcd, cluster), "the work has not stopped"
    assert not other.lost.is_set()
    other.release()
    assert mine not in keys(etcd, cluster)
    assert not lease.recalled.is_set(), "nobody else asks for that one"
    assert one.acquire([role], timedelta(milliseconds=300)) == [], "it is the Go member's now"


def test_role_that_its_own_member_leaves_alone_goes_to_another_after_a_while(
    join: Join, go: GoMember
) -> None:
    go.join()
    go.lead(GO_0_PY_1)
    patient = join()
    assert patient.acquire([THEIRS], timedelta(milliseconds=300)) == []
    patient.close()
    assert only(join(after=0.1).acquire([THEIRS], LONG)).role == THEIRS


def test_name_that_a_member_has_is_refused_to_another(join: Join, go: GoMember) -> None:
    go.put("members/py", b"0")
    with pytest.raises(AdapterUnavailableError, match="there is a member 'py'"):
        join().try_acquire("role")


def test_ranks_that_cannot_be_read_are_no_ranks(
    join: Join, go: GoMember, caplog: pytest.LogCaptureFixture
) -> None:
    """Anybody may write there. Seen to fail with the error let through: the clerk ended."""
    go.put("members/go", b"not a number")
    go.lead(b"no gob")
    one = join(after=0.1)
    assert only(one.acquire(["role"], LONG)).role == "role"
    assert "the leader's ranks cannot be read" in caplog.text
