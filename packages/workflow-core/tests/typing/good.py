"""What a user writes, and what must pass both type checkers at their strictest. Never run."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Literal, TypeAlias, TypedDict, assert_type

import msgspec
from workflow_core.definition import (
    Answer,
    Call,
    Callback,
    Cancel,
    ConnectorAnswer,
    JsonCodec,
    Missed,
    Pause,
    Repeat,
    Retry,
    Run,
    RunView,
    Skip,
    Trigger,
    Workflow,
)
from workflow_core.engine import Engine
from workflow_core.model import ConnectorEvent


class Status(IntEnum):
    CREATED = 1
    AWAITING_PAYMENT = 2
    PAID = 3
    SHIPPED = 4
    REFUSED = 5


@dataclass
class Order:
    total: int
    receipt: str = ""


class Ticket(msgspec.Struct):
    seat: int


class Trip(TypedDict):
    target: str


orders = Workflow("order processor", Order, Status, ends=(Status.SHIPPED, Status.REFUSED))
tickets = Workflow("tickets", Ticket, Status, ends=[Status.SHIPPED], starts={Status.PAID})
trips = Workflow("trips", Trip, Status, ends=(), retry=Retry(first=timedelta(seconds=3)))
OrderRun = Run[Order, Status]
Checked: TypeAlias = Literal[Status.AWAITING_PAYMENT, Status.REFUSED] | Pause


@orders.step(Status.CREATED, retry=Retry(pause_after=5, then=Status.REFUSED), concurrency=3)
def check(run: OrderRun) -> Literal[Status.AWAITING_PAYMENT, Status.REFUSED]:
    return Status.AWAITING_PAYMENT if run.data.total > 0 else Status.REFUSED


@orders.step(Status.CREATED)
def check_with_alias(run: OrderRun) -> Checked:
    nxt: Checked
    if run.data.total > 10_000:
        nxt = Pause("a person has to look")
    elif run.data.total > 0:
        nxt = Status.AWAITING_PAYMENT
    else:
        nxt = Status.REFUSED
    return nxt


@orders.step(Status.PAID, lag=timedelta(hours=1), lag_alert=timedelta(hours=2))
async def ship(run: OrderRun) -> Literal[Status.SHIPPED] | Pause | Cancel | Repeat:
    await asyncio.sleep(0)
    if run.cancelled:
        return Cancel("no longer wanted")
    return Repeat(after=timedelta(minutes=1)) if run.attempt > 3 else Status.SHIPPED


@tickets.step(Status.PAID)
def only_directives(run: Run[Ticket, Status]) -> Skip | Repeat:
    return Skip() if run.data.seat else Repeat()


@trips.step(Status.PAID)
def typed_dict(run: Run[Trip, Status]) -> Literal[Status.SHIPPED]:
    run.data["target"] = "home"
    return Status.SHIPPED


@orders.callback(Status.AWAITING_PAYMENT)
def paid(run: OrderRun, receipt: str) -> Literal[Status.PAID]:
    run.data.receipt = receipt
    return Status.PAID


@orders.callback(Status.AWAITING_PAYMENT)
def gave_up(run: OrderRun) -> Literal[Status.REFUSED]:
    return Status.REFUSED


@orders.callback(Status.AWAITING_PAYMENT)
async def paid_or_not(run: OrderRun, receipt: str | None) -> Literal[Status.PAID] | Skip:
    return Skip() if receipt is None else Status.PAID


@orders.timeout(Status.AWAITING_PAYMENT, after=timedelta(minutes=5))
def remind(run: OrderRun) -> Skip | Repeat:
    return Skip()


def at_noon(run: OrderRun, entered_at: datetime) -> datetime | None:
    return entered_at.replace(hour=12) if run.data.total else None


@orders.timeout(Status.AWAITING_PAYMENT, fires_at=at_noon, name="noon", retry=Retry())
async def refuse(run: OrderRun) -> Literal[Status.REFUSED]:
    return Status.REFUSED


def generated(run: OrderRun) -> Status:
    return {1: Status.PAID}.get(run.data.total, Status.REFUSED)


orders.add_step(Status.CREATED, generated, to=[Status.PAID, Status.REFUSED])
orders.add_timeout(Status.CREATED, generated, to=[Status.PAID], after=timedelta(seconds=1))
added = orders.add_callback(Status.CREATED, generated, payload=None, to={Status.PAID})
assert_type(added, Callback[Order, Status, None])


def generated_with_payload(run: OrderRun, receipt: str) -> Status:
    return Status.PAID if receipt else Status.REFUSED


with_text = orders.add_callback(
    Status.CREATED, generated_with_payload, payload=str, to=[Status.PAID]
)
assert_type(with_text, Callback[Order, Status, str])


# -- what a callback is for an engine: its payload is the body's


def call_back(engine: Engine) -> None:
    engine.callback(paid, "run", "receipt-7")
    engine.callback(gave_up, "run", wait=timedelta(seconds=5))
    engine.callback(paid_or_not, "run", None)
    engine.callback(paid_or_not, run_id="run", payload="receipt-7")


async def call_back_from_asyncio(engine: Engine) -> None:
    await engine.aio.callback(paid, "run", "receipt-7", wait=timedelta(seconds=5))
    await engine.aio.callback(gave_up, "run")


assert_type(paid, Callback[Order, Status, str])
assert_type(gave_up, Callback[Order, Status, None])
assert_type(paid_or_not, Callback[Order, Status, str | None])
assert_type(paid.status, Status)
assert_type(paid.workflow, Workflow[Order, Status])


# -- schedules


@orders.schedule("nightly", cron="0 3 * * MON-FRI", tz="Europe/Berlin", missed=Missed.RUN_ALL)
def nightly(tick: datetime) -> Trigger[Order] | None:
    return Trigger(f"order of {tick:%Y-%m-%d}", Order(total=1)) if tick.day > 1 else None


@orders.schedule("hourly", every=timedelta(hours=1), anchor=datetime(2026, 1, 1, tzinfo=UTC))
def hourly(tick: datetime) -> Trigger[Order]:
    return Trigger("hourly", Order(total=1), status=Status.PAID)


orders.schedule("plain", cron="@daily")(lambda tick: Trigger("plain", Order(total=tick.day)))
assert_type(nightly(datetime(2026, 1, 1, tzinfo=UTC)), Trigger[Order] | None)


# -- unit tests of bodies

run = Run(data=Order(total=1), status=Status.CREATED)
assert_type(run, Run[Order, Status])
assert check(run) == Status.REFUSED
assert paid(run, "receipt-7") == Status.PAID
assert gave_up(run) == Status.REFUSED


async def unit_test_of_async_bodies() -> None:
    assert await ship(run) == Status.SHIPPED
    assert await paid_or_not(run, None) == Skip()


assert_type(asyncio.run(ship(run)), Status | Pause | Cancel | Skip | Repeat)


# -- decorators of the user's own, underneath ours

Body = Callable[[OrderRun], Answer[Status]]


def logged(body: Body) -> Body:
    return body


@orders.step(Status.CREATED)
@logged
def wrapped(run: OrderRun) -> Literal[Status.PAID]:
    return Status.PAID


class Shop:
    async def pack(self, run: OrderRun) -> Literal[Status.SHIPPED]:
        return Status.SHIPPED


orders.step(Status.PAID)(Shop().pack)


# -- what comes out again


def seen(view: RunView[Order, Status]) -> str:
    return f"{view.status.name} {view.data.receipt}"


assert_type(orders.start, Status)
assert_type(orders.status(3), Status)
assert_type(orders.parse_status(3), Status)
assert_type(orders.decode(b"{}"), Order)
awaited: Callable[[OrderRun], Awaitable[Answer[Status]]] = ship


# -- hooks and connectors


@orders.on_complete()
def thank(run: RunView[Order, Status]) -> None:
    print(run.data.receipt, run.stale)


@orders.on_pause(retry=Retry(pause_after=3), name="call")
async def call_the_operator(run: RunView[Order, Status]) -> None:
    await asyncio.sleep(run.data.total)


@orders.on_data_deleted()
def forget(run: RunView[Order | None, Status]) -> None:
    assert_type(run.data, Order | None)


@orders.connector("shop", parallel=4)
def ordered(event: ConnectorEvent) -> Trigger[Order] | None:
    return Trigger(event.key, Order(total=1)) if event.value else None


@orders.connector("payments", decode=JsonCodec(Ticket).decode)
async def payment_came(event: ConnectorEvent, ticket: Ticket) -> ConnectorAnswer[Order]:
    await asyncio.sleep(ticket.seat)
    return [Trigger(event.key, Order(total=1)), Call(paid, "receipt", foreign_id=event.key)]


@tickets.follow(orders, at=[Status.PAID])
def book(order: RunView[Order, Status]) -> Trigger[Ticket]:
    return Trigger(order.foreign_id, Ticket(seat=order.data.total))
