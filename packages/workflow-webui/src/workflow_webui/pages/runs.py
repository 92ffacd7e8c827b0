"""The list of runs, one run, and beginning a new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode

from markupsafe import Markup
from starlette.responses import HTMLResponse, RedirectResponse, Response
from workflow_core import RunState
from workflow_core.errors import InputError, WorkflowError

from workflow_webui.acting.verbs import VERBS, act_on_run, trigger_run
from workflow_webui.errors import NotThereError, status_of
from workflow_webui.filters import RunFilter, number
from workflow_webui.graphs import NodeLook, draw
from workflow_webui.pages.overview import layout_of
from workflow_webui.reading.detail import RunDetail, run_detail
from workflow_webui.reading.listing import (
    PAGE_SIZES,
    RunList,
    facets,
    run_list,
    search_shortcut,
)
from workflow_webui.rendering import render
from workflow_webui.ui import Ask

__all__ = ["act", "begin", "begun", "run", "runs"]

_LONGEST_TRAIL = 20  # bookmarks of pages before this one
_HIDDEN_PAIRS = ("after", "read", "trail", "limit", "sort", "csrf", "done", "sign")


def runs(ask: Ask) -> Response:
    """The list."""
    wanted = RunFilter.read([pair for pair in ask.query if pair[0] not in _HIDDEN_PAIRS])
    if wanted.text and (run_id := search_shortcut(ask, wanted.text)):
        return RedirectResponse(ask.link("runs", run_id), 303)
    limit = _limit(ask.one("limit", "50"))
    here, sort = _Place.read(ask), ask.one("sort")
    found = run_list(ask, wanted, after=here.after, limit=limit, sort=sort)
    more = [("limit", str(limit)) if limit != 50 else ("", ""), ("sort", sort)]
    next_url = _url(wanted, more, here.then(found).pairs()) if found.next else ""
    back_url = _url(wanted, more, here.before().pairs()) if here.trail else ""
    return HTMLResponse(
        render(
            "runs.html",
            ask=ask,
            here="runs",
            wanted=wanted,
            found=found,
            facets=facets(ask, wanted),
            states=list(RunState),
            limit=limit,
            sizes=PAGE_SIZES,
            next_url=next_url,
            back_url=back_url,
            first_url=_url(wanted, more) if here.after else "",
            looked_through=here.looked_through + found.read,
            names=ask.ui.status_names(wanted.workflow),
            attributes=_attributes(ask, wanted),
            done=ask.done,
            sort_url=_sort_url,
        )
    )


def run(ask: Ask) -> Response:
    """One run."""
    return _run_page(ask, ask.path["run_id"])


def act(ask: Ask) -> Response:
    """An action on one run; then back to it, saying what was done."""
    run_id, verb = ask.path["run_id"], ask.path["verb"]
    if verb not in VERBS:
        raise NotThereError(f"{verb!r} is no action")
    fields = {key: value.strip() for key, value in ask.form}
    try:
        told = act_on_run(ask, verb, run_id, fields)
    except WorkflowError as error:
        if status_of(error) in (400, 409, 422):  # something to be put right on the same page
            return _run_page(ask, run_id, problem=error, verb=verb, fields=fields)
        raise
    return RedirectResponse(ask.link_telling(told, "runs", run_id), 303)


def begin(ask: Ask) -> Response:
    """The form for a new run."""
    return _begin_page(ask, {})


def begun(ask: Ask) -> Response:
    """Begin it, then show it."""
    fields = {key: value.strip() for key, value in ask.form}
    try:
        run_id = trigger_run(ask, ask.path["workflow"], fields)
    except WorkflowError as error:
        if status_of(error) in (400, 409, 413):
            return _begin_page(ask, fields, problem=error)
        raise
    return RedirectResponse(ask.link_telling("triggered", "runs", run_id), 303)


@dataclass(frozen=True)
class _Place:
    """Where in the list a page is; all of it is in the URL."""

    after: str
    """The store's bookmark; "": the first page."""
    looked_through: int
    """Runs that the pages before looked through for the text."""
    trail: Sequence[str]
    """The same two of the pages before this one, for the way back: ``2000:bookmark``."""

    @classmethod
    def read(cls, ask: Ask) -> _Place:
        trail = [value for key, value in ask.query if key == "trail"]
        return cls(ask.one("after"), number(ask.one("read", "0"), "read"), trail)

    def then(self, found: RunList) -> _Place:
        trail = [*self.trail, f"{self.looked_through}:{self.after}"][-_LONGEST_TRAIL:]
        return _Place(found.next or "", self.looked_through + found.read, trail)

    def before(self) -> _Place:
        looked_through, _, after = self.trail[-1].partition(":")
        return _Place(after, number(looked_through, "trail"), self.trail[:-1])

    def pairs(self) -> list[tuple[str, str]]:
        read = ("read", str(self.looked_through) if self.looked_through else "")
        return [("after", self.after), read, *(("trail", each) for each in self.trail)]


def _run_page(
    ask: Ask,
    run_id: str,
    *,
    problem: WorkflowError | None = None,
    verb: str = "",
    fields: dict[str, str] | None = None,
) -> Response:
    find = ask.one("find")
    detail = run_detail(ask, run_id, find)
    text = render(
        "run.html",
        ask=ask,
        here="runs",
        run=detail,
        find=find,
        problem=problem,
        picture=_picture(ask, detail),
        verb_tried=verb,
        fields=fields or {},
        done=ask.done,
    )
    return HTMLResponse(text, 200 if problem is None else status_of(problem))


def _picture(ask: Ask, detail: RunDetail) -> Markup | None:
    """The workflow's graph with the way that the run took; None without a definition."""
    name, here = detail.record.workflow, detail.record.status
    if name not in ask.ui.workflows:
        return None
    passed = set(detail.path)

    def look(number: int) -> NodeLook:
        mark = "here" if number == here else "passed" if number in passed else "unseen-yet"
        return NodeLook(marks=[mark])

    told = f"The way of this run: {', '.join(detail.names.get(n, str(n)) for n in detail.path)}"
    return draw(layout_of(ask.ui, name), told, look, set(pairwise(detail.path)))


def _begin_page(
    ask: Ask, fields: dict[str, str], *, problem: WorkflowError | None = None
) -> Response:
    workflow = ask.ui.workflow(ask.path["workflow"])
    workflow.check()
    starts = [s for s in workflow.statuses if int(s) in workflow.steps or s == workflow.start]
    text = render(
        "begin.html",
        ask=ask,
        here="graph",
        workflow=workflow,
        starts=starts,
        fields=fields,
        problem=problem,
    )
    return HTMLResponse(text, 200 if problem is None else status_of(problem))


def _attributes(ask: Ask, wanted: RunFilter) -> Sequence[str]:
    """The search attributes that may be asked for, where this user may see them."""
    workflow = ask.ui.workflows.get(wanted.workflow)
    return [] if workflow is None or not ask.sees_data else workflow.attributes.names


def _limit(text: str) -> int:
    if (size := number(text, "limit")) not in PAGE_SIZES:
        raise InputError(
            f"{size} is no size of a page", hint=f"There are {', '.join(map(str, PAGE_SIZES))}"
        )
    return size


def _sort_url(wanted: RunFilter, key: str, now: str, limit: int) -> str:
    """Up, then down, then the order of creation again."""
    then = {key: f"-{key}", f"-{key}": ""}.get(now, key)
    return _url(wanted, ("sort", then), ("limit", str(limit) if limit != 50 else ""))


def _url(wanted: RunFilter, *pairs: Any) -> str:
    flat = [pair for each in pairs for pair in (each if isinstance(each, list) else [each])]
    known = [*wanted.pairs(), *((key, value) for key, value in flat if key and value)]
    return f"?{urlencode(known)}" if known else "?"
