"""The handlers of the Go original's web UI: home, list, object data, update.

Each is an ASGI endpoint to be mounted by itself, under a path of your choice; JSON comes in and
goes out with the original's field names. What differs: wrong input, unknown runs and verbs that do
not fit are 400, 404 and 409 and say why; an update takes a reason and records who asked; methods,
body sizes and content types are checked; and without ``auth`` they answer this machine alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from workflow_core import Engine, Record, RecordQuery, RunState, SortOrder, Workflow
from workflow_core.errors import DecodeError, InputError

from workflow_webui.acting.verbs import act_on_run
from workflow_webui.making import make_ui
from workflow_webui.reading.data_tree import Masking
from workflow_webui.reading.detail import run_record
from workflow_webui.reading.listing import named_status
from workflow_webui.rendering import asset, render
from workflow_webui.security.guard import CONTENT_SECURITY_POLICY, GUARDED
from workflow_webui.settings import UiSettings
from workflow_webui.ui import Ask, Ui
from workflow_webui.users import Auth, Authenticate, Right
from workflow_webui.web import api, page

__all__ = [
    "Paths",
    "home_handler",
    "list_handler",
    "object_data",
    "object_data_handler",
    "run_list",
    "update",
    "update_handler",
]

Endpoint = Callable[[Request], Awaitable[Response]]

_USUAL, _MOST = 25, 1_000
_MOST_SKIPPED = 10_000
_VERBS = {"pause": "pause", "resume": "resume", "cancel": "cancel", "delete": "delete"}
_NO_REASON = "no reason was given"


@dataclass(frozen=True)
class Paths:
    """Where the other handlers are mounted, as the home page is to ask for them."""

    list: str
    update: str
    object_data: str


class _ListRequest(msgspec.Struct, kw_only=True):
    workflow_name: str | None = None
    offset: int | None = None
    limit: int | None = None
    order: str | None = None
    filter_by_foreign_id: str | None = None
    filter_by_run_state: int | None = None
    filter_by_status: int | None = None
    after: str | None = None


class _ObjectRequest(msgspec.Struct, kw_only=True):
    run_id: str


class _UpdateRequest(msgspec.Struct, kw_only=True):
    run_id: str
    action: str
    reason: str = ""


def home_handler(
    engine: Engine,
    paths: Paths,
    *,
    auth: Auth | Authenticate | None = None,
    settings: UiSettings | None = None,
) -> Endpoint:
    """One page that lists runs and acts on them through the other three handlers."""

    def view(ask: Ask) -> Response:
        text, policy = _home(ask.ui.settings.title, paths)
        return HTMLResponse(text, headers={"content-security-policy": policy})

    return _guarded(page(_ui(engine, (), auth, settings), view))


def list_handler(
    engine: Engine,
    workflows: Sequence[Workflow[Any, Any]] = (),
    *,
    auth: Auth | Authenticate | None = None,
    settings: UiSettings | None = None,
) -> Endpoint:
    """``POST {workflow_name, offset, limit, order, filter_by_…}`` → ``{items, next}``."""
    return _guarded(api(_ui(engine, workflows, auth, settings), run_list))


def object_data_handler(
    engine: Engine,
    *,
    auth: Auth | Authenticate | None = None,
    settings: UiSettings | None = None,
) -> Endpoint:
    """``POST {run_id}`` → the run's data, with what is masked left out."""
    ui = _ui(engine, (), auth, settings)
    return _guarded(api(ui, object_data, right=Right.SEE_DATA))


def update_handler(
    engine: Engine,
    workflows: Sequence[Workflow[Any, Any]] = (),
    *,
    auth: Auth | Authenticate | None = None,
    settings: UiSettings | None = None,
) -> Endpoint:
    """``POST {run_id, action, reason}`` → 200 and nothing; pause, resume, cancel or delete."""
    return _guarded(api(_ui(engine, workflows, auth, settings), update, right=Right.ACT))


# -- what they do ------------------------------------------------------------------------------


def run_list(ask: Ask) -> Response:
    """One page of runs; ``after`` and ``next`` go on where ``offset`` would have to count."""
    wanted = _read(ask.body, _ListRequest)
    offset, limit = wanted.offset or 0, wanted.limit or _USUAL
    if not 0 <= offset <= _MOST_SKIPPED or not 0 < limit <= _MOST:
        raise InputError(
            f"limit is 1 to {_MOST}, offset 0 to {_MOST_SKIPPED}",
            hint='Further runs are found by "after": the "next" of the answer before',
        )
    query = RecordQuery(
        workflow=wanted.workflow_name or None,
        foreign_id=wanted.filter_by_foreign_id or None,
        states=[_state(wanted.filter_by_run_state)] if wanted.filter_by_run_state else None,
        statuses=[wanted.filter_by_status] if wanted.filter_by_status else None,
        order=SortOrder.NEWEST_FIRST if wanted.order == "desc" else SortOrder.OLDEST_FIRST,
        after=wanted.after,
    )
    behind = _skipped(ask, query, offset)
    if behind is None:
        return _json({"items": [], "next": None})
    found = ask.ui.engine.runs(behind.replace(limit=limit))
    runs = [record for record in found.items if not record.workflow.startswith("_")]
    return _json({"items": [_item(ask, record) for record in runs], "next": found.next})


def object_data(ask: Ask) -> Response:
    """The data as it is stored, if it is JSON; else its bytes, where nothing is to be masked.

    Raises:
        DecodeError: what is masked cannot be left out of it.
    """
    record = run_record(ask, _read(ask.body, _ObjectRequest).run_id)
    masked = ask.ui.settings.masked
    try:
        return JSONResponse(Masking(masked).masked(json.loads(record.data)))
    except (ValueError, RecursionError):
        if record.data and masked:
            raise DecodeError(
                "this data cannot be read here, so what is masked could not be left out of it",
                run_id=record.run_id,
                hint="UiSettings(masked=()) has such data sent as it is stored",
            ) from None
        return Response(record.data, media_type="application/octet-stream")


def update(ask: Ask) -> Response:
    """The action, by the engine's verb. The original asks for no reason, so none is needed here."""
    wanted = _read(ask.body, _UpdateRequest)
    if wanted.action not in _VERBS:
        raise InputError(f"{wanted.action!r} is no action", hint=f"There are {', '.join(_VERBS)}")
    fields = {"reason": wanted.reason.strip() or _NO_REASON}
    act_on_run(ask, _VERBS[wanted.action], wanted.run_id, fields)
    return Response(status_code=200)


def _item(ask: Ask, record: Record) -> Mapping[str, object]:
    workflow = ask.ui.workflows.get(record.workflow)
    return {
        "workflow_name": record.workflow,
        "foreign_id": record.foreign_id,
        "run_id": record.run_id,
        "run_state": record.state.name.replace("_", " ").title(),
        "run_state_reason": record.reason,
        "status": named_status(workflow, record.status) if workflow else str(record.status),
        "version": record.version,
        "trace_origin": record.headers.get("trace_origin", ""),
        "created_at": record.created_at.isoformat(),
        "updated_at": record.updated_at.isoformat(),
    }


def _skipped(ask: Ask, query: RecordQuery, offset: int) -> RecordQuery | None:
    """The query that begins after so many runs; None where there are no more."""
    while offset:
        passed = ask.ui.engine.runs(query.replace(limit=min(offset, _MOST)))
        if passed.next is None:
            return None
        query, offset = query.replace(after=passed.next), offset - len(passed.items)
    return query


def _state(number: int) -> RunState:
    try:
        return RunState(number)
    except ValueError:
        raise InputError(f"{number} is no run state: there are 1 to 7") from None


def _read(body: bytes, wanted: Any) -> Any:
    try:
        return msgspec.json.decode(body or b"{}", type=wanted)
    except msgspec.MsgspecError as error:
        raise InputError(f"the body cannot be taken: {error}") from None


def _json(value: object) -> Response:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return Response(text.encode(), media_type="application/json")


# -- mounting ----------------------------------------------------------------------------------


def _ui(
    engine: Engine,
    workflows: Sequence[Workflow[Any, Any]],
    auth: Auth | Authenticate | None,
    settings: UiSettings | None,
) -> Ui:
    return make_ui(engine, workflows, auth=auth, settings=settings)


def _guarded(endpoint: Endpoint) -> Endpoint:
    """Mounted alone, nothing around puts the headers on."""

    async def guarded(request: Request) -> Response:
        response = await endpoint(request)
        for name, value in GUARDED.items():
            response.headers.setdefault(name, value)
        return response

    return guarded


def _home(title: str, paths: Paths) -> tuple[str, str]:
    """The page and its policy: alone as it is, its script and style are in it, named by hashes."""
    script, style = asset("home.js").decode(), asset("home.css").decode()

    def named(text: str) -> str:
        return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    policy = CONTENT_SECURITY_POLICY.replace(
        "script-src 'self'; style-src 'self'",
        f"script-src 'sha256-{named(script)}'; style-src 'sha256-{named(style)}'",
    )
    # files of ours, so they may be marked as safe
    text = render("home.html", title=title, paths=paths, script=Markup(script), style=Markup(style))
    return text, policy
