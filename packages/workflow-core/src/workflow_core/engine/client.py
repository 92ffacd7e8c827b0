"""The verbs: all that can be done with an engine without serving."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TypeVar

from workflow_core.definition import RunView, Workflow
from workflow_core.engine.core import Core
from workflow_core.engine.operators import Operators
from workflow_core.engine.questions import check_timeout, check_workflow, ended, reached, view
from workflow_core.engine.runtime import Runtime, ThreadRuntime
from workflow_core.engine.triggers import Trigger, Triggers
from workflow_core.engine.upkeep import ENDED, purge
from workflow_core.engine.waiter import Waiter
from workflow_core.errors import (
    InputError,
    NotReachedError,
    RunNotFoundError,
    StoppedError,
    WorkflowError,
)
from workflow_core.model import HistoryEntry, Page, Record, RecordQuery, RunState

if TYPE_CHECKING:
    from workflow_core.engine.aio import AsyncEngine

__all__ = ["Client"]

DataT = TypeVar("DataT")
StatusT = TypeVar("StatusT", bound=IntEnum)

_PURGE_BATCH = 500


class Client:
    """The part of an engine that triggers, reads, waits for and steers runs. Any thread."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._runtime: Runtime = ThreadRuntime(core.clock)
        self._waiter = Waiter(core.store, core.clock, core.crew.add)
        core.journal.listen(self._waiter.notice)
        self._triggers = Triggers(core)
        self._operators = Operators(core)
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
    ) -> str:
        """Begin a run; answers its id. On return the run is durable and will be worked on.

        Args:
            workflow: the definition.
            foreign_id: the business key, 1 to 255 characters; at most one live run has it.
            data: the run's data.
            status: where it begins; None: at the workflow's start.
            idempotency_key: the same key answers the same run, ended or not, for as long as it is
                kept: safe to call again after any failure.
            start_at: not before this time (aware), by the store's clock.
            headers: travel with every event of the run.

        Raises:
            RunInProgressError: the foreign id has a live run: ``live_run_id``.
            InputError: something given cannot be taken; nothing was written.
            AdapterUnavailableError: nobody knows whether the run was begun; call again with an
                idempotency key.
            DefinitionError: the workflow is declared wrongly.
        """
        self._check_open()
        check_workflow(workflow)
        return self._triggers.trigger(
            workflow,
            Trigger(foreign_id, data, status, idempotency_key, start_at, dict(headers or {})),
        )

    def trigger_many(
        self, workflow: Workflow[DataT, StatusT], triggers: Sequence[Trigger[DataT]]
    ) -> list[str | WorkflowError]:
        """Begin many runs in few transactions; for each its id or the error, in order.

        Raises:
            AdapterUnavailableError: nobody knows which of the rest were begun.
            DefinitionError: the workflow is declared wrongly.
        """
        self._check_open()
        check_workflow(workflow)
        return self._triggers.trigger_many(workflow, triggers)

    # -- reading -------------------------------------------------------------------------------

    def view(self, workflow: Workflow[DataT, StatusT], run_id: str) -> RunView[DataT, StatusT]:
        """The run as it is now.

        Raises:
            RunNotFoundError: no such run of this workflow.
            DecodeError: its data is not of the workflow's type.
        """
        self._check_open()
        check_workflow(workflow)
        found = self._core.store.lookup_many([run_id], primary=True)
        return view(workflow, run_id, found.get(run_id))

    def live_run(self, workflow: Workflow[Any, Any], foreign_id: str) -> str:
        """The id of the foreign id's live run.

        Raises:
            RunNotFoundError: it has none.
        """
        self._check_open()
        check_workflow(workflow)
        record = self._core.store.latest(workflow.name, foreign_id)
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
        """
        self._check_open()
        check_workflow(workflow)
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

    def runs(self, query: RecordQuery) -> Page[Record]:
        """One page of records."""
        self._check_open()
        return self._core.store.list_records(query)

    def counts(self, query: RecordQuery) -> Mapping[tuple[str, int, RunState], int]:
        """Runs per (workflow, status, run state)."""
        self._check_open()
        return self._core.store.count_records(query)

    def history(self, run_id: str) -> Sequence[HistoryEntry]:
        """Every version of a run that the store keeps, oldest first."""
        self._check_open()
        return self._core.store.history(run_id)

    # -- steering ------------------------------------------------------------------------------

    def pause(self, run_id: str, *, reason: str) -> None:
        """Pause a run: no step begins, and the result of one that runs now is dropped.

        It runs again after the resume. Only an operator's resume ends this pause.

        Raises:
            RunNotFoundError: no such run.
            RunEndedError: it has ended.
        """
        self._check_open()
        self._operators.pause(run_id, reason)

    def resume(self, run_id: str, *, who: str, why: str = "") -> None:
        """Let a paused run go on where it stands, its attempts counted anew.

        Raises:
            RunNotFoundError: no such run.
            RunStateError: it is not paused, or has ended (`RunEndedError`).
        """
        self._check_open()
        self._operators.resume(run_id, who, why)

    def cancel(self, run_id: str, *, reason: str) -> None:
        """End a live run where it stands. A step that runs now sees ``run.cancelled``.

        Raises:
            RunNotFoundError: no such run.
            RunEndedError: it has ended.
        """
        self._check_open()
        self._operators.cancel(run_id, reason)

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
        total = 0
        while gone := purge(self._core.store, workflow.name, states, older_than, _PURGE_BATCH):
            total += gone
        return total

    # -- inside --------------------------------------------------------------------------------

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

    def _check_open(self) -> None:
        if self._closed:
            raise StoppedError("this engine is closed")
