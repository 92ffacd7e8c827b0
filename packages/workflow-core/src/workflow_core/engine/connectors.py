"""Connectors: foreign streams, and other workflows', that feed a workflow.

A connector's function answers what is to be done, and the engine does it: triggers of a batch of
events in one transaction, each with a key made of connector and event, so that a run is begun once
however often its event comes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from workflow_core.definition import Call, Connector, Trigger, Workflow
from workflow_core.engine.core import Core
from workflow_core.engine.desk import Desk, Outlet, Parcel, Task
from workflow_core.engine.hindsight import Hindsight
from workflow_core.engine.hooks import prepared
from workflow_core.engine.intake import Intake
from workflow_core.engine.letters import Origin, identity_of
from workflow_core.errors import (
    AdapterUnavailableError,
    DefinitionError,
    NotAtStatusError,
    ServingError,
    WorkflowError,
)
from workflow_core.model import (
    ConnectorEvent,
    Event,
    LetterKind,
    Record,
    RunState,
    names,
)
from workflow_core.model.texts import checked_text
from workflow_core.ports import ConnectorSource, EventStreamer, Receiver, Shards

if TYPE_CHECKING:
    from workflow_core.engine.client import Client

__all__ = ["ConnectorIntake", "ConnectorOutlet", "FollowingIntake", "source_of"]

logger = logging.getLogger("workflow_core.engine")

_ON_STATUS_TOPICS = (RunState.INITIATED, RunState.RUNNING)


class ConnectorOutlet(Outlet):
    """One connector.

    Args:
        workflow: the workflow that declares it.
        connector: its declaration.
        verbs: the engine's.
        core: the engine's.
    """

    def __init__(
        self, workflow: Workflow[Any, Any], connector: Connector, verbs: Client, core: Core
    ) -> None:
        self.origin = Origin(workflow.name, LetterKind.CONNECTOR, connector.name)
        self.retry = connector.retry
        self.limit = connector.parallel
        self._workflow = workflow
        self._connector = connector
        self._verbs = verbs
        self._store = core.store
        self._hindsight = (
            None if connector.follows is None else Hindsight(connector.follows, core.store)
        )

    @property
    def is_async(self) -> bool:
        """As declared."""
        return self._connector.is_async

    @property
    def process(self) -> str:
        """The connector's."""
        return names.connector_process(self._connector.name)

    def prepare(self, tasks: Sequence[Task], records: Mapping[str, Record]) -> None:
        """The foreign event with what it carries, or the run that is followed."""
        for task in tasks:
            try:
                task.argument = self._arguments(task, records)
            except AdapterUnavailableError:
                raise
            except Exception as error:  # a decoder is the user's, and may raise anything
                task.error = error

    def call(self, task: Task) -> object:
        """Call the function."""
        return self._connector.body(*task.argument)

    def follow_up(self, answer: object) -> Callable[[], None] | None:
        """Calling back runs the callback's body, and commits for itself."""
        calls = [each for each in self._parts(answer) if isinstance(each, Call)]
        if not calls:
            return None

        def call_all() -> None:
            for call in calls:
                self._call(call)

        return call_all

    def commit(self, tasks: Sequence[Task]) -> None:
        """Begin all runs that were answered, in as few transactions as may be."""
        triggers: list[Trigger[Any]] = []
        of_task: list[Task] = []
        for task in tasks:
            for number, part in enumerate(self._parts(task.answer)):
                if isinstance(part, Trigger):
                    triggers.append(self._keyed(part, task, number))
                    of_task.append(task)
        if not triggers:
            return
        outcomes = self._verbs.trigger_many(self._workflow, triggers)
        for task, outcome in zip(of_task, outcomes, strict=True):
            if isinstance(outcome, WorkflowError):
                task.error = outcome

    def _arguments(self, task: Task, records: Mapping[str, Record]) -> tuple[Any, ...]:
        cause = task.cause
        if isinstance(cause, Event):
            assert self._hindsight is not None
            return (self._hindsight.view(cause, records[cause.run_id]),)
        if self._connector.decode is None:
            return (cause,)
        return cause, self._connector.decode(cause.value)

    def _parts(self, answer: object) -> Iterator[Trigger[Any] | Call]:
        """What was answered, one by one. Raises DefinitionError where it cannot be done."""
        parts = answer if isinstance(answer, list | tuple) else [answer]
        for part in parts:
            if isinstance(part, Trigger | Call):
                yield part
            elif part is not None or parts is answer:
                raise DefinitionError(
                    f"connector {self._connector.told} answered a {type(part).__name__}",
                    workflow=self._workflow.name,
                    hint="It answers Trigger(…), Call(…), a list of these, or None",
                )

    def _keyed(self, trigger: Trigger[Any], task: Task, number: int) -> Trigger[Any]:
        if task.carried:
            trigger = replace(trigger, headers={**task.carried, **trigger.headers})
        if trigger.idempotency_key is not None:
            return trigger
        key = f"{self.origin.target}/{identity_of(task.cause)}/{number}"
        return replace(trigger, idempotency_key=key)

    def _call(self, call: Call) -> None:
        workflow = call.callback.workflow
        run_id = call.run_id
        if not run_id:
            foreign_id = checked_text(call.foreign_id, "a foreign id")
            run_id = self._store.latest(workflow.name, foreign_id).run_id
        try:
            self._verbs.callback(call.callback, run_id, call.payload)
        except NotAtStatusError:
            record = self._store.lookup(run_id)
            if int(call.callback.status) not in record.passed:
                raise  # it has not come there yet, or never will
            logger.debug("run %s has been called back before", run_id)


class ConnectorIntake(Intake[ConnectorEvent]):
    """What comes from the source that a connector is bound to."""

    def __init__(
        self,
        outlet: Outlet,
        core: Core,
        source: ConnectorSource,
        *,
        shards: int | None,
        desk: Desk,
    ) -> None:
        name = names.connector_consumer(outlet.origin.workflow, outlet.origin.name)

        def open_one(shards: Shards | None) -> Receiver[ConnectorEvent]:
            return source.new_receiver(name, shards=shards)

        outlets = {outlet.origin.target: outlet}
        super().__init__(name, core, open_one=open_one, shards=shards, desk=desk, outlets=outlets)
        self._outlet = outlet

    def _identify(self, event: ConnectorEvent) -> str:
        return event.id

    def _tasks(
        self, parcels: Sequence[tuple[Parcel[ConnectorEvent], ConnectorEvent]]
    ) -> list[Task]:
        tasks = [Task(self._outlet, event, event.key, parcel) for parcel, event in parcels]
        self._outlet.prepare(tasks, {})
        return tasks


class FollowingIntake(Intake[Event]):
    """What becomes of the runs of a workflow that another one follows.

    A new follower begins with the oldest that the stream still keeps, as with any source: else what
    happens just before it opens the stream for the first time would be lost.
    """

    def __init__(
        self,
        outlet: Outlet,
        connector: Connector,
        core: Core,
        streamer: EventStreamer,
        *,
        shards: int | None,
        desk: Desk,
    ) -> None:
        name = names.connector_consumer(outlet.origin.workflow, outlet.origin.name)
        topics = _followed_topics(connector)

        def open_one(shards: Shards | None) -> Receiver[Event]:
            return streamer.new_receiver(topics, name, shards=shards)

        super().__init__(
            name,
            core,
            open_one=open_one,
            shards=shards,
            desk=desk,
            outlets={outlet.origin.target: outlet},
            lag=partial(streamer.lag, topics, name),
        )
        self._outlet = outlet
        self._connector = connector

    def _identify(self, event: Event) -> str:
        return f"{identity_of(event)}/{event.kind}"

    def _tasks(self, parcels: Sequence[tuple[Parcel[Event], Event]]) -> list[Task]:
        tasks = [
            Task(self._outlet, event, event.run_id, parcel)
            for parcel, event in parcels
            if self._is_wanted(event)
        ]
        return prepared(tasks, self._core.store)

    def _is_wanted(self, event: Event) -> bool:
        connector = self._connector
        return (
            event.kind in connector.kinds
            and event.state in connector.states
            and (not connector.at or event.status in connector.at)
        )


def source_of(
    workflow: Workflow[Any, Any], connector: Connector, bound: Mapping[str, ConnectorSource]
) -> ConnectorSource:
    """The source that a connector is bound to.

    Raises:
        ServingError: it is bound to none; says how to.
    """
    source = bound.get(connector.name)
    if source is not None:
        return source
    others = ", ".join(sorted(map(repr, bound))) or "none"
    raise ServingError(
        f"connector {connector.name!r} is bound to no source; bound: {others}",
        workflow=workflow.name,
        hint=f"Give Engine(…, connectors={{{connector.name!r}: source}}), or configure"
        f" [workflow.connectors.{connector.name}] with adapter = …",
    )


def _followed_topics(connector: Connector) -> list[str]:
    workflow = connector.follows
    assert workflow is not None
    statuses = connector.at or frozenset(int(status) for status in workflow.statuses)
    topics = [
        names.status_topic(workflow.name, status)
        for status in sorted(statuses)
        if not workflow.is_end(status) and connector.states.intersection(_ON_STATUS_TOPICS)
    ]
    if connector.states.difference(_ON_STATUS_TOPICS):
        topics.append(names.run_state_topic(workflow.name))
    return topics
