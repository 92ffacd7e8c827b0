"""What the ports say about why a run does not move that is due."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from workflow_core.definition import TimeoutStep, Workflow
from workflow_core.engine.core import Core
from workflow_core.engine.why.pools import SERVE, Served
from workflow_core.engine.why.record_reasons import status_told
from workflow_core.engine.why.values import Cause, Reason, at
from workflow_core.engine.window import Window
from workflow_core.engine.worker_state import WorkerView
from workflow_core.errors import AdapterUnavailableError, NotSupportedError
from workflow_core.model import Record, RecordQuery, Timeout, names
from workflow_core.ports import RoleScheduler

__all__ = ["Surroundings"]

T = TypeVar("T")

_SOON = timedelta(seconds=5)  # how late what is due may be before that is a reason
_NEVER = timedelta(days=18_000)  # a timer whose time is yet to be asked is due far beyond it
_DUE_LOOKED_AT = 1000  # outbox rows, oldest first
_PAGES_LOOKED_AT = 10  # of the whole outbox, where one looks for a row that is held


class Surroundings:
    """Asks for one run, at one version. One thread.

    Args:
        core: the engine's.
        record: the run.
        workflow: its definition; None: not known here.
        now: the store's present.
        window: what this process has in hand; None: it does not serve.
        pool: the pool that works on its status; None: the one whose processes say so.
        workers: asks who serves.

    Attributes:
        now: the store's present.
        unavailable: the adapters that did not answer.
        not_asked: what could not be found out.
    """

    def __init__(
        self,
        core: Core,
        record: Record,
        workflow: Workflow[Any, Any] | None,
        now: datetime,
        window: Window | None,
        pool: str | None,
        workers: Callable[[], Sequence[WorkerView]],
    ) -> None:
        self._core = core
        self._record = record
        self._workflow = workflow
        self.now = now
        self._window = window
        step = "" if workflow is None or self._has_no_step else status_told(workflow, record.status)
        self._served = Served(core, record, step, pool, workers, self._holders)
        self.unavailable: list[Reason] = []
        self.not_asked: list[str] = []

    def is_late(self, due: datetime | None) -> bool:
        """Whether what was due then should have been done by now."""
        return due is not None and self.now - due >= _SOON

    def nothing_found(self) -> Reason:
        """What is told where nothing stands in its way, as far as can be asked from here."""
        if self._workflow is None:
            return Reason(
                cause=Cause.NOT_DEFINED,
                detail=f"The definition of {self._record.workflow!r} is not known here",
                todo="Ask with the workflow's definition",
            )
        if not self.is_late(_due_since(self._record)):
            return Reason(
                cause=Cause.MOVING,
                detail=f"It is due since {at(_due_since(self._record))}, and on its way",
                todo="Ask again in a moment",
            )
        return Reason(
            cause=Cause.TIMER if self._has_no_step else Cause.QUEUED,
            detail="What moves it on cannot be asked from here",
            todo="Ask with an engine that has all adapters",
        )

    # -- who else holds the foreign id ---------------------------------------------------------

    def superseded(self) -> list[Reason]:
        """The live run of an ended run's foreign id. Raises AdapterUnavailableError."""
        record = self._record
        other = self._core.store.latest(record.workflow, record.foreign_id)
        if other.run_id == record.run_id or not other.state.is_live:
            return []
        return [
            Reason(
                cause=Cause.SUPERSEDED,
                detail=f"Its foreign id has the live run {other.run_id}, so no other is begun",
                todo="Ask about that one; begin_again is refused until it has ended",
            )
        ]

    # -- callbacks and timers ------------------------------------------------------------------

    def waits_for(self) -> list[Reason]:
        """The callbacks and timers that can move it on from where it is."""
        callbacks, timers = self._callbacks(), self._timers()
        if timers is None:
            return callbacks
        declared = self._declared_timers()
        if declared and not timers and not callbacks and self._has_no_step:
            told = ", ".join(step.name for step in declared)
            return [
                Reason(
                    cause=Cause.NO_TIMER,
                    detail=f"Of the timers of its status ({told}) none is open: each has fired "
                    "and left it here, has answered that it need not fire, or is yet to be armed",
                    todo="A process that serves the workflow arms what is missing within its "
                    "reconciler's interval; else move the run",
                )
            ]
        return [*callbacks, *timers]

    @property
    def _has_no_step(self) -> bool:
        steps = {} if self._workflow is None else self._workflow.steps
        return self._record.skipped or self._record.status not in steps

    def _callbacks(self) -> list[Reason]:
        if self._workflow is None:
            self._cannot_ask("Callbacks, and whether the code knows its status: no definition here")
            return []
        mine = [each for each in self._workflow.callbacks if each.status == self._record.status]
        if not mine:
            return []
        told = " or ".join(each.told for each in mine)
        return [
            Reason(
                cause=Cause.CALLBACK,
                detail=f"It waits for the callback {told}, since {at(self._record.entered_at)}",
                todo="Call it back; if the call was made, see what it raised",
            )
        ]

    def _declared_timers(self) -> Sequence[TimeoutStep]:
        if self._workflow is None:
            return []
        return [each for each in self._workflow.timeouts if each.status == self._record.status]

    def _timers(self) -> list[Reason] | None:
        """Those that are open; None: not known."""
        record, timeouts = self._record, self._core.timeouts
        if self._workflow is not None and not self._declared_timers():
            return []
        if timeouts is None:
            self._cannot_ask("Its timers: this engine has no timeout store")
            return None
        found = self._ask(
            "the timeout store", lambda: timeouts.of_run(record.workflow, record.run_id)
        )
        if found is None:
            return None
        mine = [
            timeout
            for timeout in sorted(found, key=lambda each: each.due_at)
            if timeout.entered_version == record.entered_version
            and timeout.due_at < self.now + _NEVER
        ]
        return [self._timer(timeout) for timeout in mine]

    def _timer(self, timeout: Timeout) -> Reason:
        failed = (
            f"; it failed {timeout.attempts} times, the last time with {timeout.error}"
            if timeout.attempts
            else ""
        )
        if timeout.due_at > self.now - _SOON:
            return Reason(
                cause=Cause.TIMER,
                detail=f"Its timer {timeout.name} is due at {at(timeout.due_at)}{failed}",
                todo="Wait, or repair what the error tells" if failed else "Wait",
                until=timeout.due_at,
            )
        holder = self._holders([names.timers_role(timeout.workflow)])
        nobody = holder is not None and not holder
        return Reason(
            cause=Cause.TIMER_OVERDUE,
            detail=f"Its timer {timeout.name} was due at {at(timeout.due_at)} and has not fired"
            + (", and no process holds the role that fires timers" if nobody else "")
            + failed,
            todo=SERVE if nobody else "See the log of the process that fires the timers",
        )

    # -- the way of its event ------------------------------------------------------------------

    def on_its_way(self) -> list[Reason]:
        """Where the event of a run is that is due."""
        here = self._in_hand()
        if here is not None:
            return [here]
        unserved = self.unserved()
        filed = self._filed()
        if filed is not None:
            return [*unserved, filed]
        found = [*unserved, *self._streamed(next(iter(unserved), None))]
        if found or self.unavailable or self._workflow is None:
            return found
        return [self.nothing_found()]

    def _in_hand(self) -> Reason | None:
        record, window = self._record, self._window
        if window is None:
            return None
        mine = [item for item in window.in_hand() if item.event.run_id == record.run_id]
        running = [item for item in window.executing(0) if item.event.run_id == record.run_id]
        this = next((item for item in mine if item.event.version == record.version), None)
        if any(item is this for item in running):
            return Reason(
                cause=Cause.AT_WORK,
                detail="Its step runs in this process",
                todo="Wait, or see what the step waits for",
            )
        if running:
            return Reason(
                cause=Cause.BEHIND_ITSELF,
                detail=f"Its step still runs for version {running[0].event.version}; "
                f"version {record.version} begins when that has ended",
                todo="Wait; a step that looks at run.cancelled ends sooner",
            )
        if this is not None and this.lane.free(this.step) <= 0:
            return Reason(
                cause=Cause.LIMIT_REACHED,
                detail=f"{this.step.concurrency} bodies of step {this.step.name} run in this "
                f"process, as many as may; {len(this.lane.queues[this.step.status])} runs wait",
                todo="Wait, or raise the step's concurrency, or start more processes",
            )
        return None

    def unserved(self) -> list[Reason]:
        """What a step's run needs and nobody has: its status, or a role."""
        return self._served.missing()

    def _holders(self, roles: Sequence[str]) -> set[str] | None:
        scheduler = self._core.scheduler
        if scheduler is None:
            self._cannot_ask("Who serves it: this engine has no role scheduler")
            return None
        if type(scheduler).holders is RoleScheduler.holders:
            self._cannot_ask("Who serves it: this role scheduler cannot tell who holds a role")
            return None
        return self._ask("the role scheduler", lambda: set(scheduler.holders(roles)))

    def _filed(self) -> Reason | None:
        """What the outbox has of it. Raises AdapterUnavailableError."""
        record, store = self._record, self._core.store
        if store.list_records(RecordQuery(run_ids=[record.run_id], drivable=True, limit=1)).items:
            return None
        due = store.list_outbox_events([record.workflow], limit=_DUE_LOOKED_AT)
        oldest = min((row.event.created_at for row in due), default=self.now)
        is_due = any(row.event.run_id == record.run_id for row in due)
        if not is_due and not self.is_late(_due_since(record)):
            return self.nothing_found()
        if is_due or len(due) == _DUE_LOOKED_AT:
            return Reason(
                cause=Cause.NOT_PUBLISHED,
                detail="Its event is due in the outbox and not published; the oldest of this "
                f"workflow that is due was filed at {at(oldest)}",
                todo="A process that serves the workflow publishes it: see that one does, and "
                "that the event streamer takes events",
            )
        streamer = self._core.streamer
        if streamer is not None:
            self._ask("the event streamer", streamer.check_health)
        if self._is_held():
            return Reason(
                cause=Cause.NOT_PUBLISHED,
                detail="Its event is due in the outbox, and whoever is to publish it has it in "
                "hand: the process that wrote it, or a relay that tries again",
                todo="Wait some seconds, until its lease ends; if that lasts, see that the event "
                "streamer takes events",
            )
        return Reason(
            cause=Cause.FILED_FOR_LATER,
            detail="Its event is filed for later: its step has been running for more than half a "
            "minute, or it waits for its turn behind a slow step",
            todo="See in the log of the processes that serve it whether its step runs",
        )

    def _is_held(self) -> bool:
        """Whether its event is due, though none that may be claimed; False too where not found."""
        after: str | None = None
        for _ in range(_PAGES_LOOKED_AT):
            try:
                page = self._core.store.list_outbox(after=after, limit=_DUE_LOOKED_AT)
            except NotSupportedError:
                return False
            for row in page.items:
                if row.event.run_id == self._record.run_id and row.delay <= timedelta(0):
                    return True
            if page.next is None:
                return False
            after = page.next
        return False

    def _streamed(self, unserved: Reason | None) -> list[Reason]:
        record, streamer = self._record, self._core.streamer
        if streamer is None:
            self._cannot_ask("Whether its event is in the stream: this engine has no streamer")
            return []
        topics = [names.status_topic(record.workflow, record.status)]
        consumer = names.consumer(record.workflow, self._served.pool)
        told = self._ask("the event streamer", lambda: (streamer.lag(topics, consumer),))
        if told is None:
            return []
        (lag,) = told
        if lag is None:
            self._cannot_ask("Whether its event is in the stream: this streamer cannot tell")
            return []
        if lag:
            return [
                Reason(
                    cause=Cause.QUEUED,
                    detail="The oldest event of its status that is not done is "
                    f"{_age(lag)} old: it is this one's, or one before it",
                    todo="Wait; if the age grows, start more processes or see what its step "
                    "waits for"
                    if unserved is None
                    else unserved.todo,
                )
            ]
        if self._workflow is None or not self.is_late(_due_since(record)):
            return []
        if self._served.in_no_pool is not None:  # whose cursor would tell of it, nobody knows
            return []
        return [
            Reason(
                cause=Cause.NOT_DRIVEN,
                detail=f"It is due since {at(_due_since(record))}, and neither the outbox nor the "
                "stream has an event of it: it was lost",
                todo="The reconciler of a process that serves it files it again, "
                f"{self._core.settings.reconcile_age} after the loss and then within "
                f"{self._core.settings.reconcile_every}; retry_now files it at once",
            )
        ]

    # -- inside --------------------------------------------------------------------------------

    def _ask(self, whom: str, question: Callable[[], T]) -> T | None:
        """The answer; None, and a reason, where there is none."""
        try:
            return question()
        except AdapterUnavailableError as error:
            self.unavailable.append(
                Reason(
                    cause=Cause.UNAVAILABLE,
                    detail=f"It could not be asked: {whom}: {error}",
                    todo="See that it can be reached from here; runs wait until it is",
                )
            )
            return None

    def _cannot_ask(self, what: str) -> None:
        if what not in self.not_asked:
            self.not_asked.append(what)


def _due_since(record: Record) -> datetime:
    return max(record.updated_at, record.next_try_at or record.updated_at)


def _age(age: timedelta) -> str:
    """In whole seconds, begun ones counted: as long as it waits, no age is zero."""
    return f"{timedelta(seconds=math.ceil(age.total_seconds()))}"
