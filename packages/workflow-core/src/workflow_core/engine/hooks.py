"""Hooks: tells functions what has become of a run.

The deliveries of a workflow are read through one receiver per process, on the shard roles that its
steps have anyway: what has become of runs, for its hooks, and what comes back to be tried again,
of hooks and connectors alike. A workflow with neither has no such process, role or topic.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from workflow_core.definition import Hook, RunView, Workflow
from workflow_core.engine.core import Core
from workflow_core.engine.desk import Desk, Outlet, Parcel, Task
from workflow_core.engine.hindsight import Hindsight
from workflow_core.engine.intake import Intake
from workflow_core.engine.letters import (
    Cause,
    Origin,
    cause_of,
    origin_of,
    retry_event,
    state_of,
)
from workflow_core.engine.lookups import look_up
from workflow_core.errors import (
    AdapterUnavailableError,
    RunNotFoundError,
    RunStateError,
    WorkflowError,
)
from workflow_core.logs import AboutRun
from workflow_core.model import (
    ConnectorEvent,
    Event,
    EventKind,
    LetterKind,
    LetterState,
    OutboxEvent,
    Record,
    RunState,
    names,
)
from workflow_core.ports import EventStreamer, Receiver, RecordStore, Shards, Write

__all__ = ["Deliveries", "HookOutlet", "prepared"]

logger = logging.getLogger("workflow_core.engine")

_AT_ONCE = timedelta(0)
_CONCURRENCY = 4  # bodies of one hook at once in one process


class HookOutlet(Outlet):
    """One hook.

    Args:
        workflow: its workflow.
        hook: its declaration.
        store: where runs and their history are.
    """

    limit = _CONCURRENCY

    def __init__(self, workflow: Workflow[Any, Any], hook: Hook, store: RecordStore) -> None:
        self.origin = Origin(workflow.name, LetterKind.HOOK, hook.name)
        self.retry = hook.retry
        self._hook = hook
        self._hindsight = Hindsight(workflow, store)

    @property
    def state(self) -> RunState:
        """The run state that it waits for."""
        return self._hook.state

    @property
    def is_async(self) -> bool:
        """As declared."""
        return self._hook.is_async

    @property
    def process(self) -> str:
        """The hook's."""
        return names.hook_process(self._hook.name)

    def prepare(self, tasks: Sequence[Task], records: Mapping[str, Record]) -> None:
        """The run as it was at the change."""
        for task in tasks:
            assert isinstance(task.cause, Event)
            try:
                task.argument = self._hindsight.view(task.cause, records[task.cause.run_id])
            except AdapterUnavailableError:
                raise
            except WorkflowError as error:  # data or a status that this code does not know
                task.error = error

    def about(self, task: Task) -> AboutRun:
        """The run that it is told of."""
        view: RunView[Any, Any] = task.argument
        return view

    def call(self, task: Task) -> object:
        """Call the function."""
        return self._hook.body(task.argument)

    def commit(self, tasks: Sequence[Task]) -> None:
        """A hook answers nothing."""


class Deliveries(Intake[Event]):
    """What is delivered to the hooks of one workflow, and what is tried again.

    Args:
        workflow: the definition.
        core: the engine's.
        streamer: where the events are.
        shards: as for an `Intake`.
        desk: where bodies run.
        outlets: the workflow's hooks and connectors, by target.
    """

    def __init__(
        self,
        workflow: Workflow[Any, Any],
        core: Core,
        streamer: EventStreamer,
        *,
        shards: int | None,
        desk: Desk,
        outlets: Mapping[str, Outlet],
    ) -> None:
        name = names.deliveries_consumer(workflow.name)
        read = [names.retries_topic(workflow.name)]
        if workflow.hooks:
            read.append(names.run_state_topic(workflow.name))

        def open_one(shards: Shards | None) -> Receiver[Event]:
            # A hook begins with what happens from now on: not with all that ever happened.
            return streamer.new_receiver(read, name, shards=shards, from_latest=True)

        super().__init__(
            name,
            core,
            open_one=open_one,
            shards=shards,
            desk=desk,
            outlets=outlets,
            lag=partial(streamer.lag, read, name),
        )
        self._workflow = workflow
        self._hooks = [outlet for outlet in outlets.values() if isinstance(outlet, HookOutlet)]
        self._retries = read[0]

    def _identify(self, event: Event) -> str:
        return f"{event.run_id}/{event.version}"

    def _may_come_doubled(self, event: Event) -> bool:
        # What was too early, or had no room, comes again as the same version of its letter.
        return event.topic != self._retries

    def _tasks(self, parcels: Sequence[tuple[Parcel[Event], Event]]) -> list[Task]:
        tasks = self._fresh([(p, event) for p, event in parcels if event.topic != self._retries])
        tasks += self._again([(p, event) for p, event in parcels if event.topic == self._retries])
        return prepared(tasks, self._core.store)

    def _fresh(self, parcels: Sequence[tuple[Parcel[Event], Event]]) -> list[Task]:
        """What has become of runs, for each hook that waits for it."""
        return [
            Task(hook, event, event.run_id, parcel)
            for parcel, event in parcels
            if event.kind is EventKind.ENTERED and not event.target
            for hook in self._hooks
            if hook.state is event.state
        ]

    def _again(self, parcels: Sequence[tuple[Parcel[Event], Event]]) -> list[Task]:
        """What has failed before, and is to be tried now."""
        if not parcels:
            return []
        wanted = {event.run_id: event.version for _, event in parcels}
        letters = look_up(self._core.store, wanted)
        now = self._core.store.now()
        tasks: list[Task] = []
        early: list[OutboxEvent] = []
        orphans: list[Write] = []
        hanging = {task.letter.run_id: task for task in self._desk.executing() if task.letter}
        for parcel, event in parcels:
            letter = letters.get(event.run_id)
            if letter is None or letter.version != event.version:
                continue
            if state_of(letter) is not LetterState.RETRYING:
                continue
            origin = origin_of(letter, self._workflow.name)
            rest = _AT_ONCE if letter.next_try_at is None else letter.next_try_at - now
            outlet = self._outlets.get(origin.target)
            cause = cause_of(letter)
            if rest > _AT_ONCE:
                early.append(retry_event(letter, origin, self._core.identity, rest))
            elif letter.run_id in hanging:  # a second call would most likely hang as well
                task = hanging[letter.run_id]
                orphans.append(self._hangs(task, letter))
                task.letter = orphans[-1].record
            elif outlet is None or cause is None:
                error = f"{origin.kind} {origin.name} is no longer declared"
                logger.error(
                    "workflow %r: %s: %s",
                    origin.workflow,
                    error,
                    letter.run_id,
                    extra={"workflow": origin.workflow},
                )
                orphans.append(self._letters.given_up(letter, origin, error))
            else:
                tasks.append(Task(outlet, cause, key_of(cause), parcel, letter))
        self._core.journal.file(early)
        self._core.journal.commit(orphans)
        return tasks


def key_of(cause: Cause) -> str:
    """What is done one after the other: the run's, or of one key."""
    return cause.key if isinstance(cause, ConnectorEvent) else cause.run_id


def prepared(tasks: list[Task], store: RecordStore) -> list[Task]:
    """The tasks, with what their bodies are called with; none for a run that is gone.

    Raises:
        AdapterUnavailableError: no answer.
    """
    versions: dict[str, int] = {}
    for task in tasks:
        if isinstance(task.cause, Event):
            run_id = task.cause.run_id
            versions[run_id] = max(task.cause.version, versions.get(run_id, 0))
    records = look_up(store, versions) if versions else {}
    kept: list[Task] = []
    by_outlet: dict[Outlet, list[Task]] = defaultdict(list)
    for task in tasks:
        task.error = _hindrance(task.cause, records)
        if task.error is None:
            by_outlet[task.outlet].append(task)
        elif task.letter is None and isinstance(task.error, RunNotFoundError):
            logger.warning("%s is not told: %s", task.told, task.error)
            continue
        kept.append(task)
    for outlet, theirs in by_outlet.items():
        outlet.prepare(theirs, records)
    return kept


def _hindrance(cause: Cause, records: Mapping[str, Record]) -> WorkflowError | None:
    if isinstance(cause, ConnectorEvent):
        return None
    record = records.get(cause.run_id)
    if record is None:
        return RunNotFoundError(f"run {cause.run_id} is gone", run_id=cause.run_id)
    if record.version < cause.version:
        return RunStateError(f"the store has version {record.version} only", run_id=cause.run_id)
    return None
