"""Hooks and connectors that do not return: nothing waits for them but a letter."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

import pytest
from workflow_core import (
    ConnectorEvent,
    LetterState,
    Retry,
    Run,
    RunView,
    Trigger,
    Workflow,
)

if TYPE_CHECKING:
    from workflow_core import DeadLetter

    from tests.both_stores.conftest import Cluster

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
FOR_EVER = timedelta(days=99)


class Status(IntEnum):
    PLACED = 1
    SHIPPED = 2


@dataclass
class Order:
    total: int = 0


class Shop:
    """A hook and a connector that hang for as long as they are to, where a key says so."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.ended: list[str] = []
        self.came: list[str] = []
        self.hangs_for = FOR_EVER
        retry = Retry(first=MINUTE, maximum=MINUTE, jitter=False, pause_after=3)
        orders = self.orders = Workflow(
            "orders", Order, Status, ends=(Status.SHIPPED,), retry=retry
        )

        @orders.step(Status.PLACED)
        def ship(run: Run[Order, Status]) -> Literal[Status.SHIPPED]:
            return Status.SHIPPED

        @orders.on_complete()
        async def tell(run: RunView[Order, Status]) -> None:
            self.told.append(run.foreign_id)
            await self._hang(run.foreign_id)
            self.ended.append(run.foreign_id)

        @orders.connector("payments", parallel=2)
        async def came(event: ConnectorEvent) -> Trigger[Order] | None:
            self.came.append(f"{event.key}, {event.id}")
            await self._hang(event.key)
            return None

    async def _hang(self, key: str) -> None:
        if key.startswith("hangs"):
            await asyncio.sleep(self.hangs_for.total_seconds())

    def letters(self, cluster: Cluster) -> list[DeadLetter]:
        found = cluster.second.dead_letters(self.orders, states=tuple(LetterState)).items
        return list(found)


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Shop:
    # what is acked is saved once a second of the real clock, and no test here takes so long
    monkeypatch.setattr("workflow_sql.events.receiver._SAVE_EVERY", 0)
    return Shop()


def begin(cluster: Cluster, shop: Shop, *foreign_ids: str) -> None:
    """Runs that complete one after the other, all told by the first engine."""
    cluster.driver.serve(shop.orders)
    for foreign_id in foreign_ids:
        cluster.engine.trigger(shop.orders, foreign_id, Order())
        cluster.driver.run()


def go_on_with_the_second(cluster: Cluster, shop: Shop) -> None:
    cluster.kill_first()
    cluster.driver.serve(shop.orders, engine=cluster.second)
    cluster.driver.run()


def test_hook_that_hangs_keeps_no_place_in_the_stream(cluster: Cluster, shop: Shop) -> None:
    """Seen to fail without the letter: its event was not acked, and came again at once."""
    begin(cluster, shop, "hangs", "next", "next but one")
    cluster.driver.advance(6 * MINUTE)
    go_on_with_the_second(cluster, shop)
    assert shop.told == ["hangs", "next", "next but one"]


def test_hook_that_hung_in_a_process_that_died_is_called_again(
    cluster: Cluster, shop: Shop
) -> None:
    """Seen to fail with a letter that is set aside at once."""
    begin(cluster, shop, "hangs")
    cluster.driver.advance(6 * MINUTE)
    (letter,) = shop.letters(cluster)
    assert (letter.state, letter.attempts) == (LetterState.RETRYING, 1)
    assert "not returned" in letter.error
    shop.hangs_for = timedelta(0)
    go_on_with_the_second(cluster, shop)
    cluster.driver.advance(HOUR)
    assert (shop.told, shop.ended) == (["hangs"] * 2, ["hangs"])
    (letter,) = shop.letters(cluster)
    assert letter.state is LetterState.HANDLED


def test_hook_that_returns_late_settles_its_letter(cluster: Cluster, shop: Shop) -> None:
    shop.hangs_for = 40 * MINUTE
    begin(cluster, shop, "hangs")
    cluster.driver.advance(39 * MINUTE)
    assert [letter.state for letter in shop.letters(cluster)] == [LetterState.RETRYING]
    cluster.driver.advance(2 * HOUR)
    assert [letter.state for letter in shop.letters(cluster)] == [LetterState.HANDLED]
    assert (shop.told, shop.ended) == (["hangs"], ["hangs"])


def test_hook_that_never_returns_is_set_aside_and_called_once(
    cluster: Cluster, shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """Seen to fail without the look at what hangs here: each retry took one more place."""
    begin(cluster, shop, "hangs")
    cluster.driver.advance(2 * HOUR + 10 * MINUTE)
    (letter,) = cluster.engine.dead_letters(shop.orders).items
    assert (letter.attempts, shop.told) == (3, ["hangs"])
    assert f"has run for 125 minutes and not returned: letter {letter.id} is set aside" in (
        caplog.text
    )


def test_what_waits_behind_a_hanging_call_is_not_lost_and_keeps_no_place(
    cluster: Cluster, shop: Shop
) -> None:
    """Seen to fail with letters for the hanging call alone: its key's next event held the place."""
    cluster.driver.serve(shop.orders)
    cluster.payments.send("hangs", b"", id="one")
    cluster.payments.send("hangs", b"", id="two")
    cluster.payments.send("other", b"", id="three")
    cluster.driver.advance(6 * MINUTE)
    assert sorted(shop.came) == ["hangs, one", "other, three"]
    assert {each.event_id: each.attempts for each in shop.letters(cluster)} == {"one": 1, "two": 0}
    shop.hangs_for = timedelta(0)
    go_on_with_the_second(cluster, shop)
    cluster.driver.advance(2 * HOUR)
    assert sorted(shop.came[2:]) == ["hangs, one", "hangs, two"], "and nothing else again"


def test_hook_whose_places_all_hang_keeps_no_place_for_what_waits(
    cluster: Cluster, shop: Shop
) -> None:
    """Seen to fail with what is of their keys alone."""
    begin(cluster, shop, *(f"hangs {number}" for number in range(4)), "next", "next but one")
    cluster.driver.advance(11 * MINUTE)
    assert len(shop.told) == 4, "as many as run at once"
    assert sorted(letter.attempts for letter in shop.letters(cluster)) == [0, 0, 1, 1, 1, 1]
    shop.hangs_for = timedelta(0)
    go_on_with_the_second(cluster, shop)
    cluster.driver.advance(20 * MINUTE)
    assert sorted(shop.ended) == ["next", "next but one"]
    cluster.driver.advance(HOUR)
    assert sorted(shop.ended) == [
        *(f"hangs {number}" for number in range(4)),
        "next",
        "next but one",
    ]
