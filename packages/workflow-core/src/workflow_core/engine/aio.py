"""The engine's verbs for asyncio code.

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

from workflow_core.definition import RunView, Workflow
from workflow_core.engine.runtime import Runtime
from workflow_core.engine.triggers import Trigger
from workflow_core.errors import WorkflowError
from workflow_core.model import HistoryEntry, Page, Record, RecordQuery, RunState

if TYPE_CHECKING:
    from workflow_core.engine.client import Client

__all__ = ["AsyncEngine"]

T = TypeVar("T")
DataT = TypeVar("DataT")
StatusT = TypeVar("StatusT", bound=IntEnum)


class AsyncEngine:
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
    ) -> str:
        """As `Engine.trigger`."""
        return await self._do(
            lambda: self._engine.trigger(
                workflow,
                foreign_id,
                data,
                status=status,
                idempotency_key=idempotency_key,
                start_at=start_at,
                headers=headers,
            )
        )

    async def trigger_many(
        self, workflow: Workflow[DataT, StatusT], triggers: Sequence[Trigger[DataT]]
    ) -> list[str | WorkflowError]:
        """As `Engine.trigger_many`."""
        return await self._do(lambda: self._engine.trigger_many(workflow, triggers))

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

    async def runs(self, query: RecordQuery) -> Page[Record]:
        """As `Engine.runs`."""
        return await self._do(lambda: self._engine.runs(query))

    async def counts(self, query: RecordQuery) -> Mapping[tuple[str, int, RunState], int]:
        """As `Engine.counts`."""
        return await self._do(lambda: self._engine.counts(query))

    async def history(self, run_id: str) -> Sequence[HistoryEntry]:
        """As `Engine.history`."""
        return await self._do(lambda: self._engine.history(run_id))

    async def view(
        self, workflow: Workflow[DataT, StatusT], run_id: str
    ) -> RunView[DataT, StatusT]:
        """As `Engine.view`."""
        return await self._do(lambda: self._engine.view(workflow, run_id))

    async def live_run(self, workflow: Workflow[Any, Any], foreign_id: str) -> str:
        """As `Engine.live_run`."""
        return await self._do(lambda: self._engine.live_run(workflow, foreign_id))

    async def pause(self, run_id: str, *, reason: str) -> None:
        """As `Engine.pause`."""
        await self._do(lambda: self._engine.pause(run_id, reason=reason))

    async def resume(self, run_id: str, *, who: str, why: str = "") -> None:
        """As `Engine.resume`."""
        await self._do(lambda: self._engine.resume(run_id, who=who, why=why))

    async def cancel(self, run_id: str, *, reason: str) -> None:
        """As `Engine.cancel`."""
        await self._do(lambda: self._engine.cancel(run_id, reason=reason))

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
