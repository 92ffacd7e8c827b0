"""Connectors: every event is handled, what it triggers is triggered once, and nothing waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from typing import Any, Literal

import pytest
from workflow_core import (
    Call,
    Callback,
    ConnectorEvent,
    Engine,
    JsonCodec,
    LetterKind,
    LetterState,
    Retry,
    Run,
    RunState,
    RunView,
    Skip,
    Trigger,
    Workflow,
)
from workflow_core.errors import DefinitionError, InputError, ServingError
from workflow_core.logs import fields_of, run_fields
from workflow_core.memory import MemoryConnectorSource, MemoryDatabase
from workflow_core.model import RecordQuery
from workflow_core.testing import Driver, FakeClock

SECOND = timedelta(seconds=1)
RETRY = Retry(first=SECOND, jitter=False, pause_after=3)


class Status(IntEnum):
    CREATED = 1
    AWAITING_PAYMENT = 2
    PAID = 3


@dataclass
class Order:
    paid: list[int] = field(default_factory=list)


@dataclass
class Payment:
    order: str
    amount: int


OrderRun = Run[Order, Status]


class Shop:
    """An engine with a stream of payments, driven on one thread."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.database = MemoryDatabase(self.clock)
        self.payments = MemoryConnectorSource(self.database, "payments")
        sources = {"payments": MemoryConnectorSource(self.database, "payments")}
        self.engine = Engine.in_memory(clock=self.clock, connectors=sources)
        self.driver = Driver(self.engine, clock=self.clock)

    def pay(self, order: str, amount: int = 1, id: str | None = None) -> None:
        value = JsonCodec(Payment).encode(Payment(order, amount), None)
        self.payments.send(order, value, id=id)

    def runs(self, workflow: Workflow[Any, Any]) -> list[str]:
        page = self.engine.runs(RecordQuery(workflow=workflow.name, limit=1000))
        return [record.foreign_id for record in page.items]


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.driver.close()


def orders_with() -> Workflow[Order, Status]:
    orders = Workflow("orders", Order, Status, ends=(Status.PAID,), retry=RETRY)

    @orders.step(Status.CREATED)
    def check(run: OrderRun) -> Literal[Status.AWAITING_PAYMENT]:
        return Status.AWAITING_PAYMENT

    @orders.callback(Status.AWAITING_PAYMENT)
    def paid(run: OrderRun, amount: int) -> Literal[Status.PAID] | Skip:
        run.data.paid.append(amount)
        return Status.PAID

    return orders


def paid_of(orders: Workflow[Order, Status]) -> Any:
    return Callback(orders, orders.callbacks[0])


def begin(event: ConnectorEvent) -> Trigger[Order]:
    return Trigger(event.key, Order())


def test_event_triggers_a_run(shop: Shop) -> None:
    orders = orders_with()
    orders.connector("payments")(begin)
    shop.pay("order-1")
    shop.driver.serve(orders)
    shop.pay("order-2")
    shop.driver.settle()
    assert sorted(shop.runs(orders)) == ["order-1", "order-2"]


def test_hundred_of_hundred_events_are_handled_with_five_shards(shop: Shop) -> None:
    """The Go project handles 20 of these: it takes a hash for signed."""
    orders = orders_with()
    orders.connector("payments", parallel=5)(begin)
    for number in range(100, 200):
        shop.pay(str(number), id=str(number))
    serving = shop.driver.serve(orders)
    shop.driver.settle()
    assert sorted(map(int, shop.runs(orders))) == list(range(100, 200))
    assert sum("payments-connector" in role for role in serving.roles) == 5


def test_event_that_comes_again_triggers_nothing_again(shop: Shop) -> None:
    """To another process, as the first died before it could ack; and the run has ended by then."""
    orders = orders_with()
    orders.connector("payments")(begin)
    serving = shop.driver.serve(orders)
    shop.pay("order-1", id="payment-1")
    shop.driver.settle()
    (run,) = shop.engine.runs(RecordQuery(workflow="orders")).items
    shop.engine.cancel(run.run_id, reason="done")
    serving.stop()
    shop.pay("order-1", id="payment-1")
    shop.driver.serve(orders)
    shop.driver.settle()
    assert shop.runs(orders) == ["order-1"]


def test_event_is_acked_when_its_run_is_there_and_not_before(shop: Shop) -> None:
    orders, seen = orders_with(), list[str]()

    @orders.connector("payments")
    async def slow(event: ConnectorEvent) -> Trigger[Order]:
        seen.append(event.key)
        await asyncio.sleep(3600 if len(seen) == 1 else 0)
        return begin(event)

    serving = shop.driver.serve(orders)
    shop.pay("order-1")
    shop.driver.run()
    serving.stop()  # abandons it
    shop.driver.serve(orders)
    shop.driver.run()
    assert (seen, shop.runs(orders)) == (["order-1", "order-1"], ["order-1"])
    again = shop.payments.new_receiver("orders-payments-connector")
    assert again.recv(timedelta(0)) is None


def test_two_seed_events_begin_a_run_each(shop: Shop) -> None:
    """The Go project's contract of connectors: a run per event, both worked on to status 2."""
    users = Workflow("users", Order, Status, ends=(Status.PAID,))

    @users.step(Status.CREATED)
    def set_up(run: OrderRun) -> Literal[Status.PAID]:
        run.data.paid.append(len(run.foreign_id))
        return Status.PAID

    users.connector("payments")(begin)
    for number in (1, 2):
        shop.pay(f"user-{number}", id=str(number))
    shop.driver.serve(users)
    shop.driver.settle()
    records = shop.engine.runs(RecordQuery(workflow="users")).items
    assert sorted(record.foreign_id for record in records) == ["user-1", "user-2"]
    for record in records:
        view = shop.engine.view(users, record.run_id)
        assert (view.state, view.data.paid) == (RunState.COMPLETED, [6])


def test_connector_may_answer_several_or_none(shop: Shop) -> None:
    orders = orders_with()

    @orders.connector("payments", decode=JsonCodec(Payment).decode)
    def split(event: ConnectorEvent, payment: Payment) -> list[Trigger[Order] | Call] | None:
        if not payment.amount:
            return None
        return [Trigger(f"{payment.order}/{n}", Order()) for n in range(payment.amount)]

    shop.driver.serve(orders)
    shop.pay("order-1", amount=0)
    shop.pay("order-2", amount=3)
    shop.driver.settle()
    assert sorted(shop.runs(orders)) == ["order-2/0", "order-2/1", "order-2/2"]


def test_async_connectors_are_awaited(shop: Shop) -> None:
    orders = orders_with()

    @orders.connector("payments")
    async def look_first(event: ConnectorEvent) -> Trigger[Order]:
        await asyncio.sleep(5)
        return begin(event)

    shop.driver.serve(orders)
    shop.pay("order-1")
    shop.driver.settle()
    assert shop.runs(orders) == ["order-1"]


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_lines_of_a_connector_name_it_and_its_event(
    shop: Shop, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Seen to fail when its body is about nothing, and when only the failure names no event."""
    orders, seen = orders_with(), list[object]()

    def look(event: ConnectorEvent) -> Trigger[Order]:
        seen.append(run_fields())
        if len(seen) == 1:
            raise ConnectionError
        return begin(event)

    async def look_later(event: ConnectorEvent) -> Trigger[Order]:
        await asyncio.sleep(5)
        return look(event)

    orders.connector("payments")(look_later if is_async else look)
    shop.driver.serve(orders)
    shop.pay("order-1", id="p-7")
    shop.driver.settle()
    (name,) = [connector.name for connector in orders.connectors]
    about = {"workflow": orders.name, "connector": name, "event_id": "p-7"}
    assert seen == [about, about]
    (failed,) = [line for line in caplog.records if "failed on attempt 1" in line.getMessage()]
    assert fields_of(failed).items() >= {**about, "attempt": 1}.items()
    assert run_fields() == {}


def test_connector_calls_back(shop: Shop) -> None:
    orders = orders_with()
    paid = paid_of(orders)

    @orders.connector("payments", decode=JsonCodec(Payment).decode)
    def came(event: ConnectorEvent, payment: Payment) -> Call:
        return Call(paid, payment.amount, foreign_id=payment.order)

    shop.driver.serve(orders)
    run_id = shop.engine.trigger(orders, "order-1", Order())
    shop.driver.settle()
    shop.pay("order-1", amount=7, id="a")
    shop.driver.settle()
    view = shop.engine.view(orders, run_id)
    assert (view.state, view.data.paid) == (RunState.COMPLETED, [7])
    shop.pay("order-1", amount=7, id="b")  # as if it came again: it has been there
    shop.driver.settle()
    assert shop.engine.dead_letters(orders, states=list(LetterState)).items == []


def test_call_that_comes_too_early_is_tried_again(shop: Shop) -> None:
    orders = orders_with()
    paid = paid_of(orders)

    @orders.connector("payments")
    def came(event: ConnectorEvent) -> Call:
        return Call(paid, 5, foreign_id=event.key)

    shop.driver.serve(orders)
    shop.pay("order-1")
    shop.driver.run()
    run_id = shop.engine.trigger(orders, "order-1", Order())
    shop.driver.settle()
    assert shop.engine.view(orders, run_id).data.paid == [5]


def test_poison_event_is_set_aside_and_holds_up_nobody(shop: Shop) -> None:
    orders = orders_with()

    @orders.connector("payments", decode=JsonCodec(Payment).decode)
    def came(event: ConnectorEvent, payment: Payment) -> Trigger[Order]:
        return begin(event)

    shop.driver.serve(orders)
    shop.payments.send("poison", b"no JSON", id="bad")
    for number in range(10):
        shop.pay(f"order-{number}")
    shop.driver.run()
    assert len(shop.runs(orders)) == 10  # in no time
    shop.driver.settle()
    (letter,) = shop.engine.dead_letters(orders, kinds=[LetterKind.CONNECTOR]).items
    assert (letter.name, letter.event_id, letter.foreign_id) == ("payments", "bad", "poison")
    assert (letter.value, letter.attempts) == (b"no JSON", 3)


def test_event_that_fails_is_tried_again_by_another_process(shop: Shop) -> None:
    """What is tried again is in the store, not in the stream: nobody waits for it."""
    orders, is_down = orders_with(), [True]

    @orders.connector("payments", retry=Retry(first=10 * SECOND, pause_after=9))
    def came(event: ConnectorEvent) -> Trigger[Order]:
        if is_down[0]:
            raise ConnectionError("the rates are gone")
        return begin(event)

    serving = shop.driver.serve(orders)
    shop.pay("order-1")
    shop.driver.run()
    serving.stop()
    is_down[0] = False
    shop.driver.serve(orders)
    shop.driver.settle()
    assert shop.runs(orders) == ["order-1"]
    (letter,) = shop.engine.dead_letters(orders, states=[LetterState.HANDLED]).items
    assert letter.value == b""


def test_foreign_id_with_a_live_run_is_tried_again(shop: Shop) -> None:
    orders = orders_with()
    orders.connector("payments", retry=Retry(first=timedelta(minutes=1)))(begin)
    shop.driver.serve(orders)
    run_id = shop.engine.trigger(orders, "order-1", Order())
    shop.pay("order-1")
    shop.driver.run()
    assert len(shop.runs(orders)) == 1
    shop.engine.cancel(run_id, reason="make room")
    shop.driver.settle()
    assert len(shop.runs(orders)) == 2


def test_answer_of_another_kind_is_a_failure(shop: Shop) -> None:
    orders = orders_with()
    orders.connector("payments")(lambda event: event.key)  # type: ignore[arg-type, return-value]
    shop.driver.serve(orders)
    shop.pay("order-1")
    shop.driver.settle()
    (letter,) = shop.engine.dead_letters(orders).items
    assert "answered a str" in letter.error


def test_connector_goes_on_where_it_stopped(shop: Shop) -> None:
    orders, seen = orders_with(), list[str]()

    @orders.connector("payments")
    def came(event: ConnectorEvent) -> None:
        seen.append(event.key)

    serving = shop.driver.serve(orders)
    shop.pay("order-1")
    shop.driver.run()
    serving.stop()
    shop.pay("order-2")
    shop.driver.serve(orders)
    shop.driver.run()
    assert seen == ["order-1", "order-2"]


def test_two_workflows_are_fed_by_one_stream(shop: Shop) -> None:
    seen = list[str]()
    flows = [Workflow(name, Order, Status, ends=(Status.PAID,)) for name in ("one", "two")]
    for flow in flows:

        @flow.step(Status.CREATED)
        def check(run: OrderRun) -> Literal[Status.PAID]:
            return Status.PAID

        @flow.connector("payments")
        def came(event: ConnectorEvent, name: str = flow.name) -> None:
            seen.append(name)

    shop.driver.serve(*flows)
    shop.pay("order-1")
    shop.driver.run()
    assert sorted(seen) == ["one", "two"]


def test_connector_that_is_bound_to_nothing_is_refused_when_served(shop: Shop) -> None:
    orders = orders_with()
    orders.connector("paymnts")(begin)
    with pytest.raises(ServingError) as caught:
        shop.driver.serve(orders)
    told = str(caught.value)
    assert "connector 'paymnts' is bound to no source; bound: 'payments'" in told
    assert "Engine(…, connectors={'paymnts': source})" in told
    assert "[workflow.connectors.paymnts]" in told


def test_connector_is_bound_by_configuration(tmp_path: Any) -> None:
    file = tmp_path / "workflow.toml"
    file.write_text(
        """
[workflow]
record_store = "memory"
event_streamer = "memory"
role_scheduler = "memory"
[workflow.connectors.payments]
adapter = "memory"
stream = "payments"
""",
        encoding="utf-8",
    )
    orders = orders_with()
    orders.connector("payments")(begin)
    with Engine.from_config(file, environ={}) as engine:
        source = engine._core.connectors["payments"]
        assert isinstance(source, MemoryConnectorSource)
        with engine.serving(orders):
            source.send("order-1", b"")
            end = timedelta(seconds=60)
            while not (runs := engine.runs(RecordQuery(workflow="orders")).items):
                time.sleep(0.01)
            (run,) = runs
            engine.wait_for(orders, run.run_id, Status.AWAITING_PAYMENT, end)


# -- another workflow's stream ----------------------------------------------------------------


class Parcel(IntEnum):
    PACKED = 1
    SENT = 2


@dataclass
class Box:
    order: str = ""


def test_workflow_follows_another(shop: Shop) -> None:
    orders = orders_with()
    parcels = Workflow("parcels", Box, Parcel, ends=(Parcel.SENT,))

    @parcels.step(Parcel.PACKED)
    def send(run: Run[Box, Parcel]) -> Literal[Parcel.SENT]:
        return Parcel.SENT

    @parcels.follow(orders, at=[Status.PAID])
    def paid(order: RunView[Order, Status]) -> Trigger[Box]:
        assert order.state is RunState.COMPLETED
        return Trigger(order.foreign_id, Box(order=order.run_id))

    shop.driver.serve(orders, parcels)
    callback = paid_of(orders)
    for number in range(3):
        run_id = shop.engine.trigger(orders, f"order-{number}", Order())
        shop.driver.settle()
        shop.engine.callback(callback, run_id, 1)
    shop.driver.settle()
    assert sorted(shop.runs(parcels)) == ["order-0", "order-1", "order-2"]


def test_follower_sees_what_runs_enter_and_not_what_is_tried_again(shop: Shop) -> None:
    orders = Workflow("orders", Order, Status, ends=(Status.PAID,), retry=RETRY)
    told, tries = list[tuple[str, str]](), [0]

    @orders.step(Status.CREATED)
    def check(run: OrderRun) -> Literal[Status.PAID]:
        tries[0] += 1
        if tries[0] < 3:
            raise ConnectionError("try again")
        return Status.PAID

    watch = Workflow("watch", Box, Parcel, ends=(Parcel.SENT,))

    @watch.step(Parcel.PACKED)
    def send(run: Run[Box, Parcel]) -> Literal[Parcel.SENT]:
        return Parcel.SENT

    @watch.follow(orders)
    def seen(order: RunView[Order, Status]) -> None:
        told.append((order.status.name, order.state.name))

    shop.driver.serve(orders, watch)
    shop.engine.trigger(orders, "1", Order())
    shop.driver.settle()
    assert told == [("CREATED", "INITIATED"), ("PAID", "COMPLETED")]


@pytest.mark.parametrize(
    ("declare", "told"),
    [
        (lambda o: o.connector("")(begin), "1 to 100"),
        (lambda o: o.connector("p", parallel=0), "parallel must be 1 or more"),
        (lambda o: o.connector("p")(lambda: None), "cannot be called with one argument"),
        (lambda o: o.connector("p", decode=bytes)(begin), "with 2 arguments"),
        (lambda o: (o.connector("p")(begin), o.connector("p")(begin)), "is taken by p ("),
        (lambda o: o.connector("p", retry=Retry(then=Status.PAID)), "then=…"),
    ],
)
def test_wrong_connector_is_refused_where_it_stands(
    declare: Callable[[Workflow[Order, Status]], object], told: str
) -> None:
    with pytest.raises(DefinitionError) as caught:
        declare(orders_with())
    assert told in str(caught.value)


def test_call_names_one_run() -> None:
    paid = paid_of(orders_with())
    with pytest.raises(InputError):
        Call(paid, 1)
    with pytest.raises(InputError):
        Call(paid, 1, foreign_id="a", run_id="b")
    assert "secret" not in repr(Call(paid, "secret", run_id="b"))
