"""The app: routes, and what they share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from workflow_core import Engine, Workflow

from workflow_webui.api import api_routes
from workflow_webui.audit import OnAudit
from workflow_webui.errors import NotThereError
from workflow_webui.live import Watchers, live
from workflow_webui.making import make_ui
from workflow_webui.pages import audit as audit_page
from workflow_webui.pages import flow, login, overview, runs, schedules
from workflow_webui.pages.bulk import BulkPages
from workflow_webui.probes import metrics, probe
from workflow_webui.rendering import asset
from workflow_webui.security.guard import Guard
from workflow_webui.settings import UiSettings
from workflow_webui.ui import Ask, Ui
from workflow_webui.users import Auth, Authenticate, Right
from workflow_webui.web import api, page

__all__ = ["create_app"]

_ASSETS = {
    "app.css": "text/css",
    "app.js": "text/javascript",
    "theme.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}


def create_app(
    engine: Engine,
    workflows: Sequence[Workflow[Any, Any]] = (),
    *,
    auth: Auth | Authenticate | None = None,
    settings: UiSettings | None = None,
    on_audit: OnAudit | None = None,
) -> Starlette:
    """The web UI as an ASGI app, to be served or mounted anywhere.

    It needs no lifespan, begins no thread before an action on many runs, and never blocks the loop
    that it runs in. The engine stays the caller's, and is to be closed after the app has ended.

    Args:
        engine: reads and steers runs; a client is enough, it need not serve.
        workflows: definitions, which give statuses their names and allow what needs one: graphs,
            triggers, callbacks, moves, deletions. Runs of others are shown too.
        auth: who a request is from; `LocalOnly` if left out.
        settings: how it behaves.
        on_audit: called with each action, after it was tried; on a thread.

    Raises:
        InputError: two workflows have one name.
    """
    ui = make_ui(engine, workflows, auth=auth, settings=settings, on_audit=on_audit)
    app = Starlette(routes=[*_assets(), *_probes(ui), *api_routes(ui), *_pages(ui)])
    app.state.workflow_ui = ui
    app.add_middleware(Guard)
    return app


def _pages(ui: Ui) -> list[BaseRoute]:
    bulk = BulkPages(ui.jobs)
    act = Right.ACT
    return [
        Route("/", page(ui, overview.home)),
        Route("/workflows", page(ui, overview.workflows)),
        Route("/workflows/{workflow}", page(ui, overview.workflow)),
        Route("/schedules", page(ui, schedules.schedules)),
        Route(
            "/schedules/{workflow}/{name}/{verb}",
            page(ui, schedules.act, right=act),
            methods=["POST"],
        ),
        Route("/flow", page(ui, flow.flow)),
        Route("/letters", page(ui, flow.letters)),
        Route(
            "/letters/{workflow}/{letter_id}/{verb}",
            page(ui, flow.letter_act, right=act),
            methods=["POST"],
        ),
        Route("/runs", page(ui, runs.runs)),
        Route("/runs/{run_id}", page(ui, runs.run)),
        Route("/runs/{run_id}/{verb}", page(ui, runs.act, right=act), methods=["POST"]),
        Route("/workflows/{workflow}/begin", page(ui, runs.begin, right=act)),
        Route("/workflows/{workflow}/begin", page(ui, runs.begun, right=act), methods=["POST"]),
        Route("/bulk", page(ui, bulk.all)),
        Route("/bulk/confirm", page(ui, bulk.confirm, right=act), methods=["POST"]),
        Route("/bulk/new", page(ui, bulk.begin, right=act), methods=["POST"]),
        Route("/bulk/{job_id}", page(ui, bulk.watch)),
        Route("/bulk/{job_id}/stop", page(ui, bulk.stop, right=act), methods=["POST"]),
        Route("/audit", page(ui, audit_page.audit)),
        Route("/login", login.form(ui)),
        Route("/login", login.log_in(ui), methods=["POST"]),
        Route("/logout", login.log_out(ui), methods=["POST"]),
        Route("/{rest:path}", page(ui, _nothing)),
    ]


def _probes(ui: Ui) -> list[BaseRoute]:
    return [
        Route("/healthz", probe(ui, "live")),
        Route("/readyz", probe(ui, "ready")),
        Route("/metrics", api(ui, metrics, asks_store=False)),
        Route("/live", live(ui, Watchers())),
    ]


def _nothing(ask: Ask) -> Response:
    raise NotThereError(f"there is no page /{ask.path['rest']}")


def _assets() -> list[BaseRoute]:
    async def serve(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _ASSETS:
            return Response("no such file", 404)
        headers = {"cache-control": "public, max-age=31536000, immutable"}
        return Response(asset(name), 200, headers, media_type=_ASSETS[name])

    return [Route("/static/{name}", serve)]
