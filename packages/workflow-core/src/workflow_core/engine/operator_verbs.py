"""The operator's verbs beyond pause, resume and cancel: retry now, move, begin again, and bulk."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TypeVar, cast

from workflow_core.definition import Trigger, Workflow
from workflow_core.engine.bulk import AsyncBulk, Bulk, BulkProgress, OnProgress
from workflow_core.engine.core import Core
from workflow_core.engine.ledger import Ledger
from workflow_core.engine.operators import Operators
from workflow_core.engine.questions import check_workflow, view
from workflow_core.engine.steering import by
from workflow_core.engine.transition import clean_text
from workflow_core.engine.triggers import Triggers
from workflow_core.model import RecordQuery
from workflow_core.model.texts import checked_text

if TYPE_CHECKING:
    from workflow_core.engine.client import Client

__all__ = ["AsyncOperatorVerbs", "OperatorVerbs"]

T = TypeVar("T")
DataT = TypeVar("DataT")
StatusT = TypeVar("StatusT", bound=IntEnum)


class OperatorVerbs:
    """Part of `Engine`. Any thread."""

    _core: Core
    _operators: Operators
    _triggers: Triggers

    if TYPE_CHECKING:

        def _ledger(self, connection: object | None) -> Ledger: ...

        def _check_open(self) -> None: ...

    def retry_now(
        self, run_id: str, *, who: str, why: str = "", connection: object | None = None
    ) -> None:
        """Make a run due at once that waits: for its next try, a Repeat, a start, after a Skip.

        Attempts stay counted. The result of a step that runs now is dropped, and it runs again.

        Raises:
            RunNotFoundError: no such run.
            RunPausedError: it is paused: resume it.
            RunEndedError: it has ended.
        """
        ledger = self._ledger(connection)
        self._operators.change(run_id, ledger, self._operators.decisions.hurrying(who, why))

    def move(
        self,
        workflow: Workflow[Any, StatusT],
        run_id: str,
        status: StatusT,
        *,
        who: str,
        why: str = "",
        connection: object | None = None,
    ) -> None:
        """Put a live run at a status of its workflow, whether or not a step leads there.

        It begins a new stay there, with its data as it is; a paused run goes on, and an end ends
        it. Timers of the old stay are cancelled, the result of a step that runs now is dropped.

        Raises:
            UnknownStatusError: none of the workflow's, or one from where nothing would move it on.
            RunNotFoundError: no such run.
            InputError: it is another workflow's.
            RunEndedError: it has ended: `begin_again`.
        """
        ledger = self._ledger(connection)
        check_workflow(workflow)
        decide = self._operators.decisions.moving(workflow, status, who, why)
        self._operators.change(run_id, ledger, decide)

    def begin_again(
        self,
        workflow: Workflow[DataT, StatusT],
        run_id: str,
        *,
        status: StatusT | None = None,
        data: DataT | None = None,
        who: str,
        why: str = "",
        connection: object | None = None,
    ) -> str:
        """Begin a new run with the foreign id of one that has ended; answers the new one's id.

        Its headers, and the first version in its history, tell from which run, by whom and why.

        Args:
            workflow: the definition.
            run_id: the run that has ended.
            status: where the new one begins; None: at the workflow's start.
            data: the new one's data; None: that of the old one as it ended.
            who: kept with it.
            why: kept with it.
            connection: as for `Engine.trigger`.

        Raises:
            RunNotFoundError: no such run of this workflow.
            RunInProgressError: the foreign id has a live run: this one, or another.
            InputError: something given cannot be taken.
        """
        ledger = self._ledger(connection)
        check_workflow(workflow)
        checked_text(run_id, "a run id")
        old = view(workflow, run_id, ledger.lookup([run_id]).get(run_id))
        told = {"begun again from": run_id, "begun again by": clean_text(who)}
        if why:
            told["begun again because"] = clean_text(why)
        return self._triggers.trigger(
            workflow,
            Trigger(old.foreign_id, old.data if data is None else data, status, headers=told),
            ledger,
            reason=by(f"begun again from {run_id}", who, why),
        )

    def bulk(
        self,
        query: RecordQuery,
        *,
        everything: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Bulk:
        """Many runs, to be paused, resumed, cancelled, retried, moved or emptied together.

        Args:
            query: which; its order, ``after`` and ``limit`` do not count.
            everything: needed where the query names nothing but a workflow, or not even that.
            on_progress: called after each batch; what it raises ends the verb there.

        Raises:
            InputError: it would be every run, and that was not said; or the query cannot be.
        """
        self._check_open()
        return Bulk(
            self._core,
            query,
            everything=everything,
            on_progress=on_progress,
            delete=cast("Client", self).delete_data,
        )


class AsyncOperatorVerbs:
    """Part of `AsyncEngine`."""

    _engine: Client

    if TYPE_CHECKING:

        async def _do(self, verb: Callable[[], T]) -> T: ...

        async def _within(
            self, connection: object | None, verb: Callable[[object | None], T]
        ) -> T: ...

    async def retry_now(
        self, run_id: str, *, who: str, why: str = "", connection: object | None = None
    ) -> None:
        """As `Engine.retry_now`."""
        await self._within(
            connection,
            lambda joined: self._engine.retry_now(run_id, who=who, why=why, connection=joined),
        )

    async def move(
        self,
        workflow: Workflow[Any, StatusT],
        run_id: str,
        status: StatusT,
        *,
        who: str,
        why: str = "",
        connection: object | None = None,
    ) -> None:
        """As `Engine.move`."""
        await self._within(
            connection,
            lambda joined: self._engine.move(
                workflow, run_id, status, who=who, why=why, connection=joined
            ),
        )

    async def begin_again(
        self,
        workflow: Workflow[DataT, StatusT],
        run_id: str,
        *,
        status: StatusT | None = None,
        data: DataT | None = None,
        who: str,
        why: str = "",
        connection: object | None = None,
    ) -> str:
        """As `Engine.begin_again`."""
        return await self._within(
            connection,
            lambda joined: self._engine.begin_again(
                workflow, run_id, status=status, data=data, who=who, why=why, connection=joined
            ),
        )

    def bulk(
        self,
        query: RecordQuery,
        *,
        everything: bool = False,
        on_progress: OnProgress | None = None,
    ) -> AsyncBulk:
        """As `Engine.bulk`."""
        made = self._engine.bulk(query, everything=everything, on_progress=on_progress)

        def do(verb: Callable[[], BulkProgress]) -> Awaitable[BulkProgress]:
            return self._do(verb)

        return AsyncBulk(made, do)
