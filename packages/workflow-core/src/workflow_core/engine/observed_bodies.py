"""Users' functions as they are called where somebody observes."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from inspect import isawaitable, iscoroutinefunction
from typing import Any, TypeVar

from workflow_core.definition import CallbackStep, Consumer, Run, Step, TimeoutStep, Workflow
from workflow_core.definition.bodies import Body
from workflow_core.engine.observers import Observers
from workflow_core.model import Work, WorkKind, names

__all__ = ["call_observed", "observed", "process_of"]

ConsumerT = TypeVar("ConsumerT", bound=Consumer)

_KINDS = {Step: WorkKind.STEP, TimeoutStep: WorkKind.TIMER, CallbackStep: WorkKind.CALLBACK}
_PROCESSES = {
    Step: names.step_process,
    TimeoutStep: names.timer_process,
    CallbackStep: names.callback_process,
}


def _nothing() -> None:
    """There is nothing to be done within."""


def process_of(workflow: Workflow[Any, Any], consumer: Consumer) -> str:
    """What metrics call a step, a timer or a callback."""
    return _PROCESSES[type(consumer)](workflow.status(consumer.status).name)


def observed(observers: Observers, workflow: Workflow[Any, Any], consumer: ConsumerT) -> ConsumerT:
    """The step, timer or callback, with observers around each call of its function."""
    inner, kind = consumer.body, _KINDS[type(consumer)]
    process, status = process_of(workflow, consumer), workflow.status(consumer.status).name

    def body(run: Run[Any, Any], *payload: Any) -> Any:
        work = Work(
            kind=kind,
            workflow=workflow.name,
            process=process,
            name=consumer.name,
            run_id=run.run_id,
            status=status,
            attempt=run.attempt,
            headers=run.headers,
        )
        return call_observed(observers, work, inner, (run, *payload), is_async=consumer.is_async)

    return dataclasses.replace(consumer, body=body)


def call_observed(
    observers: Observers,
    work: Work,
    body: Body,
    arguments: tuple[Any, ...],
    *,
    is_async: bool,
    within: Callable[[], None] = _nothing,
) -> Any:
    """What the body answers; a coroutine of it where it is async.

    Args:
        observers: who is told.
        work: whose call it is.
        body: what is called.
        arguments: with what.
        is_async: whether calling it gives an awaitable.
        within: called when it has returned, with all that observers have set up still there.
    """
    if not is_async:
        with observers.around(work) as working:
            answer = body(*arguments)
            working.answered(answer)
            within()
            return answer
    if iscoroutinefunction(body):
        return _awaited(observers, work, lambda: body(*arguments), within)
    # A plain function around an async one: it may have run it itself, before anything could be
    # entered in the task.
    answer = body(*arguments)
    return _awaited(observers, work, lambda: answer, within) if isawaitable(answer) else answer


async def _awaited(
    observers: Observers,
    work: Work,
    body: Callable[[], Awaitable[Any]],
    within: Callable[[], None],
) -> Any:
    with observers.around(work) as working:
        answer = await body()
        working.answered(answer)
        within()
        return answer
