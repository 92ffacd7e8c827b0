"""The database goes away under the app, and comes back: told in plain words, never as 500."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import make_url
from starlette.routing import Route
from starlette.testclient import TestClient
from workflow_adaptertest.servers import Proxied, Space
from workflow_core import Engine, Trigger, Workflow
from workflow_sql import upgrade
from workflow_webui import UiSettings, create_app

from tests.webui.conftest import Order, Status

PORTS = ("RECORD_STORE", "EVENT_STREAMER", "ROLE_SCHEDULER", "TIMEOUT_STORE")
NEED_NO_STORE = {"/static/{name}", "/login", "/logout", "/live", "/metrics", "/api/openapi.json"}
NEED_NO_STORE |= {"/audit", "/bulk", "/bulk/{job_id}", "/bulk/{job_id}/stop", "/api/bulk/{job_id}"}
NEED_NO_STORE |= {"/healthz", "/api/workflows", "/workflows/{workflow}/begin", "/{rest:path}"}


@contextmanager
def cut_off(behind: Proxied) -> Iterator[None]:
    behind.cut()
    try:
        yield
    finally:
        behind.mend()


@pytest.fixture
def engine(postgres_space: Space, postgres_behind: Proxied) -> Iterator[Engine]:
    """A client, whose way to its database can be cut."""
    upgrade(str(postgres_space.url))
    ((host, port),) = postgres_behind.url.addresses
    url = make_url(str(postgres_space.url)).set(host=host, port=port)
    environ = {f"WORKFLOW_{name}": "sql" for name in PORTS}
    environ["WORKFLOW_SQL__URL"] = url.render_as_string(hide_password=False)
    with Engine.from_config(environ=environ) as engine:
        yield engine


def orders() -> Workflow[Order, Status]:
    made = Workflow("orders", Order, Status, ends=(Status.SHIPPED,))
    made.add_step(Status.CREATED, lambda run: Status.SHIPPED, to=[Status.SHIPPED])

    @made.schedule("nightly", cron="0 3 * * *", tz="UTC")
    def nightly(tick: Any) -> Trigger[Order] | None:
        return None

    return made


def test_every_page_says_that_the_store_is_away_and_shows_runs_again_after(
    engine: Engine, postgres_behind: Proxied
) -> None:
    """Seen to fail when errors of adapters have the status of what nobody foresaw."""
    known = orders()
    run_id = engine.trigger(known, "a", Order(1))
    settings = UiSettings(refresh=timedelta(milliseconds=1))
    app = create_app(engine, [known], settings=settings)
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 1)) as client:
        page = client.get(f"/runs/{run_id}").text
        csrf = page.split('name="csrf" value="')[1].split('"')[0]
        app.state.workflow_ui.remembered.forget()
        with cut_off(postgres_behind):
            told = {
                f"{method} {route.path}": _asked(client, route.path, method, run_id, csrf)
                for route in app.routes
                if isinstance(route, Route) and route.path not in NEED_NO_STORE
                for method in sorted((route.methods or set()) - {"HEAD"})
            }
            assert {path: answer.status_code for path, answer in told.items()} == dict.fromkeys(
                told, 503
            )
            assert client.get("/healthz").status_code == 200
            for path in ("GET /", "GET /runs", "GET /runs/{run_id}", "POST /bulk/new"):
                assert "<h1>The store does not answer</h1>" in told[path].text, path
                assert "Traceback" not in told[path].text
            assert told["GET /api/runs"].json()["type"] == "AdapterUnavailableError"
            for path in ("/audit", "/bulk", "/workflows/orders/begin", "/api/workflows"):
                assert client.get(path).status_code == 200, path
        assert client.get(f"/runs/{run_id}").status_code == 200
        assert f"/runs/{run_id}" in client.get("/").text


def _asked(client: TestClient, path: str, method: str, run_id: str, csrf: str) -> Any:
    verb = "retry" if "letter" in path else "pause"
    parts = {"workflow": "orders", "run_id": run_id, "name": "nightly", "letter_id": "x"}
    where = path.format(**parts, verb=verb)
    if method == "GET":
        return client.get(where)
    if path.startswith("/api"):
        fields: dict[str, Any] = {"reason": "r", "foreign_id": "b", "data": {"total": 1}}
        fields |= {"about": "x", "run_id": run_id, "action": "pause", "verb": "pause"}
        if path == "/api/list":
            fields = {}
        return client.post(where, json={**fields, "filter": {}, "confirm": 1})
    form = {"reason": "r", "about": "x", "verb": "pause", "scope": "all", "workflow": "orders"}
    return client.post(where, data={**form, "csrf": csrf})
