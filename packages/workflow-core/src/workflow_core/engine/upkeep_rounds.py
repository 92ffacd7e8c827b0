"""The seldom work of a serving, put together: what finds again, resumes, finishes and deletes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from workflow_core.engine.census import Census
from workflow_core.engine.core import Core
from workflow_core.engine.deletion_rounds import DeletionRounds
from workflow_core.engine.gate import Gate
from workflow_core.engine.lane import Lane
from workflow_core.engine.process import Process
from workflow_core.engine.reconciler import Reconciler
from workflow_core.engine.resuming import ResumingRounds
from workflow_core.engine.upkeep import Purge, Retention, ages
from workflow_core.model import Record, names
from workflow_core.ports import EventStreamer

__all__ = ["upkeep_rounds"]


def upkeep_rounds(
    core: Core,
    streamer: EventStreamer,
    lanes: Sequence[Lane],
    in_hand: Callable[[Record], bool],
    gate_of: Callable[[str], Gate],
) -> list[Process]:
    """For each lane the reconciler and automatic resumes; for those of the pool main all the rest.

    Args:
        core: the engine's.
        streamer: the engine's.
        lanes: all lanes of the serving.
        in_hand: whether this process has an event of the run as it is.
        gate_of: makes the gate of a role.
    """
    rounds: list[Process] = []
    for lane in lanes:
        gate = gate_of(names.reconciler_role(lane.workflow.name, lane.pool))
        if lane.auto_resume.at_most:
            rounds.append(ResumingRounds(lane, core, gate))
        if lane.is_main:
            rounds.append(DeletionRounds(lane.workflow, core, gate))
        rounds.append(
            Reconciler(
                lane,
                core.store,
                streamer,
                core.journal,
                core.identity,
                in_hand=in_hand,
                gate=gate,
                settings=core.settings,
                clock=core.clock,
            )
        )
        if core.observers is not None and lane.is_main:
            counting = gate_of(names.census_role(lane.workflow.name))
            rounds.append(Census(lane, core, core.observers, counting))
    return rounds + _retentions(core, lanes, gate_of)


def _retentions(core: Core, lanes: Sequence[Lane], gate_of: Callable[[str], Gate]) -> list[Process]:
    by_age = ages(core.settings)
    if not by_age:
        return []
    return [
        Retention(
            lane.workflow.name,
            Purge(core.store, core.timeouts),
            by_age,
            gate=gate_of(names.upkeep_role(lane.workflow.name)),
            clock=core.clock,
        )
        for lane in lanes
        if lane.is_main
    ]
