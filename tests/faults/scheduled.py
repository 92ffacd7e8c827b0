"""A process that serves a schedule on one SQLite file, until it is killed or its input ends.

It says a line each time that its function is asked for a tick: the moment at which to kill it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Literal

from workflow_core import Engine, Missed, Run, Trigger, Workflow
from workflow_core.discovery import embedded


class Status(IntEnum):
    BEGUN = 1
    DONE = 2


@dataclass
class Report:
    tick: str


reports = Workflow("reports", Report, Status, ends=(Status.DONE,))


@reports.step(Status.BEGUN)
def write(run: Run[Report, Status]) -> Literal[Status.DONE]:
    return Status.DONE


@reports.schedule("each second", every=timedelta(seconds=1), missed=Missed.RUN_ALL)
def each_second(tick: datetime) -> Trigger[Report]:
    print("asked", flush=True)
    return Trigger(tick.isoformat(), Report(tick.isoformat()))


def main() -> None:
    # a dead process's role is free soon, so that the test need not wait for it
    config = embedded(sys.argv[1], overrides={"adapters.sql.role_lease": timedelta(seconds=1)})
    with Engine(config.build()) as engine, engine.serving(reports):
        sys.stdin.read()


if __name__ == "__main__":
    main()
