"""Which processes work on which statuses, and which statuses nobody works on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workflow_core import WorkerState, WorkerView
from workflow_core.model import names

from workflow_webui.reading.health import workers_of
from workflow_webui.ui import Ui

__all__ = ["Unserved", "pools_of", "unserved_of"]


@dataclass(frozen=True, kw_only=True)
class Unserved:
    """Runs that wait where no process that lives works."""

    status: int | None
    """None: no process serves the workflow at all."""
    waiting: int
    """Live runs there."""
    had_by: str = ""
    """The pool whose processes worked there until they were lost; "" where none is known."""


def unserved_of(ui: Ui, workflow: str, driven: Mapping[int, int]) -> Sequence[Unserved]:
    """Where runs of this workflow wait for a process that there is not.

    What is not known is not told: where a process of older code does not say what it works on, or
    where the definition is not at hand, which knows where steps are.

    Args:
        ui: the app.
        workflow: its name.
        driven: how many runs steps are to work on, by status.
    """
    workers = workers_of(ui)
    there = [each for each in workers if each.state is not WorkerState.LOST]
    if any(each.state is WorkerState.UNREADABLE for each in there):
        return []
    waiting = {number: many for number, many in driven.items() if many}
    if not any(workflow in each.workflows for each in there):
        had_by = next((w.pool for w in workers if workflow in w.workflows), "")
        total = sum(waiting.values())
        return [Unserved(status=None, waiting=total, had_by=had_by)] if total else []
    definition = ui.workflows.get(workflow)
    steps = () if definition is None else definition.steps
    return [
        Unserved(status=number, waiting=waiting[number], had_by=_had_by(workers, workflow, number))
        for number in sorted(waiting.keys() & set(steps))
        if all(each.runs(workflow, number) is False for each in there)
    ]


def pools_of(ui: Ui, workflow: str, statuses: Sequence[int]) -> Mapping[str, Sequence[int]]:
    """The statuses by the pools that work on them, or did; those of none are in the main one."""
    found: dict[str, list[int]] = {}
    for number in statuses:
        having = [each for each in workers_of(ui) if each.runs(workflow, number)]
        live = {each.pool for each in having if each.state is WorkerState.LIVE}
        for pool in sorted(live or {each.pool for each in having} or {names.MAIN_POOL}):
            found.setdefault(pool, []).append(number)
    return found


def _had_by(workers: Sequence[WorkerView], workflow: str, status: int) -> str:
    return next((each.pool for each in workers if each.runs(workflow, status)), "")
