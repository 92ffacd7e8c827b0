"""One workflow for all deployments: the configuration beside it says what it stands on.

`workflow run` serves it. As a program it places orders and waits until they are shipped:

    python shop.py 20           a client: other processes serve
    python shop.py 20 --serve   serves too, in this process: memory is nobody else's
"""

import argparse
import asyncio
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import Literal

from workflow_core import Engine, Retry, Run, Trigger, Workflow


class Status(IntEnum):  # stored: never renumber
    RECEIVED = 1
    PAID = 2
    READY = 3
    SHIPPED = 4


@dataclass
class Order:
    total_cents: int
    receipt: str = ""
    parcel: str = ""


OrderRun = Run[Order, Status]

# How a step fails is its definition's, the same in every deployment: after 1 s, 2 s, 4 s, … at most
# a minute apart, and a person looks at it after twelve attempts.
RETRY = Retry(first=timedelta(seconds=1), maximum=timedelta(minutes=1), pause_after=12)

orders = Workflow("orders", Order, Status, ends=(Status.SHIPPED,), retry=RETRY)


@orders.step(Status.RECEIVED)
def pay(run: OrderRun) -> Literal[Status.PAID]:
    run.data.receipt = f"receipt of {run.foreign_id}, key {run.idempotency_key}"
    return Status.PAID


@orders.timeout(Status.PAID, after=timedelta(milliseconds=500))
def release(run: OrderRun) -> Literal[Status.READY]:
    """It could have been called off until now."""
    return Status.READY


@orders.step(Status.READY, concurrency=20)
async def ship(run: OrderRun) -> Literal[Status.SHIPPED]:
    await asyncio.sleep(0.01)  # the carrier takes its time
    run.data.parcel = f"parcel for {run.foreign_id}"
    return Status.SHIPPED


def place(engine: Engine, count: int) -> None:
    """Begin so many runs and wait until all have ended."""
    triggers = [Trigger(f"order-{number}", Order(100 + number)) for number in range(count)]
    for run_id in engine.trigger_many(orders, triggers):
        engine.wait_for(orders, str(run_id), Status.SHIPPED, timedelta(minutes=1))
    print(f"{count} orders shipped")


def main() -> None:
    parser = argparse.ArgumentParser(description="Place orders and wait until they are shipped.")
    parser.add_argument("count", type=int)
    parser.add_argument("--serve", action="store_true", help="work on them in this process too")
    options = parser.parse_args()
    with Engine.from_config() as engine:
        if options.serve:
            with engine.serving(orders):
                place(engine, options.count)
        else:
            place(engine, options.count)


if __name__ == "__main__":
    main()
