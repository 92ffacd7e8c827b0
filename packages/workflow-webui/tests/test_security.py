"""Who may come in, what a stranger's page cannot do, and hostile texts in every field."""

from __future__ import annotations

import base64
import logging
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from workflow_core import RunState
from workflow_webui import (
    READ_ONLY,
    BasicAuth,
    Right,
    TokenAuth,
    TrustedHeaderAuth,
    UiSettings,
    User,
    hash_password,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.testclient import TestClient

    from tests.conftest import House

TOKEN = "t" * 40
HOSTILE = "</script><img src=x onerror=alert(1)>\"'`{{7777*7777}}${7777*7777}\u202egnp.exe\x07&amp;"


# -- who -------------------------------------------------------------------------------------------


def test_without_auth_only_this_machine_is_answered(house: House) -> None:
    """Seen to fail when any of the three conditions of `LocalOnly` is left out."""
    app = house.client.app
    get = house.at_home
    assert get(app).get("/runs").status_code == 200
    assert get(app, client=("192.0.2.1", 1)).get("/runs").status_code == 403
    assert get(app, base_url="http://evil.example").get("/runs").status_code == 403
    forwarded = {"x-forwarded-for": "192.0.2.1"}
    assert get(app).get("/runs", headers=forwarded).status_code == 403
    assert get(app, base_url="http://[::1]:8000", client=("::1", 1)).get("/runs").status_code == 200


def test_refusal_tells_nothing_of_runs(house: House) -> None:
    run_id = house.order("secret-order")
    stranger = house.at_home(house.client.app, client=("192.0.2.1", 1))
    for path in ("/", "/runs", f"/runs/{run_id}", "/audit", "/bulk", "/nowhere"):
        answer = stranger.get(path)
        assert answer.status_code == 403
        assert "secret-order" not in answer.text


def test_token_is_taken_from_the_header_and_by_login(open_house: Callable[..., House]) -> None:
    house = open_house(auth=TokenAuth({TOKEN: User("ann")}))
    client = house.client
    assert client.get("/runs", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    refused = client.get("/runs", headers={"authorization": "Bearer " + "u" * 40})
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    sent = client.get("/runs", headers={"accept": "text/html"}, follow_redirects=False)
    assert sent.headers["location"] == "/login"
    csrf = _csrf(client.get("/login").text)
    assert client.post("/login", data={"csrf": csrf, "token": "wrong"}).status_code == 403
    answer = client.post("/login", data={"csrf": csrf, "token": TOKEN}, follow_redirects=False)
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert "samesite=strict" in answer.headers["set-cookie"].lower()
    assert client.get("/runs").status_code == 200
    client.post("/logout")
    assert client.get("/runs").status_code == 401


def test_session_that_was_forged_or_is_over_lets_nobody_in(
    open_house: Callable[..., House], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail when `Signer.user_of` checks either the signature or the time alone."""
    house = open_house(auth=TokenAuth({TOKEN: User("ann")}))
    client = house.client
    good = house.ui.signer.session("ann")
    client.cookies.set("workflow_session", good)
    assert client.get("/runs").status_code == 200
    name, until, signature = good.split(".")
    client.cookies.set("workflow_session", f"{name}.{int(until) + 9999}.{signature}")
    assert client.get("/runs").status_code == 401
    monkeypatch.setattr("time.time", lambda: int(until) + 1.0)
    client.cookies.set("workflow_session", good)
    assert client.get("/runs").status_code == 401


def test_short_tokens_and_plain_passwords_are_refused() -> None:
    with pytest.raises(ValueError, match="32 characters"):
        TokenAuth({"short": User("ann")})
    with pytest.raises(ValueError, match="hashes"):
        BasicAuth({"ann": "plain"})
    with pytest.raises(ValueError, match="addresses"):
        TrustedHeaderAuth([])


def test_basic_auth_knows_right_from_wrong(open_house: Callable[..., House]) -> None:
    auth = BasicAuth({"ann": hash_password("sesame:open")}, {"ann": READ_ONLY})
    house = open_house(auth=auth)

    def status(name: str, password: str) -> int:
        text = base64.b64encode(f"{name}:{password}".encode()).decode()
        return int(
            house.client.get("/runs", headers={"authorization": f"Basic {text}"}).status_code
        )

    assert house.client.get("/runs").headers["www-authenticate"].startswith("Basic")
    assert [status("ann", "sesame:open") for _ in range(2)] == [200, 200]
    assert status("ann", "sesame") == status("bob", "") == status("", "") == 401
    broken = house.client.get("/runs", headers={"authorization": "Basic %%%"})
    assert broken.status_code == 401


def test_header_of_a_proxy_counts_from_that_proxy_alone(open_house: Callable[..., House]) -> None:
    """Seen to fail when `TrustedHeaderAuth` does not look where a request comes from."""
    auth = TrustedHeaderAuth(["10.0.0.0/8"], rights={"ops": {Right.READ, Right.ACT}}, proof="p" * 9)
    house = open_house(auth=auth)
    inside = house.at_home(house.client.app, client=("10.1.2.3", 1))
    outside = house.at_home(house.client.app, client=("127.0.0.1", 1))
    named = {"x-forwarded-user": "ann", "x-proxy-proof": "p" * 9}
    assert inside.get("/runs", headers=named).status_code == 200
    assert outside.get("/runs", headers=named).status_code == 403
    assert inside.get("/runs", headers={"x-forwarded-user": "ann"}).status_code == 403
    assert inside.get("/runs").status_code == 403
    twice = [*named.items(), ("x-forwarded-user", "root")]
    assert inside.get("/runs", headers=twice).status_code == 403
    assert "read only" in inside.get("/runs", headers=named).text
    ops = {**named, "x-forwarded-groups": "staff, ops"}
    assert "read only" not in inside.get("/runs", headers=ops).text


def test_auth_hook_may_be_any_function_and_fails_closed(
    open_house: Callable[..., House], caplog: pytest.LogCaptureFixture
) -> None:
    """Seen to fail when an error of the hook is not caught."""

    async def hook(connection: Any) -> User | None:
        if connection.headers.get("x-boom"):
            raise RuntimeError("no directory")
        return User("ann") if connection.headers.get("x-name") == "ann" else None

    house = open_house(auth=hook)
    assert house.client.get("/runs", headers={"x-name": "ann"}).status_code == 200
    assert house.client.get("/runs").status_code == 403
    with caplog.at_level(logging.CRITICAL):
        assert house.client.get("/runs", headers={"x-boom": "1"}).status_code == 403


# -- rights ----------------------------------------------------------------------------------------


def test_who_may_only_read_cannot_act(open_house: Callable[..., House]) -> None:
    """Seen to fail when the routes of actions are not held to `Right.ACT`."""
    house = open_house(auth=lambda connection: User("eve", READ_ONLY))
    run_id = house.order("a")
    token = house.ui.signer.form_token(_browser(house.client), "eve")
    for path in (
        f"/runs/{run_id}/cancel",
        "/workflows/orders/begin",
        "/bulk/new",
        "/bulk/confirm",
        "/bulk/x/stop",
    ):
        answer = house.client.post(path, data={"csrf": token, "reason": "r", "verb": "cancel"})
        assert answer.status_code == 403, path
    assert house.record(run_id).state is RunState.INITIATED
    assert "Cancel" not in house.client.get(f"/runs/{run_id}").text


def test_who_may_not_see_data_sees_none_anywhere(open_house: Callable[..., House]) -> None:
    """Seen to fail when `shown_error`, the history or the text search do not ask for the right."""
    house = open_house(auth=lambda connection: User("eve", frozenset({Right.READ})))
    run_id = house.order("late", -5, customer="wilhelmina")
    house.settle()
    for path in (f"/runs/{run_id}", "/runs", "/runs?workflow=orders", "/runs?q=wilhelmina"):
        page = house.client.get(path).text
        page = re.sub(r'(value|href)="[^"]*"', "", page)
        assert "wilhelmina" not in page, path
    assert "ValueError: …" in house.client.get(f"/runs/{run_id}").text
    assert "data-run" not in house.client.get("/runs?q=wilhelmina").text
    answer = house.client.get("/runs?workflow=orders&attr.customer=wilhelmina")
    assert answer.status_code == 403


# -- strangers' pages ------------------------------------------------------------------------------


def test_form_without_our_token_changes_nothing(house: House) -> None:
    """Seen to fail when `page` does not ask for the form's token."""
    run_id = house.order("a")
    path = f"/runs/{run_id}/cancel"
    good = house.csrf()
    assert house.client.post(path, data={"reason": "r"}).status_code == 403
    assert house.client.post(path, data={"reason": "r", "csrf": "0" * 64}).status_code == 403
    other = house.at_home(house.client.app)  # a browser with cookies of its own
    other.get("/runs")
    assert other.post(path, data={"reason": "r", "csrf": good}).status_code == 403
    assert house.record(run_id).state is RunState.INITIATED


def test_form_that_another_site_sent_changes_nothing(house: House) -> None:
    """Seen to fail when `check_same_site` is not called."""
    run_id = house.order("a")
    data = {"reason": "r", "csrf": house.csrf()}
    for headers in (
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:81"},
    ):
        answer = house.client.post(f"/runs/{run_id}/cancel", data=data, headers=headers)
        assert answer.status_code == 403, headers
    assert house.record(run_id).state is RunState.INITIATED
    ours = {"sec-fetch-site": "same-origin", "origin": "http://127.0.0.1"}
    answer = house.client.post(f"/runs/{run_id}/cancel", data=data, headers=ours)
    assert house.record(run_id).state is RunState.CANCELLED
    assert answer.status_code == 200


def test_only_the_methods_and_types_that_are_meant_are_taken(house: House) -> None:
    run_id = house.order("a")
    assert house.client.get(f"/runs/{run_id}/cancel").status_code in (404, 405)
    assert house.client.put("/runs").status_code == 405
    assert house.client.delete(f"/runs/{run_id}").status_code == 405
    house.csrf()
    answer = house.client.post(f"/runs/{run_id}/cancel", json={"reason": "r"})
    assert answer.status_code == 415


def test_large_bodies_are_refused_while_they_come(open_house: Callable[..., House]) -> None:
    """Seen to fail when `read_body` looks at Content-Length alone."""
    house = open_house(settings=UiSettings(max_body=1000))
    path = f"/runs/{house.order('a')}/cancel"
    assert house.client.post(path, data={"reason": "r" * 2000}).status_code == 413

    def parts() -> Any:
        for _ in range(100):
            yield b"reason=" + b"r" * 100

    form = {"content-type": "application/x-www-form-urlencoded"}
    assert house.client.post(path, content=parts(), headers=form).status_code == 413
    many = "&".join(f"a{number}=1" for number in range(1_100))
    assert house.client.get(f"/runs?{many}").status_code == 400


def test_every_answer_carries_the_headers(house: House) -> None:
    """Seen to fail when `Guard` is left out of the app."""
    run_id = house.order("a")
    for path in ("/runs", f"/runs/{run_id}", "/nowhere", "/static/app.css", "/static/../x"):
        headers = house.client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "same-origin"
        kept = "immutable" if path == "/static/app.css" else "no-store"
        assert kept in headers["cache-control"]


def test_pages_bring_no_inline_script_or_style_and_load_nothing_from_elsewhere(
    house: House,
) -> None:
    run_id = house.order("a", -1)
    house.settle()
    for path in ("/runs", f"/runs/{run_id}", "/audit", "/bulk", "/workflows/orders/begin"):
        page = house.client.get(path).text
        assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=", page), path
        assert re.findall(r'(?:src|href|action)="(?:https?:)?//', page) == [], path


# -- hostile data ----------------------------------------------------------------------------------


def test_hostile_texts_in_every_field_come_out_as_text(open_house: Callable[..., House]) -> None:
    """Seen to fail when autoescape is off, or a template marks a value as safe."""
    house = open_house(auth=lambda connection: User(HOSTILE))
    house.at_home(house.client.app)
    run_id = _hostile_run(house)
    hostile = quote(HOSTILE, safe="")
    pages = [
        f"/runs/{run_id}",
        f"/runs/{run_id}?find={hostile}&done={hostile}",
        "/runs",
        f"/runs?q={hostile}",
        f"/runs?workflow={hostile}",
        f"/runs?foreign_id={hostile}",
        f"/runs?since={hostile}",
        f"/runs?after={hostile}&sort={hostile}&trail={hostile}",
        f"/{hostile}",
        f"/runs/{hostile}",
        "/audit",
    ]
    for path in pages:
        page = house.client.get(path).text
        assert "<img" not in page, path
        assert "60481729" not in page, path
        assert "onerror=alert(1)>" not in page, path
        assert "\u202e" not in re.sub(r'value="[^"]*"|href="[^"]*"', "", page), path


def _hostile_run(house: House) -> str:
    """A run that holds the text wherever a text can be."""
    from datetime import UTC, datetime

    import msgspec
    from workflow_core import Record
    from workflow_core.model import PauseKind, Resumed
    from workflow_core.ports import Write

    record = Record(
        workflow=HOSTILE,
        foreign_id=HOSTILE,
        run_id="018f0000-0000-7000-8000-00000000beef",
        status=1,
        state=RunState.PAUSED,
        version=1,
        write_id="w",
        data=msgspec.json.encode({HOSTILE: [HOSTILE, {HOSTILE: HOSTILE}]}),
        last_error=HOSTILE,
        attempts=3,
        reason=HOSTILE,
        pause_kind=PauseKind.OPERATOR,
        resumed=Resumed(who=HOSTILE, why=HOSTILE, at=datetime(2026, 1, 1, tzinfo=UTC)),
        headers={HOSTILE: HOSTILE},
    )
    house.engine.adapters.record_store.store(Write(record=record))
    house.post(f"/runs/{record.run_id}/resume", reason=HOSTILE)
    house.post(f"/runs/{record.run_id}/pause", reason=HOSTILE)
    return record.run_id


def test_notice_is_shown_where_we_wrote_it_alone(house: House) -> None:
    """Seen to fail when `Ask.done` does not look at the signature."""
    run_id = house.order("a")
    answer = house.post(f"/runs/{run_id}/pause", reason="r")
    assert 'role="status">paused<' in house.client.get(answer.headers["location"]).text
    page = house.client.get(f"/runs/{run_id}?done=call+0900+5555&sign={'0' * 64}").text
    assert "0900" not in page


def test_audit_line_stays_one_line(house: House) -> None:
    """Seen to fail when `_line` lets line breaks through."""
    run_id = house.order("a")
    house.post(f"/runs/{run_id}/pause", reason="fine\nroot: cancel everything: done")
    assert "\n" not in house.audit[-1].reason


def test_settings_and_errors_hold_no_secret(house: House) -> None:
    assert "s3cret" not in repr(UiSettings(secret="s3cret" * 6))
    with pytest.raises(ValueError, match="32 characters or more"):
        UiSettings(secret="s3cret")


def _csrf(page: str) -> str:
    return page.split('name="csrf" value="', 1)[1].split('"', 1)[0]


def _browser(client: TestClient) -> str:
    client.get("/runs")
    return str(client.cookies["workflow_browser"])
