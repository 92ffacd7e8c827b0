"""The people around the shop, played by the demo: who approves, and who pays.

They know the orders and nothing of how the shop works: they see what waits for them, and call back.
So they can be stopped and started again as well, and call twice for the same order.
"""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from workflow_core import Engine, Record, RecordQuery, RunState
from workflow_core.errors import WorkflowError

from order_processing.flow import Order, Orders, Status

LOOK_EACH = 0.1  # seconds
AT_ONCE = 8
PAGE = 500


@dataclass(frozen=True)
class Line:
    """A line of the input: what is ordered, and the card that the customer will pay with."""

    order: Order
    card: str


class Customers:
    """A thread of its own; a context manager around the time in which they are there.

    Args:
        engine: what they call.
        orders: the definition.
        lines: the input; an order without a card is not paid at all.
    """

    def __init__(self, engine: Engine, orders: Orders, lines: Mapping[str, Line]) -> None:
        self._engine = engine
        self._orders = orders
        self._lines = lines
        self._gone = threading.Event()
        self._thread = threading.Thread(target=self._play, name="customers", daemon=True)

    def __enter__(self) -> "Customers":
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._gone.set()
        self._thread.join()

    def _play(self) -> None:
        with ThreadPoolExecutor(AT_ONCE) as people:
            while not self._gone.wait(LOOK_EACH):
                list(people.map(self._see_to, self._waiting()))

    def _waiting(self) -> list[Record]:
        """Some of what waits for somebody."""
        page = self._engine.runs(
            RecordQuery(
                workflow=self._orders.workflow.name,
                statuses=[Status.AWAITING_APPROVAL, Status.AWAITING_PAYMENT],
                states=[RunState.INITIATED, RunState.RUNNING],
                limit=PAGE,
            )
        )
        return list(page.items)

    def _see_to(self, record: Record) -> None:
        card = self._lines[record.foreign_id].card
        try:
            if record.status == Status.AWAITING_APPROVAL:
                self._engine.callback(self._orders.approved, record.run_id, "the manager")
            elif card:
                self._engine.callback(self._orders.paid_with, record.run_id, card)
        except WorkflowError:
            pass  # it has gone on, or the shop cannot say: they look again
