"""A process that books orders in the user's own tables, in the transactions of its steps.

Told the database's url, and a name for its orders where it is to be hunted; says on its standard
output, a line each:

    did WHAT       a body is about to answer, its rows written and not committed
    settled        every run has ended

A row that is there twice, or not at all, shows in the tables: no key of theirs would refuse it.
"""

import argparse
import logging
import os
import random
import sys
import time
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from itertools import count
from typing import Any, Literal

from sqlalchemy import text
from sqlalchemy.orm import Session
from workflow_core import Engine, RecordQuery, Retry, Run, RunState, Trigger, Workflow
from workflow_core.errors import AdapterUnavailableError

LONG = timedelta(seconds=60)  # no wait in here lasts so long, unless something is lost
SOON = timedelta(milliseconds=20)
BATCH = 5


class Status(IntEnum):
    RECEIVED = 1
    BOOKED = 2
    DONE = 3


@dataclass
class Order:
    number: int


OrderRun = Run[Order, Status]


class Shop:
    """Two workflows: each order that is settled begins a parcel."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.engine: Engine
        again = Retry(first=SOON, maximum=SOON)
        self.orders = Workflow("orders", Order, Status, ends=(Status.DONE,), retry=again)
        self.parcels = Workflow("parcels", Order, Status, ends=(Status.DONE,), retry=again)
        self.orders.add_step(Status.RECEIVED, self.book, to=[Status.BOOKED], transaction=True)
        self.orders.add_step(Status.BOOKED, self.settle, to=[Status.DONE], transaction=True)
        self.parcels.add_step(Status.RECEIVED, self.send, to=[Status.DONE])

    def book(self, run: OrderRun) -> Literal[Status.BOOKED]:
        run.connection.execute(
            text("insert into entries (run_id, what) values (:run, 'booked')"), {"run": run.run_id}
        )
        self._act("book")
        if run.data.number % 5 == 0 and run.attempt == 1:
            raise ConnectionError("the book is closed")
        return Status.BOOKED

    def settle(self, run: OrderRun) -> Literal[Status.DONE]:
        with Session(run.connection) as session:
            session.execute(text("update balance set orders = orders + 1"))
            session.commit()  # a session on the step's connection: nothing is committed by it
        self.engine.trigger(self.parcels, run.foreign_id, Order(run.data.number))
        self._act("settle")
        return Status.DONE

    def send(self, run: OrderRun) -> Literal[Status.DONE]:
        return Status.DONE

    def _act(self, what: str) -> None:
        say("did", what)
        time.sleep(self._chance.expovariate(1000))

    def begin(self, name: str, first: int) -> None:
        triggers = [
            Trigger(f"{number}-{name}", Order(number), idempotency_key=f"{number}-{name}")
            for number in range(first, first + BATCH)
        ]
        try:
            self.engine.trigger_many(self.orders, triggers)
        except AdapterUnavailableError:
            time.sleep(0.05)  # its orders may be there or not: nobody counts them

    def settle_all(self) -> None:
        for workflow in (self.orders, self.parcels):
            query = RecordQuery(
                workflow=workflow.name, states=[RunState.INITIATED, RunState.RUNNING]
            )
            while page := self.engine.runs(query).items:
                for record in page:
                    self.engine.wait_until_ended(workflow, record.run_id, LONG)


def say(*words: str) -> None:
    os.write(sys.stdout.fileno(), (" ".join(words) + "\n").encode())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("seed", type=int)
    parser.add_argument("--hunted", metavar="NAME", default="")
    options: Any = parser.parse_args()
    logging.basicConfig(level=logging.ERROR, format="%(name)s: %(message)s")
    shop = Shop(random.Random(options.seed))
    ports = ("RECORD_STORE", "TIMEOUT_STORE", "EVENT_STREAMER", "ROLE_SCHEDULER")
    environ = {f"WORKFLOW_{port}": "sql" for port in ports}
    environ |= {"WORKFLOW_SQL__URL": options.url, "WORKFLOW_SQL__ROLE_LEASE": "1s"}
    with Engine.from_config(environ=environ) as engine:
        shop.engine = engine
        with engine.serving(shop.orders, shop.parcels):
            if options.hunted:
                for first in count(step=BATCH):
                    shop.begin(options.hunted, first)
                    time.sleep(0.05)
            shop.settle_all()
            say("settled")
            sys.stdin.read()


if __name__ == "__main__":
    main()
