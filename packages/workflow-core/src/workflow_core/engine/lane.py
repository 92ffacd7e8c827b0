"""A lane: one pool of one workflow in this process; an item: one version of a run in hand."""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from workflow_core.definition import CancelReason, Step, Workflow
from workflow_core.engine.observed_bodies import observed, process_of
from workflow_core.engine.observers import Observers
from workflow_core.engine.pools import Pool
from workflow_core.engine.suspicion import Suspicion, suspected, suspicion_of
from workflow_core.engine.transition import AutoResume, Identity, Transition
from workflow_core.model import AttemptFailed, Event, EventKind, Record, WorkKind, names
from workflow_core.ports import Delivery, Receiver, Write

__all__ = ["BATCH", "FRESH", "Chunk", "Finished", "Item", "Lane", "Pace", "Reading", "Receipt"]

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
        "body",
        "counted",
        "event",
        "lane",
        "lost_transactions",
        "moved_on",
        "receipts",
        "received_at",
        "receiver",
        "record",
        "safety_copy",
        "started_at",
        "timed_out",
    )

    def __init__(self, lane: Lane, event: Event, receiver: Receiver[Event], now: float) -> None:
        self.lane = lane
        self.event = event
        self.receiver: Receiver[Event] | None = receiver
        """Through which its shard is read; None: a durable copy drives it, and no shard waits."""
        self.receipts: tuple[Receipt, ...] = ()
        """Of its event; none: it has gone onward here, and its event has not arrived yet."""
        self.received_at = now
        self.started_at = now
        self.behind_since: float | None = None
        self.safety_copy = ""
        self.moved_on = False
        """The run is at another version, or gone."""
        self.timed_out = False
        """Its body has exceeded the step's timeout, and its attempt has failed."""
        self.record: Record | None = None
        """The run as its body was begun with."""
        self.body: Coroutine[Any, Any, object] | None = None
        """The body, where it is an async one."""
        self.lost_transactions = 0
        self.counted: Record | None = None
        """The run as written before its body began, but for the attempt that this counted."""

    @property
    def key(self) -> tuple[str, int, int]:
        """What it is in hand as: an event of another status may tell of a version never kept."""
        return self.event.run_id, self.event.version, self.event.status

    def deliver(self, receipt: Receipt) -> None:
        """It was handed out (again), perhaps by a process that did not come back."""
        self.receipts += (receipt,)
        delivery = receipt[1]
        if delivery.suspect or suspicion_of(delivery.event):
            self.event = suspected(self.event, suspicion_of(delivery.event) or Suspicion.HELD)

    @property
    def must_be_alone(self) -> bool:
        """Whether a process has died when its body was about to begin, or had begun."""
        known = suspicion_of(self.event)
        return known is not None and known is not Suspicion.HELD and self.counted is None

    @property
    def cancelled(self) -> CancelReason | None:
        """Why the answer of its body is no longer wanted; None: it is."""
        if self.timed_out:
            return CancelReason.TIMED_OUT
        return CancelReason.MOVED_ON if self.moved_on else None

    @property
    def step(self) -> Step:
        """The step that its event is for."""
        return self.lane.steps[self.event.status]

    @property
    def told(self) -> str:
        """Its name, for people."""
        return f"{self.lane.workflow.name}: step {self.step.name} of run {self.event.run_id}"


class Reading(NamedTuple):
    """How a lane's shards are read.

    Attributes:
        receiver: through which.
        since: when that began, by the monotonic clock: by then all who held one of the shards had
            finished what they had begun, and nobody else has begun anything since.
    """

    receiver: Receiver[Event]
    since: float


class Lane:
    """What this process has in hand for one pool of a workflow, by status.

    Its fields are the window's to change, under the window's lock.
    """

    def __init__(
        self,
        workflow: Workflow[Any, Any],
        pool: Pool,
        identity: Identity,
        auto_resume: AutoResume = AutoResume(),  # noqa: B008 - frozen
        observers: Observers | None = None,
    ) -> None:
        self.auto_resume = auto_resume
        self.observers = observers
        self.workflow = workflow
        self.name = names.consumer(workflow.name, pool.name)
        self.pool = pool.name
        self.steps = {s: step for s, step in workflow.steps.items() if pool.has(workflow, s)}
        if observers is not None:
            self.steps = {s: observed(observers, workflow, it) for s, it in self.steps.items()}
        self._timed = {it.status for it in workflow.timeouts if pool.has(workflow, it.status)}
        self.statuses = sorted(self._timed.union(self.steps))
        """Those that it reads: of a timer without a step too, to arm it."""
        self.topics = [names.status_topic(workflow.name, status) for status in self.statuses]
        self.transition = Transition(workflow, self.name, identity, auto_resume)
        self.queues: dict[int, deque[Item]] = {status: deque() for status in self.steps}
        self.running = dict.fromkeys(self.steps, 0)
        self.pace: dict[int, float] = {}
        self.in_hand = 0
        self.at = dict.fromkeys(self.steps, 0)
        """How many of those are at each status."""
        self.slots = {s: 0 for s, step in self.steps.items() if step.at_most is not None}
        """How many bodies of a step that is limited over all processes may run in this one."""
        self.is_stopping = False
        self.reading: Reading | None = None
        """Of shards that are roles; None: of others, or about to change."""
        self.to_ack: list[Receipt] = []

    @property
    def is_main(self) -> bool:
        """Whether it sees to what is the whole workflow's, not a status's."""
        return self.pool == names.MAIN_POOL

    def is_for_us(self, event: Event) -> bool:
        """Whether this lane is to act on the event at all."""
        return (
            event.workflow == self.workflow.name
            and event.status in self.steps
            # of whichever pool that the status was in when the event was filed
            and (not event.target or names.is_steps_consumer(self.workflow.name, event.target))
        )

    def may_go_onward(self, event: Event) -> bool:
        """Whether its step may begin before the event arrives (`onward`)."""
        waits = self.reading is None or event.status in self._timed
        return not waits and self.is_for_us(event)

    def process_of(self, step: Step) -> str:
        """What metrics call the step."""
        return process_of(self.workflow, step)

    def changed(self, before: Record, write: Write) -> None:
        """Tell observers of a run that was written, where its state has changed."""
        if self.observers is not None:
            self.observers.changed(before.workflow, before.state, write.record.state)

    def attempt_failed(self, step: Step, error: BaseException, write: Write) -> None:
        """Tell observers of a failed attempt, and what `write` makes of it."""
        if self.observers is not None:
            self.observers.tell(
                AttemptFailed(
                    kind=WorkKind.STEP,
                    workflow=self.workflow.name,
                    process=self.process_of(step),
                    error=type(error).__name__,
                    is_last=all(it.event.kind is not EventKind.RETRY for it in write.events),
                )
            )

    def free(self, step: Step) -> int:
        """How many more bodies of the step may run in this process."""
        most = min(step.concurrency, self.slots.get(step.status, step.concurrency))
        return most - self.running[step.status]

    def is_quick(self, step: Step) -> bool:
        """Whether its bodies are known to compute rather than to wait for something."""
        waits = step.is_async or step.transaction
        return not waits and self.pace.get(step.status, SLOW) < SLOW

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

    def take_alone(self, item: Item) -> Chunk:
        """One item, to be begun while nothing else is."""
        self.running[item.event.status] += 1
        return Chunk(self, item.step, deque([item]), suspect=item)

    def excess(self, paces: Mapping[int, Pace]) -> list[tuple[Item, float]]:
        """Of what waits for these statuses, what would wait too long, and for how many seconds."""
        return [
            each
            for status, pace in paces.items()
            for each in self._excess(self.steps[status], pace)
        ]

    def _excess(self, step: Step, pace: Pace) -> list[tuple[Item, float]]:
        queue = self.queues[step.status]
        turn = pace.body / step.concurrency
        soon = len(queue) if turn <= 0 else min(len(queue), int(LONGEST_WAIT / turn))
        taken = [queue.pop() for _ in range(len(queue) - soon)]
        waits = (min(number * turn, pace.horizon) for number in range(soon, soon + len(taken)))
        return list(zip(reversed(taken), waits, strict=True))

    def learn(self, status: int, seconds: float) -> None:
        """Keep in mind how long a body of this status takes."""
        known = self.pace.get(status)
        self.pace[status] = seconds if known is None else known + _PACE_WEIGHT * (seconds - known)


class Pace(NamedTuple):
    """How long a step's bodies take, in seconds.

    Attributes:
        body: each of them.
        horizon: how far ahead that may be reckoned with.
    """

    body: float
    horizon: float


@dataclass(slots=True, eq=False)
class Chunk:
    """Some items of one step, looked up together and begun soon after.

    ``pending`` are those not begun yet: the worker takes from the left, and whoever finds that a
    body takes long takes the rest back from the right (both are atomic on a deque).
    """

    lane: Lane
    step: Step
    pending: deque[Item]
    claimed_at: float = 0.0
    looked_up_at: float = 0.0
    body_since: float | None = None
    """When the body now running began; None between bodies."""
    started: int = 0
    """Async bodies that were started; each ends for itself."""
    suspect: Item | None = None
    """What is to be begun alone; the chunk has nothing else."""

    @property
    def is_alone(self) -> bool:
        """Whether it is one suspect, to be begun alone."""
        return self.suspect is not None

    def body_age(self, now: float) -> float:
        """How long the body now running has been at it, in seconds; 0 between bodies."""
        since = self.body_since  # read once: the worker changes it without a lock
        return 0.0 if since is None else now - since

    def waits(self, now: float) -> bool:
        """Whether its body seems to wait for something; a quick one may only wait for its turn."""
        age = self.body_age(now)
        return age > FRESH or (age > SLOW and not self.lane.is_quick(self.step))

    def computes(self, now: float) -> bool:
        """Whether its worker seems to be busy with quick bodies."""
        since = max(self.body_since or 0.0, self.looked_up_at, self.claimed_at)
        return self.lane.is_quick(self.step) and now - since <= FRESH

    def take(self) -> Iterator[Item]:
        """The pending items one by one, until none is left to this chunk."""
        while True:
            try:
                yield self.pending.popleft()
            except IndexError:
                return

    def leave_out(self, item: Item) -> None:
        """It is not to begin, if it has not been taken back already."""
        with suppress(ValueError):
            self.pending.remove(item)

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
