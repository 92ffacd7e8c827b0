"""Dead letters: listed, retried, discarded, kept for a set time, and free of deleted data."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

import pytest
from workflow_core import (
    DeadLetter,
    EngineSettings,
    LetterKind,
    LetterState,
    Retry,
    Run,
    RunView,
    Workflow,
)
from workflow_core.engine.letter_erasing import forget_errors
from workflow_core.errors import AdapterError, InputError, RunNotFoundError, RunStateError
from workflow_core.model import names

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster


class Status(IntEnum):
    CREATED = 1
    SHIPPED = 2


@dataclass
class Order:
    notes: list[str] = field(default_factory=list)


class Service:
    """What hooks tell; down until it is mended."""

    def __init__(self) -> None:
        self.is_down = True
        self.told: list[str] = []

    def tell(self, run: RunView[Order, Status]) -> None:
        if self.is_down:
            raise ConnectionError(f"cannot tell of {run.foreign_id}")
        self.told.append(run.foreign_id)


def orders_with(service: Service, *, hooks: int = 1, tries: int = 2) -> Workflow[Order, Status]:
    orders = Workflow("order processor", Order, Status, ends=(Status.SHIPPED,))

    @orders.step(Status.CREATED)
    def ship(run: Run[Order, Status]) -> Literal[Status.SHIPPED]:
        return Status.SHIPPED

    for number in range(hooks):
        orders.on_complete(name=f"tell {number}", retry=Retry(pause_after=tries))(service.tell)
    return orders


def set_aside(cluster: Cluster, orders: Workflow[Order, Status], runs: int = 1) -> list[DeadLetter]:
    cluster.driver.serve(orders)
    for number in range(runs):
        cluster.engine.trigger(orders, str(number), Order())
    cluster.driver.settle()
    return list(cluster.engine.dead_letters(orders).items)


def test_letters_are_listed_page_by_page_newest_first(cluster: Cluster) -> None:
    orders = orders_with(Service(), tries=1)
    cluster.driver.serve(orders)
    for number in range(5):
        cluster.engine.trigger(orders, str(number), Order())
        cluster.driver.settle()
        cluster.driver.advance(timedelta(seconds=1))
    seen: list[str] = []
    after: str | None = None
    while True:
        page = cluster.engine.dead_letters("order processor", after=after, limit=2)
        seen += [letter.foreign_id for letter in page.items]
        if (after := page.next) is None:
            break
    assert seen == ["4", "3", "2", "1", "0"]


def test_letters_are_listed_by_kind_state_and_run(cluster: Cluster) -> None:
    orders = orders_with(Service(), hooks=2)
    letters = set_aside(cluster, orders, runs=2)
    assert len(letters) == 4
    listed = cluster.engine.dead_letters
    assert len(listed(orders, about=letters[0].run_id).items) == 2
    assert listed(orders, kinds=[LetterKind.CONNECTOR]).items == []
    assert listed(orders, states=[LetterState.RETRYING]).items == []
    cluster.engine.discard_dead_letter(letters[0])
    assert len(listed(orders).items) == 3
    assert len(listed(orders, states=list(LetterState)).items) == 4


def test_retried_letter_is_handled(cluster: Cluster) -> None:
    service = Service()
    orders = orders_with(service)
    (letter,) = set_aside(cluster, orders)
    service.is_down = False
    cluster.engine.retry_dead_letter(letter)
    cluster.driver.run()
    assert service.told == ["0"]
    assert cluster.engine.dead_letters(orders).items == []
    (handled,) = cluster.engine.dead_letters(orders, states=[LetterState.HANDLED]).items
    assert (handled.id, handled.error) == (letter.id, "")


def test_retried_letter_that_fails_is_tried_as_often_as_at_first(cluster: Cluster) -> None:
    orders = orders_with(Service(), tries=2)
    (letter,) = set_aside(cluster, orders)
    cluster.engine.retry_dead_letter(letter)
    (retrying,) = cluster.engine.dead_letters(orders, states=[LetterState.RETRYING]).items
    assert retrying.attempts == 0
    cluster.driver.settle()
    (again,) = cluster.engine.dead_letters(orders).items
    assert (again.id, again.attempts) == (letter.id, 2)


def test_client_without_a_streamer_retries_too(cluster: Cluster) -> None:
    service = Service()
    orders = orders_with(service)
    (letter,) = set_aside(cluster, orders)
    service.is_down = False
    client = cluster.client().engine
    assert client.dead_letters(orders).items == [letter]
    client.retry_dead_letter(letter)
    cluster.driver.advance(timedelta(minutes=1))
    assert service.told == ["0"]


def test_discarded_letter_is_not_tried_again(cluster: Cluster) -> None:
    service = Service()
    orders = orders_with(service, tries=5)
    cluster.driver.serve(orders)
    cluster.engine.trigger(orders, "1", Order())
    cluster.driver.run()
    (letter,) = cluster.engine.dead_letters(orders, states=[LetterState.RETRYING]).items
    cluster.engine.discard_dead_letter(letter)
    service.is_down = False
    cluster.driver.settle()
    assert service.told == []
    (kept,) = cluster.engine.dead_letters(orders, states=[LetterState.DISCARDED]).items
    assert kept.error == ""


@pytest.mark.parametrize("verb", ["retry_dead_letter", "discard_dead_letter"])
def test_letter_that_is_gone_or_done_is_refused(cluster: Cluster, verb: str) -> None:
    orders = orders_with(Service())
    (letter,) = set_aside(cluster, orders)
    ask: Callable[[DeadLetter], None] = getattr(cluster.engine, verb)
    with pytest.raises(RunNotFoundError):
        ask(letter.replace(id="no such letter"))
    with pytest.raises(RunNotFoundError):
        ask(letter.replace(id=letter.run_id))  # a run is no letter
    cluster.engine.discard_dead_letter(letter)
    with pytest.raises(RunStateError, match="discarded already"):
        ask(letter)


def test_two_who_ask_at_once_are_both_heard(cluster: Cluster) -> None:
    service = Service()
    orders = orders_with(service)
    (letter,) = set_aside(cluster, orders)
    service.is_down = False
    once = [True]

    def retry_meanwhile(call: str) -> None:
        if call == "lookup_primary" and once.pop():
            cluster.engine.retry_dead_letter(letter)

    cluster.store.script.after = lambda call: retry_meanwhile(call) if once else None
    cluster.engine.retry_dead_letter(letter)
    cluster.driver.settle()
    assert service.told == ["0"]
    assert cluster.engine.dead_letters(orders).items == []


def test_letters_are_kept_for_a_set_time(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(settings=EngineSettings(dead_letter_retention=timedelta(days=2)))
    orders = orders_with(Service())
    assert set_aside(cluster, orders)
    cluster.driver.advance(timedelta(days=1))
    assert cluster.engine.dead_letters(orders).items
    cluster.driver.advance(timedelta(days=1, minutes=2))
    assert cluster.engine.dead_letters(orders, states=list(LetterState)).items == []


def test_letter_that_is_retried_is_not_purged(make_cluster: Callable[..., Cluster]) -> None:
    """Its event waits in the outbox for longer than letters are kept."""
    cluster = make_cluster(settings=EngineSettings(dead_letter_retention=timedelta(minutes=5)))
    service = Service()
    orders = orders_with(service)
    hour = timedelta(hours=1)
    orders.on_complete(name="late", retry=Retry(first=hour, maximum=hour))(service.tell)
    cluster.driver.serve(orders)
    cluster.engine.trigger(orders, "1", Order())
    cluster.driver.advance(timedelta(minutes=20))
    service.is_down = False
    cluster.driver.advance(timedelta(hours=1))
    assert service.told == ["1"]


def test_errors_of_a_deleted_run_are_forgotten(cluster: Cluster) -> None:
    orders = orders_with(Service(), hooks=2)
    letters = set_aside(cluster, orders, runs=2)
    run_id = letters[0].run_id
    forget_errors(cluster.engine._core, orders.name, run_id)
    forget_errors(cluster.engine._core, orders.name, run_id)
    after = cluster.engine.dead_letters(orders).items
    assert {letter.run_id for letter in after if not letter.error} == {run_id}
    assert sum(bool(letter.error) for letter in after) == 2


def test_letter_that_the_store_refuses_is_set_aside_without_what_it_carries(
    cluster: Cluster,
) -> None:
    orders = orders_with(Service(), tries=9)
    letters = names.dead_letters(orders.name)
    cluster.store.refuses = lambda record: (
        record.workflow == letters and "refuses" not in record.last_error
    )
    (letter,) = set_aside(cluster, orders)
    assert letter.error == "the store refuses to keep what it carries"


def test_letter_is_never_acked_while_the_store_refuses_it(cluster: Cluster) -> None:
    service = Service()
    orders = orders_with(service)
    letters = names.dead_letters(orders.name)
    cluster.store.refuses = lambda record: record.workflow == letters
    serving = cluster.driver.serve(orders)
    cluster.engine.trigger(orders, "1", Order())
    cluster.driver.settle()
    service.is_down = False
    serving.stop()
    cluster.driver.serve(orders)
    cluster.driver.settle()
    assert service.told == ["1"]


def test_letters_tell_neither_errors_nor_values_when_printed(cluster: Cluster) -> None:
    (letter,) = set_aside(cluster, orders_with(Service()))
    assert "cannot tell" not in repr(letter)
    assert "tell 0" in repr(letter)
    assert "secret" not in repr(letter.replace(value=b"secret"))


def test_verbs_refuse_what_they_cannot_take(cluster: Cluster) -> None:
    with pytest.raises(InputError):
        cluster.engine.dead_letters(3)  # type: ignore[arg-type]
    with pytest.raises(InputError):
        cluster.engine.dead_letters("orders", limit=0)


def test_refusal_reaches_who_asks(cluster: Cluster) -> None:
    orders = orders_with(Service())
    (letter,) = set_aside(cluster, orders)
    cluster.store.refuses = lambda record: True
    with pytest.raises(AdapterError):
        cluster.engine.retry_dead_letter(letter)


async def _all(cluster: Cluster, orders: Workflow[Order, Status]) -> tuple[int, int]:
    aio = cluster.engine.aio
    first, second = (await aio.dead_letters(orders)).items
    await aio.retry_dead_letter(first)
    await aio.discard_dead_letter(second)
    rest = await aio.dead_letters(orders, states=[LetterState.RETRYING, LetterState.DISCARDED])
    return len((await aio.dead_letters(orders)).items), len(rest.items)


def test_asyncio_code_has_the_same_verbs(cluster: Cluster) -> None:
    orders = orders_with(Service(), hooks=2)
    set_aside(cluster, orders)
    assert asyncio.run(_all(cluster, orders)) == (0, 2)
