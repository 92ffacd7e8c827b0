"""The workflow: what happens to an order.

```
            ┌──► AWAITING_APPROVAL ──┐
CREATED ────┴──────────► AWAITING_PAYMENT ──► PAYING ──► PAID ──► SHIPPED
   └─────────────────────────┴───────────────────┴──► REFUSED
```

A person approves large orders, and the customer pays: both are callbacks. Nobody has to be there
for that, so a timer gives up on customers who do not pay.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Literal

from workflow_core import Callback, Pause, Retry, Run, Workflow

from order_processing.provider import CardRefusedError, PaymentProvider


class Status(IntEnum):  # stored: never renumber
    CREATED = 1
    AWAITING_PAYMENT = 2
    PAID = 3
    SHIPPED = 4
    REFUSED = 5
    PAYING = 6
    AWAITING_APPROVAL = 7


LARGE_CENTS = 240_000


@dataclass
class Order:
    total_cents: int
    address: str
    pay_within_s: float
    card: str = ""
    approved_by: str = ""
    receipt: str = ""
    parcel: str = ""


OrderRun = Run[Order, Status]


class Orders:
    """The definition; its steps ask this provider for payment.

    Attributes:
        workflow: to be served, and to begin runs of.
        approved: what a person calls who has looked at a large order.
        paid_with: what a customer calls, with a card.
    """

    workflow: Workflow[Order, Status]
    approved: Callback[Order, Status, str]
    paid_with: Callback[Order, Status, str]

    def __init__(self, provider: PaymentProvider) -> None:
        orders = Workflow("order processing", Order, Status, ends=(Status.SHIPPED, Status.REFUSED))

        @orders.step(Status.CREATED)
        def check(
            run: OrderRun,
        ) -> Literal[Status.AWAITING_PAYMENT, Status.AWAITING_APPROVAL, Status.REFUSED] | Pause:
            if run.data.total_cents <= 0:
                return Status.REFUSED
            if not run.data.address:
                return Pause("there is no address to ship to")
            if run.data.total_cents > LARGE_CENTS:
                return Status.AWAITING_APPROVAL
            return Status.AWAITING_PAYMENT

        # Not a Pause: a resumed step runs again, and would ask for approval again.
        @orders.callback(Status.AWAITING_APPROVAL)
        def approved(run: OrderRun, by: str) -> Literal[Status.AWAITING_PAYMENT]:
            run.data.approved_by = by
            return Status.AWAITING_PAYMENT

        @orders.callback(Status.AWAITING_PAYMENT)
        def paid_with(run: OrderRun, card: str) -> Literal[Status.PAYING]:
            run.data.card = card
            return Status.PAYING

        def pay_by(run: OrderRun, now: datetime) -> datetime:
            return now + timedelta(seconds=run.data.pay_within_s)

        @orders.timeout(Status.AWAITING_PAYMENT, fires_at=pay_by)
        def give_up(run: OrderRun) -> Literal[Status.REFUSED]:
            return Status.REFUSED

        # The provider is a server far away: it may fail, and its answer may get lost after it has
        # taken the money. The key is the same however often this step runs, so it takes it once.
        @orders.step(
            Status.PAYING,
            retry=Retry(
                first=timedelta(milliseconds=200), maximum=timedelta(seconds=1), pause_after=4
            ),
        )
        def pay(run: OrderRun) -> Literal[Status.PAID, Status.REFUSED]:
            try:
                run.data.receipt = provider.charge(
                    run.idempotency_key, run.data.total_cents, run.data.card
                )
            except CardRefusedError:
                return Status.REFUSED
            return Status.PAID

        @orders.step(Status.PAID, concurrency=50)
        async def ship(run: OrderRun) -> Literal[Status.SHIPPED]:
            await asyncio.sleep(0.01)  # the carrier takes its time; others do not wait for it
            run.data.parcel = f"parcel for {run.foreign_id}"
            return Status.SHIPPED

        orders.check()
        self.workflow, self.approved, self.paid_with = orders, approved, paid_with
