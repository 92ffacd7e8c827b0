"""The list of runs: one page of it, and the counts beside it.

Pages go by the store's own bookmarks, in order of creation, so a page costs the same wherever it
is and nothing is seen twice while runs are begun. Counts are the store's, over all that matches.

Free text is another matter: see `searching`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from workflow_core import Record, RecordQuery, RunState, Workflow
from workflow_core.errors import RunNotFoundError

from workflow_webui.filters import RunFilter
from workflow_webui.reading.searching import look_through
from workflow_webui.ui import Ask
from workflow_webui.users import Right

__all__ = [
    "Facets",
    "RunList",
    "RunRow",
    "facets",
    "query_of",
    "row",
    "run_list",
    "search_shortcut",
]

PAGE_SIZES = (25, 50, 100, 200)
_RUN_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_SORTED: Mapping[str, Callable[[RunRow], Any]] = {
    "foreign_id": lambda row: row.record.foreign_id,
    "workflow": lambda row: row.record.workflow,
    "status": lambda row: row.record.status,
    "state": lambda row: row.record.state,
    "attempts": lambda row: row.record.attempts,
    "updated": lambda row: row.record.updated_at,
}


@dataclass(frozen=True)
class RunRow:
    """One run as the list shows it."""

    record: Record
    status: str
    error: str


@dataclass(frozen=True, kw_only=True)
class RunList:
    """One page."""

    rows: Sequence[RunRow]
    next: str | None
    """The bookmark of the next page."""
    now: datetime
    read: int
    """Runs that this page looked through, where a text was looked for."""
    reached: datetime | None
    """When the last of these was begun."""
    sort: str
    """What this page is sorted by; "" for the order of creation."""


@dataclass(frozen=True, kw_only=True)
class Facets:
    """How many runs match, by what one could narrow them to."""

    total: int
    by_state: Mapping[RunState, int]
    by_status: Mapping[tuple[int, str], int]
    """Of the chosen workflow."""
    by_workflow: Mapping[str, int]


def run_list(ask: Ask, wanted: RunFilter, *, after: str, limit: int, sort: str = "") -> RunList:
    """The page that begins after this bookmark.

    Raises:
        InputError: the filter or the bookmark cannot be.
        AdapterUnavailableError: the store does not answer.
    """
    ui, now = ask.ui, ask.ui.now()
    query = query_of(ask, wanted, now).replace(after=after or None, limit=limit)
    if wanted.text:
        found = look_through(ask, query, wanted.text, limit)
        records, bookmark, read, reached = found.records, found.next, found.read, found.reached
    else:
        page = ui.engine.runs(query)
        records, bookmark, read, reached = page.items, page.next, 0, None
    # the engine's own records (schedules, letters) are no runs
    rows = [row(ask, record) for record in records if not record.workflow.startswith("_")]
    if sort.lstrip("-") in _SORTED:
        rows.sort(key=_SORTED[sort.lstrip("-")], reverse=sort.startswith("-"))
    return RunList(rows=rows, next=bookmark, now=now, read=read, reached=reached, sort=sort)


def query_of(ask: Ask, wanted: RunFilter, now: datetime) -> RecordQuery:
    """The filter as this user may ask the store.

    Raises:
        InputError: an attribute is none of the workflow's.
        ForbiddenError: it goes by attributes, and the user may not see data.
    """
    if wanted.attributes:
        ask.need(Right.SEE_DATA)  # else one could guess values, and see whether runs are found
    return wanted.query(now, ask.ui.workflows.get(wanted.workflow))


def row(ask: Ask, record: Record) -> RunRow:
    """A record as the list shows it to this user."""
    names = ask.ui.status_names(record.workflow)
    return RunRow(
        record=record,
        status=names.get(record.status, f"status {record.status}"),
        error=shown_error(record.last_error, sees_data=ask.sees_data),
    )


def shown_error(error: str, *, sees_data: bool) -> str:
    """An error's words may quote data: who may not see that is told its type."""
    if sees_data or not error:
        return error
    kind = re.match(r"[\w.]{1,80}", error)
    return f"{kind[0] if kind else 'error'}: …"


def facets(ask: Ask, wanted: RunFilter) -> Facets:
    """The counts; each without its own filter, so that one sees what another choice would give."""
    ui = ask.ui
    # whole minutes: what "2h ago" means moves with each call, and would be counted anew each time
    now = ui.now().replace(second=0, microsecond=0)

    def counted(**changes: Any) -> Mapping[tuple[str, int, RunState], int]:
        found = ui.counts(query_of(ask, replace(wanted, text="", **changes), now))
        return {key: number for key, number in found.items() if not key[0].startswith("_")}

    matching = counted()
    states, statuses, workflows = Counter[RunState](), Counter[int](), Counter[str]()
    for (_, _, state), number in counted(states=()).items():
        states[state] += number
    if wanted.workflow:
        for (_, status, _), number in counted(statuses=()).items():
            statuses[status] += number
    elsewhere = replace(wanted, statuses=(), attributes={})
    for (name, _, _), number in ui.counts(
        query_of(ask, replace(elsewhere, text="", workflow=""), now)
    ).items():
        if not name.startswith("_"):
            workflows[name] += number
    names = ui.status_names(wanted.workflow)
    return Facets(
        total=sum(matching.values()),
        by_state={state: states[state] for state in RunState if states[state]},
        by_status={
            (number, names.get(number, f"status {number}")): statuses[number]
            for number in [*names, *sorted(statuses.keys() - names.keys())]
        },
        by_workflow={name: workflows[name] for name in sorted({*workflows, *ui.workflows} - {""})},
    )


def search_shortcut(ask: Ask, text: str) -> str | None:
    """The run id that this text is, if there is such a run: no list is needed then."""
    if not _RUN_ID.fullmatch(text.lower()):
        return None
    try:
        record = ask.ui.store.lookup(text.lower())
    except RunNotFoundError:
        return None
    return None if record.workflow.startswith("_") else record.run_id


def named_status(workflow: Workflow[Any, Any] | None, number: int) -> str:
    """The status's name, or its number where the definition is not at hand."""
    if workflow is None:
        return f"status {number}"
    names = {int(status): str(status.name) for status in workflow.statuses}
    return names.get(number, f"status {number}")
