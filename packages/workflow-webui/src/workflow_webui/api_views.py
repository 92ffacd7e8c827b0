"""The JSON API for programs: what the pages show, and what they do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from starlette.responses import JSONResponse, Response
from workflow_core import Record
from workflow_core.errors import InputError

from workflow_webui.acting.bulk import Job, Jobs
from workflow_webui.acting.verbs import act_on_run, trigger_run
from workflow_webui.filters import RunFilter, number
from workflow_webui.graphs import graph_of
from workflow_webui.pages.bulk import count_of, fitting
from workflow_webui.pages.flow import act_on_letter
from workflow_webui.pages.schedules import act_on_schedule
from workflow_webui.reading.data_tree import Masking
from workflow_webui.reading.detail import actions_on, entry_for, run_record
from workflow_webui.reading.flow import flow_of
from workflow_webui.reading.listing import named_status, query_of, run_list, shown_error
from workflow_webui.ui import Ask
from workflow_webui.words import exact

__all__ = ["Api"]

_USUAL, _MOST = 50, 500
_OTHER = ("limit", "after")


class Api:
    """The views; `openapi` describes them."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def runs(self, ask: Ask) -> Response:
        """One page of runs."""
        wanted = RunFilter.read([pair for pair in ask.query if pair[0] not in _OTHER])
        limit = number(ask.one("limit", str(_USUAL)), "limit")
        if not 0 < limit <= _MOST:
            raise InputError(f"limit is 1 to {_MOST}")
        found = run_list(ask, wanted, after=ask.one("after"), limit=limit)
        told = {"items": [run_json(ask, row.record) for row in found.rows], "next": found.next}
        return JSONResponse({**told, "looked_through": found.read} if wanted.text else told)

    def run(self, ask: Ask) -> Response:
        """One run, with its data."""
        record = run_record(ask, ask.path["run_id"])
        told = run_json(ask, record)
        told["actions"] = actions_on(record, ask.ui.workflows.get(record.workflow))
        told["headers"] = dict(record.headers)
        if ask.sees_data:
            told["data"] = _data(ask, record)
            told["search"] = {name: str(value) for name, value in record.search.items()}
        return JSONResponse(told)

    def why(self, ask: Ask) -> Response:
        """Why a run does not move; the details may quote errors, and need the right to see data."""
        record = run_record(ask, ask.path["run_id"])
        found = ask.ui.engine.why(record.run_id, ask.ui.workflows.get(record.workflow))
        reasons = [
            {
                "cause": reason.cause.name.lower(),
                "told": reason.cause.value,
                "detail": reason.detail if ask.sees_data else "",
                "todo": reason.todo,
                "until": exact(reason.until) or None,
            }
            for reason in found.reasons
        ]
        return JSONResponse({"reasons": reasons, "not_asked": list(found.not_asked)})

    def history(self, ask: Ask) -> Response:
        """Every version of a run that is kept, oldest first."""
        record = run_record(ask, ask.path["run_id"])
        workflow = ask.ui.workflows.get(record.workflow)
        entries = [
            {
                "version": entry.version,
                "at": exact(entry.at),
                "status": entry.status,
                "status_name": named_status(workflow, entry.status),
                "state": entry.state.name.lower(),
                "attempts": entry.attempts,
                "reason": entry.reason,
                "error": entry.error,
            }
            for entry in (entry_for(ask, each) for each in ask.ui.engine.history(record.run_id))
        ]
        return JSONResponse({"items": entries})

    def act(self, ask: Ask) -> Response:
        """An action on a run."""
        fields = _fields(ask.body)
        told = act_on_run(ask, ask.path["verb"], ask.path["run_id"], fields)
        return JSONResponse({"done": told})

    def trigger(self, ask: Ask) -> Response:
        """A new run."""
        run_id = trigger_run(ask, ask.path["workflow"], _fields(ask.body))
        return JSONResponse({"run_id": run_id}, 201)

    def counts(self, ask: Ask) -> Response:
        """Runs per workflow, status and state, by the store."""
        wanted = RunFilter.read(ask.query)
        query = query_of(ask, wanted, ask.ui.now())
        found = [
            {"workflow": name, "status": status, "state": state.name.lower(), "runs": number}
            for (name, status, state), number in ask.ui.counts(query).items()
            if not name.startswith("_")
        ]
        return JSONResponse({"items": found})

    def workflows(self, ask: Ask) -> Response:
        """The definitions at hand, with their graphs."""
        found = []
        for workflow in ask.ui.workflows.values():
            graph = graph_of(workflow)
            found.append(
                {
                    "name": workflow.name,
                    "statuses": [_fields_of(node) for node in graph.nodes],
                    "ways": [_fields_of(edge) for edge in graph.edges],
                }
            )
        return JSONResponse({"items": found})

    def flow(self, ask: Ask) -> Response:
        """Outbox and lag of a workflow."""
        found = flow_of(ask.ui, ask.path["workflow"])
        seconds = {
            "oldest_due_seconds": found.oldest_due,
            "next_due_seconds": found.next_due,
            "next_timer_seconds": found.next_timer,
            "lag_seconds": found.lag,
        }
        told = {name: None if s is None else s.total_seconds() for name, s in seconds.items()}
        return JSONResponse({"workflow": found.workflow, "due": found.due, **told})

    def schedules(self, ask: Ask) -> Response:
        """All schedules that were ever served."""
        items = [_plain(schedule) for schedule in ask.ui.engine.schedules()]
        for item in items:
            item["last_error"] = shown_error(item["last_error"], sees_data=ask.sees_data)
        return JSONResponse({"items": items})

    def act_on_schedule(self, ask: Ask) -> Response:
        """Pause or resume a schedule."""
        path, reason = ask.path, _fields(ask.body).get("reason", "")
        told = act_on_schedule(ask, path["workflow"], path["name"], path["verb"], reason)
        return JSONResponse({"done": told})

    def act_on_letter(self, ask: Ask) -> Response:
        """Retry or discard a dead letter."""
        path, fields = ask.path, _fields(ask.body)
        told = act_on_letter(
            ask,
            path["workflow"],
            path["letter_id"],
            path["verb"],
            about=fields.get("about", ""),
            given=fields.get("reason", ""),
        )
        return JSONResponse({"done": told})

    def bulk(self, ask: Ask) -> Response:
        """Begin an action on many runs: ``filter`` as the list's, and ``confirm``, their number."""
        body = json.loads(ask.body or b"null")
        if not isinstance(body, dict) or not isinstance(body.get("filter"), dict):
            raise InputError('the body is to hold "verb", "filter", "confirm" and "reason"')
        pairs = [
            (str(key), str(each))
            for key, value in body["filter"].items()
            for each in (value if isinstance(value, list) else [value])
        ]
        verb = str(body.get("verb", ""))
        wanted = fitting(RunFilter.read(pairs), verb)
        expected = count_of(ask, wanted)
        if body.get("confirm") != expected:
            raise InputError(
                f"{expected} runs match now", hint='Say so in "confirm" if that is what you mean'
            )
        fields = {"reason": str(body.get("reason", "")), "status": str(body.get("status", ""))}
        return JSONResponse(
            _job(self._jobs.begin(ask, verb, wanted, fields, expected)), status_code=202
        )

    def job(self, ask: Ask) -> Response:
        """How far an action on many runs has come."""
        return JSONResponse(_job(self._jobs.get(ask.path["job_id"])))


def run_json(ask: Ask, record: Record) -> dict[str, Any]:
    """A run without its data."""
    workflow = ask.ui.workflows.get(record.workflow)
    return {
        "run_id": record.run_id,
        "workflow": record.workflow,
        "foreign_id": record.foreign_id,
        "status": record.status,
        "status_name": named_status(workflow, record.status),
        "state": record.state.name.lower(),
        "version": record.version,
        "created_at": exact(record.created_at),
        "updated_at": exact(record.updated_at),
        "entered_at": exact(record.entered_at),
        "attempts": record.attempts,
        "next_try_at": exact(record.next_try_at) or None,
        "last_error": shown_error(record.last_error, sees_data=ask.sees_data),
        "reason": record.reason,
    }


def _fields_of(value: Any) -> dict[str, Any]:
    """The fields of one of our small dataclasses."""
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _data(ask: Ask, record: Record) -> Any:
    try:
        return Masking(ask.ui.settings.masked).masked(json.loads(record.data))
    except (ValueError, RecursionError):
        return None


def _fields(body: bytes) -> dict[str, str]:
    """An object's values as a form would hold them; what is no text is passed on as its JSON."""
    value = json.loads(body or b"{}")
    if not isinstance(value, dict):
        raise InputError("the body is to be an object")
    return {
        str(key): item if isinstance(item, str) else json.dumps(item)
        for key, item in value.items()
        if item is not None
    }


def _plain(value: Any) -> dict[str, Any]:
    return {
        name: exact(item) if isinstance(item, datetime) else item
        for name, item in msgspec.structs.asdict(value).items()
        if name != "resumed"
    }


def _job(job: Job) -> Mapping[str, object]:
    done = job.progress
    return {
        "id": job.id,
        "verb": job.verb,
        "runs": job.told,
        "expected": job.expected,
        "changed": done.changed,
        "unchanged": done.unchanged,
        "refused": done.refused,
        "errors": {run_id: error.message for run_id, error in done.errors.items()},
        "ended": exact(job.ended) or None,
        "problem": job.problem,
    }
