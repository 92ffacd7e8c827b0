"""The verbs: all that can be done with an engine without serving."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TypeVar

from workflow_core.definition import RunView, Trigger, Workflow
from workflow_core.engine.callback_verbs import CallbackVerb
from workflow_core.engine.core import Core
from workflow_core.engine.dead_letters import DeadLetterVerbs
from workflow_core.engine.deletion import DeletionVerb
from workflow_core.engine.guard import GuardVerb
from workflow_core.engine.health_verbs import HealthVerb
from workflow_core.engine.ledger import JoinedLedger, Ledger, check_lends, ledger_here
from workflow_core.engine.listing import ListingVerbs
from workflow_core.engine.operator_verbs import OperatorVerbs
from workflow_core.engine.operators import Operators
from workflow_core.engine.questions import check_timeout, check_workflow, ended, reached, view
from workflow_core.engine.runtime import Runtime, ThreadRuntime
from workflow_core.engine.schedule_verbs import ScheduleVerbs
from workflow_core.engine.settings import ENDED
from workflow_core.engine.step_transaction import forget_lent, lent
from workflow_core.engine.triggers import Triggers
from workflow_core.engine.upkeep import Purge
from workflow_core.engine.waiter import Waiter
from workflow_core.engine.why import WhyVerb
from workflow_core.engine.worker_verbs import WorkerVerb
from workflow_core.errors import (
    InputError,
    NotReachedError,
    RunNotFoundError,
    ServingError,
    StoppedError,
    WorkflowError,
)
from workflow_core.model import HistoryEntry, RunState
from workflow_core.model.texts import checked_text

if TYPE_CHECKING:
    from workflow_core.engine.aio import AsyncEngine
    from workflow_core.engine.serving import Serving

__all__ = ["Client"]

DataT = TypeVar("DataT")
StatusT = TypeVar("StatusT", bound=IntEnum)


class Client(
    CallbackVerb,
    DeadLetterVerbs,
    DeletionVerb,
    GuardVerb,
    HealthVerb,
    ListingVerbs,
    OperatorVerbs,
    ScheduleVerbs,
    WhyVerb,
    WorkerVerb,
):
    """The part of an engine that triggers, reads, waits for and steers runs. Any thread."""

    def __init__(self, core: Core) -> None:
        super().__init__()
        self._core = core
        self._runtime: Runtime = ThreadRuntime(core.clock)
        self._waiter = Waiter(core.store, core.clock, core.crew.add)
        core.journal.listen(self._waiter.notice)
        self._triggers = Triggers(core)
        self._operators = Operators(core)
        self._serving: Serving | None = None
        self._closed = False

    @property
    def aio(self) -> AsyncEngine:
        """The same verbs for asyncio code."""
        from workflow_core.engine.aio import AsyncEngine

        return AsyncEngine(self, self._runtime)

    # -- beginning runs ------------------------------------------------------------------------

    def trigger(
        self,
        workflow: Workflow[DataT, StatusT],
        foreign_id: str,
        data: DataT,
        *,
        status: StatusT | None = None,
        idempotency_key: str | None = None,
        start_at: datetime | None = None,
        headers: Mapping[str, str] | None = None,
        connection: object | None = None,
    ) -> str:
        """Begin a run; answers its id. On return the run is durable and will be worked on.

        With ``connection`` it is so when, and only if, the transaction open there commits: nothing
        is committed here, nothing tried twice, and a run in progress leaves the transaction usable.

        Args:
            workflow: the definition.
            foreign_id: the business key, 1 to 255 characters; at most one live run has it.
            data: the run's data.
            status: where it begins; None: at the workflow's start.
            idempotency_key: the same key answers the same run, ended or not, for as long as it is
                kept: safe to call again after any failure.
            start_at: not before this time (aware), by the store's clock.
            headers: travel with every event of the run.
            connection: yours, to the record store's database, such as SQLAlchemy's Connection or
                Session; None: the engine's own.

        Raises:
            RunInProgressError: the foreign id has a live run: ``live_run_id``.
            InputError: something given cannot be taken; nothing was written.
            StoreBusyError: with ``connection``: roll its transaction back and retry it.
            AdapterUnavailableError: nobody knows whether the run was begun; call again with an
                idempotency key.
            DefinitionError: the workflow is declared wrongly.
        """
        ledger = self._ledger(connection)
        check_workflow(workflow)
        return self._triggers.trigger(
            workflow,
            Trigger(foreign_id, data, status, idempotency_key, start_at, dict(headers or {})),
            ledger,
        )

    def trigger_many(
        self,
        workflow: Workflow[DataT, StatusT],
        triggers: Sequence[Trigger[DataT]],
        *,
        connection: object | None = None,
    ) -> list[str | WorkflowError]:
        """Begin many runs in few transactions; for each its id or the error, in order.

        With ``connection`` all in the transaction open there, as `trigger`.

        Raises:
            StoreBusyError: with ``connection``: roll its transaction back and retry it.
            AdapterUnavailableError: nobody knows which of the rest were begun.
            DefinitionError: the workflow is declared wrongly.
        """
        ledger = self._ledger(connection)
        check_workflow(workflow)
        return self._triggers.trigger_many(workflow, triggers, ledger)

    # -- reading -------------------------------------------------------------------------------

    def view(
        self,
        workflow: Workflow[DataT, StatusT],
        run_id: str,
        *,
        connection: object | None = None,
    ) -> RunView[DataT, StatusT]:
        """The run as it is now; with ``connection`` as the transaction open there sees it.

        Raises:
            RunNotFoundError: no such run of this workflow.
            DecodeError: its data is not of the workflow's type.
        """
        ledger = self._ledger(connection)
        check_workflow(workflow)
        checked_text(run_id, "a run id")
        return view(workflow, run_id, ledger.lookup([run_id]).get(run_id))

    def live_run(
        self, workflow: Workflow[Any, Any], foreign_id: str, *, connection: object | None = None
    ) -> str:
        """The id of the foreign id's live run; with ``connection`` as its transaction sees it.

        Raises:
            RunNotFoundError: it has none.
        """
        ledger = self._ledger(connection)
        check_workflow(workflow)
        checked_text(foreign_id, "a foreign id")
        record = ledger.latest(workflow.name, foreign_id)
        if not record.state.is_live:
            raise RunNotFoundError(
                f"foreign id {foreign_id!r} has no live run, its last has ended",
                workflow=workflow.name,
                run_id=record.run_id,
            )
        return record.run_id

    def wait_for(
        self,
        workflow: Workflow[DataT, StatusT],
        run_id: str,
        status: StatusT,
        timeout: timedelta,
    ) -> RunView[DataT, StatusT]:
        """Wait until the run is at the status or has passed it; answers the run as it is then.

        On a paused run it waits on.

        Raises:
            NotReachedError: not within `timeout` (it is a TimeoutError too); the run goes on.
            RunEndedError: the run has ended elsewhere.
            RunNotFoundError: no such run of this workflow.
            UnknownStatusError: the status is none of this workflow's.
        """
        check_timeout(timeout)
        return self._await(self.expect(workflow, run_id, status), workflow, run_id, status, timeout)

    def expect(
        self, workflow: Workflow[DataT, StatusT], run_id: str, status: StatusT | None
    ) -> Future[RunView[DataT, StatusT]]:
        """A future of what `wait_for` answers or raises; it never times out by itself.

        Cancel it when nobody waits any more. `StoppedError` ends it when the engine closes.

        Args:
            workflow: the definition.
            run_id: the run.
            status: where it is to come; None: to its end.

        Raises:
            ServingError: asked by a step in its open transaction.
        """
        self._check_open()
        if (body := lent(self._core.store)) is not None and body.is_open:
            raise ServingError(
                "a body waits for a run while its own transaction is open",
                hint="Others see what it wrote only once it has committed: wait in a later step",
            )
        check_workflow(workflow)
        checked_text(run_id, "a run id")  # all that are waited for are asked for at once
        if status is None:
            return self._waiter.ask(run_id, ended(workflow, run_id))
        return self._waiter.ask(run_id, reached(workflow, run_id, workflow.parse_status(status)))

    def wait_until_ended(
        self, workflow: Workflow[DataT, StatusT], run_id: str, timeout: timedelta
    ) -> RunView[DataT, StatusT]:
        """Wait until the run has ended, wherever.

        Raises:
            NotReachedError: not within `timeout`.
            RunNotFoundError: no such run of this workflow.
        """
        check_timeout(timeout)
        return self._await(self.expect(workflow, run_id, None), workflow, run_id, None, timeout)

    def history(self, run_id: str) -> Sequence[HistoryEntry]:
        """Every version of a run that the store keeps, oldest first.

        Raises:
            RunNotFoundError: no such run.
            InputError: no run can have this id.
        """
        self._check_open()
        checked_text(run_id, "a run id")
        return self._core.store.history(run_id)

    # -- steering ------------------------------------------------------------------------------
    # with ``connection`` in the transaction open there, as `trigger` says

    def pause(
        self, run_id: str, *, reason: str, who: str = "", connection: object | None = None
    ) -> None:
        """Pause a run: no step begins, and the result of one that runs now is dropped.

        It runs again after the resume. Only an operator's resume ends this pause. Where ``who`` is
        given, the kept reason begins with it: "paused by ada: …".

        Raises:
            RunNotFoundError: no such run.
            RunEndedError: it has ended.
        """
        self._operators.pause(run_id, reason, who, self._ledger(connection))

    def resume(
        self, run_id: str, *, who: str, why: str = "", connection: object | None = None
    ) -> None:
        """Let a paused run go on where it stands, its attempts counted anew.

        Raises:
            RunNotFoundError: no such run.
            RunStateError: it is not paused, or has ended (`RunEndedError`).
        """
        self._operators.resume(run_id, who, why, self._ledger(connection))

    def cancel(
        self, run_id: str, *, reason: str, who: str = "", connection: object | None = None
    ) -> None:
        """End a live run where it stands. A step that runs now sees ``run.cancelled``.

        ``who`` is kept as by `pause`.

        Raises:
            RunNotFoundError: no such run.
            RunEndedError: it has ended.
        """
        self._operators.cancel(run_id, reason, who, self._ledger(connection))

    def purge(
        self,
        workflow: Workflow[Any, Any],
        *,
        older_than: timedelta,
        states: Sequence[RunState] = ENDED,
    ) -> int:
        """Delete all runs that ended `older_than` ago, in bounded batches; answers how many.

        Live runs and such with an event on its way are spared. An interruption leaves the rest.

        Raises:
            InputError: a state that is not an end, or a negative age.
            NotSupportedError: the record store cannot purge.
        """
        self._check_open()
        if older_than < timedelta(0) or not all(state.is_finished for state in states):
            raise InputError("only runs that have ended can be purged, by an age of zero or more")
        purge = Purge(self._core.store, self._core.timeouts)
        total = 0
        while gone := purge.batch(workflow.name, states, older_than):
            total += gone
        return total

    # -- inside --------------------------------------------------------------------------------

    def _fork_client(self) -> None:
        """In a forked child: begin anew what has locks or threads, or makes ids."""
        core = self._core
        core.identity.forked()
        core.crew.forked()
        core.journal.forked()
        if core.publisher is not None:
            core.publisher.forked()
        if core.observers is not None:
            core.observers.forked()
        self._waiter.forked()
        self._runtime.forked()
        self._fork_callbacks()
        forget_lent()

    def _await(
        self,
        future: Future[RunView[DataT, StatusT]],
        workflow: Workflow[DataT, StatusT],
        run_id: str,
        status: StatusT | None,
        timeout: timedelta,
    ) -> RunView[DataT, StatusT]:
        try:
            return self._runtime.result(future, timeout)
        except TimeoutError:
            if not future.cancel():  # answered in this very moment
                return future.result()
            raise self.not_reached(workflow, run_id, status, timeout) from None
        finally:
            future.cancel()

    def not_reached(
        self,
        workflow: Workflow[Any, Any],
        run_id: str,
        status: IntEnum | None,
        timeout: timedelta,
    ) -> NotReachedError:
        """The error of a wait that is over, saying where the run is."""
        goal = "ended" if status is None else f"reached {status.name}"
        where = self.view(workflow, run_id)
        standing = f"it is at {where.status.name}, {where.state.name.lower()}"
        if where.attempts:
            standing += f", {where.attempts} failed attempts"
        untouched = where.version == 1
        return NotReachedError(
            f"run {run_id} has not {goal} within {timeout.total_seconds():g} s, {standing}",
            workflow=workflow.name,
            run_id=run_id,
            hint="No step has taken it up yet: does a process serve the workflow?"
            if untouched
            else "",
        )

    def _ledger(self, connection: object | None) -> Ledger:
        """Where a verb reads and writes: a caller's transaction, a step's, or the engine's own."""
        self._check_open()
        core = self._core
        if connection is not None:
            check_lends(core)
            return JoinedLedger(core, core.store.join(connection))
        return ledger_here(core)

    def _check_open(self) -> None:
        if self._closed:
            raise StoppedError("this engine is closed")
