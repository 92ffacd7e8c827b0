"""One run: all that is known of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from workflow_core import Record, RunState, Why, Workflow
from workflow_core.definition import CallbackStep
from workflow_core.errors import AdapterUnavailableError, RunNotFoundError
from workflow_core.model import HistoryEntry, Timeout

from workflow_webui.reading.data_tree import DataTree, Masking, data_tree
from workflow_webui.reading.listing import named_status, shown_error
from workflow_webui.reading.timeline import Stay, path_of, timeline
from workflow_webui.ui import Ask

__all__ = ["RunDetail", "actions_on", "entry_for", "run_detail"]


@dataclass(frozen=True, kw_only=True)
class RunDetail:
    """A run as its page shows it."""

    record: Record
    status: str
    now: datetime
    error: str
    stays: Sequence[Stay]
    names: Mapping[int, str]
    path: Sequence[int]
    why: Why | None
    """Why it does not move; None: it has ended, and nobody asks."""
    timers: Sequence[Timeout]
    """Open ones of its stay, soonest first."""
    data: DataTree | None
    """None: this user may not see it."""
    headers: Mapping[str, str]
    search: Mapping[str, Any]
    has_history: bool
    actions: Sequence[str]
    callbacks: Sequence[CallbackStep]
    moves: Mapping[int, str]
    """Statuses that it may be moved to."""


def run_detail(ask: Ask, run_id: str, find: str = "") -> RunDetail:
    """The run now.

    Raises:
        RunNotFoundError: no such run.
        AdapterUnavailableError: the store does not answer.
    """
    ui = ask.ui
    record = run_record(ask, run_id)
    workflow = ui.workflows.get(record.workflow)
    history = _history(ask, record)
    return RunDetail(
        record=record,
        status=named_status(workflow, record.status),
        now=ui.now(),
        error=shown_error(record.last_error, sees_data=ask.sees_data),
        stays=timeline(history[-_MOST_TOLD:], ends=record.state.is_finished),
        names=ui.status_names(record.workflow),
        path=path_of(history, record.passed, record.status),
        data=data_tree(record.data, workflow, Masking(ui.settings.masked), find)
        if ask.sees_data
        else None,
        headers=record.headers,
        search=record.search if ask.sees_data else {},
        has_history=len(history) > 1 or record.version == 1,
        actions=actions_on(record, workflow),
        callbacks=_at(workflow.callbacks if workflow else (), record),
        why=_why(ask, record, workflow),
        timers=_timers(ask, record),
        moves=_moves(workflow, record),
    )


def run_record(ask: Ask, run_id: str) -> Record:
    """The record of a run, and of nothing of the engine's own.

    Raises:
        RunNotFoundError: no such run.
    """
    record = ask.ui.store.lookup(run_id)
    if record.workflow.startswith("_"):
        raise RunNotFoundError(f"no run {run_id}", run_id=run_id)
    return record


def actions_on(record: Record, workflow: Workflow[Any, Any] | None) -> list[str]:
    """The verbs that fit the run as it stands."""
    state = record.state
    if state.is_live:
        known = ["resume"] if state is RunState.PAUSED else ["pause", "retry"]
        known.append("cancel")
        if workflow is not None:
            known.append("move")
            if state is not RunState.PAUSED and _at(workflow.callbacks, record):
                known.append("callback")
        return known
    if workflow is None:
        return []
    known = [] if state in _EMPTIED else ["again"]
    return [*known, "delete"]


_MOST_TOLD = 200  # versions on one page: each failed attempt is one, and brings its error
_EMPTIED = (RunState.DATA_DELETED, RunState.REQUESTED_DATA_DELETED)


def _history(ask: Ask, record: Record) -> list[HistoryEntry]:
    history = ask.ui.engine.history(record.run_id)
    return [entry_for(ask, entry) for entry in history]


def entry_for(ask: Ask, entry: HistoryEntry) -> HistoryEntry:
    """As this user may see it: without the right to see data, of errors the type alone."""
    return entry.replace(error=shown_error(entry.error, sees_data=ask.sees_data))


def _why(ask: Ask, record: Record, workflow: Workflow[Any, Any] | None) -> Why | None:
    if record.state.is_finished:
        return None
    try:
        return ask.ui.engine.why(record.run_id, workflow)
    except RunNotFoundError:  # purged this very moment
        return None


def _timers(ask: Ask, record: Record) -> list[Timeout]:
    store = ask.ui.engine.adapters.timeout_store
    if store is None or not record.state.is_live:
        return []
    try:
        found = store.of_run(record.workflow, record.run_id)
    except AdapterUnavailableError:  # the reasons tell of that
        return []
    stay = [timer for timer in found if timer.entered_version == record.entered_version]
    return sorted(stay, key=lambda timer: timer.due_at)


def _at(consumers: Sequence[Any], record: Record) -> list[Any]:
    return [consumer for consumer in consumers if consumer.status == record.status]


def _moves(workflow: Workflow[Any, Any] | None, record: Record) -> dict[int, str]:
    if workflow is None or not record.state.is_live:
        return {}
    consumers = [*workflow.steps.values(), *workflow.callbacks, *workflow.timeouts]
    consumed = {consumer.status for consumer in consumers} | workflow.ends
    return {int(s): s.name for s in workflow.statuses if int(s) in consumed}
