"""The JSON API, the handlers of the Go original, the probes, and what describes them."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount, Route
from workflow_core import RunState
from workflow_core.errors import AdapterUnavailableError
from workflow_core.ports import Write
from workflow_webui import (
    READ_ONLY,
    Paths,
    Right,
    UiSettings,
    User,
    create_app,
    home_handler,
    list_handler,
    object_data_handler,
    update_handler,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import House

NOBODY = "018f0000-0000-7000-8000-00000000dead"


# -- the JSON API ----------------------------------------------------------------------------------


def test_runs_are_listed_filtered_and_paged(house: House) -> None:
    for number in range(7):
        house.order(f"order-{number}", 0 if number % 2 else 20)
    house.settle()
    first = house.client.get("/api/runs?limit=5").json()
    rest = house.client.get("/api/runs", params={"limit": 5, "after": first["next"]}).json()
    assert len(first["items"] + rest["items"]) == 7
    assert rest["next"] is None
    ended = house.client.get("/api/runs?workflow=orders&state=completed").json()["items"]
    assert {run["status_name"] for run in ended} == {"REFUSED"}
    assert house.client.get("/api/runs?limit=0").status_code == 400


def test_one_run_is_told_whole_and_masked(house: House) -> None:
    run_id = house.order("a", 20, card=("Ann", "4111"))
    told = house.client.get(f"/api/runs/{run_id}").json()
    assert told["data"]["card"] == {"holder": "Ann", "card_number": "•••"}
    assert told["actions"] == ["pause", "retry", "cancel", "move"]
    history = house.client.get(f"/api/runs/{run_id}/history").json()["items"]
    assert [entry["status_name"] for entry in history] == ["CREATED"]


def test_data_and_errors_need_their_right(open_house: Callable[..., House]) -> None:
    """Seen to fail when `entry_for` lets errors through, or `run` the data."""
    house = open_house(auth=lambda connection: User("eve", READ_ONLY))
    run_id = house.order("late", -5, customer="wilhelmina")
    house.settle()
    for path in (f"/api/runs/{run_id}", f"/api/runs/{run_id}/history", "/api/runs"):
        assert "wilhelmina" not in house.client.get(path).text, path
    search = "/api/counts?workflow=orders&attr.customer=wilhelmina"
    assert house.client.get(search).status_code == 403


def test_counts_are_the_stores(house: House) -> None:
    house.order("a", 0)
    house.order("b", 20)
    house.settle()
    items = house.client.get("/api/counts?workflow=orders").json()["items"]
    assert {(item["status"], item["state"], item["runs"]) for item in items} == {
        (5, "completed", 1),
        (2, "running", 1),
    }


def test_actions_go_through_and_are_noted(house: House) -> None:
    run_id = house.order("a")
    house.settle()
    answer = house.client.post(f"/api/runs/{run_id}/pause", json={"reason": "look"})
    assert answer.json() == {"done": "paused"}
    assert house.record(run_id).reason == "paused by local: look"
    assert house.audit[-1].action == "pause"
    house.client.post(f"/api/runs/{run_id}/resume", json={"reason": "fine"})
    body = {"reason": "r", "callback": "paid", "payload": "r-9"}
    assert house.client.post(f"/api/runs/{run_id}/callback", json=body).status_code == 200
    house.settle()
    assert house.record(run_id).state is RunState.COMPLETED


def test_trigger_answers_201_then_409(house: House) -> None:
    body = {"foreign_id": "new", "data": {"total": 7}, "reason": "by phone"}
    answer = house.client.post("/api/workflows/orders/runs", json=body)
    assert answer.status_code == 201
    assert house.record(answer.json()["run_id"]).foreign_id == "new"
    again = house.client.post("/api/workflows/orders/runs", json=body)
    assert again.status_code == 409
    assert again.json()["type"] == "RunInProgressError"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (f"/api/runs/{NOBODY}/pause", {"reason": "r"}, 404),
        ("/api/runs/RUN/pause", {}, 400),
        ("/api/runs/RUN/pause", [], 400),
        ("/api/runs/RUN/explode", {"reason": "r"}, 400),
        ("/api/runs/RUN/resume", {"reason": "r"}, 409),
        ("/api/runs/RUN/delete", {"reason": "r"}, 409),
        ("/api/runs/RUN/move", {"reason": "r", "status": 99}, 400),
        ("/api/runs/RUN/callback", {"reason": "r", "callback": "paid", "payload": 5}, 409),
        ("/api/runs/RUN/callback", {"reason": "r", "callback": "none"}, 400),
        ("/api/workflows/nothing/runs", {"foreign_id": "a", "data": {}, "reason": "r"}, 404),
        ("/api/workflows/orders/runs", {"foreign_id": "", "data": {}, "reason": "r"}, 400),
        ("/api/bulk", {"verb": "pause"}, 400),
        ("/api/bulk", {"verb": "pause", "filter": {}, "confirm": 99, "reason": "r"}, 400),
        ("/api/bulk", {"verb": "x", "filter": {}, "confirm": 1, "reason": "r"}, 404),
        ("/api/schedules/orders/none/pause", {"reason": "r"}, 400),
        ("/api/letters/orders/x/retry", {"reason": "r", "about": "y"}, 404),
    ],
)
def test_what_cannot_be_is_told_by_its_status(
    house: House, path: str, body: Any, status: int
) -> None:
    """Seen to fail when `status_of` answers 500 for what it does not know."""
    run_id = house.order("a")
    answer = house.client.post(path.replace("RUN", run_id), json=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]


def test_only_json_changes_anything_and_no_other_sites_page(house: House) -> None:
    """Seen to fail when `api` takes any content type: a stranger's form could send text/plain."""
    run_id = house.order("a")
    path, body = f"/api/runs/{run_id}/cancel", json.dumps({"reason": "r"})
    for headers in (
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {},
    ):
        assert house.client.post(path, content=body, headers=headers).status_code == 415
    cross = {"content-type": "application/json", "sec-fetch-site": "cross-site"}
    assert house.client.post(path, content=body, headers=cross).status_code == 403
    broken = {"content-type": "application/json"}
    assert house.client.post(path, content="{", headers=broken).status_code == 400
    assert house.record(run_id).state is RunState.INITIATED


def test_bulk_by_the_api_needs_the_number_that_it_would_be(
    house: House, until: Callable[..., Any]
) -> None:
    for number in range(3):
        house.order(f"order-{number}")
    body = {"verb": "cancel", "filter": {"workflow": "orders"}, "confirm": 3, "reason": "r"}
    answer = house.client.post("/api/bulk", json=body)
    assert answer.status_code == 202
    done = until(
        lambda: house.client.get(f"/api/bulk/{answer.json()['id']}").json(),
        lambda job: job["ended"] is not None,
    )
    assert done["changed"] == 3


def test_store_that_does_not_answer_is_503_and_not_ready(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: object, **more: object) -> Any:
        raise AdapterUnavailableError("the database does not answer", adapter="sql")

    assert house.client.get("/readyz").status_code == 200
    house.ui.remembered.forget()
    store = house.engine.adapters.record_store
    for name in ("list_records", "count_records", "lookup", "check_health"):
        monkeypatch.setattr(store, name, away)
    assert house.client.get("/api/runs").status_code == 503
    page = house.client.get("/runs")
    assert page.status_code == 503
    assert "the database does not answer" in page.text
    assert house.client.get("/readyz").status_code == 503
    assert house.client.get("/healthz").status_code == 200


def test_probes_answer_without_a_name_and_tell_nothing_else(
    open_house: Callable[..., House],
) -> None:
    house = open_house(auth=lambda connection: None)
    assert house.client.get("/healthz").json() == {"live": True}
    assert house.client.get("/readyz").json() == {"ready": True}
    assert house.client.get("/metrics").status_code == 403
    assert house.client.get("/api/runs").status_code == 403


def test_description_knows_every_route_of_the_api(house: House) -> None:
    """Seen to fail when a route is added beside the table."""
    described = house.client.get("/api/openapi.json").json()
    assert described["openapi"].startswith("3.1")
    app: Any = house.client.app
    routes = {
        (route.path, method.lower())
        for route in app.routes
        if isinstance(route, Route) and route.path.startswith("/api/") and route.methods
        for method in route.methods - {"HEAD"}
    }
    told = {(path, method) for path, each in described["paths"].items() for method in each}
    assert routes - told == {("/api/openapi.json", "get")}
    assert told <= routes
    for path, each in described["paths"].items():
        for operation in each.values():
            named = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
            assert named == {part[1:-1] for part in path.split("/") if part.startswith("{")}


# -- mounted ---------------------------------------------------------------------------------------


def test_app_works_wherever_it_is_mounted(house: House) -> None:
    """Seen to fail when any link leaves out the root."""
    run_id = house.order("a")
    inner = create_app(house.engine, [house.orders])
    client = house.at_home(Starlette(routes=[Mount("/ops/flows", app=inner)]))
    for path in ("/", "/runs", f"/runs/{run_id}", "/workflows/orders", "/flow", "/letters"):
        page = client.get(f"/ops/flows{path}").text
        links = [part.split('"')[0] for part in page.split('="/')[1:]]
        assert links
        assert all(link.startswith("ops/flows") for link in links), (path, links)
    csrf = page_token(client.get("/ops/flows/runs").text)
    answer = client.post(
        f"/ops/flows/runs/{run_id}/pause",
        data={"csrf": csrf, "reason": "r"},
        follow_redirects=False,
    )
    assert answer.headers["location"].startswith(f"/ops/flows/runs/{run_id}")
    assert "Path=/ops/flows" in client.get("/ops/flows/runs").headers.get(
        "set-cookie", "Path=/ops/flows"
    )


def page_token(page: str) -> str:
    return page.split('name="csrf" value="', 1)[1].split('"', 1)[0]


# -- the Go original's handlers --------------------------------------------------------------------


@pytest.fixture
def seeded(house: House) -> Any:
    """The four handlers under paths of our choice, as the original's guide mounts them."""
    engine, known = house.engine, [house.orders]
    paths = Paths(list="/a/list", update="/a/update", object_data="/a/object")
    routes = [
        Route("/", home_handler(engine, paths)),
        Route(paths.list, list_handler(engine, known), methods=["POST"]),
        Route(paths.object_data, object_data_handler(engine), methods=["POST"]),
        Route(paths.update, update_handler(engine, known), methods=["POST"]),
    ]
    return house.at_home(Starlette(routes=routes))


def test_seed_list_has_the_originals_fields(house: House, seeded: Any) -> None:
    run_id = house.order("order-1", 0)
    house.settle()
    items = seeded.post("/a/list", json={"workflow_name": "orders"}).json()["items"]
    record = house.record(run_id)
    assert items == [
        {
            "workflow_name": "orders",
            "foreign_id": "order-1",
            "run_id": run_id,
            "run_state": "Completed",
            "run_state_reason": "",
            "status": "REFUSED",
            "version": record.version,
            "trace_origin": "",
            "created_at": record.created_at.isoformat(),
            "updated_at": record.updated_at.isoformat(),
        }
    ]


def test_seed_list_pages_orders_and_filters(house: House, seeded: Any) -> None:
    for number in range(30):
        house.order(f"order-{number:02}", 0 if number % 2 else 20)
        house.driver.clock.advance(timedelta(seconds=1))
    house.settle()

    def ids(**body: Any) -> list[str]:
        return [item["foreign_id"] for item in seeded.post("/a/list", json=body).json()["items"]]

    assert len(ids()) == 25
    assert ids(offset=25) == [f"order-{number:02}" for number in range(25, 30)]
    assert ids(offset=30) == []
    assert ids(order="desc", limit=2) == ["order-29", "order-28"]
    assert len(ids(filter_by_run_state=5)) == 15
    assert len(ids(filter_by_status=2)) == 15
    assert ids(filter_by_foreign_id="order-07") == ["order-07"]
    assert len(ids(filter_by_run_state=0, filter_by_status=None, filter_by_foreign_id="")) == 25


def test_seed_object_is_the_data_without_what_is_masked(house: House, seeded: Any) -> None:
    run_id = house.order("a", 20, card=("Ann", "4111"))
    data = seeded.post("/a/object", json={"run_id": run_id}).json()
    assert data["card"] == {"holder": "Ann", "card_number": "•••"}
    assert data["total"] == 20


def test_seed_object_that_cannot_be_masked_is_not_sent(
    house: House, open_house: Callable[..., House]
) -> None:
    """Seen to fail when data that cannot be read is sent as it is: with what is to be masked."""
    run_id = house.order("a")
    record = house.record(run_id)
    odd = b"\x01 card_number 4111"
    written = record.replace(version=record.version + 1, write_id="odd", data=odd)
    house.engine.adapters.record_store.store_many([Write(record=written)])
    answer = house.client.post("/api/object", json={"run_id": run_id})
    assert answer.status_code == 409
    assert "4111" not in answer.text
    plain = open_house(settings=UiSettings(masked=()))
    assert plain.client.post("/api/object", json={"run_id": run_id}).content == odd


def test_seed_update_acts_records_and_answers_nothing(house: House, seeded: Any) -> None:
    run_id = house.order("a")
    answer = seeded.post("/a/update", json={"run_id": run_id, "action": "pause"})
    assert (answer.status_code, answer.content) == (200, b"")
    assert house.record(run_id).reason == "paused by local: no reason was given"
    seeded.post("/a/update", json={"run_id": run_id, "action": "resume"})
    seeded.post("/a/update", json={"run_id": run_id, "action": "cancel", "reason": "sold out"})
    assert house.record(run_id).reason == "cancelled by local: sold out"
    seeded.post("/a/update", json={"run_id": run_id, "action": "delete"})
    assert house.record(run_id).state is RunState.DATA_DELETED


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/a/list", {"limit": 5000}, 400),
        ("/a/list", {"filter_by_run_state": 9}, 400),
        ("/a/list", {"workflow_name": 5}, 400),
        ("/a/object", {}, 400),
        ("/a/object", {"run_id": NOBODY}, 404),
        ("/a/update", {"run_id": NOBODY, "action": "pause"}, 404),
        ("/a/update", {"run_id": "RUN", "action": "explode"}, 400),
        ("/a/update", {"run_id": "RUN", "action": "resume"}, 409),
    ],
)
def test_seed_handlers_answer_properly_not_500(
    house: House, seeded: Any, path: str, body: Any, status: int
) -> None:
    run_id = house.order("a")
    text = json.dumps(body).replace("RUN", run_id)
    headers = {"content-type": "application/json"}
    assert seeded.post(path, content=text, headers=headers).status_code == status


def test_seed_handlers_are_guarded_by_themselves(house: House, seeded: Any) -> None:
    """Seen to fail when `_guarded` is left out."""
    run_id = house.order("a")
    page = seeded.get("/")
    assert 'data-list="/a/list"' in page.text
    assert "sha256-" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    stranger = house.at_home(seeded.app, client=("192.0.2.1", 1))
    for path in ("/a/list", "/a/object", "/a/update"):
        assert stranger.post(path, json={"run_id": run_id, "action": "pause"}).status_code == 403
        assert seeded.get(path).status_code == 405
    answer = seeded.post("/a/list", json={})
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_seed_object_needs_the_right_to_see_data(house: House) -> None:
    auth = lambda connection: User("eve", frozenset({Right.READ}))  # noqa: E731
    handler = object_data_handler(house.engine, auth=auth)
    client = house.at_home(Starlette(routes=[Route("/o", handler, methods=["POST"])]))
    assert client.post("/o", json={"run_id": house.order("a")}).status_code == 403
