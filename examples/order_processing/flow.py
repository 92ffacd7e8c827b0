"""The workflow: what happens to an order.

```
CREATED ──► AWAITING_PAYMENT ──► PAID ──► SHIPPED
   └──────────────┴──► REFUSED
```
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import Literal

from workflow_core import Pause, Retry, Run, Workflow

from order_processing.provider import CardRefusedError, PaymentProvider


class Status(IntEnum):  # stored: never renumber
    CREATED = 1
    AWAITING_PAYMENT = 2
    PAID = 3
    SHIPPED = 4
    REFUSED = 5


@dataclass
class Order:
    total_cents: int
    card: str
    address: str
    receipt: str = ""
    parcel: str = ""


OrderRun = Run[Order, Status]


def order_workflow(provider: PaymentProvider) -> Workflow[Order, Status]:
    """The definition; its steps ask this provider for payment."""
    orders = Workflow("order processing", Order, Status, ends=(Status.SHIPPED, Status.REFUSED))

    @orders.step(Status.CREATED)
    def check(run: OrderRun) -> Literal[Status.AWAITING_PAYMENT, Status.REFUSED] | Pause:
        if run.data.total_cents <= 0:
            return Status.REFUSED
        if not run.data.address:
            return Pause("there is no address to ship to")
        return Status.AWAITING_PAYMENT

    # The provider is a server far away: it may fail, and its answer may get lost after it has
    # taken the money. The key is the same however often this step runs, so it takes it once.
    @orders.step(
        Status.AWAITING_PAYMENT,
        retry=Retry(first=timedelta(milliseconds=200), maximum=timedelta(seconds=1), pause_after=4),
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
        await asyncio.sleep(0.01)  # the carrier's answer takes its time; others do not wait for it
        run.data.parcel = f"parcel for {run.foreign_id}"
        return Status.SHIPPED

    orders.check()
    return orders
