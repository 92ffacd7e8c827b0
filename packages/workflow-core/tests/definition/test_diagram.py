"""The diagram of a definition."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Literal

from workflow_core.definition import Repeat, Retry, Run, Skip, Workflow


class Status(IntEnum):
    CREATED = 1
    WAITING = 2
    PAID = 3
    REFUSED = 4
    RETIRED = 5


@dataclass
class Order:
    total: int = 0


OrderRun = Run[Order, Status]


def orders() -> Workflow[Order, Status]:
    made = Workflow("orders", Order, Status, ends=(Status.PAID, Status.REFUSED))

    @made.step(Status.CREATED, retry=Retry(then=Status.REFUSED))
    def check(run: OrderRun) -> Literal[Status.WAITING, Status.REFUSED] | Repeat:
        return Status.WAITING

    @made.callback(Status.WAITING)
    def paid(run: OrderRun) -> Literal[Status.PAID] | Skip:
        return Status.PAID

    @made.timeout(Status.WAITING, after=timedelta(days=1, minutes=90, seconds=0.5))
    def give_up(run: OrderRun) -> Literal[Status.REFUSED]:
        return Status.REFUSED

    def noon(run: OrderRun, entered_at: datetime) -> datetime | None:
        return None

    @made.timeout(Status.WAITING, fires_at=noon, name='"noon" <b>|#`\n1')
    def at_noon(run: OrderRun) -> Literal[Status.WAITING]:
        return Status.WAITING

    return made


def test_steps_callbacks_and_timers_are_told_apart() -> None:
    """Seen to fail with one arrow for all, and without the escapes."""
    assert (
        orders().diagram()
        == """\
flowchart TD
    s1[["CREATED"]]
    s2["WAITING"]
    s3(["PAID"])
    s4(["REFUSED"])
    s1 -->|"check"| s2
    s1 -->|"check"| s4
    s1 -->|"check, again"| s1
    s2 -.->|"callback paid"| s3
    s2 ==>|"timeout give_up after 1 d 1 h 30 min 0.5 s"| s4
    s2 ==>|"timeout #quot;noon#quot; #lt;b#gt;#124;#35;#96; 1"| s2
"""
    )


def test_diagram_is_the_same_before_and_after_the_check() -> None:
    drawn = orders()
    before = drawn.diagram()
    drawn.check()
    assert drawn.diagram() == before


def test_every_named_start_is_drawn_as_one_and_generated_steps_without_directives() -> None:
    made = Workflow(
        "generated",
        Order,
        Status,
        ends=(Status.PAID,),
        starts=(Status.WAITING, Status.CREATED),
    )
    made.add_step(Status.CREATED, lambda run: Status.WAITING, to=[Status.WAITING])
    made.add_step(Status.WAITING, lambda run: Status.PAID, to=[Status.PAID])
    assert (
        made.diagram()
        == """\
flowchart TD
    s1[["CREATED"]]
    s2[["WAITING"]]
    s3(["PAID"])
    s1 -->|"#lt;lambda#gt;"| s2
    s2 -->|"#lt;lambda#gt;"| s3
"""
    )
