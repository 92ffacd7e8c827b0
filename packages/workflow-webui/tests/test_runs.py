"""The list of runs and the page of one."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from workflow_core import RunState

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import House


def test_list_shows_runs_newest_first_with_the_stores_counts(house: House) -> None:
    """Seen to fail when counts are taken from the page instead of the store."""
    for number in range(60):
        house.order(f"order-{number}", 0 if number % 2 else 20)
        house.driver.clock.advance(timedelta(seconds=1))
    house.settle()
    page = house.client.get("/runs?limit=25").text
    assert page.index("order-59") < page.index("order-35")
    assert "order-34" not in page
    assert "<strong>60</strong>" in page
    assert 'completed <span class="num">30</span>' in page
    assert 'running <span class="num">30</span>' in page


def test_pages_follow_one_another_without_gap_or_double(house: House) -> None:
    """Seen to fail when the next page's bookmark is left out of its link."""
    for number in range(60):
        house.order(f"order-{number:02}")
    seen: list[str] = []
    url = "/runs?limit=25"
    while url:
        page = house.client.get(url).text
        seen += [part.split('"')[0] for part in page.split('data-run="')[1:]]
        url = _href(page, 'rel="next"')
        if url:
            house.order(f"late-{len(seen)}")  # begun meanwhile: moves nothing
    assert len(seen) == len(set(seen)) == 60


def test_page_before_is_the_one_that_was_left(house: House) -> None:
    for number in range(60):
        house.order(f"order-{number:02}")
    first = house.client.get("/runs?limit=25").text
    second = house.client.get(_href(first, 'rel="next"')).text
    third = house.client.get(_href(second, 'rel="next"')).text
    again = house.client.get(_href(third, 'rel="prev"')).text
    assert _runs(again) == _runs(second) != _runs(first)
    assert _runs(house.client.get(_href(again, 'rel="prev"')).text) == _runs(first)


def test_filters_are_in_the_url_and_met_together(house: House) -> None:
    """Seen to fail when any one of the filters is left out of `RunFilter.query`."""
    kept = house.order("keep", 20, customer="ann")
    house.order("other state", 0)
    house.order("other customer", 30, customer="bob")
    house.settle()
    house.driver.clock.advance(timedelta(hours=3))
    house.order("too young", 20, customer="ann")
    house.settle()
    query = "workflow=orders&status=2&state=running&until=2h&attr.customer=ann"
    assert _runs(house.client.get(f"/runs?{query}").text) == [kept]
    assert _runs(house.client.get("/runs?foreign_id=keep").text) == [kept]
    assert len(_runs(house.client.get("/runs?workflow=orders&attr.total=20").text)) == 2
    assert _runs(house.client.get(f"/runs?{query}&foreign_id=else").text) == []


def test_text_is_found_wherever_the_user_may_look(house: House) -> None:
    """Seen to fail when `_Looking` searches the bytes without masking."""
    by_data = house.order("a", 20, customer="Zoë Quill")
    by_reason = house.order("b", 20)
    house.settle()
    house.engine.pause(by_reason, reason="the quill is broken")
    house.order("c", 20, card=("h", "4111quill"))
    for number in range(30):
        house.order(f"hay-{number}")
    assert set(_runs(house.client.get("/runs?q=quill").text)) == {by_data, by_reason}


def test_run_id_in_the_search_box_opens_the_run(house: House) -> None:
    run_id = house.order("a")
    answer = house.client.get(f"/runs?q={run_id.upper()}", follow_redirects=False)
    assert answer.headers["location"] == f"/runs/{run_id}"


def test_bad_questions_are_answered_with_400_and_what_to_do(house: House) -> None:
    for query in (
        "status=2",
        "state=odd",
        "since=whenever",
        "limit=7",
        "after=nonsense",
        "workflow=orders&attr.colour=red",
        "workflow=orders&status=two",
        f"since={9**20}w",
    ):
        answer = house.client.get(f"/runs?{query}")
        assert answer.status_code == 400, query
        assert "notice bad" in answer.text


def test_runs_of_unknown_workflows_are_shown_with_numbers(
    open_house: Callable[..., House],
) -> None:
    house = open_house(workflows=[])
    run_id = house.order("a")
    house.settle()
    assert "status 2" in house.client.get("/runs").text
    page = house.client.get(f"/runs/{run_id}").text
    assert "Cancel" in page
    assert "Move" not in page


def test_engines_own_records_are_no_runs(house: House) -> None:
    """Seen to fail when reserved workflows are left in the list."""
    from workflow_core import Record
    from workflow_core.ports import Write

    house.engine.adapters.record_store.store(
        Write(
            record=Record(
                workflow="_schedules",
                foreign_id="orders/nightly",
                run_id="018f0000-0000-7000-8000-000000000001",
                status=1,
                state=RunState.RUNNING,
                version=1,
                write_id="w",
                data=b"{}",
            )
        )
    )
    assert "nightly" not in house.client.get("/runs").text
    assert house.client.get("/runs/018f0000-0000-7000-8000-000000000001").status_code == 404


def test_run_page_tells_history_data_and_trouble(house: House) -> None:
    run_id = house.order("late", -5, customer="ann", notes=["ring twice"])
    house.settle()
    house.driver.advance(timedelta(minutes=6))
    page = house.client.get(f"/runs/{run_id}").text
    assert "attempt 1 failed" in page
    assert "attempt 2 failed" in page
    assert "a total of -5 for ann" in page
    assert "ring twice" in page
    assert "Next try" in page
    assert house.client.get("/runs/018f0000-0000-7000-8000-00000000dead").status_code == 404


def test_run_page_says_why_it_stands_still_and_when_its_timers_are_due(house: House) -> None:
    """Seen to fail when `_timers` also takes those of earlier stays, or `_why` is not asked."""
    run_id = house.order("a", 20)
    house.settle()
    page = house.client.get(f"/runs/{run_id}").text
    assert "It waits for a callback" in page
    assert "give_up" in page
    assert "in 2 d" in page
    told = house.client.get(f"/api/runs/{run_id}/why").json()
    assert {reason["cause"] for reason in told["reasons"]} >= {"callback"}
    house.engine.cancel(run_id, reason="r")
    page = house.client.get(f"/runs/{run_id}").text
    assert "Why it is not moving" not in page
    assert "<h2>Timers" not in page


def test_long_history_is_told_from_its_latest_versions_on(house: House, monkeypatch: Any) -> None:
    """Seen to fail when the page tells all that is kept: each may bring an error of 4 KB."""
    monkeypatch.setattr("workflow_webui.reading.detail._MOST_TOLD", 5)
    run_id = house.order("a")
    for _ in range(4):
        house.engine.pause(run_id, reason="r")
        house.engine.resume(run_id, who="w")
    page = house.client.get(f"/runs/{run_id}").text
    assert "kept from version 5 on" in page
    assert page.count('<li class="paused">') + page.count('<li class="resumed">') == 4


def test_masked_fields_are_never_shown(house: House) -> None:
    """Seen to fail when `_Growing.node` does not ask the masking."""
    run_id = house.order("a", 20, card=("Ann", "4111-1111"))
    page = house.client.get(f"/runs/{run_id}?find=4111").text
    assert "4111-1111" not in page
    assert "•••" in page
    assert "0 found" in page
    assert "Ann" in page


def test_data_tree_finds_and_marks(house: House) -> None:
    run_id = house.order("a", 20, notes=["first", "the second"])
    page = house.client.get(f"/runs/{run_id}?find=second").text
    assert 'class="found"' in page
    assert "1 found" in page


def _runs(page: str) -> list[str]:
    return [part.split('"')[0] for part in page.split('data-run="')[1:]]


def _href(page: str, mark: str) -> str:
    """The link of the anchor with this mark; "" where there is none."""
    from html import unescape

    if mark not in page:
        return ""
    return "/runs" + unescape(page.split(mark, 1)[1].split('href="', 1)[1].split('"', 1)[0])
