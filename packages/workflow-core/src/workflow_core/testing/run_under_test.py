"""A run as a user's test follows it: where it comes to, what is called, what time does to it."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from workflow_core.definition import Callback, Run, RunView, TimeoutStep, Workflow
from workflow_core.errors import NotReachedError, RunEndedError, WouldWaitForeverError
from workflow_core.model import RecordQuery

if TYPE_CHECKING:
    from workflow_core.testing.driver import Driver

__all__ = ["RunUnderTest"]

DataT = TypeVar("DataT")
StatusT = TypeVar("StatusT", bound=IntEnum)
PayloadT = TypeVar("PayloadT")

_LONG = timedelta(days=365)
_NOW = timedelta(0)


class RunUnderTest(Generic[DataT, StatusT]):
    """Made by `Driver.begin`. Every method drives until all is quiet; time moves only if need be.

    What is expected and does not come is an AssertionError that says where the run stands, why it
    is paused and what its last error was.

    Attributes:
        run_id: the run's.
    """

    def __init__(self, driver: Driver, workflow: Workflow[DataT, StatusT], run_id: str) -> None:
        self.run_id = run_id
        self._driver = driver
        self._workflow = workflow

    @property
    def view(self) -> RunView[DataT, StatusT]:
        """The run as it is when all is quiet."""
        self._driver.run()
        return self._driver.engine.view(self._workflow, self.run_id)

    def reaches(self, status: StatusT, *, within: timedelta = _LONG) -> RunView[DataT, StatusT]:
        """The run comes to this status, or has passed it; the clock moves on to what is due.

        Raises:
            AssertionError: it ends elsewhere, or nothing will ever bring it there.
        """
        engine = self._driver.engine
        try:
            return engine.wait_for(self._workflow, self.run_id, status, within)
        except (NotReachedError, RunEndedError, WouldWaitForeverError) as error:
            raise AssertionError(f"{status.name} is not reached: {self._standing()}") from error

    def is_at(self, status: StatusT, data: DataT | None = None) -> RunView[DataT, StatusT]:
        """When all is quiet, and without time passing, it stands at this status, with this data.

        Raises:
            AssertionError: it stands elsewhere, or its data differs.
        """
        view = self.view
        assert view.status is status, f"it is not at {status.name}: {self._standing()}"
        if data is not None:
            assert view.data == data, f"at {status.name} its data is {view.data!r}, not {data!r}"
        return view

    def call(
        self,
        callback: Callback[DataT, StatusT, PayloadT],
        payload: PayloadT | None = None,
    ) -> RunView[DataT, StatusT]:
        """Call this callback as soon as the run is at its status; answers where that leads.

        Raises:
            AssertionError: it never comes there.
            PayloadError: the payload is of another type.
        """
        self.reaches(callback.status)
        call: Any = self._driver.engine.callback
        if payload is None and callback.payload_type is None:
            call(callback, self.run_id)
        else:
            call(callback, self.run_id, payload)
        return self.view

    def times_out(self, name: str | None = None) -> RunView[DataT, StatusT]:
        """Move the clock to where a timer of the present status fires; answers where that leads.

        Args:
            name: the timer's, where the status has several; None: the one that is due first.

        Raises:
            AssertionError: no such timer waits there.
        """
        view = self.view
        waiting = {step.name: self._rest(step, view) for step in self._workflow.timeouts}
        rests = {
            timer: rest
            for timer, rest in waiting.items()
            if rest is not None and name in (None, timer)
        }
        what = "no timer" if name is None else f"no timer {name!r}"
        assert rests, f"{what} waits for it: {self._standing()}"
        self._driver.advance(min(rests.values()))
        return self.view

    def _rest(self, step: TimeoutStep, view: RunView[DataT, StatusT]) -> timedelta | None:
        """How long until this timer fires; None: it does not wait."""
        if step.status != int(view.status) or not view.state.is_driven:
            return None
        query = RecordQuery(run_ids=[self.run_id])
        entered_at = self._driver.engine.runs(query).items[0].entered_at
        at = self._due(step, view, entered_at)
        if at is None:
            return None
        rest = at - self._driver.clock.now()
        return rest if rest > _NOW else None

    def _due(
        self, step: TimeoutStep, view: RunView[DataT, StatusT], entered_at: datetime
    ) -> datetime | None:
        if step.fires_at is None:
            assert step.after is not None
            return entered_at + step.after
        run = Run(
            data=view.data,
            status=view.status,
            run_id=view.run_id,
            foreign_id=view.foreign_id,
            workflow=view.workflow,
            entered_at=entered_at,
        )
        return step.fires_at(run, entered_at)

    def _standing(self) -> str:
        view = self._driver.engine.view(self._workflow, self.run_id)
        told = f"run {self.run_id} is at {view.status.name}, {view.state.name.lower()}"
        for what in (view.reason, view.last_error):
            told += f"; {what}" if what and what not in told else ""
        return told

    def __repr__(self) -> str:
        return f"<{self._standing()}>"
