"""The verbs on schedules: list, pause, resume."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from workflow_core.definition import Schedule, Workflow
from workflow_core.engine.core import Core
from workflow_core.engine.patience import patiently
from workflow_core.engine.schedule_state import (
    ScheduleView,
    begun,
    paused,
    record_id,
    resumed,
    view,
)
from workflow_core.errors import InputError, RunStateError, VersionConflictError, WorkflowError
from workflow_core.model import Record, RecordQuery, Resumed, RunState, names
from workflow_core.ports import Write

if TYPE_CHECKING:
    from workflow_core.engine.client import Client

__all__ = ["AsyncScheduleVerbs", "ScheduleVerbs"]

T = TypeVar("T")

_TRIES = 5


class ScheduleVerbs:
    """Part of `Engine`. Any thread."""

    _core: Core

    if TYPE_CHECKING:

        def _check_open(self) -> None: ...

    def schedules(self, workflow: Workflow[Any, Any] | str | None = None) -> list[ScheduleView]:
        """Every schedule that has been served once, as it is now; of one workflow or of all.

        Also such as are in the code no more; ordered by workflow and name.

        Raises:
            DecodeError: newer code wrote the record of one.
        """
        self._check_open()
        name = _name_of(workflow) if workflow is not None else None
        query = RecordQuery(workflow=names.SCHEDULES, limit=500)
        found: list[ScheduleView] = []
        while True:
            page = self._core.store.list_records(query)
            found += [view(record) for record in page.items]
            if page.next is None:
                break
            query = query.replace(after=page.next)
        chosen = [known for known in found if name in (None, known.workflow)]
        return sorted(chosen, key=lambda known: (known.workflow, known.name))

    def pause_schedule(
        self, workflow: Workflow[Any, Any] | str, name: str, *, reason: str
    ) -> ScheduleView:
        """Begin no more runs by this schedule, in any process, until it is resumed.

        It stays paused over restarts and deploys. Runs that it has begun go on. Paused already: it
        stays as it is.

        Args:
            workflow: the definition, or its name where that is not at hand.
            name: the schedule's.
            reason: kept with it.

        Raises:
            InputError: there is no such schedule.
        """
        self._check_open()
        return self._change(
            workflow, name, lambda record, _: paused(record, self._core.identity, reason)
        )

    def resume_schedule(
        self, workflow: Workflow[Any, Any] | str, name: str, *, who: str, why: str = ""
    ) -> ScheduleView:
        """Let it go on with its next tick; what was due during the pause is not made up for.

        Raises:
            InputError: there is no such schedule.
            RunStateError: it is not paused.
        """
        self._check_open()

        def decide(record: Record, schedule: Schedule | None) -> Write:
            if record.state is not RunState.PAUSED:
                raise RunStateError(
                    f"schedule {record.foreign_id} is not paused", run_id=record.run_id
                )
            by = Resumed(who=who, why=why, at=self._core.clock.now())
            now = self._core.store.now()
            return resumed(record, schedule, self._core.identity, by, now)

        return self._change(workflow, name, decide)

    def _change(
        self,
        workflow: Workflow[Any, Any] | str,
        name: str,
        decide: Callable[[Record, Schedule | None], Write | None],
    ) -> ScheduleView:
        """Read, decide and write; who loses against another write reads and decides again."""
        schedule = _declared(workflow, name) if isinstance(workflow, Workflow) else None
        lost: WorkflowError | None = None
        for _ in range(_TRIES):
            record = self._read(_name_of(workflow), name)
            if record is not None:
                write = decide(record, schedule)
            elif isinstance(workflow, Workflow) and schedule is not None:
                # no process has served it yet
                write = begun(workflow, schedule, self._core.identity, self._core.store.now())
            else:
                raise InputError(
                    f"workflow {_name_of(workflow)!r} has no schedule {name!r} that was served yet"
                )
            if write is None:
                assert record is not None
                return view(record)
            outcome = self._commit(write)
            if outcome is None and record is not None:
                return view(write.record)
            if outcome is not None and not isinstance(outcome, VersionConflictError):
                raise outcome
            lost = outcome
        assert lost is not None
        raise lost

    def _read(self, workflow: str, name: str) -> Record | None:
        run_id = record_id(workflow, name)
        found = patiently(
            lambda: self._core.store.lookup_many([run_id], primary=True), self._core.crew.manual
        )
        return found.get(run_id)

    def _commit(self, write: Write) -> WorkflowError | None:
        (outcome,) = patiently(lambda: self._core.journal.commit([write]), self._core.crew.manual)
        return outcome


class AsyncScheduleVerbs:
    """Part of `AsyncEngine`."""

    _engine: Client

    async def schedules(
        self, workflow: Workflow[Any, Any] | str | None = None
    ) -> Sequence[ScheduleView]:
        """As `Engine.schedules`."""
        return await self._do(lambda: self._engine.schedules(workflow))

    async def pause_schedule(
        self, workflow: Workflow[Any, Any] | str, name: str, *, reason: str
    ) -> ScheduleView:
        """As `Engine.pause_schedule`."""
        return await self._do(lambda: self._engine.pause_schedule(workflow, name, reason=reason))

    async def resume_schedule(
        self, workflow: Workflow[Any, Any] | str, name: str, *, who: str, why: str = ""
    ) -> ScheduleView:
        """As `Engine.resume_schedule`."""
        return await self._do(
            lambda: self._engine.resume_schedule(workflow, name, who=who, why=why)
        )

    if TYPE_CHECKING:

        async def _do(self, verb: Callable[[], T]) -> T: ...


def _name_of(workflow: Workflow[Any, Any] | str) -> str:
    return workflow.name if isinstance(workflow, Workflow) else workflow


def _declared(workflow: Workflow[Any, Any], name: str) -> Schedule:
    known = workflow.schedules
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        raise InputError(
            f"workflow {workflow.name!r} has no schedule {name!r}",
            hint=f"Did you mean {near[0]!r}?" if near else "",
        )
    return known[name]
