"""Hostile values in every place that takes one, over real stores: told what is wrong, never 500.

Seen to fail with `str.isdigit` before `int`, with NUL in a run's id on PostgreSQL, and with half a
surrogate pair in a JSON body.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from starlette.routing import Route
from starlette.testclient import TestClient
from workflow_core import Record, RunState
from workflow_core.ports import Write
from workflow_webui import create_app

if TYPE_CHECKING:
    from tests.webui.conftest import Site

HOSTILE = (
    "",
    "x",
    "\u00b2",  # a digit by `str.isdigit`, and none that `int` takes
    "9" * 5_000,  # longer than `int` reads
    "-9223372036854775809",
    "\0a\0",  # no text of PostgreSQL's
    "\ud800",  # no text at all
    "\U0001f4a5" * 300,
    "'; drop table workflow_runs; --",
    "../../%2e%2e",
    "a\r\nset-cookie: b=c",
    "_workers",
    "0001-01-01T00:00:00+14:00",  # before there were times in UTC
    "9999-12-31T23:59:59-14:00",
    "NaN",
)


class Sender:
    """Sends to the app what a browser or a program would, and keeps what went wrong."""

    def __init__(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        app = create_app(site.engine, [site.orders])
        self.routes = [
            (route.path, method)
            for route in app.routes
            if isinstance(route, Route)
            for method in sorted((route.methods or set()) - {"HEAD"})
            if route.path != "/live"  # a stream
        ]
        self._client = TestClient(
            app,
            base_url="http://127.0.0.1",
            client=("127.0.0.1", 4321),
            raise_server_exceptions=False,
            follow_redirects=False,
        )
        self._csrf = self._client.get("/runs").text.split('name="csrf" value="')[1].split('"')[0]
        self._caplog = caplog
        self.wrong: list[str] = []

    def get(self, path: str) -> None:
        self._note(path, self._client.get(path))

    def form(self, path: str, **fields: str) -> None:
        body = "&".join(
            f"{quote(k)}={encoded(v)}" for k, v in {**fields, "csrf": self._csrf}.items()
        )
        kind = {"content-type": "application/x-www-form-urlencoded"}
        self._note(f"{path} {fields}", self._client.post(path, content=body, headers=kind))

    def json(self, path: str, text: str) -> None:
        kind = {"content-type": "application/json"}
        body = text.encode("utf-8", "surrogatepass")
        self._note(f"{path} {text}", self._client.post(path, content=body, headers=kind))

    def _note(self, what: str, answer: Any) -> None:
        errors = [r for r in self._caplog.records if r.levelno >= logging.ERROR]
        told = [str(r.exc_info[1]) if r.exc_info else r.getMessage() for r in errors]
        self._caplog.clear()
        if (answer.status_code >= 500 and answer.status_code != 501) or told:
            self.wrong.append(f"{answer.status_code} {what[:200]} {told}")


def encoded(value: str) -> str:
    return quote(value.encode("utf-8", "surrogatepass"), safe="")


@pytest.fixture
def sender(site: Site, caplog: pytest.LogCaptureFixture) -> Iterator[Sender]:
    sender = Sender(site, caplog)
    yield sender
    assert sender.wrong == []


def filled(path: str, some_run: str, /, **given: str) -> str:
    """The route's path with the parts that are given, and the others as they might be."""
    parts = {"workflow": "order processing", "run_id": some_run, "verb": "pause", "name": "nightly"}
    parts |= {"letter_id": "1", "job_id": "1", "rest": "x", **given}
    return re.sub(r"{(\w+)(:path)?}", lambda m: encoded(parts[m[1]]), path)


@pytest.fixture(scope="module")
def run_id(site: Site) -> str:
    return site.arrived("hostile", customer="Ann")


def test_in_every_part_of_a_path(sender: Sender, run_id: str) -> None:
    for path, method in sender.routes:
        for part in re.findall(r"{(\w+)", path):
            for value in HOSTILE:
                where = filled(path, run_id, **{part: value})
                if method == "GET":
                    sender.get(where)
                elif path.startswith("/api"):
                    sender.json(
                        where, '{"reason": "r", "about": "x", "foreign_id": "f", "data": {}}'
                    )
                else:
                    sender.form(where, reason="r", about="x")


QUERIES = {
    "/runs": "workflow status state foreign_id since until q order run attr.customer after read "
    "trail limit sort done sign",
    "/api/runs": "workflow status state foreign_id since until q run attr.customer after limit",
    "/api/counts": "workflow foreign_id since attr.customer",
    "/letters": "workflow state about after",
    "/flow": "workflow",
    "/bulk/x:1:aaaaaaaaaaaaaaaa": "verb workflow status since",
}


@pytest.mark.parametrize("path", QUERIES)
def test_in_every_part_of_a_query(sender: Sender, path: str) -> None:
    for key in QUERIES[path].split():
        for value in HOSTILE:
            scope = "" if key == "workflow" else "workflow=order+processing&"
            sender.get(f"{path}?{scope}{quote(key)}={encoded(value)}")


FORMS = {
    "/runs/{run_id}/move": {"reason": "r", "status": "2"},
    "/runs/{run_id}/callback": {"reason": "r", "callback": "paid", "payload": "r"},
    "/workflows/{workflow}/begin": {"reason": "r", "foreign_id": "f", "data": "{}", "status": "1"},
    "/bulk/new": {"verb": "pause", "reason": "r", "run": "x", "since": "1h", "confirm": "1"},
    "/bulk/confirm": {"verb": "pause", "scope": "ticked", "run": "x", "workflow": "w"},
    "/schedules/{workflow}/{name}/pause": {"reason": "r"},
    "/letters/{workflow}/{letter_id}/retry": {"reason": "r", "about": "x"},
    "/login": {"token": "t"},
}


@pytest.mark.parametrize("path", FORMS)
def test_in_every_field_of_a_form(sender: Sender, run_id: str, path: str) -> None:
    for field in FORMS[path]:
        for value in HOSTILE:
            sender.form(filled(path, run_id), **{**FORMS[path], field: value})


BODIES: dict[str, dict[str, Any]] = {
    "/api/runs/{run_id}/move": {"reason": "r", "status": 2},
    "/api/workflows/{workflow}/runs": {
        "reason": "r",
        "foreign_id": "f",
        "data": {"total": 1},
        "idempotency_key": "k",
    },
    "/api/bulk": {"verb": "pause", "reason": "r", "filter": {"run": "x"}, "confirm": 0},
    "/api/letters/{workflow}/{letter_id}/retry": {"reason": "r", "about": "x"},
    "/api/list": {
        "workflow_name": "x",
        "offset": 1,
        "limit": 1,
        "order": "desc",
        "filter_by_foreign_id": "x",
        "filter_by_run_state": 1,
        "filter_by_status": 1,
        "after": "x",
    },
    "/api/object": {"run_id": "x"},
    "/api/update": {"run_id": "x", "action": "pause", "reason": "r"},
}
ODD = (
    *("9" * 25, "-1", "1.5", "1e400", "true", "null", "[]", "{}"),
    *('["\\ud800"]', '{"\\u0000": "\\u0000"}'),
)


@pytest.mark.parametrize("path", BODIES)
def test_in_every_field_of_a_body(sender: Sender, run_id: str, path: str) -> None:
    for field in BODIES[path]:
        for value in [*map(json.dumps, HOSTILE), *ODD]:
            others = {k: v for k, v in BODIES[path].items() if k != field}
            text = json.dumps(others)[:-1] + (", " if others else "") + f'"{field}": {value}}}'
            sender.json(filled(path, run_id), text)
    for text in ("", "[", "[]", "null", "1", "[" * 100_000, '"\ud800"'):
        sender.json(filled(path, run_id), text)


def test_same_action_of_many_at_once_is_done_once(site: Site) -> None:
    """The others are told that it does not fit any more, and each leaves a line in the audit.

    Seen to fail when a lost race is answered as done.
    """
    app = create_app(site.engine, [site.orders])
    run_id = site.arrived("wanted by all")
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 1)) as client:

        def cancel(number: int) -> int:
            answer = client.post(f"/api/runs/{run_id}/cancel", json={"reason": f"{number}"})
            return answer.status_code

        with ThreadPoolExecutor(12) as threads:
            answers = sorted(threads.map(cancel, range(12)))
    assert answers == [200] + [409] * 11
    outcomes = [entry.outcome for entry in app.state.workflow_ui.audit.latest()]
    assert sorted(outcomes) == ["RunEndedError"] * 11 + ["done"]


@pytest.mark.parametrize("deep", [100, 450, 900, 100_000])
def test_data_however_deep_is_no_trouble(site: Site, deep: int) -> None:
    """Where it cannot be read its page says so. Seen to fail when only `json.loads` is guarded."""
    data = b'{"total":' * deep + b'"bottom"' + b"}" * deep
    number = f"{deep:012}"
    record = Record(
        workflow=site.orders.name,
        foreign_id=f"deep-{deep}",
        run_id=f"00000000-0000-0000-0000-{number}",
        status=4,
        state=RunState.COMPLETED,
        version=1,
        write_id=f"deep{deep}",
        data=data,
    )
    site.engine.adapters.record_store.store_many([Write(record=record)])
    app = create_app(site.engine, [site.orders])
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 1)) as client:
        assert client.get(f"/runs/{record.run_id}").status_code == 200
        assert client.get(f"/runs?foreign_id=deep-{deep}&q=bottom").status_code == 200
        assert client.get(f"/api/runs/{record.run_id}").status_code == 200
        answer = client.post("/api/object", json={"run_id": record.run_id})
        assert answer.status_code == (409 if deep > 500 else 200)
