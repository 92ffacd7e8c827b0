"""A process that is fed from a file, an event a line, and keeps its runs in one SQLite file.

It says `asked LINE` when its connector is given an event, the moment at which to kill it, and
`told RUN` when its hook is told of a completed run. What was acked stands in a file beside the
stream.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from pathlib import Path
from typing import Literal

from workflow_core import ConnectorEvent, Engine, Retry, Run, RunView, Trigger, Workflow
from workflow_core.discovery import embedded
from workflow_core.errors import ClosedError
from workflow_core.ports import ConnectorSource, Delivery, Receiver, Shards

SOON = timedelta(milliseconds=20)


class Status(IntEnum):
    RECEIVED = 1
    DONE = 2


@dataclass
class Order:
    line: str


class FileSource(ConnectorSource):
    """The lines of a file: their numbers are their ids."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def new_receiver(self, name: str, *, shards: Shards | None = None) -> Receiver[ConnectorEvent]:
        assert shards is not None
        return FileReceiver(self._path, self._path.with_name(name), shards)


class FileReceiver(Receiver[ConnectorEvent]):
    def __init__(self, path: Path, acked: Path, shards: Shards) -> None:
        self._lines = path.read_text(encoding="utf-8").splitlines()
        self._acked = os.open(acked, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        done = {int(number) for number in acked.read_text(encoding="ascii").split()}
        self._rest = [
            number
            for number in reversed(range(len(self._lines)))
            if number not in done and number % shards.count in shards.held
        ]
        self._is_closed = False

    def recv(self, timeout: timedelta) -> Delivery[ConnectorEvent] | None:
        if self._is_closed:
            raise ClosedError("closed")
        if not self._rest:
            time.sleep(timeout.total_seconds())
            return None
        number = self._rest.pop()
        line = self._lines[number]
        event = ConnectorEvent(id=str(number), key=line, value=line.encode())
        return Delivery(event=event, receipt=number)

    def ack(self, deliveries: Sequence[Delivery[ConnectorEvent]]) -> None:
        # in one piece, so that a death tears no number in two
        os.write(self._acked, "".join(f"{each.receipt}\n" for each in deliveries).encode())

    def close(self) -> None:
        self._is_closed = True


orders = Workflow(
    "orders",
    Order,
    Status,
    ends=(Status.DONE,),
    retry=Retry(first=SOON, maximum=SOON, pause_after=3),
)


@orders.step(Status.RECEIVED)
def receive(run: Run[Order, Status]) -> Literal[Status.DONE]:
    return Status.DONE


@orders.connector("file", parallel=4)
def read(event: ConnectorEvent) -> Trigger[Order]:
    line = event.value.decode()
    say("asked", line)
    time.sleep(0.002)
    if line.startswith("poison"):
        raise ValueError("it is poison")
    return Trigger(line, Order(line))


@orders.on_complete()
def tell(run: RunView[Order, Status]) -> None:
    say("told", run.run_id)


def say(*words: str) -> None:
    """In one piece, whoever else speaks, and whenever the process is killed."""
    os.write(sys.stdout.fileno(), (" ".join(words) + "\n").encode())


def main() -> None:
    database, stream = map(Path, sys.argv[1:])
    config = embedded(database, overrides={"adapters.sql.role_lease": "1s"})
    sources = {"file": FileSource(stream)}
    with Engine(config.build(), connectors=sources) as engine, engine.serving(orders):
        sys.stdin.read()


if __name__ == "__main__":
    main()
