"""A process that serves orders on one SQLite file: what the fault tests kill, freeze and starve.

It is told what to do on its standard input and says what it does on its standard output, a line
each. That pipe is its outside world too: a line once written has happened, whatever becomes of the
process, and no disk is needed for it.

    began NAME               a trigger was acknowledged
    refused NAME ERROR       a trigger failed
    did KEY WHAT             a step acted on the outside world, with its idempotency key
    now                      (hunted only) the moment at which it is to be killed
    settled                  every run that the file holds has ended

What becomes of an order follows from the number that its name begins with: each 20th is refused,
each 7th fails once while it is packed, each 11th is packed in two goes.
"""

import argparse
import asyncio
import json
import logging
import os
import random
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from itertools import count
from pathlib import Path
from typing import Any, Literal

from workflow_core import (
    Engine,
    EngineSettings,
    RecordQuery,
    Repeat,
    Retry,
    Run,
    RunState,
    Trigger,
    Workflow,
)
from workflow_core.discovery import embedded
from workflow_core.errors import AdapterUnavailableError, WorkflowError

LONG = timedelta(seconds=60)  # no wait in here lasts so long, unless something is lost
SOON = timedelta(milliseconds=20)
BATCH = 20
IN_FLIGHT = 200  # runs that a hunted process has begun and not yet seen ended
LONGEST_LIFE = 150  # bodies begun and orders acknowledged until a hunted process is killed


class Status(IntEnum):
    RECEIVED = 1
    PAID = 2
    PACKED = 3
    SHIPPED = 4
    REFUSED = 5


@dataclass
class Order:
    number: int
    trail: list[str] = field(default_factory=list)


OrderRun = Run[Order, Status]


class Shop:
    """The workflow, and how far this process has come with it."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.doors = threading.Event()
        """While it is not set, payments last."""
        self.doors.set()
        self.progress = threading.Semaphore(0)
        """Released for each body begun and each order acknowledged."""
        self.workflow = Workflow(
            "orders",
            Order,
            Status,
            ends=(Status.SHIPPED, Status.REFUSED),
            retry=Retry(first=SOON, maximum=SOON),
        )
        self.workflow.add_step(Status.RECEIVED, self.pay, to=[Status.PAID, Status.REFUSED])
        self.workflow.add_step(Status.PAID, self.pack, to=[Status.PACKED])
        self.workflow.add_step(Status.PACKED, self.ship, to=[Status.SHIPPED])

    def pay(self, run: OrderRun) -> Literal[Status.PAID, Status.REFUSED]:
        self._act(run, "pay")
        self.doors.wait()
        time.sleep(self._pause())
        return Status.REFUSED if run.data.number % 20 == 0 else Status.PAID

    def pack(self, run: OrderRun) -> Literal[Status.PACKED] | Repeat:
        self._act(run, "pack")
        time.sleep(self._pause())
        if run.data.number % 7 == 0 and run.attempt == 1 and run.repeat == 0:
            raise ConnectionError("nobody is at the packing table")
        if run.data.number % 11 == 0 and run.repeat == 0:
            return Repeat(after=SOON)
        return Status.PACKED

    async def ship(self, run: OrderRun) -> Literal[Status.SHIPPED]:
        self._act(run, "ship")
        await asyncio.sleep(self._pause())
        return Status.SHIPPED

    def _act(self, run: OrderRun, what: str) -> None:
        self.progress.release()
        run.data.trail.append(what)
        say("did", run.idempotency_key, what)

    def _pause(self) -> float:
        """Seconds: mostly next to nothing, now and then several milliseconds."""
        return self._chance.expovariate(1000)


def say(*words: str) -> None:
    """In one piece, whoever else speaks, and whenever the process is killed."""
    os.write(sys.stdout.fileno(), (" ".join(words) + "\n").encode())


def open_engine(path: Path, settings: Mapping[str, object]) -> Engine:
    """As `Engine.embedded`, but that a dead process's roles are free after a second."""
    overrides = {"adapters.sql.role_lease": "1s", **settings}
    config = embedded(path, overrides=overrides, sections={"engine": EngineSettings})
    return Engine(config.build(), settings=config.section("engine", EngineSettings))


class Worker:
    """Does what it is told until its input ends, then stops in order."""

    def __init__(self, engine: Engine, shop: Shop) -> None:
        self._engine = engine
        self._shop = shop

    def obey(self) -> None:
        for line in sys.stdin:
            verb, *names = line.split()
            if verb == "begin":
                self.begin(names)
            elif verb == "settle":
                self.settle()
            elif verb == "shut":
                self._shop.doors.clear()
            else:
                self._shop.doors.set()

    def begin(self, names: Sequence[str]) -> list[str]:
        """Each name is its own idempotency key, as after a failure one begins it again."""
        triggers = [
            Trigger(name, Order(int(name.partition("-")[0])), idempotency_key=name)
            for name in names
        ]
        answers: Sequence[str | WorkflowError]
        try:
            answers = self._engine.trigger_many(self._shop.workflow, triggers)
        except AdapterUnavailableError as error:
            answers = [error] * len(names)
        begun = []
        for name, answer in zip(names, answers, strict=True):
            if isinstance(answer, str):
                begun.append(answer)
                self._shop.progress.release()
                say("began", name)
            else:
                say("refused", name, str(answer).replace("\n", " "))
        return begun

    def settle(self) -> None:
        for run_id in self._live():
            self._engine.wait_until_ended(self._shop.workflow, run_id, LONG)
        say("settled")

    def _live(self) -> Iterator[str]:
        query = RecordQuery(workflow="orders", states=[RunState.INITIATED, RunState.RUNNING])
        while True:
            page = self._engine.runs(query)
            yield from [record.run_id for record in page.items]
            if page.next is None:
                return
            query = query.replace(after=page.next)

    def begin_until_killed(self, name: str) -> None:
        in_flight: deque[str] = deque()
        for first in count(step=BATCH):
            in_flight += self.begin([f"{first + n}-{name}" for n in range(BATCH)])
            while len(in_flight) > IN_FLIGHT:
                self._engine.wait_until_ended(self._shop.workflow, in_flight.popleft(), LONG)


def ask_for_death(chance: random.Random, shop: Shop) -> None:
    """After so much progress, and then at any instruction."""
    for _ in range(chance.randint(1, LONGEST_LIFE)):
        shop.progress.acquire()
    time.sleep(chance.uniform(0, 0.02))
    say("now")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("database", type=Path)
    parser.add_argument("seed", type=int)
    parser.add_argument("--hunted", metavar="NAME", default="")
    parser.add_argument("--settings", type=json.loads, default={}, help="beyond one file: as JSON")
    options: Any = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    chance = random.Random(options.seed)
    shop = Shop(chance)
    if options.hunted and chance.random() < 0.15:  # it does not live to serve
        threading.Timer(chance.uniform(0, 0.2), say, ["now"]).start()
    elif options.hunted:
        threading.Thread(target=ask_for_death, args=(chance, shop), daemon=True).start()
    with open_engine(options.database, options.settings) as engine, engine.serving(shop.workflow):
        worker = Worker(engine, shop)
        if options.hunted:
            worker.begin_until_killed(options.hunted)
        else:
            worker.obey()


if __name__ == "__main__":
    main()
