"""A web application behind a preload: its engine is made before the workers are forked.

`SHOP_DATABASE` names the SQLite file. Each worker serves, with an engine of its own that
the server's hooks make and close, and triggers and waits with the one of the parent.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import Any, Literal

from workflow_core import Engine, Run, Workflow


class Status(IntEnum):
    ORDERED = 1
    PACKED = 2


@dataclass
class Order:
    packed_by: int = 0


orders = Workflow("orders", Order, Status, ends=(Status.PACKED,))


@orders.step(Status.ORDERED)
def pack(run: Run[Order, Status]) -> Literal[Status.PACKED]:
    run.data.packed_by = os.getpid()
    return Status.PACKED


engine = Engine.embedded(os.environ["SHOP_DATABASE"])
engine.trigger(orders, f"made by {os.getpid()}", Order())  # so that its connections are in use


def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Orders what the path names, waits until it is packed, and says by whom and for whom."""
    run_id = engine.trigger(orders, environ["PATH_INFO"], Order())
    packed = engine.wait_until_ended(orders, run_id, timedelta(seconds=30))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{packed.data.packed_by} {os.getpid()}".encode()]
