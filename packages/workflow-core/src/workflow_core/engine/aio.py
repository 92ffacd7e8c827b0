"""The engine's verbs for asyncio code.

With ``connection``, SQLAlchemy's AsyncConnection or AsyncSession, a verb runs on that connection's
own driver, in its ``run_sync``, and so in the transaction that is open there.

Waiting costs no thread: however many coroutines wait, one waiter looks up all their runs. The other
verbs are short and run in a few threads of their own, so they never queue behind the loop's
default executor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TypeVar

from workflow_core.definition import RunView, Trigger, Workflow
from workflow_core.engine.callback_verbs import AsyncCallbackVerb
from workflow_core.engine.dead_letters import AsyncDeadLetterVerbs
from workflow_core.engine.deletion import AsyncDeletionVerb
from workflow_core.engine.guard import AsyncGuardVerb
from workflow_core.engine.health_verbs import AsyncHealthVerb
from workflow_core.engine.operator_verbs import AsyncOperatorVerbs
from workflow_core.engine.runtime import Runtime
from workflow_core.engine.schedule_verbs import AsyncScheduleVerbs
from workflow_core.engine.why import AsyncWhyVerb
from workflow_core.engine.worker_verbs import AsyncWorkerVerb
from workflow_core.errors import InputError, WorkflowError
from workflow_core.model import HistoryEntry, Page, Record, RecordQuery, RunState

if TYPE_CHECKING:
    from workflow_core.engine.client import Client

__all__ = ["AsyncEngine"]

T = TypeVar("T")
DataT = TypeVar("DataT")
StatusT = TypeVar("StatusT", bound=IntEnum)


class AsyncEngine(
    AsyncCallbackVerb,
    AsyncDeadLetterVerbs,
    AsyncDeletionVerb,
    AsyncGuardVerb,
    AsyncHealthVerb,
    AsyncOperatorVerbs,
    AsyncScheduleVerbs,
    AsyncWhyVerb,
    AsyncWorkerVerb,
):
    """Each method as its namesake of `Engine`; cancelling one abandons the wait, not the write."""

    def __init__(self, engine: Client, runtime: Runtime) -> None:
        self._engine = engine
        self._runtime = runtime

    async def trigger(
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
        """As `Engine.trigger`."""
        return await self._within(
            connection,
            lambda joined: self._engine.trigger(
                workflow,
                foreign_id,
                data,
                status=status,
                idempotency_key=idempotency_key,
                start_at=start_at,
                headers=headers,
                connection=joined,
            ),
        )

    async def trigger_many(
        self,
        workflow: Workflow[DataT, StatusT],
        triggers: Sequence[Trigger[DataT]],
        *,
        connection: object | None = None,
    ) -> list[str | WorkflowError]:
        """As `Engine.trigger_many`."""
        return await self._within(
            connection,
            lambda joined: self._engine.trigger_many(workflow, triggers, connection=joined),
        )

    async def wait_for(
        self,
        workflow: Workflow[DataT, StatusT],
        run_id: str,
        status: StatusT,
        timeout: timedelta,  # noqa: ASYNC109 - the namesake's parameter; its error says where the run is
    ) -> RunView[DataT, StatusT]:
        """As `Engine.wait_for`, without a thread."""
        future = self._engine.expect(workflow, run_id, status)
        return await self._wait(future, workflow, run_id, status, timeout)

    async def wait_until_ended(
        self,
        workflow: Workflow[DataT, StatusT],
        run_id: str,
        timeout: timedelta,  # noqa: ASYNC109 - as above
    ) -> RunView[DataT, StatusT]:
        """As `Engine.wait_until_ended`, without a thread."""
        future = self._engine.expect(workflow, run_id, None)
        return await self._wait(future, workflow, run_id, None, timeout)

    async def runs(self, query: RecordQuery, *, reserved: bool = False) -> Page[Record]:
        """As `Engine.runs`."""
        return await self._do(lambda: self._engine.runs(query, reserved=reserved))

    async def counts(
        self, query: RecordQuery, *, reserved: bool = False
    ) -> Mapping[tuple[str, int, RunState], int]:
        """As `Engine.counts`."""
        return await self._do(lambda: self._engine.counts(query, reserved=reserved))

    async def history(self, run_id: str) -> Sequence[HistoryEntry]:
        """As `Engine.history`."""
        return await self._do(lambda: self._engine.history(run_id))

    async def view(
        self,
        workflow: Workflow[DataT, StatusT],
        run_id: str,
        *,
        connection: object | None = None,
    ) -> RunView[DataT, StatusT]:
        """As `Engine.view`."""
        return await self._within(
            connection, lambda joined: self._engine.view(workflow, run_id, connection=joined)
        )

    async def live_run(
        self, workflow: Workflow[Any, Any], foreign_id: str, *, connection: object | None = None
    ) -> str:
        """As `Engine.live_run`."""
        return await self._within(
            connection,
            lambda joined: self._engine.live_run(workflow, foreign_id, connection=joined),
        )

    async def pause(
        self, run_id: str, *, reason: str, who: str = "", connection: object | None = None
    ) -> None:
        """As `Engine.pause`."""
        await self._within(
            connection,
            lambda joined: self._engine.pause(run_id, reason=reason, who=who, connection=joined),
        )

    async def resume(
        self, run_id: str, *, who: str, why: str = "", connection: object | None = None
    ) -> None:
        """As `Engine.resume`."""
        await self._within(
            connection,
            lambda joined: self._engine.resume(run_id, who=who, why=why, connection=joined),
        )

    async def cancel(
        self, run_id: str, *, reason: str, who: str = "", connection: object | None = None
    ) -> None:
        """As `Engine.cancel`."""
        await self._within(
            connection,
            lambda joined: self._engine.cancel(run_id, reason=reason, who=who, connection=joined),
        )

    async def _wait(
        self,
        future: Future[RunView[DataT, StatusT]],
        workflow: Workflow[DataT, StatusT],
        run_id: str,
        status: StatusT | None,
        timeout: timedelta,  # noqa: ASYNC109 - as above
    ) -> RunView[DataT, StatusT]:
        waiting = asyncio.wrap_future(future)
        try:
            answered, _ = await asyncio.wait([waiting], timeout=timeout.total_seconds())
        except asyncio.CancelledError:
            future.cancel()
            raise
        if answered or not future.cancel():  # perhaps answered in this very moment
            return await waiting
        engine = self._engine
        raise await self._do(lambda: engine.not_reached(workflow, run_id, status, timeout))

    async def _do(self, verb: Callable[[], T]) -> T:
        return await asyncio.wrap_future(self._runtime.errand(verb))

    async def _within(self, connection: object | None, verb: Callable[[object | None], T]) -> T:
        """Do it on the caller's connection, where there is one."""
        if connection is None:
            return await self._do(lambda: verb(None))
        run_sync = getattr(connection, "run_sync", None)
        if run_sync is None:
            raise InputError(
                f"a {type(connection).__name__} is no connection for asyncio code",
                hint="Give an AsyncConnection or AsyncSession, or call the engine's verb itself",
            )
        answer: T = await run_sync(verb)
        return answer
