"""Measures how late a thousand timers fire that are all due at the same moment.

Late is counted from the moment that the timer's `fires_at` answered, twice: "called" until the
timer's function is called, which the aim is for (20 ms for half of them, 100 ms for 99 of 100), and
"committed" until the time of the transition that it answers, by the store's clock.

python -m timers memory
python -m timers sqlite --timers 1000 --rounds 3
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from pathlib import Path
from typing import Literal

from workflow_core import Engine, Record, RecordQuery, Run, RunState, Trigger, Workflow
from workflow_ctl.tuning import tuned

HEAD_START = timedelta(seconds=3)  # to trigger and arm them all before the first is due


class Status(IntEnum):
    WAITING = 1
    DONE = 2


@dataclass
class Appointment:
    at: datetime


flow = Workflow("timers", Appointment, Status, ends=(Status.DONE,))
called: list[float] = []


def when(run: Run[Appointment, Status], now: datetime) -> datetime:
    return run.data.at


@flow.timeout(Status.WAITING, fires_at=when)
def fire(run: Run[Appointment, Status]) -> Literal[Status.DONE]:
    called.append((datetime.now(UTC) - run.data.at).total_seconds())
    return Status.DONE


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/benchmark timers", description=__doc__)
    parser.add_argument("store", choices=["memory", "sqlite"])
    parser.add_argument("--timers", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engine = stack.enter_context(
            Engine.in_memory() if options.store == "memory" else Engine.embedded(folder / "b.db")
        )
        stack.enter_context(engine.serving(flow))
        stack.enter_context(tuned())
        floors = stack.enter_context(Sleeper())
        for number in range(options.rounds):
            report(engine, number, options.timers, floors)


def report(engine: Engine, number: int, timers: int, sleeper: "Sleeper") -> None:
    called.clear()
    at = datetime.now(UTC) + HEAD_START
    cpu = time.process_time()
    answers = engine.trigger_many(
        flow, [Trigger(f"{number}/{n}", Appointment(at)) for n in range(timers)]
    )
    floor = sleeper.late_for(at)
    for answer in answers:
        engine.wait_for(flow, str(answer), Status.DONE, timedelta(minutes=5))
    cpu = time.process_time() - cpu
    moved = [(record.entered_at - at).total_seconds() for record in ended(engine, number)]
    print(f"called    {shown(called)}")
    print(f"committed {shown(moved)}")
    print(f"          floor, one thread that sleeps until then: {floor * 1000:.1f} ms late")
    print(f"          {cpu / timers * 1e6:,.0f} µs of CPU a run: trigger, arm, fire, wait")


class Sleeper:
    """The floor: a thread that has nothing to do but to wake at a time."""

    def __enter__(self) -> "Sleeper":
        return self

    def __exit__(self, *failure: object) -> None:
        """Nothing is kept."""

    def late_for(self, at: datetime) -> float:
        late: list[float] = []

        def sleep() -> None:
            time.sleep(max(0.0, (at - datetime.now(UTC)).total_seconds()))
            late.append((datetime.now(UTC) - at).total_seconds())

        thread = threading.Thread(target=sleep)
        thread.start()
        thread.join()
        return late[0]


def ended(engine: Engine, number: int) -> list[Record]:
    records: list[Record] = []
    query = RecordQuery(workflow=flow.name, states=[RunState.COMPLETED], limit=1000)
    while True:
        page = engine.runs(query)
        records += [r for r in page.items if r.foreign_id.startswith(f"{number}/")]
        if page.next is None:
            return records
        query = query.replace(after=page.next)


def shown(late: Sequence[float]) -> str:
    ordered = sorted(late)
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "most": 1.0}
    told = "  ".join(
        f"{name} {ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000:.1f}"
        for name, share in shares.items()
    )
    return f"{len(ordered):,} timers, ms late: {told}"


if __name__ == "__main__":
    main()
