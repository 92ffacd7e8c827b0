"""The verb `callback`, for threads and for asyncio code; what it does is in `callbacks`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from datetime import timedelta
from enum import IntEnum
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from workflow_core.definition import Callback, Run
from workflow_core.engine.bodies import AsyncBodies
from workflow_core.engine.callbacks import Call
from workflow_core.engine.core import Core
from workflow_core.engine.ledger import Ledger
from workflow_core.engine.waiter import Question, Waiter
from workflow_core.errors import NotAtStatusError, StoppedError
from workflow_core.logs import About
from workflow_core.ports import leave_to_parent

if TYPE_CHECKING:
    from workflow_core.engine.client import Client
    from workflow_core.engine.runtime import Runtime

__all__ = ["AsyncCallbackVerb", "CallbackVerb"]

T = TypeVar("T")
DataT = TypeVar("DataT")
StatusT = TypeVar("StatusT", bound=IntEnum)
PayloadT = TypeVar("PayloadT")

_NOW = timedelta(0)
_LONGEST_BODY = timedelta(days=36_500)  # none: whoever wants a limit sets it in the body


class CallbackVerb:
    """`Engine.callback`."""

    _core: Core
    _runtime: Runtime
    _waiter: Waiter

    def __init__(self) -> None:
        self._callback_bodies: AsyncBodies | None = None
        self._callback_lock = threading.Lock()

    @overload
    def callback(
        self,
        callback: Callback[DataT, StatusT, None],
        run_id: str,
        *,
        wait: timedelta = ...,
        connection: object | None = ...,
    ) -> None: ...
    @overload
    def callback(
        self,
        callback: Callback[DataT, StatusT, PayloadT],
        run_id: str,
        payload: PayloadT,
        *,
        wait: timedelta = ...,
        connection: object | None = ...,
    ) -> None: ...
    def callback(
        self,
        callback: Callback[Any, Any, Any],
        run_id: str,
        payload: object = None,
        *,
        wait: timedelta = _NOW,
        connection: object | None = None,
    ) -> None:
        """Move a run on by calling one of its workflow's callbacks. On return it has moved on.

        The body runs here, on this thread (an async one on a loop beside it); it runs again, on
        fresh data, where somebody else wrote in between. What it raises is raised here, and the run
        stays as it is.

        Args:
            callback: what the decorator left under the function's name.
            run_id: the run; `live_run` finds it by its foreign id.
            payload: what the callback takes beside the run, of that very type.
            wait: how long to wait for the run to come to the callback's status.
            connection: yours, to the record store's database: the run moves on when, and only if,
                the transaction open there commits. The body has it as ``run.connection``.

        Raises:
            StoreBusyError: with ``connection``: roll its transaction back and retry it.
            NotAtStatusError: the run is elsewhere: ``status``. It may have been called back before.
            RunPausedError: it is paused there.
            RunEndedError: it was cancelled there.
            RunNotFoundError: no such run of this workflow.
            PayloadError: a payload of another type, or data that cannot be kept.
            AdapterUnavailableError: nobody knows whether it took effect: call again.
        """
        call = self.call_of(callback, run_id, payload, wait, connection)
        while not call.is_done:
            try:
                run = call.look()
            except NotAtStatusError:
                if not self._await_arrival(call):
                    raise
                continue
            if run is None:
                continue
            with About(run):  # an async body begins in it
                answer = self._settled(call.answer(run))
            if call.commit(run, answer):
                return

    def call_of(
        self,
        callback: Callback[Any, Any, Any],
        run_id: str,
        payload: object,
        wait: timedelta,
        connection: object | None,
    ) -> Call:
        """The call that `callback` makes, for asyncio code to make it step by step."""
        return Call(
            self._core, self._ledger(connection), callback, run_id, payload, wait, connection
        )

    def expect_arrival(self, call: Call) -> Future[bool]:
        """A future that is done when looking again is of use."""
        question = Question(lambda record: call.arrived(record) is not None, call.arrived)
        return self._waiter.ask(call.run_id, question)

    def _await_arrival(self, call: Call) -> bool:
        if call.rest <= _NOW:
            return False
        future = self.expect_arrival(call)
        try:
            self._runtime.result(future, call.rest)
        except TimeoutError:
            return False
        finally:
            future.cancel()
        return True

    def _settled(self, answer: object) -> object:
        """The answer; of an async body, when it has come."""
        if not isawaitable(answer):
            return answer
        bodies = self._bodies_here()
        future: Future[object] = Future()

        def done(answer: object, error: BaseException | None) -> None:
            if isinstance(error, asyncio.CancelledError) and bodies.is_closed:
                error = StoppedError("the engine was closed while the callback ran")
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(answer)

        bodies.start(cast("Coroutine[Any, Any, object]", answer), done)
        return self._runtime.result(future, _LONGEST_BODY)

    def _bodies_here(self) -> AsyncBodies:
        with self._callback_lock:
            if self._callback_bodies is None:
                self._callback_bodies = self._runtime.bodies()
            return self._callback_bodies

    def _fork_callbacks(self) -> None:
        """In a forked child: the loop and its thread stayed with the parent."""
        leave_to_parent(self._callback_bodies)
        CallbackVerb.__init__(self)

    def _close_callbacks(self) -> None:
        """Cancel async bodies that still run; their callers get StoppedError."""
        with self._callback_lock:
            kept = self._callback_bodies
        if kept is not None:
            kept.close()

    def _ledger(self, connection: object | None) -> Ledger:
        raise NotImplementedError  # `Client` has it


class AsyncCallbackVerb:
    """`AsyncEngine.callback`."""

    _engine: Client

    @overload
    async def callback(
        self,
        callback: Callback[DataT, StatusT, None],
        run_id: str,
        *,
        wait: timedelta = ...,
        connection: object | None = ...,
    ) -> None: ...
    @overload
    async def callback(
        self,
        callback: Callback[DataT, StatusT, PayloadT],
        run_id: str,
        payload: PayloadT,
        *,
        wait: timedelta = ...,
        connection: object | None = ...,
    ) -> None: ...
    async def callback(
        self,
        callback: Callback[Any, Any, Any],
        run_id: str,
        payload: object = None,
        *,
        wait: timedelta = _NOW,
        connection: object | None = None,
    ) -> None:
        """As `Engine.callback`; an async body runs on this very loop, waiting costs no thread."""
        call = await self._within(
            connection,
            lambda joined: self._engine.call_of(callback, run_id, payload, wait, joined),
        )
        while not call.is_done:
            try:
                run = await self._within(connection, lambda _: call.look())
            except NotAtStatusError:
                if not await self._arrival(call):
                    raise
                continue
            if run is not None and await self._commit(call, run, connection):
                return

    async def _commit(self, call: Call, run: Run[Any, Any], connection: object | None) -> bool:
        answer: object
        if call.step.is_async:
            answer = call.answer(run)
        else:
            answer = await self._within(connection, lambda _: call.answer(run))
        if isawaitable(answer):
            with About(run):
                answer = await answer
        return await self._within(connection, lambda _: call.commit(run, answer))

    async def _arrival(self, call: Call) -> bool:
        if call.rest <= _NOW:
            return False
        future = self._engine.expect_arrival(call)
        try:
            await asyncio.wait_for(asyncio.wrap_future(future), call.rest.total_seconds())
        except TimeoutError:
            return False
        finally:
            future.cancel()
        return True

    async def _within(self, connection: object | None, verb: Callable[[object | None], T]) -> T:
        raise NotImplementedError  # `AsyncEngine` has it
