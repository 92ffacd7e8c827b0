"""Schedules: when they begin runs, what came of the last tick; pause and resume."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.responses import HTMLResponse, RedirectResponse, Response
from workflow_core.errors import WorkflowError

from workflow_webui.acting.verbs import noted, told_reason
from workflow_webui.errors import NotThereError, status_of
from workflow_webui.reading.listing import shown_error
from workflow_webui.rendering import render
from workflow_webui.ui import Ask

__all__ = ["act", "act_on_schedule", "schedules"]


def schedules(ask: Ask) -> Response:
    """All that were ever served."""
    return _page(ask)


def act(ask: Ask) -> Response:
    """Pause or resume one."""
    workflow, name, verb = ask.path["workflow"], ask.path["name"], ask.path["verb"]
    try:
        act_on_schedule(ask, workflow, name, verb, ask.field("reason"))
    except WorkflowError as error:
        if status_of(error) in (400, 409):
            return _page(ask, error)
        raise
    return RedirectResponse(ask.link("schedules"), 303)


def act_on_schedule(ask: Ask, workflow: str, name: str, verb: str, given: str) -> str:
    """Do it; answers what was done.

    Raises:
        InputError: no reason, or there is no such schedule.
        RunStateError: it is not paused.
    """
    reason = told_reason(given)
    known: Any = ask.ui.workflows.get(workflow, workflow)  # with the definition: the next tick too
    engine, who = ask.ui.engine, ask.user.name
    verbs: dict[str, Callable[[], Any]] = {
        "pause": lambda: engine.pause_schedule(known, name, reason=f"{who}: {reason}"),
        "resume": lambda: engine.resume_schedule(known, name, who=who, why=reason),
    }
    if verb not in verbs:
        raise NotThereError(f"{verb!r} is no action on a schedule")

    def do() -> str:
        verbs[verb]()
        return f"{verb}d"

    target = f"{workflow}/{name}"
    return noted(ask, f"{verb} schedule", target, workflow=workflow, reason=reason, work=do)


def _page(ask: Ask, problem: WorkflowError | None = None) -> Response:
    text = render(
        "schedules.html",
        ask=ask,
        here="schedules",
        schedules=ask.ui.engine.schedules(),
        now=ask.ui.now(),
        problem=problem,
        shown_error=lambda error: shown_error(error, sees_data=ask.sees_data),
    )
    return HTMLResponse(text, 200 if problem is None else status_of(problem))
