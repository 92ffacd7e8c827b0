"""Mistakes that a type checker must find, each on a line marked ``# error``. Never run.

A mark for one checker alone says why the other is silent there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Literal

from workflow_core.definition import (
    JsonCodec,
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
    REFUSED = 4


class Other(IntEnum):
    CREATED = 1
    PAID = 3


@dataclass
class Order:
    total: int


@dataclass
class Invoice:
    total: int


orders = Workflow("orders", Order, Status, ends=(Status.PAID,))
OrderRun = Run[Order, Status]


# -- answers


@orders.step(Status.CREATED)
def undeclared_target(run: OrderRun) -> Literal[Status.PAID]:
    return Status.REFUSED  # error


@orders.step(Status.CREATED)
def one_of_two_undeclared(run: OrderRun) -> Literal[Status.PAID]:
    return Status.PAID if run.data.total else Status.REFUSED  # error


@orders.step(Status.CREATED)
def undeclared_pause(run: OrderRun) -> Literal[Status.PAID]:
    return Pause("later")  # error


@orders.step(Status.CREATED)
async def undeclared_target_async(run: OrderRun) -> Literal[Status.PAID]:
    return Status.REFUSED  # error


@orders.step(Status.CREATED)  # error
def foreign_target(run: OrderRun) -> Literal[Other.PAID]:
    return Other.PAID


@orders.step(Status.CREATED)  # error
async def foreign_target_async(run: OrderRun) -> Literal[Other.PAID]:
    return Other.PAID


@orders.step(Status.CREATED)
def foreign_answer(run: OrderRun) -> Literal[Status.PAID]:
    return Other.PAID  # error


@orders.step(Status.CREATED)  # error
def number(run: OrderRun) -> Literal[3]:
    return 3


@orders.step(Status.CREATED)  # error
def text(run: OrderRun) -> Literal["PAID"]:
    return "PAID"


@orders.step(Status.CREATED)  # error
def nothing(run: OrderRun) -> None:
    return None


@orders.step(Status.CREATED)  # error
def perhaps_nothing(run: OrderRun) -> Literal[Status.PAID] | None:
    return None


@orders.step(Status.CREATED)
def forgets_to_answer(run: OrderRun) -> Literal[Status.PAID]:  # error
    if run.data.total:
        return Status.PAID


@orders.step(Status.CREATED)
def no_annotation(run: OrderRun):  # error: mypy, the other infers it; refused when it is registered
    return Status.PAID


@orders.step(Status.CREATED)  # error
def generator(run: OrderRun) -> Iterator[Literal[Status.PAID]]:
    yield Status.PAID


@orders.step(Status.CREATED)  # error
def the_class_and_not_a_value(run: OrderRun) -> type[Skip]:
    return Skip


# -- parameters


@orders.step(Status.CREATED)  # error
def other_data(run: Run[Invoice, Status]) -> Literal[Status.PAID]:
    return Status.PAID


@orders.step(Status.CREATED)  # error
def other_statuses(run: Run[Order, Other]) -> Literal[Status.PAID]:
    return Status.PAID


@orders.step(Status.CREATED)  # error
def extra_parameter(run: OrderRun, receipt: str) -> Literal[Status.PAID]:
    return Status.PAID


@orders.step(Status.CREATED)  # error
def no_parameter() -> Literal[Status.PAID]:
    return Status.PAID


@orders.step(Status.CREATED)
def unknown_field(run: OrderRun) -> Literal[Status.PAID]:
    run.data.totall = 3  # error
    return Status.PAID


@orders.step(Status.CREATED)
def wrong_field_type(run: OrderRun) -> Literal[Status.PAID]:
    run.data.total = "3"  # error
    return Status.PAID


@orders.callback(Status.AWAITING_PAYMENT)  # error
def two_payloads(run: OrderRun, receipt: str, more: str) -> Literal[Status.PAID]:
    return Status.PAID


@orders.callback(Status.AWAITING_PAYMENT)  # error
def foreign_callback_target(run: OrderRun, receipt: str) -> Literal[Other.PAID]:
    return Other.PAID


# -- the decorators themselves


@orders.step(Other.CREATED)  # error
def foreign_status(run: OrderRun) -> Literal[Status.PAID]:
    return Status.PAID


@orders.step(1)  # error
def number_as_status(run: OrderRun) -> Literal[Status.PAID]:
    return Status.PAID


@orders.step  # error
def without_call(run: OrderRun) -> Literal[Status.PAID]:
    return Status.PAID


@orders.step()  # error
def without_status(run: OrderRun) -> Literal[Status.PAID]:
    return Status.PAID


@orders.timeout(Status.CREATED)  # error
def no_time(run: OrderRun) -> Literal[Status.PAID]:
    return Status.PAID


def noon(run: OrderRun, entered_at: datetime) -> datetime | None:
    return entered_at


def noon_without_run(entered_at: datetime) -> datetime | None:
    return entered_at


@orders.timeout(Status.CREATED, after=timedelta(1), fires_at=noon)  # error
def two_times(run: OrderRun) -> Literal[Status.PAID]:
    return Status.PAID


@orders.timeout(Status.CREATED, after=300)  # error
def seconds(run: OrderRun) -> Literal[Status.PAID]:
    return Status.PAID


@orders.timeout(Status.CREATED, fires_at=noon_without_run)  # error
def wrong_fires_at(run: OrderRun) -> Literal[Status.PAID]:
    return Status.PAID


def body(run: OrderRun) -> Literal[Status.PAID]:
    return Status.PAID


orders.add_step(Status.CREATED, body, to=[Other.PAID])  # error
orders.add_step(Status.CREATED, body)  # error
orders.add_callback(Status.CREATED, body, payload=str, to=[Status.PAID])  # error
Workflow("orders", Order, Status)  # error
Workflow("orders", Order, Status, ends=Status.PAID)  # error
Workflow("orders", Order, int, ends=())  # error
Retry(first=3)  # error
Retry(never=ValueError)  # error
Repeat(after=3)  # error


# -- callbacks


@orders.callback(Status.AWAITING_PAYMENT)
def paid(run: OrderRun, receipt: str) -> Literal[Status.PAID]:
    return Status.PAID


@orders.callback(Status.AWAITING_PAYMENT)
def gave_up(run: OrderRun) -> Literal[Status.REFUSED]:
    return Status.REFUSED


async def call_back(engine: Engine) -> None:
    engine.callback(paid, "run", 7)  # error
    engine.callback(paid, "run", None)  # error
    engine.callback(paid, "run")  # error
    engine.callback(gave_up, "run", "receipt")  # error
    engine.callback(body, "run")  # error
    engine.callback(paid, "run", "receipt", wait=5)  # error
    await engine.aio.callback(paid, "run", 7)  # error
    await engine.aio.callback(gave_up, "run", "receipt")  # error


unit_run = Run(data=Order(total=1), status=Status.AWAITING_PAYMENT)
paid(unit_run)  # error
paid(unit_run, 7)  # error
gave_up(unit_run, "receipt")  # error
paid(Run(data=Invoice(total=1), status=Status.AWAITING_PAYMENT), "receipt")  # error
orders.start.value + "1"  # error
orders.parse_status(3).total  # error


# -- schedules


def nightly(tick: datetime) -> Trigger[Order] | None:
    return None


@orders.schedule("other data", cron="@daily")  # error
def other_report(tick: datetime) -> Trigger[Invoice]:
    return Trigger("invoice", Invoice(total=1))


@orders.schedule("no trigger", cron="@daily")  # error
def no_trigger(tick: datetime) -> Order:
    return Order(total=1)


@orders.schedule("without tick", cron="@daily")  # error
def without_tick() -> Trigger[Order]:
    return Trigger("order", Order(total=1))


@orders.schedule("awaited", cron="@daily")  # error
async def awaited(tick: datetime) -> Trigger[Order]:
    return Trigger("order", Order(total=1))


orders.schedule("neither")(nightly)  # error
orders.schedule("both", cron="@daily", every=timedelta(1))(nightly)  # error
orders.schedule("zone of an interval", every=timedelta(1), tz="UTC")(nightly)  # error
orders.schedule("anchor", cron="@daily", anchor=datetime.now(UTC))(nightly)  # error
orders.schedule("seconds", every=60)(nightly)  # error
orders.schedule("policy", cron="@daily", missed="skip")(nightly)  # error


# -- hooks and connectors


@orders.on_complete()  # error
def hook_of_other_data(run: RunView[Invoice, Status]) -> None:
    print(run.data.total)


@orders.on_complete()  # error
def hook_that_answers(run: RunView[Order, Status]) -> Status:
    return run.status


@orders.on_complete()  # error
def hook_that_takes_a_run(run: OrderRun) -> None:
    run.data.total += 1


@orders.on_data_deleted()  # error
def hook_that_counts_on_data(run: RunView[Order, Status]) -> None:
    print(run.data.total)


@orders.connector("invoices")  # error
def trigger_of_other_data(event: ConnectorEvent) -> Trigger[Invoice]:
    return Trigger(event.key, Invoice(1))


@orders.connector("texts")  # error
def connector_that_answers_a_text(event: ConnectorEvent) -> str:
    return event.key


@orders.connector("decoded", decode=JsonCodec(Invoice).decode)  # error
def connector_of_another_payload(event: ConnectorEvent, order: Order) -> Trigger[Order]:
    return Trigger(event.key, order)


@orders.follow(orders)  # error
def follower_of_other_data(run: RunView[Invoice, Status]) -> None:
    print(run.data.total)
