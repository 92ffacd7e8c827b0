"""The JSON API as one table: its routes and its OpenAPI description are both made from it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from workflow_core import RunState

from workflow_webui import seed
from workflow_webui.acting.bulk import BULK_VERBS
from workflow_webui.acting.verbs import VERBS
from workflow_webui.api_views import Api
from workflow_webui.ui import Ui
from workflow_webui.users import Right
from workflow_webui.web import View, api

__all__ = ["api_routes", "description", "operations"]

_TEXT: Mapping[str, Any] = {"type": "string"}
_NUMBER: Mapping[str, Any] = {"type": "integer"}
_FILTER: Mapping[str, Mapping[str, Any]] = {
    "workflow": _TEXT,
    "status": {"type": "array", "items": _NUMBER},
    "state": {
        "type": "array",
        "items": {"type": "string", "enum": [state.name.lower() for state in RunState]},
    },
    "foreign_id": _TEXT,
    "since": {"type": "string", "description": "ISO 8601, or how long ago: 30m, 2h, 7d"},
    "until": {"type": "string", "description": "as since"},
    "q": {
        "type": "string",
        "description": "a text in ids, reasons, errors and data; one answer looks through 2,000"
        " runs at most, and its next goes on from there",
    },
    "order": {"type": "string", "enum": ["newest", "oldest"]},
}


@dataclass(frozen=True)
class Operation:
    """One thing that a program may ask for."""

    method: str
    path: str
    view: View
    told: str
    right: Right = Right.READ
    query: Mapping[str, Mapping[str, Any]] | None = None
    body: Mapping[str, Mapping[str, Any]] | None = None
    needed: Sequence[str] = ()
    good: int = 200


def operations(ui: Ui) -> list[Operation]:
    """All of them."""
    views, act = Api(ui.jobs), Right.ACT
    reason = {"reason": {"type": "string", "maxLength": 500}}
    page = {"limit": _NUMBER, "after": {"type": "string", "description": "next of the page before"}}
    return [
        Operation("GET", "/api/runs", views.runs, "One page of runs", query={**_FILTER, **page}),
        Operation("GET", "/api/counts", views.counts, "How many runs, by the store", query=_FILTER),
        Operation("GET", "/api/runs/{run_id}", views.run, "One run with its data"),
        Operation("GET", "/api/runs/{run_id}/why", views.why, "Why it does not move"),
        Operation("GET", "/api/runs/{run_id}/history", views.history, "Every version of it"),
        Operation(
            "POST",
            "/api/runs/{run_id}/{verb}",
            views.act,
            f"An action on a run: {', '.join(VERBS)}",
            act,
            body={**reason, "status": _NUMBER, "callback": _TEXT, "payload": {}},
            needed=["reason"],
        ),
        Operation("GET", "/api/workflows", views.workflows, "Definitions and their graphs"),
        Operation("GET", "/api/workflows/{workflow}/flow", views.flow, "Outbox, timers and lag"),
        Operation(
            "POST",
            "/api/workflows/{workflow}/runs",
            views.trigger,
            "A new run",
            act,
            body={
                **reason,
                "foreign_id": _TEXT,
                "data": {},
                "status": _NUMBER,
                "idempotency_key": _TEXT,
            },
            needed=["foreign_id", "data", "reason"],
            good=201,
        ),
        Operation("GET", "/api/schedules", views.schedules, "All schedules"),
        Operation(
            "POST",
            "/api/schedules/{workflow}/{name}/{verb}",
            views.act_on_schedule,
            "Pause or resume a schedule",
            act,
            body=reason,
            needed=["reason"],
        ),
        Operation(
            "POST",
            "/api/letters/{workflow}/{letter_id}/{verb}",
            views.act_on_letter,
            "Retry or discard a dead letter",
            act,
            body={**reason, "about": _TEXT},
            needed=["reason", "about"],
        ),
        Operation(
            "POST",
            "/api/bulk",
            views.bulk,
            "An action on all runs that match; confirm is their number",
            act,
            body={
                **reason,
                "verb": {"type": "string", "enum": list(BULK_VERBS)},
                "filter": {"type": "object", "properties": _FILTER},
                "confirm": _NUMBER,
                "status": _NUMBER,
            },
            needed=["verb", "filter", "confirm", "reason"],
            good=202,
        ),
        Operation("GET", "/api/bulk/{job_id}", views.job, "How far such an action has come"),
        *_seed_operations(),
    ]


def _seed_operations() -> list[Operation]:
    runs = {
        "workflow_name": _TEXT,
        "offset": _NUMBER,
        "limit": _NUMBER,
        "order": {"type": "string", "enum": ["asc", "desc"]},
        "filter_by_foreign_id": _TEXT,
        "filter_by_run_state": _NUMBER,
        "filter_by_status": _NUMBER,
        "after": _TEXT,
    }
    update = {
        "run_id": _TEXT,
        "action": {"type": "string", "enum": ["pause", "resume", "cancel", "delete"]},
        "reason": _TEXT,
    }
    return [
        Operation(
            "POST", "/api/list", seed.run_list, "Runs, as the Go web UI lists them", body=runs
        ),
        Operation(
            "POST",
            "/api/object",
            seed.object_data,
            "A run's data",
            Right.SEE_DATA,
            body={"run_id": _TEXT},
            needed=["run_id"],
        ),
        Operation(
            "POST",
            "/api/update",
            seed.update,
            "An action, as the Go web UI asks for it",
            Right.ACT,
            body=update,
            needed=["run_id", "action"],
        ),
    ]


def api_routes(ui: Ui) -> list[BaseRoute]:
    """The routes, and one for the description."""
    all_of_them = operations(ui)
    described = description(all_of_them, ui.settings.title)

    async def openapi(request: Request) -> Response:
        servers = [{"url": request.scope.get("root_path", "") or "/"}]
        return JSONResponse({**described, "servers": servers})

    routes: list[BaseRoute] = [Route("/api/openapi.json", openapi)]
    routes += [
        Route(each.path, api(ui, each.view, right=each.right), methods=[each.method])
        for each in all_of_them
    ]
    return routes


def description(all_of_them: Sequence[Operation], title: str) -> dict[str, Any]:
    """OpenAPI 3.1."""
    paths: dict[str, dict[str, Any]] = {}
    for each in all_of_them:
        paths.setdefault(each.path, {})[each.method.lower()] = _described(each)
    error = {
        "type": "object",
        "required": ["error", "type"],
        "properties": dict.fromkeys(("error", "type", "hint", "workflow", "run_id"), _TEXT),
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": f"{title}: workflows", "version": metadata.version("workflow-webui")},
        "paths": paths,
        "components": {"schemas": {"Error": error}},
    }


def _described(each: Operation) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": _TEXT}
        for name in re.findall(r"{(\w+)}", each.path)
    ]
    parameters += [
        {"name": name, "in": "query", "schema": schema}
        for name, schema in (each.query or {}).items()
    ]
    wrong = {"$ref": "#/components/schemas/Error"}
    told: dict[str, Any] = {
        "summary": each.told,
        "description": f"Needs the right to {each.right.value}.",
        "operationId": _name(each),
        "parameters": parameters,
        "responses": {
            str(each.good): {"description": "Done"},
            "4XX": {
                "description": "It cannot be taken, is not there, or does not fit",
                "content": {"application/json": {"schema": wrong}},
            },
            "503": {"description": "The store does not answer: ask again"},
        },
    }
    if each.body is not None:
        schema = {"type": "object", "properties": each.body, "required": list(each.needed)}
        told["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    return told


def _name(each: Operation) -> str:
    words = re.findall(r"\w+", each.path.removeprefix("/api"))
    return "_".join([each.method.lower(), *words])
