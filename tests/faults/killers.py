"""A process that serves orders of which some take it with them, as they say themselves.

What it says on its standard output is its outside world:

    began NAME ATTEMPT       a body began
    ended NAME               a body is about to answer
"""

import asyncio
import os
import signal
import sys
import time
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from pathlib import Path
from typing import Literal

from workflow_core import Engine, EngineSettings, Retry, Run, Workflow
from workflow_core.discovery import embedded

PAUSE_AFTER = 2
SOON = timedelta(milliseconds=50)


class Status(IntEnum):
    PLAIN = 1
    ASYNC = 2
    TRANSACTION = 3
    DONE = 4


@dataclass
class Order:
    takes: float = 0.0
    dies_by: int = 0
    """The signal that its body ends the process with; 0: it does not."""


OrderRun = Run[Order, Status]

orders = Workflow(
    "orders",
    Order,
    Status,
    ends=(Status.DONE,),
    starts=(Status.PLAIN, Status.ASYNC, Status.TRANSACTION),
    retry=Retry(first=SOON, maximum=SOON, pause_after=PAUSE_AFTER),
)


@orders.step(Status.PLAIN)
def plain(run: OrderRun) -> Literal[Status.DONE]:
    begin(run)
    time.sleep(run.data.takes)
    return end(run)


@orders.step(Status.ASYNC)
async def in_turn(run: OrderRun) -> Literal[Status.DONE]:
    begin(run)
    await asyncio.sleep(run.data.takes)
    return end(run)


@orders.step(Status.TRANSACTION, transaction=True)
def together(run: OrderRun) -> Literal[Status.DONE]:
    begin(run)
    assert run.connection is not None
    return end(run)


def begin(run: OrderRun) -> None:
    say("began", run.foreign_id, str(run.attempt))


def end(run: OrderRun) -> Literal[Status.DONE]:
    if run.data.dies_by:
        os.kill(os.getpid(), run.data.dies_by)
        signal.pause()  # until the signal has come
    say("ended", run.foreign_id)
    return Status.DONE


def say(*words: str) -> None:
    """In one piece, whatever becomes of the process."""
    os.write(sys.stdout.fileno(), (" ".join(words) + "\n").encode())


def open_engine(path: Path) -> Engine:
    """As `Engine.embedded`, but that a dead process's roles are free after a second."""
    overrides = {"adapters.sql.role_lease": "1s"}
    config = embedded(path, overrides=overrides, sections={"engine": EngineSettings})
    return Engine(config.build(), settings=config.section("engine", EngineSettings))


if __name__ == "__main__":
    with open_engine(Path(sys.argv[1])) as engine, engine.serving(orders):
        sys.stdin.read()
