"""The verb that asks who is working."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from workflow_core.engine.core import Core
from workflow_core.engine.runtime import Runtime
from workflow_core.engine.worker_state import (
    WorkerNote,
    WorkerState,
    WorkerView,
    is_late,
    note_of,
    roles_of,
    unreadable,
    view,
)
from workflow_core.errors import AdapterUnavailableError, DecodeError
from workflow_core.model import Record, RecordQuery, RunState, names

if TYPE_CHECKING:
    from workflow_core.engine.client import Client

__all__ = ["AsyncWorkerVerb", "WorkerVerb", "count_workers", "live_records"]

_PAGE = 500


class WorkerVerb:
    """Part of `Engine`. Any thread."""

    _core: Core

    if TYPE_CHECKING:

        def _check_open(self) -> None: ...

    def workers(self) -> list[WorkerView]:
        """Who is working: every process that serves over this record store, ordered by instance.

        One that stopped in order is not among them; one that died is, as lost, for a day. It is
        lost when nothing was heard of it for three times `EngineSettings.beat_every` (of its own
        settings), by the store's clock, and the role scheduler knows of no role that it plays.
        One whose record cannot be read is told as such, beside all others.

        Raises:
            AdapterUnavailableError: the record store does not answer.
        """
        self._check_open()
        found: list[tuple[Record, WorkerNote]] = []
        workers: list[WorkerView] = []
        for record in live_records(self._core):
            try:
                found.append((record, note_of(record)))
            except DecodeError as error:
                workers.append(unreadable(record, error))
        now, holders = self._core.store.now(), self._holders([note for _, note in found])
        for record, note in found:
            told = roles_of(note)
            roles = sorted(r for r, holder in holders.items() if holder == note.instance)
            is_lost = is_late(record, note, now) and not roles
            if is_lost or not holders:  # who holds nothing there may hold nothing, or none is known
                roles = told
            state = WorkerState.LOST if is_lost else WorkerState.LIVE
            workers.append(view(record, note, state, roles))
        return sorted(workers, key=lambda worker: (worker.instance, worker.started_at))

    def _holders(self, notes: Sequence[WorkerNote]) -> Mapping[str, str]:
        """Who plays what, as the scheduler knows; {}: it does not, or does not answer."""
        scheduler = self._core.scheduler
        wanted = sorted({role for note in notes for role in roles_of(note, wanted=True)})
        if scheduler is None or not wanted:
            return {}
        try:
            return scheduler.holders(wanted)
        except AdapterUnavailableError:
            return {}


class AsyncWorkerVerb:
    """Part of `AsyncEngine`."""

    _engine: Client
    _runtime: Runtime

    async def workers(self) -> list[WorkerView]:
        """As `Engine.workers`."""
        return await asyncio.wrap_future(self._runtime.errand(self._engine.workers))


def count_workers(core: Core, workflow: str) -> dict[str, int]:
    """How many serve a workflow, live or lost, going by their beats alone.

    One whose record cannot be read is not among them: nobody knows what it serves.

    Raises:
        AdapterUnavailableError: the record store does not answer.
    """
    now = core.store.now()
    counts = {state.value: 0 for state in (WorkerState.LIVE, WorkerState.LOST)}
    for record in live_records(core):
        try:
            note = note_of(record)
        except DecodeError:  # of newer code: all others are counted
            continue
        if workflow in note.workflows:
            state = WorkerState.LOST if is_late(record, note, now) else WorkerState.LIVE
            counts[state.value] += 1
    return counts


def live_records(core: Core) -> list[Record]:
    """Of workers that have not stopped in order."""
    query = RecordQuery(workflow=names.WORKERS, states=[RunState.RUNNING], limit=_PAGE)
    found: list[Record] = []
    while True:
        page = core.store.list_records(query)
        found += page.items
        if page.next is None:
            return found
        query = query.replace(after=page.next)
