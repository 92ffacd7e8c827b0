"""Outbox and lag; dead letters."""

from __future__ import annotations

from starlette.responses import HTMLResponse, RedirectResponse, Response
from workflow_core import DeadLetter, LetterState, RecordQuery
from workflow_core.errors import InputError, WorkflowError

from workflow_webui.acting.verbs import noted, told_reason
from workflow_webui.errors import NotThereError, status_of
from workflow_webui.reading.flow import due_events, flow_of
from workflow_webui.reading.listing import shown_error
from workflow_webui.rendering import render
from workflow_webui.ui import Ask

__all__ = ["act_on_letter", "flow", "letter_act", "letters"]

_EVENTS = 50
_LETTERS = 50


def flow(ask: Ask) -> Response:
    """Every workflow's outbox and consumers; with ``workflow`` its events too."""
    names = _workflows(ask)
    chosen = ask.one("workflow")
    if chosen and chosen not in names:
        raise NotThereError(f"there is no workflow {chosen!r} here")
    return HTMLResponse(
        render(
            "flow.html",
            ask=ask,
            here="flow",
            flows=[flow_of(ask.ui, name) for name in names],
            points={name: ask.ui.lag_points.of(name) for name in names},
            chosen=chosen,
            events=due_events(ask.ui, chosen, _EVENTS) if chosen else [],
            processes=[
                each.replace(error=shown_error(each.error, sees_data=ask.sees_data))
                for each in ask.ui.engine.processes()
            ],
            now=ask.ui.now(),
            has_streamer=ask.ui.engine.adapters.event_streamer is not None,
        )
    )


def letters(ask: Ask) -> Response:
    """What hooks, connectors and deletions could not handle."""
    return _letters_page(ask)


def letter_act(ask: Ask) -> Response:
    """Retry or discard one."""
    verb = ask.path["verb"]
    try:
        act_on_letter(
            ask,
            ask.path["workflow"],
            ask.path["letter_id"],
            verb,
            about=ask.field("about"),
            given=ask.field("reason"),
        )
    except WorkflowError as error:
        if status_of(error) in (400, 409):
            return _letters_page(ask, ask.path["workflow"], error)
        raise
    return RedirectResponse(ask.link("letters", workflow=ask.path["workflow"]), 303)


def act_on_letter(
    ask: Ask, workflow: str, letter_id: str, verb: str, *, about: str, given: str
) -> str:
    """Do it; answers what was done.

    Args:
        ask: whose user acts.
        workflow: whose letter it is.
        letter_id: the letter.
        verb: ``retry`` or ``discard``.
        about: the run or key that it is about; letters are found by it.
        given: the reason.

    Raises:
        InputError: no reason.
        NotThereError: there is no such letter that is open.
        RunStateError: it has been handled or discarded meanwhile.
    """
    reason = told_reason(given)
    engine = ask.ui.engine
    verbs = {"retry": engine.retry_dead_letter, "discard": engine.discard_dead_letter}
    if verb not in verbs:
        raise NotThereError(f"{verb!r} is no action on a dead letter")
    letter = _find(ask, workflow, letter_id, about)

    def do() -> str:
        verbs[verb](letter)
        return "to be tried again at once" if verb == "retry" else "given up for good"

    return noted(ask, f"{verb} dead letter", letter_id, workflow=workflow, reason=reason, work=do)


def _find(ask: Ask, workflow: str, letter_id: str, about: str) -> DeadLetter:
    after: str | None = None
    while True:
        page = ask.ui.engine.dead_letters(
            workflow, states=_OPEN, about=about or None, after=after, limit=500
        )
        for letter in page.items:
            if letter.id == letter_id:
                return letter
        after = page.next
        if after is None or not about:  # never through all of them
            raise NotThereError(f"no open dead letter {letter_id}", workflow=workflow)


def _letters_page(ask: Ask, workflow: str = "", problem: WorkflowError | None = None) -> Response:
    names = _workflows(ask)
    counts = dict.fromkeys(names, 0)
    for (name, _, _), number in ask.ui.counts(RecordQuery()).items():
        if name.startswith(_RESERVED):
            counts[name.removeprefix(_RESERVED)] = (
                counts.get(name.removeprefix(_RESERVED), 0) + number
            )
    chosen = workflow or ask.one("workflow") or next((n for n in counts if counts[n]), "")
    state = ask.one("state", LetterState.SET_ASIDE.value)
    if state not in set(LetterState):
        raise InputError(f"{state!r} is no state of a dead letter")
    page = None
    if chosen:
        page = ask.ui.engine.dead_letters(
            chosen,
            states=[LetterState(state)],
            about=ask.one("about") or None,
            after=ask.one("after") or None,
            limit=_LETTERS,
        )
    text = render(
        "letters.html",
        ask=ask,
        here="letters",
        counts=counts,
        chosen=chosen,
        state=state,
        states=list(LetterState),
        page=page,
        now=ask.ui.now(),
        problem=problem,
        open_states=_OPEN,
        shown_error=lambda error: shown_error(error, sees_data=ask.sees_data),
    )
    return HTMLResponse(text, 200 if problem is None else status_of(problem))


_OPEN = (LetterState.RETRYING, LetterState.SET_ASIDE)
_RESERVED = "_dead letters of "


def _workflows(ask: Ask) -> list[str]:
    """The definitions at hand and all that has runs."""
    counted = {name for name, _, _ in ask.ui.counts(RecordQuery()) if not name.startswith("_")}
    return sorted(counted | ask.ui.workflows.keys())
