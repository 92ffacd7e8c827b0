"""The workflow that is measured: created → paid → packed → shipped, three trivial steps."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
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

begun: list[float] = []
"""When the steps of the one run that is traced began, by the clock that measures."""
_traced = threading.Event()


@contextmanager
def traced() -> Iterator[list[float]]:
    """Note when steps begin; a burst of a million runs would note too much."""
    _traced.set()
    try:
        yield begun
    finally:
        _traced.clear()


def _begin() -> None:
    if _traced.is_set():
        begun.append(time.perf_counter())


@orders.step(Status.CREATED)
def pay(run: OrderRun) -> Literal[Status.PAID]:
    _begin()
    return Status.PAID


@orders.step(Status.PAID)
def pack(run: OrderRun) -> Literal[Status.PACKED]:
    _begin()
    run.data.note = "packed"
    return Status.PACKED


@orders.step(Status.PACKED)
def ship(run: OrderRun) -> Literal[Status.SHIPPED]:
    _begin()
    return Status.SHIPPED
