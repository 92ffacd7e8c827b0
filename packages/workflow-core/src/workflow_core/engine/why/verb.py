"""The verb `why`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from workflow_core.definition import Workflow
from workflow_core.engine.core import Core
from workflow_core.engine.questions import check_workflow
from workflow_core.engine.why.record_reasons import (
    ended,
    paused,
    status_reason,
    status_told,
    waiting,
)
from workflow_core.engine.why.surroundings import Surroundings
from workflow_core.engine.why.values import Cause, Reason, Why
from workflow_core.errors import InputError, RunNotFoundError
from workflow_core.model import Record, RunState, names
from workflow_core.model.texts import checked_text

if TYPE_CHECKING:
    from workflow_core.engine.client import Client
    from workflow_core.engine.serving import Serving
    from workflow_core.engine.worker_state import WorkerView

__all__ = ["AsyncWhyVerb", "WhyVerb"]

T = TypeVar("T")

_LOOKS = 3
_MOVING = Reason(
    cause=Cause.MOVING,
    detail="It was written again each time that it was looked at",
    todo="Look at its history for what it does",
)


class WhyVerb:
    """Part of `Engine`. Any thread."""

    _core: Core
    _serving: Serving | None

    if TYPE_CHECKING:

        def _check_open(self) -> None: ...

        def workers(self) -> list[WorkerView]:
            """Of `WorkerVerb`."""
            ...

    def why(
        self,
        run_id: str,
        workflow: Workflow[Any, Any] | None = None,
        *,
        pool: str | None = None,
    ) -> Why:
        """Why a run does not move, and what to do next. Reads only, from the primary.

        It asks the record store, and of the other adapters those that may know; it takes as long
        as they do. What only the process that works on a run can know (its step runs, a limit is
        reached) is told where this engine is the one.

        Args:
            run_id: the run.
            workflow: its definition; None: the one that this engine serves, if any. Without it
                callbacks, and statuses that the code does not know, cannot be told.
            pool: the pool whose processes work on its status; None: the one whose processes say
                that they do, see `workers`.

        Raises:
            RunNotFoundError: no such run.
            InputError: it is another workflow's.
            AdapterUnavailableError: the record store does not answer. Others that do not are a
                reason: `Cause.UNAVAILABLE`.
        """
        self._check_open()
        if workflow is not None:
            check_workflow(workflow)
        checked_text(run_id, "a run id")
        record = self._found(run_id, workflow)
        why = self._look(record, workflow, pool)
        for _ in range(_LOOKS):  # what was found in between two versions may fit neither
            record = self._found(run_id, workflow)
            if record.version == why.version:
                return why
            why = self._look(record, workflow, pool)
        return replace(why, reasons=(_MOVING,))

    def _found(self, run_id: str, workflow: Workflow[Any, Any] | None) -> Record:
        record = self._core.store.lookup_many([run_id], primary=True).get(run_id)
        if record is None or names.is_reserved(record.workflow):
            raise RunNotFoundError(f"no run {run_id}", run_id=run_id)
        if workflow is not None and record.workflow != workflow.name:
            raise InputError(
                f"run {run_id} is one of {record.workflow!r}", run_id=run_id, workflow=workflow.name
            )
        return record

    def _served(self, name: str) -> Workflow[Any, Any] | None:
        serving = self._serving
        if serving is None:
            return None
        return next((each for each in serving.workflows if each.name == name), None)

    def _look(self, record: Record, workflow: Workflow[Any, Any] | None, pool: str | None) -> Why:
        core, serving = self._core, self._serving
        workflow = workflow or self._served(record.workflow)
        now = core.store.now()
        window = None if serving is None else serving.window
        around = Surroundings(core, record, workflow, now, window, pool, self.workers)
        reasons = _reasons(record, workflow, around, core)
        reasons += around.unavailable
        return Why(
            run_id=record.run_id,
            workflow=record.workflow,
            foreign_id=record.foreign_id,
            status=record.status,
            status_name=status_told(workflow, record.status),
            state=record.state,
            version=record.version,
            since=record.updated_at,
            now=now,
            reasons=tuple(reasons or [around.nothing_found()]),
            not_asked=tuple(around.not_asked),
        )


def _reasons(
    record: Record, workflow: Workflow[Any, Any] | None, around: Surroundings, core: Core
) -> list[Reason]:
    """The one that stands in the way most first."""
    if record.state.is_finished:
        return [ended(record), *around.superseded()]
    wrong = status_reason(record, workflow)
    if record.state is RunState.PAUSED:
        pause = paused(record, core.settings.auto_resume)
        late = around.unserved() if around.is_late(pause.until) else []
        return [pause, *([wrong] if wrong else []), *late]
    if wrong is not None:
        return [wrong]
    delay = waiting(record, workflow, around.now)
    if delay is not None:
        return [delay, *around.waits_for()]
    step = None if workflow is None else workflow.steps.get(record.status)
    if record.skipped or (workflow is not None and step is None):
        return around.waits_for()
    return [*around.on_its_way(), *around.waits_for()]


class AsyncWhyVerb:
    """Part of `AsyncEngine`."""

    _engine: Client

    if TYPE_CHECKING:

        async def _do(self, verb: Callable[[], T]) -> T: ...

    async def why(
        self,
        run_id: str,
        workflow: Workflow[Any, Any] | None = None,
        *,
        pool: str | None = None,
    ) -> Why:
        """As `Engine.why`."""
        return await self._do(lambda: self._engine.why(run_id, workflow, pool=pool))
