"""The operator's verbs on one run."""

from __future__ import annotations

from collections.abc import Callable

from workflow_core.engine.core import Core
from workflow_core.engine.decisions import Decide, Decisions, check_live
from workflow_core.engine.ledger import Ledger
from workflow_core.errors import RunNotFoundError, VersionConflictError, WorkflowError
from workflow_core.model import Record, RunState, names
from workflow_core.model.texts import checked_text

__all__ = ["Operators"]

_TRIES = 5


class Operators:
    """Reads, decides and writes; who loses against another write reads and decides again."""

    def __init__(self, core: Core) -> None:
        self.decisions = Decisions(core)

    def pause(self, run_id: str, reason: str, who: str, ledger: Ledger) -> Record:
        """Pause a run; a run that an operator paused already stays as it is."""
        return self.change(run_id, ledger, self.decisions.pausing(reason, who))

    def resume(self, run_id: str, who: str, why: str, ledger: Ledger) -> Record:
        """Resume a paused run."""
        # Where the answer to a try was lost nobody can tell who resumed it: it is resumed.
        return self.change(
            run_id,
            ledger,
            self.decisions.resuming(who, why),
            is_done=lambda record: record.state is not RunState.PAUSED,
        )

    def cancel(self, run_id: str, reason: str, who: str, ledger: Ledger) -> Record:
        """Cancel a live run."""
        return self.change(run_id, ledger, self.decisions.cancelling(reason, who))

    def change(
        self,
        run_id: str,
        ledger: Ledger,
        decide: Decide,
        is_done: Callable[[Record], bool] = lambda record: False,
    ) -> Record:
        """`is_done`: whether a write whose answer was lost must have taken effect."""
        checked_text(run_id, "a run id")
        lost: WorkflowError | None = None
        is_unsure = False
        for _ in range(_TRIES):
            record = ledger.lock([run_id]).get(run_id)
            if record is None or names.is_reserved(record.workflow):
                raise RunNotFoundError(f"no run {run_id}", run_id=run_id)
            if is_unsure and is_done(record):
                return record
            check_live(record)
            write = decide(record, ledger.now)
            if write is None:
                return record
            outcome = ledger.commit([write])[0]
            if outcome is None:
                return write.record
            if not isinstance(outcome, VersionConflictError):
                raise outcome
            lost = outcome
            is_unsure = is_unsure or ledger.is_unsure
        assert lost is not None
        raise lost
