"""What a process knows to hold, without a server."""

from __future__ import annotations

from collections.abc import Collection

from workflow_core.ports import Lease
from workflow_etcd_roles.holdings import Holdings
from workflow_etcd_roles.news import News
from workflow_etcd_roles.rules import Book, Claimant


class PlainBook(Book):
    def due(self, lease: int, wanted: Collection[str]) -> Collection[str]:
        return wanted

    def excess(self, lease: int) -> Collection[str]:
        return []


def lease_of(role: str, token: int) -> Lease:
    return Lease(role, token, release=lambda: None)


def holdings_of(*leases: Lease) -> Holdings:
    holdings = Holdings(News())
    holdings.begin(1)
    assert holdings.keep(1, leases)
    return holdings


def test_lease_is_taken_for_lost_when_its_key_is_anothers() -> None:
    lease = lease_of("role", 5)
    holdings = holdings_of(lease)
    holdings.judge(1, holdings.held, PlainBook({"role": [Claimant(7, 2)]}, {}), 7)
    assert lease.lost.is_set()
    assert holdings.known == frozenset()


def test_lease_that_was_confirmed_since_is_not_judged_by_an_older_view() -> None:
    """It waited in line there. Seen to fail with the leases taken after the view."""
    holdings = holdings_of()
    before = holdings.held
    older = PlainBook({"role": [Claimant(5, 2), Claimant(7, 1)]}, {})
    lease = lease_of("role", 7)
    holdings.keep(1, [lease])
    holdings.judge(1, before, older, 8)
    assert not lease.lost.is_set()


def test_lease_granted_after_the_view_is_not_judged_by_it() -> None:
    lease = lease_of("role", 9)
    holdings = holdings_of(lease)
    holdings.judge(1, holdings.held, PlainBook({}, {}), 8)
    assert not lease.lost.is_set()


def test_leases_of_a_session_that_is_over_are_lost_though_they_come_late() -> None:
    holdings = holdings_of()
    holdings.end(1)
    late = lease_of("role", 3)
    assert not holdings.keep(1, [late])
    assert late.lost.is_set()
    assert holdings.known == frozenset()


def test_of_many_that_are_released_in_a_row_only_the_first_is_told_by_itself() -> None:
    leases = [lease_of(f"role-{number}", number) for number in range(3)]
    holdings = holdings_of(*leases)
    assert [holdings.release(lease) for lease in leases] == [True, False, False]
    assert list(holdings.given_up) == leases
    holdings.freed(leases)
    assert holdings.known == frozenset()


def test_late_release_takes_nothing_from_the_next_lease() -> None:
    first, second = lease_of("role", 1), lease_of("role", 2)
    holdings = holdings_of(first)
    holdings.release(first)
    holdings.freed([first])
    holdings.keep(1, [second])
    assert not holdings.release(first)
    assert list(holdings.held) == [second]
