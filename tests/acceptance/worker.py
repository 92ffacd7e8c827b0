"""A process that serves orders, with whatever adapters its configuration names.

It says on its standard output what its functions do, a line each; a line once written has happened,
whatever becomes of the process. It serves until its input ends.

    serving             it works
    did KEY WHAT        a function acted on the outside world, with its idempotency key

An order is paid, waits for half a second in case it is called off, and is shipped.
"""

import asyncio
import json
import logging
import os
import sys
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import Literal

from workflow_core import Engine, Run, Workflow

DELAY = timedelta(milliseconds=500)


class Status(IntEnum):
    RECEIVED = 1
    COOLING = 2
    READY = 3
    SHIPPED = 4


@dataclass
class Order:
    number: int
    paid: bool = False


OrderRun = Run[Order, Status]

orders = Workflow("orders", Order, Status, ends=(Status.SHIPPED,))


@orders.step(Status.RECEIVED)
def pay(run: OrderRun) -> Literal[Status.COOLING]:
    say("did", run.idempotency_key, "pay")
    run.data.paid = True
    return Status.COOLING


@orders.timeout(Status.COOLING, after=DELAY)
def release(run: OrderRun) -> Literal[Status.READY]:
    say("did", run.idempotency_key, "release")
    return Status.READY


@orders.step(Status.READY, concurrency=10)
async def ship(run: OrderRun) -> Literal[Status.SHIPPED]:
    say("did", run.idempotency_key, "ship")
    await asyncio.sleep(0.001)
    return Status.SHIPPED


def say(*words: str) -> None:
    os.write(sys.stdout.fileno(), (" ".join(words) + "\n").encode())


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    overrides = json.loads(sys.argv[1])
    with Engine.from_config(environ={}, overrides=overrides) as engine, engine.serving(orders):
        say("serving")
        sys.stdin.read()


if __name__ == "__main__":
    main()
