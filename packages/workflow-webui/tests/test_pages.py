"""Overview, graphs, schedules, outbox and lag, dead letters."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from workflow_core import LetterState, Trigger, WorkerState
from workflow_core.errors import AdapterUnavailableError
from workflow_webui.graphs import graph_of, laid_out

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import House


def test_overview_tells_counts_throughput_and_who_waits(house: House) -> None:
    """Seen to fail when `throughput` counts by the page's clock instead of the store's."""
    house.order("old", 20)
    house.driver.clock.advance(timedelta(minutes=20))
    for number in range(4):
        house.order(f"order-{number}", 0)
    house.settle()
    page = house.client.get("/").text
    assert 'running"></span><span class="num">1</span> running' in page
    assert '<span class="num">4</span> completed' in page
    assert "5 begun" in page
    assert "4 ended" in page
    assert ">old<" in page
    assert "20 min ago" in page


def test_overview_tells_who_is_working_and_who_was_lost(house: House, monkeypatch: Any) -> None:
    """Seen to fail when a lost worker, or one that cannot be read, looks like any other."""
    house.settle()
    (worker,) = house.engine.workers()
    page = house.client.get("/").text
    assert f"<bdi>{worker.instance}</bdi>" in page
    assert 'class="bad-ink">lost' not in page
    lost = worker.replace(instance="a<b", state=WorkerState.LOST)
    dark = worker.replace(instance="c", state=WorkerState.UNREADABLE, trouble="it's <odd>", pool="")
    monkeypatch.setattr(house.engine, "workers", lambda: [lost, worker, dark])
    house.ui.remembered.forget()
    page = house.client.get("/").text
    assert "<bdi>a&lt;b</bdi>" in page
    assert 'class="bad-ink">lost' in page
    assert 'title="it&#39;s &lt;odd&gt;">unreadable' in page


def test_overview_shows_workflows_that_are_not_at_hand(open_house: Callable[..., House]) -> None:
    house = open_house(workflows=[])
    house.order("a")
    assert "orders" in house.client.get("/").text


def test_past_bars_are_asked_for_once(house: House, monkeypatch: Any) -> None:
    """Seen to fail when `_bar` keeps past bars no longer than the newest one."""
    asked: list[object] = []
    store = house.engine.adapters.record_store
    counted = type(store).count_records

    def count(query: object) -> object:
        asked.append(query)
        return counted(store, query)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "count_records", count)
    house.order("a")
    house.client.get("/")
    first = len(asked)
    house.ui.remembered.forget()
    house.client.get("/")
    assert first >= 24
    assert len(asked) - first <= 1 + 2 * 2  # all counts; the newest bar and the one before it


def test_graph_page_draws_every_status_and_way_with_counts(house: House) -> None:
    for number in range(3):
        house.order(f"order-{number}")
    house.settle()
    page = house.client.get("/workflows/orders").text
    for status in house.orders.statuses:
        assert f">{status.name}<" in page
    assert "3 live" in page
    assert 'href="/runs?workflow=orders&amp;status=2"' in page
    for label in ("check", "look_up", "paid", "give_up after 2 d", "ship"):
        assert f">{label}<" in page
    assert house.client.get("/workflows/none").status_code == 404


def test_layout_keeps_everything_apart(house: House) -> None:
    """Seen to fail when `_pack` does not pool what would overlap."""
    layout = laid_out(graph_of(house.orders))
    boxes = [(b.x - b.width / 2, b.x + b.width / 2, b.y) for b in layout.boxes]
    labels = [
        (x - len(route.edge.label) * 3, x + len(route.edge.label) * 3, y)
        for route in layout.routes
        for x, y in [route.label]
    ]
    for things in (boxes, labels):
        for place, (left, right, y) in enumerate(things):
            assert 0 <= left < right <= layout.width
            for other_left, other_right, other_y in things[place + 1 :]:
                assert y != other_y or right <= other_left or other_right <= left


def test_layout_of_cycles_and_lonely_statuses_ends(make_shop: Any) -> None:
    from workflow_webui.graphs import Edge, EdgeKind, Graph, Node

    nodes = [Node(n, f"S{n}", n == 1, n == 5) for n in range(1, 7)]
    ways = [(1, 2), (2, 3), (3, 1), (3, 3), (2, 1), (3, 4), (4, 2), (4, 5), (1, 5), (1, 5)]
    edges = [Edge(a, b, EdgeKind.STEP, "go") for a, b in ways]
    layout = laid_out(Graph(nodes, edges))
    assert len(layout.boxes) == 6
    assert len(layout.routes) == len(ways)
    assert laid_out(Graph(nodes, edges)) == layout


def test_path_of_a_run_stands_out(house: House) -> None:
    run_id = house.order("a", 0)
    house.settle()
    page = house.client.get(f"/runs/{run_id}").text
    assert page.count('class="way step taken"') == 1
    assert 'class="node end here"' in page


def test_schedules_are_shown_paused_and_resumed(
    open_house: Callable[..., House], make_shop: Callable[..., Any]
) -> None:
    house = open_house()
    nightly = make_shop("nightly orders").workflow

    @nightly.schedule("each night", cron="0 3 * * *", tz="Europe/Berlin")  # type: ignore[untyped-decorator]
    def begin(tick: Any) -> Trigger[Any] | None:
        return None

    house.engine.pause_schedule(nightly, "each night", reason="first")
    house.engine.resume_schedule(nightly, "each night", who="bo", why="go")
    page = house.client.get("/schedules").text
    assert "cron 0 3 * * * in Europe/Berlin" in page
    path = "/schedules/nightly%20orders/each%20night"
    assert house.post(f"{path}/pause", reason="").status_code == 400
    assert house.post(f"{path}/pause", reason="stock taking").status_code == 303
    page = house.client.get("/schedules").text
    assert "local: stock taking" in page
    assert house.post(f"{path}/resume", reason="done").status_code == 303
    assert not house.engine.schedules()[0].is_paused
    assert house.post(f"{path}/explode", reason="r").status_code == 404
    assert [e.action for e in house.audit if e.outcome == "done"] == [
        "pause schedule",
        "resume schedule",
    ]


def test_flow_tells_the_outbox_and_the_lag(house: House) -> None:
    house.order("a")
    page = house.client.get("/flow?workflow=orders").text
    assert "steps" in page
    assert "Due events of" in page
    assert house.client.get("/flow?workflow=none").status_code == 404


@pytest.mark.parametrize("port", ["timeout_store", "event_streamer"])
def test_pages_show_runs_while_another_adapter_is_away(
    house: House, monkeypatch: pytest.MonkeyPatch, port: str
) -> None:
    """Seen to fail when what an adapter raises is let out: the store answers, and it is 503."""
    house.order("a")
    asked: list[str] = []

    def away(*args: object, **more: object) -> Any:
        raise AdapterUnavailableError("the test pulls the plug")

    def asked_for(*args: object, **more: object) -> Any:
        asked.append(port)
        away()

    adapter = getattr(house.engine.adapters, port)
    question = "next_due" if port == "timeout_store" else "lag"
    monkeypatch.setattr(adapter, question, asked_for)
    assert house.client.get("/").status_code == 200
    house.ui.remembered.forget()
    flow = house.client.get("/flow")
    assert flow.status_code == 200
    assert "the test pulls the plug" in flow.text
    monkeypatch.setattr(adapter, "check_health", away)
    asked.clear()
    house.ui.remembered.forget()
    page = house.client.get("/flow").text
    assert '<span class="bad-ink">does not answer</span>' in page
    assert asked == [], "one question for each workflow to who is away: a page would take long"


def test_dead_letters_are_retried_and_discarded(
    open_house: Callable[..., House], make_shop: Callable[..., Any]
) -> None:
    house = open_house()
    failing = make_shop("failing").workflow

    @failing.on_complete()  # type: ignore[untyped-decorator]
    def tell(run: Any) -> None:
        raise ValueError("the mail server refused wilhelmina")

    house.driver.close()
    from workflow_core.testing import Driver

    with Driver() as driver:
        driver.serve(failing)
        app = _app(driver, failing)
        client = house.at_home(app)
        for name in ("a", "b"):
            driver.engine.trigger(failing, name, house.order_data(0))
        driver.settle(within=timedelta(days=30))
        page = client.get("/letters?workflow=failing").text
        assert "tell" in page
        assert "refused wilhelmina" in page
        letters = driver.engine.dead_letters("failing").items
        csrf = page.split('name="csrf" value="', 1)[1].split('"', 1)[0]
        for letter, verb in zip(letters, ("retry", "discard"), strict=True):
            answer = client.post(
                f"/letters/failing/{letter.id}/{verb}",
                data={"csrf": csrf, "reason": "r", "about": letter.run_id},
                follow_redirects=False,
            )
            assert answer.status_code == 303, answer.text
        states = [
            letter.state
            for letter in driver.engine.dead_letters("failing", states=tuple(LetterState)).items
        ]
        assert sorted(states) == ["discarded", "retrying"]


def _app(driver: Any, workflow: Any) -> Any:
    from workflow_webui import create_app

    return create_app(driver.engine, [workflow])
