"""The operator's verbs on one run: pause, resume, cancel."""

from __future__ import annotations

from collections.abc import Callable

from workflow_core.engine.core import Core
from workflow_core.engine.patience import patiently
from workflow_core.engine.transition import cancelled_by, paused_by_operator, resumed_by
from workflow_core.errors import (
    RunEndedError,
    RunNotFoundError,
    RunStateError,
    VersionConflictError,
    WorkflowError,
)
from workflow_core.model import Record, RunState
from workflow_core.ports import Outcome, Write

__all__ = ["Operators"]

_TRIES = 5


class Operators:
    """Reads, decides and writes; who loses against another write reads and decides again."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def pause(self, run_id: str, reason: str) -> Record:
        """Pause a run; a run that an operator paused already stays as it is."""
        return self._change(
            run_id, lambda record: paused_by_operator(record, self._core.identity, reason)
        )

    def resume(self, run_id: str, who: str, why: str) -> Record:
        """Resume a paused run."""

        def decide(record: Record) -> Write:
            if record.state is not RunState.PAUSED:
                raise RunStateError(
                    f"run {run_id} is not paused, it is {record.state.name.lower()}",
                    run_id=run_id,
                    workflow=record.workflow,
                )
            return resumed_by(record, self._core.identity, who, why, self._core.clock.now())

        return self._change(run_id, decide)

    def cancel(self, run_id: str, reason: str) -> Record:
        """Cancel a live run."""
        return self._change(
            run_id, lambda record: cancelled_by(record, self._core.identity, reason)
        )

    def _change(self, run_id: str, decide: Callable[[Record], Write | None]) -> Record:
        lost: WorkflowError | None = None
        for _ in range(_TRIES):
            record = self._read(run_id)
            if record.state.is_finished:
                raise RunEndedError(
                    f"run {run_id} has ended: {record.state.name.lower()}",
                    run_id=run_id,
                    workflow=record.workflow,
                )
            write = decide(record)
            if write is None:
                return record
            outcome = patiently(self._committing(write), self._core.crew.manual)
            if outcome is None:
                return write.record
            if not isinstance(outcome, VersionConflictError):
                raise outcome
            lost = outcome
        assert lost is not None
        raise lost

    def _committing(self, write: Write) -> Callable[[], Outcome]:
        return lambda: self._core.journal.commit([write])[0]

    def _read(self, run_id: str) -> Record:
        found = patiently(
            lambda: self._core.store.lookup_many([run_id], primary=True), self._core.crew.manual
        )
        if run_id not in found:
            raise RunNotFoundError(f"no run {run_id}", run_id=run_id)
        return found[run_id]
