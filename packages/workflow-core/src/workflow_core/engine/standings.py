"""For observers: which roles this process plays, and what each consumer is doing therefore."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from workflow_core.definition import Workflow
from workflow_core.engine.lane import Lane
from workflow_core.engine.observed_bodies import process_of
from workflow_core.engine.observers import Observers
from workflow_core.model import ProcessStanding, RoleChange, RoleChanged, Standing, names

__all__ = ["Standings", "standings_of"]


class Standings:
    """Follows the roles of one serving. The keeper's thread, but for the start and the end.

    Args:
        observers: who is told.
        consumers: (workflow, process) by the role that it needs, all shards of one consumer being
            one role; "" for what needs none.
    """

    def __init__(
        self, observers: Observers, consumers: Mapping[str, Iterable[tuple[str, str]]]
    ) -> None:
        self._observers = observers
        self._consumers = {role: list(each) for role, each in consumers.items()}
        self._shards: Counter[str] = Counter()
        self._held: defaultdict[str, set[str]] = defaultdict(set)

    def begin(self, roles: Iterable[str]) -> None:
        """These are asked for from now on."""
        self._shards = Counter(names.role_group(role) for role in roles)
        for group in self._shards:
            self._tell_role(group, RoleChange.WANTED)
            self._tell_standing(group, Standing.IDLE)
        self._tell_standing("", Standing.RUNNING)

    def changed(self, role: str, change: RoleChange) -> None:
        """A role was gained, lost or given up."""
        group = names.role_group(role)
        held = self._held[group]
        before = bool(held)
        if change is RoleChange.GAINED:
            held.add(role)
        else:
            held.discard(role)
        self._tell_role(group, change)
        if before != bool(held):
            self._tell_standing(group, Standing.RUNNING if held else Standing.IDLE)

    def end(self) -> None:
        """Nothing is done any more."""
        for group in self._consumers:
            self._tell_standing(group, Standing.SHUTDOWN)

    def _tell_role(self, group: str, change: RoleChange) -> None:
        held, shards = len(self._held[group]), self._shards[group]
        self._observers.tell(RoleChanged(role=group, change=change, held=held, of=shards))

    def _tell_standing(self, group: str, standing: Standing) -> None:
        for workflow, process in self._consumers.get(group, ()):
            self._observers.tell(
                ProcessStanding(workflow=workflow, process=process, standing=standing)
            )


def standings_of(
    observers: Observers | None, lanes: Sequence[Lane], roles: Iterable[str]
) -> Standings | None:
    """Those of a serving; None: nobody observes."""
    if observers is None:
        return None
    groups = {names.role_group(role) for role in roles}
    relay = names.relay_role("+".join(sorted(lane.workflow.name for lane in lanes)))
    by_role: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for lane in lanes:
        needed = [(relay, names.OUTBOX_PROCESS), *_needed(lane)]
        for role, process in dict.fromkeys(needed):
            by_role[role if role in groups else ""].append((lane.workflow.name, process))
    return Standings(observers, by_role)


def _needed(lane: Lane) -> list[tuple[str, str]]:
    """(role, process) of all that the lane does; what is no step's belongs to the pool main."""
    workflow: Workflow[Any, Any] = lane.workflow
    name = workflow.name
    timers = names.timers_role(name)
    needed = [(lane.name, process_of(workflow, step)) for step in lane.steps.values()]
    if not lane.is_main:
        return needed
    needed += [(timers, process_of(workflow, timer)) for timer in workflow.timeouts]
    needed += [(lane.name, names.hook_process(hook.name)) for hook in workflow.hooks]
    for connector in workflow.connectors:
        role = names.connector_consumer(name, connector.name)
        needed.append((role, names.connector_process(connector.name)))
    if workflow.schedules:
        needed.append((names.schedules_role(name), names.SCHEDULES_PROCESS))
    return needed
