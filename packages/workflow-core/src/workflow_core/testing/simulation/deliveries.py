"""Hooks and connectors in the simulation: nothing that was to be delivered is forgotten."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

from workflow_core.definition import Workflow
from workflow_core.engine.letters import ERASED, Origin, state_of
from workflow_core.memory import MemoryConnectorSource
from workflow_core.model import (
    ConnectorEvent,
    Event,
    LetterKind,
    LetterState,
    Record,
    RunState,
    names,
    uuid_from_key,
)
from workflow_core.ports import ConnectorSource, Receiver, Shards
from workflow_core.testing.simulation.faults import Faults, FaultyReceiver
from workflow_core.testing.simulation.invariant_error import InvariantError
from workflow_core.testing.simulation.simulation import Simulation

__all__ = ["DeliverySimulation", "Feed"]

Feed: TypeAlias = Callable[[random.Random], tuple[str, bytes]]
"""What comes next on a foreign stream: a key and a value, as the dice say."""


class DeliverySimulation(Simulation):
    """A simulation of workflows with hooks, and with connectors that events are fed to.

    Somebody deletes data of ended runs too. At the end each hook has been told of each run that has
    ended, and each event has been handled, or there is a dead letter about it; nothing is being
    tried again any more, and of deleted data nothing is left.

    Args:
        seed, workflow, make_data: as for `Simulation`, and so is what it takes by other names.
        feeds: what comes on the streams of connectors, by their names.
        triggers: which events are to begin a run.

    Attributes:
        fed: the foreign events, by id.
    """

    def __init__(
        self,
        seed: int,
        workflow: Workflow[Any, Any],
        make_data: Callable[[], Any],
        *,
        feeds: Mapping[str, Feed],
        triggers: Callable[[ConnectorEvent], bool] = lambda event: False,
        **more: Any,
    ) -> None:
        super().__init__(seed, workflow, make_data, **more)
        self.fed: dict[str, ConnectorEvent] = {}
        self._fed_to: dict[str, str] = {}
        self._feeds = feeds
        self._triggers = triggers
        self._told: set[tuple[str, str, int]] = set()
        self._handled: set[str] = set()
        self._unknown: set[tuple[str, int]] = set()
        """What hooks cannot know of: its event was lost, or was sent before any hook was there."""

    @contextmanager
    def telling(self, hook: str, run_id: str, version: int) -> Iterator[None]:
        """Around a hook's body."""
        yield
        self._tell(f"hook {hook} is told of version {version} of {run_id}")
        self._told.add((hook, run_id, version))

    @contextmanager
    def handling(self, event: ConnectorEvent) -> Iterator[None]:
        """Around the connector's body."""
        yield
        self._tell(f"event {event.id} is handled")
        self._handled.add(event.id)

    def _sources(self, name: str, faults: Faults) -> Mapping[str, ConnectorSource]:
        return {
            connector.name: _FaultySource(self._stream, connector.name, faults, instance=name)
            for workflow in self._served.values()
            for connector in workflow.connectors
            if connector.follows is None
        }

    def _move(self) -> None:
        if self._feeds and self.dice.random() < 0.12:
            self._feed()
        super()._move()

    def _let_somebody_act(self) -> None:
        over = [record for record in self.records() if record.state.is_finished]
        if not over or self.dice.random() > 0.1:
            super()._let_somebody_act()
            return
        record, member = self.dice.choice(over), self.dice.choice(self._members)
        run_id, flow = record.run_id, self._served[record.workflow]
        self._tell(f"{member.name} is to delete the data of {run_id}")
        self._do(member, "delete", lambda: member.engine.delete_data(flow, run_id, who="simulated"))

    def _feed(self) -> None:
        """A new event, or one that comes again."""
        if self.fed and self.dice.random() < 0.2:
            event = self.dice.choice(list(self.fed.values()))
        else:
            streams = list(self._feeds)
            connector = streams[0] if len(streams) == 1 else self.dice.choice(streams)
            key, value = self._feeds[connector](self.dice)
            event = ConnectorEvent(id=f"event-{len(self.fed) + 1}", key=key, value=value)
            self.fed[event.id], self._fed_to[event.id] = event, connector
        self._tell(f"event {event.id} of {event.key}: {event.value.decode(errors='replace')}")
        stream = MemoryConnectorSource(self._stream, self._fed_to[event.id])
        stream.send(event.key, event.value, id=event.id)

    def _post(self, event: Event, is_lost: bool) -> None:
        super()._post(event, is_lost)
        topic = names.run_state_topic(event.workflow)
        reader = names.deliveries_consumer(event.workflow)
        if event.topic == topic and (is_lost or not self._stream.log.is_read(topic, reader)):
            self._unknown.add((event.run_id, event.version))

    def _all_ended(self) -> bool:
        return super()._all_ended() and self._forgotten() == ""

    def check_deliveries(self) -> None:
        """Raises InvariantError for the first delivery that was forgotten."""
        forgotten = self._forgotten()
        if forgotten:
            raise InvariantError(forgotten)

    def _forgotten(self) -> str:
        kept = {names.dead_letters(name) for name in self._served}
        letters = {
            record.run_id: record
            for record in self._records.runs.rows.values()
            if record.workflow in kept
        }
        for letter in letters.values():
            if state_of(letter) is LetterState.RETRYING:
                return f"letter {letter.run_id} is tried again for ever: {letter.last_error}"
        for record in self.records():
            forgotten = self._undeleted(record, letters) or self._untold(record, letters)
            if forgotten:
                return forgotten
        for event in self.fed.values():
            forgotten = self._unhandled(event, letters)
            if forgotten:
                return forgotten
        return ""

    def _undeleted(self, record: Record, letters: Mapping[str, Record]) -> str:
        if record.state is RunState.REQUESTED_DATA_DELETED:
            return f"the deletion of {record.run_id}'s data was never finished"
        if record.state is not RunState.DATA_DELETED:
            return ""
        history = self._records.runs.history(record.run_id)
        if any(entry.error for entry in history):
            return f"an error is left in the history of {record.run_id}"
        for letter in letters.values():
            if letter.foreign_id != record.run_id or letter.reason == ERASED:
                continue  # what fails once it is erased has no data to tell of
            if letter.last_error:
                return f"an error is left in letter {letter.run_id} about {record.run_id}"
        return ""

    def _unhandled(self, event: ConnectorEvent, letters: Mapping[str, Record]) -> str:
        connector = self._fed_to[event.id]
        name = next(n for n, w in self._served.items() if _has(w, connector))
        origin = Origin(name, LetterKind.CONNECTOR, connector)
        letter = letters.get(_letter_id(origin, event.id))
        if letter is not None and state_of(letter) is LetterState.SET_ASIDE:
            return ""
        if event.id not in self._handled:
            return f"event {event.id} was never handled"
        if self._triggers(event) and self._run_of(origin, event) is None:
            return f"event {event.id} has triggered no run"
        return ""

    def _untold(self, record: Record, letters: Mapping[str, Record]) -> str:
        if (record.run_id, record.version) in self._unknown:
            return ""
        for hook in self._served[record.workflow].hooks:
            if hook.state is not record.state:
                continue
            origin = Origin(record.workflow, LetterKind.HOOK, hook.name)
            told = (hook.name, record.run_id, record.version) in self._told
            letter = _letter_id(origin, f"{record.run_id}/{record.version}")
            if not told and letter not in letters:
                return f"hook {hook.name} was not told of {record.run_id}, {record.version}"
        return ""

    def _run_of(self, origin: Origin, event: ConnectorEvent) -> Record | None:
        key = f"{origin.target}/{event.id}/0"
        return self._records.runs.rows.get(uuid_from_key(origin.workflow, key))


class _FaultySource(MemoryConnectorSource):
    def __init__(self, database: Any, stream: str, faults: Faults, *, instance: str) -> None:
        super().__init__(database, stream, instance=instance)
        self._faults = faults

    def new_receiver(self, name: str, *, shards: Shards | None = None) -> Receiver[ConnectorEvent]:
        """As the port says, if it goes well."""
        with self._faults.call("new_receiver"):
            return FaultyReceiver(super().new_receiver(name, shards=shards), self._faults)


def _has(workflow: Workflow[Any, Any], connector: str) -> bool:
    return any(each.name == connector for each in workflow.connectors)


def _letter_id(origin: Origin, identity: str) -> str:
    return uuid_from_key(names.dead_letters(origin.workflow), f"{origin.target}/{identity}")
