"""Deadlines: what exceeds its step's timeout is a failed attempt, and its late answer is void.

An async body is cancelled. A plain function cannot be: it sees ``run.cancelled``, and is left to
itself otherwise. The failed attempt is a write like any other, so its version voids the answer,
wherever that comes from; in this process the answer is dropped at once. While a body that was given
up has not returned, no other of its run is begun here: the attempt that was to begin is counted as
failed as well, so that a run whose body never returns is paused in the end.
"""

from __future__ import annotations

import logging

from workflow_core.engine.bodies import AsyncBodies
from workflow_core.engine.lane import Item
from workflow_core.engine.transition import Failure
from workflow_core.engine.window import Window
from workflow_core.errors import StepTimeoutError
from workflow_core.model import Record
from workflow_core.ports import Clock

__all__ = ["Deadlines"]

logger = logging.getLogger("workflow_core.engine")


class Deadlines:
    """Any thread.

    Args:
        window: what runs.
        clock: by its monotonic side.
        bodies: where async bodies run.
    """

    def __init__(self, window: Window, clock: Clock, bodies: AsyncBodies) -> None:
        self._window = window
        self._clock = clock
        self._bodies = bodies

    def rest(self) -> float:
        """Seconds until the next body exceeds its timeout."""
        due = self._window.next_overdue()
        return float("inf") if due is None else max(0.0, due - self._clock.monotonic())

    def give_up_overdue(self) -> bool:
        """Give up what has exceeded its timeout; answers whether anything had."""
        overdue = self._window.give_up_overdue()
        for item in overdue:
            step = item.step
            how = "was cancelled" if step.is_async else "is left to itself: no thread can be ended"
            self._fail(
                item,
                item.record,
                StepTimeoutError(f"{step.name} ran for more than its {step.timeout}, and {how}"),
            )
            if item.body is not None:
                self._bodies.cancel(item.body)
        return bool(overdue)

    def refuses(self, item: Item, record: Record) -> bool:
        """Whether the item has failed since a body of its run, given up before, runs here still."""
        late = self._window.late(record.run_id)
        if late is None:
            return False
        age = self._clock.monotonic() - late.started_at
        self._fail(
            item,
            record,
            StepTimeoutError(
                f"a body of {late.step.name} that was given up has run for {age:.0f} s here",
                hint="Let it look at run.cancelled, and give what it waits for a limit",
            ),
        )
        return True

    def _fail(self, item: Item, record: Record | None, error: StepTimeoutError) -> None:
        assert record is not None
        logger.warning("run %s, attempt %d: %s", record.run_id, record.attempts + 1, error)
        write = item.lane.transition.failed(record, Failure.of(error), item.step)
        item.lane.attempt_failed(item.step, error, write)
        self._window.finish(item, record, write)
