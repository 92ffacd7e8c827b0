"""A process that serves orders on one database, by whichever workflow-sql it finds first.

Told what to do on its standard input; says what it does on its standard output, a line each:

    serving VERSION    the schema that its release was written for
    began NAME         an order was acknowledged
    did WHAT           a body is about to answer
    settled            every run has ended
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from typing import Literal

from workflow_core import Engine, RecordQuery, Repeat, Run, RunState, Trigger, Workflow
from workflow_sql.migrations import VERSION

LONG = timedelta(seconds=60)  # no wait in here lasts so long, unless something is lost
SOON = timedelta(milliseconds=20)
REMINDERS = 3


class Status(IntEnum):
    RECEIVED = 1
    UNPAID = 2
    SHIPPED = 3


@dataclass
class Order:
    customer: str
    trail: list[str] = field(default_factory=list)


OrderRun = Run[Order, Status]
orders = Workflow("orders", Order, Status, ends=(Status.SHIPPED,), search=("customer",))


@orders.step(Status.RECEIVED)
def invoice(run: OrderRun) -> Literal[Status.UNPAID]:
    act(run, "invoice")
    return Status.UNPAID


@orders.timeout(Status.UNPAID, after=SOON)
def remind(run: OrderRun) -> Literal[Status.SHIPPED] | Repeat:
    act(run, "remind")
    return Repeat(after=SOON) if run.data.trail.count("remind") < REMINDERS else Status.SHIPPED


def act(run: OrderRun, what: str) -> None:
    run.data.trail.append(what)
    say("did", what)


def say(*words: str) -> None:
    """In one piece, whoever else speaks, and whenever the process is killed."""
    os.write(sys.stdout.fileno(), (" ".join(words) + "\n").encode())


def open_engine(url: str) -> Engine:
    ports = ("RECORD_STORE", "TIMEOUT_STORE", "EVENT_STREAMER", "ROLE_SCHEDULER")
    environ = {f"WORKFLOW_{port}": "sql" for port in ports}
    return Engine.from_config(
        environ=environ | {"WORKFLOW_SQL__URL": url, "WORKFLOW_SQL__ROLE_LEASE": "1s"}
    )


def begin(engine: Engine, names: Sequence[str]) -> None:
    triggers = [Trigger(name, Order(f"customer of {name}")) for name in names]
    for name, answer in zip(names, engine.trigger_many(orders, triggers), strict=True):
        assert isinstance(answer, str), answer
        say("began", name)


def settle(engine: Engine) -> None:
    query = RecordQuery(workflow="orders", states=[RunState.INITIATED, RunState.RUNNING])
    while page := engine.runs(query).items:
        for record in page:
            engine.wait_until_ended(orders, record.run_id, LONG)
    say("settled")


if __name__ == "__main__":
    with open_engine(sys.argv[1]) as engine, engine.serving(orders):
        say("serving", VERSION)
        for line in sys.stdin:
            verb, *names = line.split()
            if verb == "begin":
                begin(engine, names)
            else:
                settle(engine)
