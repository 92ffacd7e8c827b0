"""The workflow that is measured: created → paid → packed → shipped, three trivial steps."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from workflow_core import Run, Workflow


class Status(IntEnum):
    CREATED = 1
    PAID = 2
    PACKED = 3
    SHIPPED = 4


@dataclass
class Order:
    total: int
    note: str = ""


OrderRun = Run[Order, Status]

orders = Workflow("benchmark", Order, Status, ends=(Status.SHIPPED,))

STEPS = 3


@orders.step(Status.CREATED)
def pay(run: OrderRun) -> Literal[Status.PAID]:
    return Status.PAID


@orders.step(Status.PAID)
def pack(run: OrderRun) -> Literal[Status.PACKED]:
    run.data.note = "packed"
    return Status.PACKED


@orders.step(Status.PACKED)
def ship(run: OrderRun) -> Literal[Status.SHIPPED]:
    return Status.SHIPPED
