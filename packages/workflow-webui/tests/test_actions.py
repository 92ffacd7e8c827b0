"""Actions on one run: each through the engine's verb, with a reason, an actor and an audit line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from workflow_core import RunState
from workflow_webui.acting.bulk import Job

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import House


def test_pause_and_resume_keep_who_and_why(house: House) -> None:
    """Seen to fail when `_by` leaves out the user's name."""
    run_id = house.order("a", 2000)
    assert house.post(f"/runs/{run_id}/pause", reason="on the phone").status_code == 303
    record = house.record(run_id)
    assert (record.state, record.reason) == (RunState.PAUSED, "paused by local: on the phone")
    assert "on the phone" in house.client.get(f"/runs/{run_id}").text
    assert house.post(f"/runs/{run_id}/resume", reason="sorted out").status_code == 303
    record = house.record(run_id)
    assert record.resumed is not None
    assert (record.resumed.who, record.resumed.why) == ("local", "sorted out")
    told = [(e.who, e.action, e.target, e.reason, e.outcome) for e in house.audit]
    assert told == [
        ("local", "pause", run_id, "on the phone", "done"),
        ("local", "resume", run_id, "sorted out", "done"),
    ]


def test_cancel_ends_the_run(house: House) -> None:
    run_id = house.order("a")
    assert house.post(f"/runs/{run_id}/cancel", reason="no stock").status_code == 303
    assert house.record(run_id).state is RunState.CANCELLED


def test_retry_makes_a_waiting_run_due(house: House) -> None:
    run_id = house.order("late", -1)
    house.settle()
    assert house.record(run_id).attempts == 1
    house.post(f"/runs/{run_id}/retry", reason="the stock is back")
    house.settle()
    assert house.record(run_id).attempts == 2


def test_move_puts_the_run_at_another_status(house: House) -> None:
    run_id = house.order("a")
    house.settle()
    house.post(f"/runs/{run_id}/move", reason="paid in cash", status="3")
    house.settle()
    assert house.record(run_id).state is RunState.COMPLETED
    assert house.audit[-1].detail == "moved to PAID"


def test_callback_is_called_with_its_payload(house: House) -> None:
    run_id = house.order("a")
    house.settle()
    house.post(f"/runs/{run_id}/callback", reason="bank called", callback="paid", payload="r-1")
    house.settle()
    assert house.record(run_id).state is RunState.COMPLETED
    assert b'"receipt":"r-1"' in house.record(run_id).data


def test_callback_that_raises_is_told_without_its_words(house: House) -> None:
    """Seen to fail when `_callback` lets the function's own error through: status 500."""
    run_id = house.order("a")
    house.settle()
    answer = house.post(f"/runs/{run_id}/callback", reason="x", callback="paid", payload="forged")
    assert answer.status_code == 422
    assert "raised RuntimeError" in answer.text
    assert "secret customer" not in answer.text + repr(house.audit)


def test_trigger_begins_a_run_with_who_and_why(house: House) -> None:
    answer = house.post(
        "/workflows/orders/begin", foreign_id="new", data='{"total": 7}', reason="by phone"
    )
    run_id = answer.headers["location"].split("/runs/")[1].split("?")[0]
    headers = dict(house.record(run_id).headers)
    assert headers["triggered by"] == "local"
    assert headers["triggered because"] == "by phone"


def test_bad_data_for_a_trigger_comes_back_with_what_was_typed(house: House) -> None:
    answer = house.post(
        "/workflows/orders/begin", foreign_id="new", data='{"total": "x"}', reason="by phone"
    )
    assert answer.status_code == 400
    assert "by phone" in answer.text
    assert "{&#34;total&#34;: &#34;x&#34;}" in answer.text
    assert house.audit[-1].outcome == "PayloadError"


def test_second_live_run_of_a_foreign_id_is_409(house: House) -> None:
    house.order("a")
    answer = house.post("/workflows/orders/begin", foreign_id="a", data='{"total":1}', reason="r")
    assert answer.status_code == 409


def test_data_of_an_ended_run_is_deleted(house: House) -> None:
    run_id = house.order("a", 0, customer="ann")
    house.settle()
    house.post(f"/runs/{run_id}/delete", reason="asked for it")
    record = house.record(run_id)
    assert record.state is RunState.DATA_DELETED
    assert record.data == b""
    assert "There is no data" in house.client.get(f"/runs/{run_id}").text


def test_ended_run_is_begun_again(house: House) -> None:
    run_id = house.order("a", 0)
    house.settle()
    house.post(f"/runs/{run_id}/again", reason="the price was wrong")
    page = house.client.get("/runs?foreign_id=a").text
    assert page.count("data-run=") == 2


@pytest.mark.parametrize("verb", ["pause", "cancel", "retry", "move", "callback"])
def test_no_action_without_a_reason(house: House, verb: str) -> None:
    """Seen to fail when `told_reason` lets an empty one pass."""
    run_id = house.order("a")
    house.settle()
    before = house.record(run_id)
    answer = house.post(f"/runs/{run_id}/{verb}", reason="  ", status="3", callback="paid")
    assert answer.status_code == 400
    assert "say why" in answer.text
    assert house.record(run_id) == before


def test_verb_that_does_not_fit_is_409_and_leaves_an_audit_line(house: House) -> None:
    run_id = house.order("a", 0)
    house.settle()
    answer = house.post(f"/runs/{run_id}/pause", reason="too late")
    assert answer.status_code == 409
    assert "has ended" in answer.text
    assert house.audit[-1].outcome == "RunEndedError"


def test_unknown_runs_and_verbs_are_404(house: House) -> None:
    nobody = "018f0000-0000-7000-8000-00000000dead"
    assert house.post(f"/runs/{nobody}/pause", reason="r").status_code == 404
    assert house.post(f"/runs/{house.order('a')}/explode", reason="r").status_code == 404


# -- many ------------------------------------------------------------------------------------------


def test_bulk_counts_confirms_does_and_reports(house: House, until: Callable[..., Any]) -> None:
    """Seen to fail when the job begins without the number that was to be typed."""
    for number in range(120):
        house.order(f"order-{number}", 0 if number < 20 else 50)
    house.settle()
    page = house.post("/bulk/confirm?workflow=orders", scope="all", verb="cancel")
    assert "Cancel 100 runs" in page.text
    assert "20 more match the filter" in page.text
    fields = {"verb": "cancel", "workflow": "orders", "reason": "closing down"}
    refused = house.post("/bulk/new", **fields)
    assert refused.status_code == 400
    assert "type how many runs" in refused.text
    begun = house.post("/bulk/new", **fields, confirm="100")
    assert begun.status_code == 303
    report = until(
        lambda: house.client.get(begun.headers["location"]).text, lambda page: "Done." in page
    )
    assert "<dt>Changed</dt><dd>100</dd>" in report
    counts = house.engine.counts(_everything())
    assert counts[("orders", 2, RunState.CANCELLED)] == 100
    assert house.audit[-1].action == "bulk cancel"
    assert house.audit[-1].detail == "100 changed, 0 unchanged, 0 refused"


def test_bulk_on_ticked_runs_changes_these_alone(house: House, until: Callable[..., Any]) -> None:
    runs = [house.order(f"order-{number}") for number in range(5)]
    house.settle()
    page = house.post("/bulk/confirm", scope="ticked", verb="pause", run=runs[:2])
    assert "Pause 2 runs" in page.text
    begun = house.post("/bulk/new", verb="pause", run=runs[:2], reason="look at these")
    until(lambda: house.client.get(begun.headers["location"]).text, lambda page: "Done." in page)
    states = [house.record(run_id).state for run_id in runs]
    assert states == [RunState.PAUSED] * 2 + [RunState.RUNNING] * 3


def test_bulk_without_a_tick_or_with_free_text_is_refused(house: House) -> None:
    house.order("a")
    assert house.post("/bulk/confirm", scope="ticked", verb="pause").status_code == 400
    answer = house.post("/bulk/confirm?q=word", scope="all", verb="pause")
    assert answer.status_code == 400
    assert house.post("/bulk/confirm", scope="all", verb="explode").status_code == 404


def test_bulk_move_needs_a_workflow_and_a_status(house: House, until: Callable[..., Any]) -> None:
    run_id = house.order("a")
    house.settle()
    assert house.post("/bulk/confirm", scope="all", verb="move").status_code == 400
    fields = {"verb": "move", "workflow": "orders", "reason": "paid in cash"}
    assert house.post("/bulk/new", **fields).status_code == 400
    begun = house.post("/bulk/new", **fields, to_status="3")
    until(lambda: house.client.get(begun.headers["location"]).text, lambda page: "Done." in page)
    assert house.record(run_id).status == 3


def test_bulk_deletion_is_confirmed_by_its_number_however_few(
    house: House, until: Callable[..., Any]
) -> None:
    """Seen to fail without the number, and with live runs among what it counts."""
    over, live = [house.order(f"order-{n}", 0) for n in range(3)], house.order("live")
    house.settle()
    assert house.post("/bulk/confirm", scope="all", verb="delete").status_code == 400
    page = house.post("/bulk/confirm?workflow=orders", scope="all", verb="delete")
    assert "Delete data 3 runs" in page.text
    assert "every copy are deleted for good" in page.text
    fields = {"verb": "delete", "workflow": "orders", "reason": "ticket 7"}
    assert house.post("/bulk/new", **fields).status_code == 400
    assert house.record(over[0]).state is RunState.COMPLETED
    begun = house.post("/bulk/new", **fields, confirm="3")
    until(lambda: house.client.get(begun.headers["location"]).text, lambda page: "Done." in page)
    assert {house.record(run_id).state for run_id in over} == {RunState.DATA_DELETED}
    assert house.record(over[0]).data == b""
    assert "ticket 7" in house.record(over[0]).reason
    assert house.record(live).state is not RunState.DATA_DELETED
    assert house.audit[-1].action == "bulk delete"
    assert house.audit[-1].detail == "3 changed, 0 unchanged, 0 refused"


def test_bulk_is_stopped_between_batches(
    house: House, until: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail when `progressed` does not look at `stopping`."""
    monkeypatch.setattr("workflow_core.engine.bulk._BATCH", 10)
    for number in range(50):
        house.order(f"order-{number}")

    def stopped_at_once(**fields: Any) -> Job:
        job = Job(**fields)
        job.stopping.set()
        return job

    monkeypatch.setattr("workflow_webui.acting.bulk.Job", stopped_at_once)
    begun = house.post("/bulk/new", verb="pause", workflow="orders", reason="r")
    page = until(
        lambda: house.client.get(begun.headers["location"]).text, lambda page: "Ended" in page
    )
    assert "stopped by a user" in page
    paused = house.engine.counts(_everything()).get(("orders", 1, RunState.PAUSED), 0)
    assert paused == 10


def test_stop_button_asks_the_job_to_stop(house: House, until: Callable[..., Any]) -> None:
    house.order("a")
    begun = house.post("/bulk/new", verb="pause", workflow="orders", reason="r")
    where = begun.headers["location"]
    until(lambda: house.client.get(where).text, lambda page: "Done." in page)
    assert house.post(where.replace("?", "/stop?")).status_code == 303
    assert house.ui.jobs.all()[0].stopping.is_set()
    assert house.post("/bulk/nothing/stop").status_code == 404


def _everything() -> Any:
    from workflow_core import RecordQuery

    return RecordQuery()
