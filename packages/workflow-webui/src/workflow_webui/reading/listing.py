"""The list of runs: one page of it, and the counts beside it.

Pages go by the store's own bookmarks, in order of creation, so a page costs the same wherever it
is and nothing is seen twice while runs are begun. Counts are the store's, over all that matches.

Free text is looked for in what the store has no index for (ids, reasons, errors, data). That means
reading runs, so a page reads a bounded number of them, says up to where it has read, and goes on
when it is asked to.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from workflow_core import Record, RecordQuery, RunState, Workflow
from workflow_core.errors import RunNotFoundError

from workflow_webui.filters import RunFilter
from workflow_webui.reading.data_tree import Masking
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
_READ_AT_ONCE = 500
_MOST_READ = 2_000  # runs that one page looks through for a text
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
    """Runs that were looked through, where a text was looked for."""
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
        records, bookmark, read = _looked_through(ask, query, wanted.text, limit)
    else:
        page = ui.engine.runs(query)
        records, bookmark, read = list(page.items), page.next, 0
    # the engine's own records (schedules, letters) are no runs
    rows = [row(ask, record) for record in records if not record.workflow.startswith("_")]
    if sort.lstrip("-") in _SORTED:
        rows.sort(key=_SORTED[sort.lstrip("-")], reverse=sort.startswith("-"))
    return RunList(rows=rows, next=bookmark, now=now, read=read, sort=sort)


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


def _looked_through(
    ask: Ask, query: RecordQuery, text: str, limit: int
) -> tuple[list[Record], str | None, int]:
    found: list[Record] = []
    looking = _Looking(ask, text)
    read = 0
    query = query.replace(limit=_READ_AT_ONCE)
    while True:
        page = ask.ui.engine.runs(query)
        read += len(page.items)
        found += [record for record in page.items if looking.finds(record)]
        if page.next is None or read >= _MOST_READ or len(found) >= limit:
            return found, page.next, read
        query = query.replace(after=page.next)


class _Looking:
    """Looks for a text in all that this user may see of a run, and in nothing else."""

    def __init__(self, ask: Ask, text: str) -> None:
        self._text = text.lower()
        self._ask = ask
        self._masking = Masking(ask.ui.settings.masked)

    def finds(self, record: Record) -> bool:
        return any(self._text in part.lower() for part in self._parts(record))

    def _parts(self, record: Record) -> list[str]:
        parts = [record.foreign_id, record.run_id, record.reason, *record.headers.values()]
        if self._ask.sees_data:
            parts += [record.last_error, *map(str, record.search.values()), self._data(record)]
        return parts

    def _data(self, record: Record) -> str:
        # most data does not hold the text at all, and need not be read
        if self._text.isascii() and self._text.encode() not in record.data.lower():
            return ""
        try:
            value: object = self._masking.masked(json.loads(record.data))
        except (ValueError, RecursionError):
            return ""
        return json.dumps(value, ensure_ascii=False)


def named_status(workflow: Workflow[Any, Any] | None, number: int) -> str:
    """The status's name, or its number where the definition is not at hand."""
    if workflow is None:
        return f"status {number}"
    names = {int(status): str(status.name) for status in workflow.statuses}
    return names.get(number, f"status {number}")
