"""For observers: the work of hooks and connectors, and what becomes of what they fail on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from workflow_core.engine.desk import Task
from workflow_core.engine.letters import state_of
from workflow_core.engine.observed_bodies import call_observed
from workflow_core.engine.observers import Observers
from workflow_core.errors import WorkflowError
from workflow_core.model import AttemptFailed, ConnectorEvent, LetterKept, Work, WorkKind
from workflow_core.ports import Write

__all__ = ["calling", "tell_failed", "tell_kept"]


def calling(observers: Observers | None) -> Callable[[Task], object]:
    """What calls a task's body."""
    if observers is None:
        return _call

    def call(task: Task) -> object:
        def within() -> None:
            task.carried = observers.carried()

        outlet = task.outlet
        return call_observed(
            observers, _work(task), outlet.call, (task,), is_async=outlet.is_async, within=within
        )

    return call


def tell_failed(observers: Observers, task: Task, *, gave_up: bool) -> None:
    """A body has failed."""
    origin = task.outlet.origin
    observers.tell(
        AttemptFailed(
            kind=WorkKind(origin.kind.value),
            workflow=origin.workflow,
            process=task.outlet.process,
            error=type(task.error).__name__,
            is_last=gave_up,
        )
    )


def tell_kept(
    observers: Observers,
    kept: Iterable[tuple[Task, Write]],
    outcomes: Sequence[WorkflowError | None],
) -> None:
    """Letters were written, but for those that the store refuses."""
    for (task, write), outcome in zip(kept, outcomes, strict=True):
        if outcome is None:
            origin, state = task.outlet.origin, state_of(write.record)
            observers.tell(
                LetterKept(
                    workflow=origin.workflow, kind=origin.kind, name=origin.name, state=state
                )
            )


def _work(task: Task) -> Work:
    origin, cause = task.outlet.origin, task.cause
    return Work(
        kind=WorkKind(origin.kind.value),
        workflow=origin.workflow,
        process=task.outlet.process,
        name=origin.name,
        run_id="" if isinstance(cause, ConnectorEvent) else cause.run_id,
        attempt=1 if task.letter is None else task.letter.attempts + 1,
        headers=cause.headers,
    )


def _call(task: Task) -> object:
    return task.outlet.call(task)
