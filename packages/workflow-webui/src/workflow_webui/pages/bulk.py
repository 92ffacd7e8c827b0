"""Actions on many runs: confirm, watch, report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlencode

from starlette.responses import HTMLResponse, RedirectResponse, Response
from workflow_core import RunState
from workflow_core.errors import InputError, WorkflowError

from workflow_webui.acting.bulk import BULK_VERBS, ElsewhereError, Jobs, this_process
from workflow_webui.errors import NotThereError, status_of
from workflow_webui.filters import RunFilter
from workflow_webui.reading.listing import query_of
from workflow_webui.rendering import render
from workflow_webui.ui import Ask

__all__ = ["BulkPages", "count_of", "fitting"]

_OTHER_FIELDS = (
    "verb",
    "reason",
    "csrf",
    "to_status",
    "confirm",
    "expected",
    "limit",
    "sort",
    "stop",
)
_MUST_CONFIRM = 100  # from so many runs on the number is to be typed
_FOR_GOOD = ("delete",)  # what cannot be undone: the number is to be typed always
_FITS = {  # states in which a run can be changed by the verb at all
    "pause": (RunState.INITIATED, RunState.RUNNING, RunState.PAUSED),
    "resume": (RunState.PAUSED,),
    "retry": (RunState.INITIATED, RunState.RUNNING),
    "cancel": (RunState.INITIATED, RunState.RUNNING, RunState.PAUSED),
    "move": (RunState.INITIATED, RunState.RUNNING, RunState.PAUSED),
    "delete": (RunState.COMPLETED, RunState.CANCELLED, RunState.REQUESTED_DATA_DELETED),
}


class BulkPages:
    """The pages about these jobs."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def confirm(self, ask: Ask) -> Response:
        """How many it would be, and the form that begins it."""
        verb = ("verb", ask.field("verb"))
        if ask.field("scope") == "all":
            return self._confirming(ask, [*ask.query, verb])
        ticked = [pair for pair in ask.form if pair[0] in ("run", "workflow")]
        if not any(key == "run" for key, _ in ticked):
            raise InputError("no run is ticked", hint="Go back and tick those that are meant")
        return self._confirming(ask, [*ticked, verb])

    def begin(self, ask: Ask) -> Response:
        """Begin, if the form was filled in; then watch."""
        fields = {key: value.strip() for key, value in ask.form}
        wanted, verb = _wanted(ask.form)
        try:
            expected = count_of(ask, fitting(wanted, verb))
            _check_confirmed(fields, expected, verb)
            given = {"reason": fields.get("reason", ""), "status": fields.get("to_status", "")}
            job = self._jobs.begin(ask, verb, fitting(wanted, verb), given, expected)
            # for a process that does not know the job; ids that were ticked are too long for a URL
            about = [] if wanted.run_ids else wanted.pairs()
        except WorkflowError as error:
            if status_of(error) in (400, 409):
                return self._confirming(ask, ask.form, problem=error, fields=fields)
            raise
        query = urlencode([("verb", verb), *about])
        return RedirectResponse(f"{ask.link('bulk', job.id)}?{query}", 303)

    def watch(self, ask: Ask) -> Response:
        """How far it is, and in the end what came of it."""
        try:
            job = self._jobs.get(ask.path["job_id"])
        except ElsewhereError as error:
            return self._elsewhere(ask, error)
        text = render("job.html", ask=ask, here="bulk", job=job, missed=_has_missed(ask))
        return HTMLResponse(text)

    def stop(self, ask: Ask) -> Response:
        """End it after the batch in hand."""
        job_id = ask.path["job_id"]
        about = [pair for pair in ask.query if pair[0] != "stop"]
        try:
            job = self._jobs.get(job_id)
        except ElsewhereError:
            about = [*about, ("stop", "missed")]
        else:
            job.stopping.set()
            ask.ui.audit.note(ask.user.name, f"stop bulk {job.verb}", job.told)
        return RedirectResponse(f"{ask.link('bulk', job_id)}?{urlencode(about)}", 303)

    def all(self, ask: Ask) -> Response:
        """All that this process has done."""
        jobs, process = self._jobs.all(), this_process()
        return HTMLResponse(render("jobs.html", ask=ask, here="bulk", jobs=jobs, process=process))

    def _elsewhere(self, ask: Ask, error: ElsewhereError) -> Response:
        """Says so, asks on until the right process answers, and leads to the runs."""
        verb = ask.one("verb")
        pairs = [pair for pair in ask.query if pair[0] not in _OTHER_FIELDS]
        text = render(
            "job_elsewhere.html",
            ask=ask,
            here="bulk",
            error=error,
            missed=_has_missed(ask),
            job_id=ask.path["job_id"],
            verb=verb if verb in BULK_VERBS else "",
            wanted=RunFilter.read(pairs),
        )
        return HTMLResponse(text, status_of(error))

    def _confirming(
        self,
        ask: Ask,
        pairs: Sequence[tuple[str, str]],
        *,
        problem: WorkflowError | None = None,
        fields: dict[str, str] | None = None,
    ) -> Response:
        wanted, verb = _wanted(pairs)
        those = fitting(wanted, verb)
        names = ask.ui.status_names(wanted.workflow)
        text = render(
            "bulk.html",
            ask=ask,
            here="bulk",
            verb=verb,
            wanted=wanted,
            told=those.told(names),
            matching=count_of(ask, wanted),
            fitting=count_of(ask, those),
            must_confirm=_must_confirm(verb),
            names=names,
            problem=problem,
            fields=fields or {},
        )
        return HTMLResponse(text, 200 if problem is None else status_of(problem))


def _has_missed(ask: Ask) -> bool:
    """Whether the user meant to stop it and another process than the job's was asked."""
    return ask.one("stop") == "missed"


def _wanted(pairs: Sequence[tuple[str, str]]) -> tuple[RunFilter, str]:
    verb = next((value for key, value in reversed(pairs) if key == "verb"), "")
    return RunFilter.read([pair for pair in pairs if pair[0] not in _OTHER_FIELDS]), verb


def fitting(wanted: RunFilter, verb: str) -> RunFilter:
    """The same, without runs that the verb cannot change: there may be a million that ended.

    Raises:
        NotThereError: no such verb on many runs.
        InputError: the filter cannot choose runs for it.
    """
    if verb not in BULK_VERBS:
        raise NotThereError(f"{verb!r} is no action on many runs")
    if wanted.text:
        raise InputError(
            "a free text cannot choose runs for an action",
            hint="Tick the runs that are meant, or narrow them by other filters",
        )
    if verb == "move" and not wanted.workflow:
        raise InputError("to move runs, choose their workflow: statuses are its own")
    if verb == "delete" and not wanted.workflow:
        raise InputError("to delete data, choose a workflow: it says what of its runs may stay")
    fits = _FITS[verb]
    states = tuple(state for state in wanted.states if state in fits) if wanted.states else fits
    if not states:
        raise InputError(f"none of these runs can be changed by {verb!r}: see their states")
    return replace(wanted, states=states)


def count_of(ask: Ask, wanted: RunFilter) -> int:
    """How many runs match now, by the store."""
    found = ask.ui.engine.counts(query_of(ask, wanted, ask.ui.now()))
    return sum(number for (name, _, _), number in found.items() if not name.startswith("_"))


def _must_confirm(verb: str) -> int:
    return 1 if verb in _FOR_GOOD else _MUST_CONFIRM


def _check_confirmed(fields: dict[str, str], expected: int, verb: str) -> None:
    if expected == 0:
        raise InputError("no run matches any more")
    if expected < _must_confirm(verb):
        return
    if fields.get("confirm", "").replace("\u202f", "").replace(",", "") != str(expected):
        raise InputError(
            f"type how many runs you mean to change: it is {expected} now",
            hint="Their number may have changed since this page was made",
        )
