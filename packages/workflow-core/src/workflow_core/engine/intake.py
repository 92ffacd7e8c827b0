"""The intake: receives what hooks and connectors are to handle, and acks what is done.

What was delivered is acked when all that is to be done about it is done, or is kept durably as a
letter that comes back by itself (`letters`). So nothing is lost and nothing holds up what is behind
it, whatever dies when. A body may run again after a crash; it is then told the same.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Generic, TypeVar

from workflow_core.engine.core import Core
from workflow_core.engine.desk import Desk, Outlet, Parcel, Task
from workflow_core.engine.letters import Letters, retry_event
from workflow_core.engine.listening import Listening
from workflow_core.engine.observed_tasks import tell_failed, tell_kept
from workflow_core.engine.process import Process
from workflow_core.engine.receivers import Receivers, ack_all
from workflow_core.engine.transition import Failure
from workflow_core.errors import VersionConflictError, WorkflowError
from workflow_core.model import Record
from workflow_core.ports import Delivery, Receiver, Shards, Write

__all__ = ["Intake"]

logger = logging.getLogger("workflow_core.engine")

T = TypeVar("T")

_ROOM = 1000  # parcels in hand
_BATCH = 500
_KEEP = 100  # of an outlet's tasks in hand, where there is no room for others
_LATER = timedelta(seconds=30)  # when what had no room is looked at again
_REMEMBERED = 10_000  # parcels that were done lately: what comes doubled comes soon
_WHILE_BUSY = timedelta(milliseconds=50)
_FRUITLESS = 20  # polls after which bodies take long, and the stream is asked less often
_AT_ONCE = timedelta(0)
_OVERDUE = timedelta(minutes=5)  # after which a body that still runs may never return


class Intake(Process, Generic[T]):
    """One stream of events, and the desk that they are handled at.

    Args:
        name: of the process.
        core: the engine's.
        open_one: opens a receiver.
        shards: their number, or None where the stream balances its members itself.
        desk: where bodies run.
        outlets: whose they are, by target.
        lag: as for a `Listening`; None: never known.

    Attributes:
        shards: as above.
        listening: how it receives.
    """

    def __init__(
        self,
        name: str,
        core: Core,
        *,
        open_one: Callable[[Shards | None], Receiver[T]],
        shards: int | None,
        desk: Desk,
        outlets: Mapping[str, Outlet],
        lag: Callable[[], timedelta | None] | None = None,
    ) -> None:
        self.name = name
        self.shards = shards
        self.listening = Listening(name, core.clock, lag)
        self._receivers = Receivers(open_one, shards=shards)
        self._core = core
        self._outlets = outlets
        self._letters = Letters(core.identity)
        self._desk = desk
        self._in_hand: dict[str, Parcel[T]] = {}
        self._unopened: list[tuple[Parcel[T], T]] = []
        self._lately: OrderedDict[str, None] = OrderedDict()
        self._to_ack: list[tuple[Receiver[T], Delivery[T]]] = []
        self._closing = False
        self._in_vain = False  # at its last poll it listened, and there was nothing
        self._fruitless = 0

    # -- to be told by each kind ---------------------------------------------------------------

    @abstractmethod
    def _identify(self, event: T) -> str:
        """What tells this piece of work from all others; the same when it is delivered again."""

    def _may_come_doubled(self, event: T) -> bool:
        """Whether a second delivery, soon after the first was done, is a mere double."""
        return True

    @abstractmethod
    def _tasks(self, parcels: Sequence[tuple[Parcel[T], T]]) -> list[Task]:
        """What is to be done about them.

        Raises:
            AdapterUnavailableError: no answer; they are looked at again.
        """

    # -- a process -----------------------------------------------------------------------------

    def poll(self, wait: timedelta) -> bool:
        """Commit and ack what is done, then receive one batch."""
        opened = self._receivers.follow()
        passed = self._pass_overdue()
        concluded = self._conclude()
        acked = self._ack()
        self._receivers.close_retired(r for p in self._in_hand.values() for r, _ in p.receipts)
        received = self._receive(wait)
        self._receivers.note(self.listening, in_vain=self._in_vain)
        return received or opened or concluded or acked or passed

    def wake(self) -> None:
        """End a wait for shards."""
        self._receivers.wake()

    # -- shards: any thread --------------------------------------------------------------------

    def hold(self, index: int) -> None:
        """Read this shard too."""
        self._receivers.hold(index)

    def let_go(self, index: int) -> None:
        """Read this shard no more."""
        self._receivers.let_go(index)

    def is_free_of(self, index: int) -> bool:
        """Whether nothing of a shard that was let go is in hand any more."""
        return self._receivers.is_free_of(index)

    @property
    def is_reading(self) -> bool:
        """Whether its place in the stream is fixed."""
        return self._receivers.current is not None

    # -- stop ----------------------------------------------------------------------------------

    def close_entrance(self) -> None:
        """Receive and begin nothing more."""
        self._closing = True
        self._desk.close_entrance()

    @property
    def is_idle(self) -> bool:
        """After `close_entrance`: whether all that was begun is committed."""
        return self._desk.is_idle

    def await_progress(self, wait: timedelta) -> None:
        """Wait a little for something to end; any thread."""
        self._desk.await_finished(wait)

    def unfinished(self) -> list[str]:
        """What still runs, by name."""
        return [f"{task.told} of {task.about}" for task in self._desk.executing()]

    def close(self) -> None:
        """Commit and ack what is done and close all receivers; after its thread has ended."""
        try:
            self._conclude()
            self._ack()
        finally:
            self._receivers.close()

    def _pass_overdue(self) -> bool:
        """What hangs, and what waits behind it, is kept as letters: no cursor waits for it."""
        overdue = self._desk.overdue(_OVERDUE)
        if overdue:
            writes = [self._hangs(task, task.letter) for task in overdue]
            kept = {w.record.run_id: (t, w) for t, w in zip(overdue, writes, strict=True)}
            lost = self._keep(kept)
            for task, write in zip(overdue, writes, strict=True):
                if task not in lost:
                    task.letter = write.record  # where its end is noted, should it come
                    task.is_kept = True
                    self._done(task)
        stuck = self._desk.take_stuck()
        if stuck:
            self._put_off(stuck, _OVERDUE)
        return bool(overdue or stuck)

    def _hangs(self, task: Task, letter: Record | None) -> Write:
        """What its letter says from now on, and the log."""
        origin, retry = task.outlet.origin, task.outlet.retry
        write = self._letters.hangs(letter, origin, task.cause, retry)
        logger.log(
            logging.WARNING if write.events else logging.ERROR,
            "%s of %s has run for %d minutes and not returned: letter %s %s",
            task.told,
            task.about,
            (self._core.clock.monotonic() - task.started_at) // 60,
            write.record.run_id,
            "stands for it, to be tried again in an hour" if write.events else "is set aside",
            extra=task.fields,
        )
        return write

    # -- receiving -----------------------------------------------------------------------------

    def _receive(self, wait: timedelta) -> bool:
        self._in_vain = False
        if self._unopened:
            self._open_parcels()
            return True
        if (receiver := self._receivers.current) is None or self._closing:
            self._receivers.await_shards(wait)
            return False
        room = _ROOM - len(self._in_hand)
        if room <= 0:
            return self._await_room(wait)
        is_busy = self._fruitless < _FRUITLESS and (
            bool(self._in_hand) or self._receivers.are_retiring
        )
        deliveries = receiver.recv_many(min(room, _BATCH), _AT_ONCE if is_busy else wait)
        self._in_vain = not (deliveries or self._in_hand)
        for delivery in deliveries:
            self._take_in(receiver, delivery)
        self._open_parcels()
        worked = bool(deliveries)
        if is_busy and not deliveries:
            worked = self._desk.await_finished(min(wait, _WHILE_BUSY))
        self._fruitless = 0 if worked else self._fruitless + 1
        return worked

    def _take_in(self, receiver: Receiver[T], delivery: Delivery[T]) -> None:
        identity = self._identify(delivery.event)
        known = self._in_hand.get(identity)
        if known is not None:
            known.receipts.append((receiver, delivery))
        elif identity in self._lately:
            self._to_ack.append((receiver, delivery))
        else:
            doubles = self._may_come_doubled(delivery.event)
            parcel = Parcel(identity, [(receiver, delivery)], doubles)
            self._in_hand[identity] = parcel
            self._unopened.append((parcel, delivery.event))

    def _open_parcels(self) -> None:
        """Find out what is to be done about what has come, and begin it."""
        if not self._unopened:
            return
        tasks = self._tasks(self._unopened)
        for task in tasks:
            task.parcel.open_tasks += 1
        for parcel, _ in self._unopened:
            if not parcel.open_tasks:
                self._settle(parcel)
        self._unopened = []
        self._desk.admit(tasks)

    def _await_room(self, wait: timedelta) -> bool:
        """What is in hand ends by and by; where nothing does, somebody hangs."""
        if self._desk.await_finished(min(wait, _WHILE_BUSY)):
            self._fruitless = 0
            return True
        self._fruitless += 1
        if self._fruitless < _FRUITLESS:
            return False
        self._fruitless = 0
        return self._make_room()

    def _make_room(self) -> bool:
        """No outlet may keep the others from their work: its backlog comes again later."""
        excess = self._desk.take_excess(_KEEP) if len(self._outlets) > 1 else []
        if excess:
            self._put_off(excess, _LATER)
        return bool(excess)

    def _put_off(self, tasks: Sequence[Task], delay: timedelta) -> None:
        """They come again as letters, though nothing has failed."""
        try:
            self._core.journal.file(
                [
                    retry_event(task.letter, task.outlet.origin, self._core.identity, delay)
                    for task in tasks
                    if task.letter is not None
                ]
            )
            self._keep(
                {
                    write.record.run_id: (task, write)
                    for task in tasks
                    if task.letter is None
                    for write in [self._letters.put_off(task.outlet.origin, task.cause, delay)]
                }
            )
        except BaseException:
            self._desk.admit(tasks)
            raise
        for task in tasks:
            self._done(task)

    # -- done ----------------------------------------------------------------------------------

    def _conclude(self) -> bool:
        """Commit what has ended, and keep what has failed."""
        finished = self._desk.take_finished()
        if not finished:
            return False
        try:
            self._commit_answers(finished)
            writes: dict[str, tuple[Task, Write]] = {}
            for task in finished:
                write = self._outcome(task)
                if write is not None:  # one write per letter: whose comes later finds it changed
                    writes.setdefault(write.record.run_id, (task, write))
            lost = self._keep(writes)
        except BaseException:
            self._desk.give_back(finished)
            raise
        for task in finished:
            if task not in lost and not task.is_kept:
                self._done(task)
        return True

    def _commit_answers(self, finished: Sequence[Task]) -> None:
        by_outlet: dict[Outlet, list[Task]] = defaultdict(list)
        for task in finished:
            if task.error is None:
                by_outlet[task.outlet].append(task)
        for outlet, tasks in by_outlet.items():
            outlet.commit(tasks)

    def _outcome(self, task: Task) -> Write | None:
        """What is to be written about how it ended; None: nothing, it went well at once."""
        origin, letter = task.outlet.origin, task.letter
        if task.error is None:
            return None if letter is None else self._letters.handled(letter, origin)
        failure = Failure.of(task.error)
        if letter is None:
            write = self._letters.failed(origin, task.cause, failure, task.outlet.retry)
        else:
            write = self._letters.failed_again(letter, origin, failure, task.outlet.retry)
        gave_up = not write.events
        if self._core.observers is not None:
            tell_failed(self._core.observers, task, gave_up=gave_up)
        logger.log(
            logging.ERROR if gave_up else logging.WARNING,
            "%s failed on attempt %d for %s%s: %s",
            task.told,
            write.record.attempts,
            task.about,
            f", set aside as dead letter {write.record.run_id}" if gave_up else "",
            failure.text,
            exc_info=task.error,
            extra={**task.fields, "attempt": write.record.attempts},
        )
        return write

    def _keep(self, writes: Mapping[str, tuple[Task, Write]]) -> set[Task]:
        """Commit them; answers the tasks of which the store will keep nothing at all."""
        outcomes = self._commit([write for _, write in writes.values()])
        if self._core.observers is not None:
            tell_kept(self._core.observers, writes.values(), outcomes)
        refused = [
            (task, write)
            for (task, write), outcome in zip(writes.values(), outcomes, strict=True)
            if outcome is not None
        ]
        bare = [self._letters.without_value(write, task.outlet.origin) for task, write in refused]
        lost: set[Task] = set()
        for (task, _), outcome in zip(refused, self._commit(bare), strict=True):
            if outcome is not None:
                # never acked: whoever finds the cause finds it again after a restart
                logger.error("%s: the store refuses even its dead letter: %s", task.told, outcome)
                lost.add(task)
        return lost

    def _commit(self, writes: Sequence[Write]) -> list[WorkflowError | None]:
        """What was refused for good. Who lost against another write need not do anything."""
        return [
            None if isinstance(outcome, VersionConflictError) else outcome
            for outcome in self._core.journal.commit(writes)
        ]

    def _done(self, task: Task) -> None:
        task.parcel.open_tasks -= 1
        if not task.parcel.open_tasks:
            self._settle(task.parcel)

    def _settle(self, parcel: Parcel[T]) -> None:
        del self._in_hand[parcel.identity]
        self._to_ack += parcel.receipts
        if parcel.may_come_doubled:
            self._lately[parcel.identity] = None
            if len(self._lately) > _REMEMBERED:
                self._lately.popitem(last=False)

    def _ack(self) -> bool:
        receipts = self._to_ack
        ack_all(receipts, self.name)  # where it fails they are all acked again: twice is harmless
        self._to_ack = []
        return bool(receipts)
