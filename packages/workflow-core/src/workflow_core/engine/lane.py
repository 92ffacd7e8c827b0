"""A lane: one pool of one workflow in this process; an item: one version of a run in hand."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from workflow_core.definition import Step, Workflow
from workflow_core.engine.transition import Identity, Transition
from workflow_core.model import Event, Record, names
from workflow_core.ports import Delivery, Receiver, Write

__all__ = ["BATCH", "FRESH", "Chunk", "Finished", "Item", "Lane", "Receipt"]

Receipt: TypeAlias = tuple[Receiver[Event], Delivery[Event]]

BATCH = 500  # most items in one look-up and in one commit
SLOW = 0.005  # seconds after which a body counts as waiting for something
FRESH = 0.05  # seconds an item may wait between its look-up and its start
LONGEST_WAIT = 30.0  # seconds that an item of a full lane may wait for its turn
_PACE_WEIGHT = 0.2  # of the newest body in the running mean


class Item:
    """One (run, version) between its event's arrival and its acknowledgement."""

    __slots__ = (
        "behind_since",
        "cancelled",
        "event",
        "lane",
        "receipts",
        "received_at",
        "safety_copy",
        "started_at",
        "suspect",
    )

    def __init__(self, lane: Lane, event: Event, receipt: Receipt, now: float) -> None:
        self.lane = lane
        self.event = event
        self.receipts = [receipt]
        self.received_at = now
        self.started_at = now
        self.behind_since: float | None = None
        self.safety_copy = ""
        self.cancelled = False
        self.suspect = receipt[1].suspect

    @property
    def key(self) -> tuple[str, int, int]:
        """What it is in hand as: an event of another status may tell of a version never kept."""
        return self.event.run_id, self.event.version, self.event.status

    @property
    def step(self) -> Step:
        """The step that its event is for."""
        return self.lane.steps[self.event.status]


class Lane:
    """What this process has in hand for one pool of a workflow, by status.

    Its fields are the window's to change, under the window's lock.
    """

    def __init__(self, workflow: Workflow[Any, Any], pool: str, identity: Identity) -> None:
        self.workflow = workflow
        self.name = names.consumer(workflow.name, pool)
        self.pool = pool
        self.steps = dict(workflow.steps)
        self.topics = [names.status_topic(workflow.name, status) for status in sorted(self.steps)]
        self.transition = Transition(workflow, self.name, identity)
        self.queues: dict[int, deque[Item]] = {status: deque() for status in self.steps}
        self.running = dict.fromkeys(self.steps, 0)
        self.pace: dict[int, float] = {}
        self.in_hand = 0
        self.to_ack: list[Receipt] = []

    def is_for_us(self, event: Event) -> bool:
        """Whether this lane is to act on the event at all."""
        return (
            event.workflow == self.workflow.name
            and event.status in self.steps
            and event.target in ("", self.name)
        )

    def free(self, step: Step) -> int:
        """How many more bodies of the step may run in this process."""
        return step.concurrency - self.running[step.status]

    def could_begin(self) -> int:
        """How many bodies could begin at once with what waits."""
        return sum(
            min(len(self.queues[status]), self.free(step)) for status, step in self.steps.items()
        )

    def take(self, step: Step) -> Chunk:
        """Of what waits for the step as much as will have begun soon; some of it does wait."""
        queue = self.queues[step.status]
        if step.is_async:
            count = bodies = min(self.free(step), len(queue), BATCH)
        else:
            pace, bodies = self.pace.get(step.status), 1
            soon = 1 if pace is None else BATCH if pace <= 0 else int(FRESH / pace)
            count = max(1, min(soon, len(queue), BATCH))
        self.running[step.status] += bodies
        return Chunk(self, step, deque(queue.popleft() for _ in range(count)))

    def excess(self, step: Step, body: float) -> list[tuple[Item, float]]:
        """Of what waits for the step, what would wait too long, and for how many seconds.

        Args:
            step: the step.
            body: seconds that one of its bodies takes.
        """
        queue = self.queues[step.status]
        turn = body / step.concurrency
        soon = len(queue) if turn <= 0 else min(len(queue), int(LONGEST_WAIT / turn))
        taken = [queue.pop() for _ in range(len(queue) - soon)]
        return [(item, number * turn) for number, item in enumerate(reversed(taken), soon)]

    def learn(self, status: int, seconds: float) -> None:
        """Keep in mind how long a body of this status takes."""
        known = self.pace.get(status)
        self.pace[status] = seconds if known is None else known + _PACE_WEIGHT * (seconds - known)


@dataclass(slots=True, eq=False)
class Chunk:
    """Some items of one step, looked up together and begun soon after.

    ``pending`` are those not begun yet: the worker takes from the left, and whoever finds that a
    body takes long takes the rest back from the right (both are atomic on a deque).
    """

    lane: Lane
    step: Step
    pending: deque[Item]
    looked_up_at: float = 0.0
    body_since: float | None = None
    """When the body now running began; None between bodies."""
    started: int = 0
    """Async bodies that were started; each ends for itself."""

    def body_age(self, now: float) -> float:
        """How long the body now running has been at it, in seconds; 0 between bodies."""
        since = self.body_since  # read once: the worker changes it without a lock
        return 0.0 if since is None else now - since

    def waits(self, now: float) -> bool:
        """Whether its body seems to wait for something; a quick one may only wait for its turn."""
        age = self.body_age(now)
        return age > FRESH or (age > SLOW and self.lane.pace.get(self.step.status, SLOW) >= SLOW)

    def take(self) -> Iterator[Item]:
        """The pending items one by one, until none is left to this chunk."""
        while True:
            try:
                yield self.pending.popleft()
            except IndexError:
                return

    def take_back(self) -> list[Item]:
        """All that has not begun, in order."""
        items: list[Item] = []
        while True:
            try:
                items.append(self.pending.pop())
            except IndexError:
                items.reverse()
                return items


@dataclass(slots=True)
class Finished:
    """An item whose outcome is known and not yet committed."""

    item: Item
    before: Record
    """The record that the write replaces."""
    write: Write
    since: float
    refused: bool = False
    """The write stands for one that the store refused for good."""
