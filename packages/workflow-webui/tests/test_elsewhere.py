"""Actions on many runs where another process of the app is asked than the one that does them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from starlette.testclient import TestClient
from workflow_webui import create_app

if TYPE_CHECKING:
    from tests.conftest import House

ELSEWHERE = "web-2:4711"


@pytest.fixture
def location(
    house: House, until: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Has another process do it; answers where its page is."""

    def begun(**fields: Any) -> str:
        with monkeypatch.context() as patch:
            patch.setattr("workflow_webui.acting.bulk.this_process", lambda: ELSEWHERE)
            other: Any = create_app(house.engine, [house.orders])
            client = house.at_home(other)
            answer = client.post(
                "/bulk/new",
                data={"csrf": _csrf(client), "verb": "pause", "reason": "stop", **fields},
                follow_redirects=False,
            )
            assert answer.status_code == 303, answer.text
            jobs = other.state.workflow_ui.jobs
            until(lambda: jobs.all()[0].ended, bool)
        return str(answer.headers["location"])

    return begun


def _csrf(client: TestClient) -> str:
    return str(client.get("/runs").text.split('name="csrf" value="', 1)[1].split('"', 1)[0])


def test_job_of_another_process_is_told_as_such(house: House, location: Callable[..., str]) -> None:
    """With where it is, what it is about, and that it is asked for again.

    Seen to fail when ids do not name their process: the page said that there is no such action.
    """
    house.order("a")
    house.settle()
    answer = house.client.get(location(workflow="orders", state="running"))
    assert answer.status_code == 404
    page = " ".join(answer.text.split())
    assert "<h1>Pause many</h1>" in page
    assert f"this action was begun in another process, {ELSEWHERE}, and " in page
    assert 'data-watch="poll"' in page
    assert 'href="/runs?workflow=orders&amp;state=running">the runs it is about' in page
    assert "the same action again goes on" in page


def test_ticked_runs_make_no_url_too_long(house: House, location: Callable[..., str]) -> None:
    """Seen to fail when the ids are in it: two hundred are longer than proxies take."""
    runs = [house.order(f"order-{number}") for number in range(100)]
    where = location(run=runs, confirm="100")
    assert len(where) < 200
    assert 'href="/runs">the list of runs' in house.client.get(where).text


def test_stop_that_did_not_reach_the_job_says_so(
    house: House, location: Callable[..., str]
) -> None:
    """Seen to fail when it is an error page: one would believe that it had been stopped."""
    house.order("a")
    path, _, query = location(workflow="orders").partition("?")
    answer = house.post(f"{path}/stop?{query}")
    assert answer.status_code == 303
    page = house.client.get(answer.headers["location"]).text
    assert "It was not stopped: this action was begun in another process" in page
    assert "/stop?verb=pause&amp;workflow=orders&amp;stop=missed" in page, "it can be pressed again"
    again = house.post(answer.headers["location"].replace("?", "/stop?"))
    assert again.headers["location"].count("stop=missed") == 1


def test_job_page_says_that_a_stop_missed_it(house: House) -> None:
    """Where the page after the stop comes from the right process again."""
    house.order("a")
    begun = house.post("/bulk/new", verb="pause", reason="r", workflow="orders")
    job = house.jobs.all()[0]
    job.ended = None
    page = house.client.get(f"{begun.headers['location']}&stop=missed").text
    assert "It was not stopped: another process was asked." in page
    job.stopping.set()
    page = house.client.get(f"{begun.headers['location']}&stop=missed").text
    assert "It was not stopped" not in page


def test_programs_are_told_too(house: House, location: Callable[..., str]) -> None:
    house.order("a")
    job_id = location(workflow="orders").partition("?")[0].rpartition("/")[2]
    answer = house.client.get(f"/api/bulk/{job_id}")
    assert answer.status_code == 404
    assert answer.json()["type"] == "ElsewhereError"
    assert ELSEWHERE in answer.json()["error"]


@pytest.mark.parametrize(
    "job_id", ["nonsense", "<b>:1:aaaaaaaaaaaaaaaa", "a" * 5_000, "\u0661:1:x"]
)
def test_what_is_no_id_is_not_there(house: House, job_id: str) -> None:
    answer = house.client.get(f"/bulk/{job_id}")
    assert answer.status_code == 404
    assert "there is no such action on many runs" in answer.text
