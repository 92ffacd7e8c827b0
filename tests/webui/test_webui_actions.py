"""Every action in a real browser: what was asked for stands in the store, with who and why."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from playwright.sync_api import expect
from workflow_core import LetterState, RecordQuery, RunState

if TYPE_CHECKING:
    from tests.webui.conftest import Site, Visitor


def test_pause_then_resume(site: Site, visitor: Visitor) -> None:
    run_id = site.arrived("to pause")
    visitor.visit(f"/runs/{run_id}")
    visitor.fill_in("Pause", "the customer called")
    expect(visitor.page.locator(".notice.good")).to_have_text("paused")
    record = site.record(run_id)
    assert (record.state, record.reason) == (
        RunState.PAUSED,
        "paused by local: the customer called",
    )
    expect(visitor.page.locator(".trouble-card")).to_contain_text(
        "paused by local: the customer called"
    )
    visitor.picture("paused")
    visitor.fill_in("Resume", "all is well")
    expect(visitor.page.locator(".standing")).to_contain_text("running")
    resumed = site.record(run_id).resumed
    assert resumed is not None
    assert (resumed.who, resumed.why) == ("local", "all is well")


def test_cancel(site: Site, visitor: Visitor) -> None:
    run_id = site.arrived("to cancel")
    visitor.visit(f"/runs/{run_id}")
    visitor.fill_in("Cancel", "sold out")
    expect(visitor.page.locator(".standing")).to_contain_text("cancelled")
    assert site.record(run_id).state is RunState.CANCELLED


def test_retry_now(site: Site, visitor: Visitor) -> None:
    run_id = site.order("to retry", -1)
    site.until(run_id, lambda record: record.attempts == 1)
    visitor.visit(f"/runs/{run_id}")
    visitor.fill_in("Retry now", "the price service is back")
    site.until(run_id, lambda record: record.attempts == 2)
    expect(visitor.page.locator(".timeline")).to_contain_text("attempt 2 failed")


def test_move(site: Site, visitor: Visitor) -> None:
    run_id = site.arrived("to move")
    visitor.visit(f"/runs/{run_id}")
    visitor.fill_in("Move", "paid in cash", To_status="3")
    site.until(run_id, lambda record: record.state is RunState.COMPLETED)
    expect(visitor.page.locator(".standing")).to_contain_text("completed")


def test_callback_with_its_payload(site: Site, visitor: Visitor) -> None:
    run_id = site.arrived("to call back")
    visitor.visit(f"/runs/{run_id}")
    visitor.fill_in("Call back", "the bank wrote", Payload="receipt-9")
    record = site.until(run_id, lambda record: record.state is RunState.COMPLETED)
    assert b"receipt-9" in record.data
    expect(visitor.page.locator(".tree")).to_contain_text("receipt-9")


def test_trigger_and_what_it_says_of_mistakes(site: Site, visitor: Visitor) -> None:
    page = visitor.visit("/workflows")
    page.get_by_role("link", name="New run").click()
    page.get_by_label("Foreign id").fill("typed by hand")
    page.get_by_label("Data").fill('{"total": "much"}')
    page.get_by_label("Reason").fill("by phone")
    page.get_by_role("button", name="Trigger").click()
    expect(page.locator(".notice.bad")).to_contain_text("Expected `int`")
    visitor.picture("mistake")
    visitor.problems.clear()  # the browser tells of the 400
    page.get_by_label("Data").fill('{"total": 20, "customer": "Chiara"}')
    page.get_by_role("button", name="Trigger").click()
    expect(page.locator("h1")).to_have_text("typed by hand")
    record = site.record(site.engine.live_run(site.orders, "typed by hand"))
    assert record.headers["triggered because"] == "by phone"


def test_delete_data_and_begin_again(site: Site, visitor: Visitor) -> None:
    run_id = site.order("to delete", 0, customer="Dmitri")
    site.until(run_id, lambda record: record.state is RunState.COMPLETED)
    visitor.visit(f"/runs/{run_id}")
    visitor.fill_in("Begin again", "the price was wrong")
    expect(visitor.page.locator(".notice.good")).to_contain_text("begun again as")
    found = site.engine.runs(RecordQuery(workflow=site.orders.name, foreign_id="to delete"))
    assert len(found.items) == 2
    visitor.fill_in("Delete data", "he asked for it")
    expect(visitor.page.locator(".standing")).to_contain_text("data deleted")
    assert site.record(run_id).data == b""
    assert "Dmitri" not in visitor.page.content()


def test_many_are_confirmed_watched_and_reported(site: Site, visitor: Visitor) -> None:
    runs = [site.arrived(f"many-{number}") for number in range(3)]
    page = visitor.visit("/runs?workflow=order+processing")
    for run_id in runs[:2]:
        page.locator(f"tr[data-run='{run_id}'] input").check()
    page.get_by_label("2 ticked runs").select_option("pause")
    page.get_by_role("button", name="Do it").click()
    expect(page.locator("h1")).to_have_text("Pause 2 runs")
    visitor.check_accessible()
    visitor.picture("confirm")
    page.get_by_label("Reason").fill("stock taking")
    page.get_by_role("button", name="Pause 2").click()
    expect(page.locator(".notice.good")).to_have_text("Done.")
    expect(page.locator(".numbers")).to_contain_text("Changed2")
    visitor.check_accessible()
    visitor.picture("report")
    states = [site.record(run_id).state for run_id in runs]
    assert states == [RunState.PAUSED, RunState.PAUSED, RunState.RUNNING]
    page = visitor.visit("/runs?foreign_id=many-2&state=running")
    page.locator("#verb").select_option("cancel")
    page.get_by_role("button", name="that match").click()
    page.get_by_label("Reason").fill("closing down")
    page.get_by_role("button", name="Cancel 1").click()
    expect(page.locator(".notice.good")).to_have_text("Done.")
    assert site.record(runs[2]).state is RunState.CANCELLED
    assert [entry.action for entry in site.audit[-2:]] == ["bulk pause", "bulk cancel"]


def test_schedule_is_paused_and_resumed(site: Site, visitor: Visitor) -> None:
    page = visitor.visit("/schedules")
    expect(page.locator("tbody")).to_contain_text("cron 0 3 * * * in Europe/Berlin")
    visitor.fill_in("Pause", "stock taking")
    expect(page.locator("tbody .state")).to_have_text("paused")
    assert site.engine.schedules()[0].reason == "local: stock taking"
    visitor.fill_in("Resume", "done")
    expect(page.locator("tbody")).to_contain_text("on time")
    assert not site.engine.schedules()[0].is_paused


def test_dead_letters_are_retried_and_discarded(site: Site, visitor: Visitor) -> None:
    for number in range(2):
        run_id = site.arrived(f"unreached-{number}", customer="unreachable")
        site.engine.callback(site.paid, run_id, "receipt")
    known = site.engine.dead_letters
    page = visitor.visit("/letters?workflow=order+processing")
    deadline = time.monotonic() + 60
    while page.locator("tbody tr:has(form)").count() < 2:  # hooks are told a moment later
        assert time.monotonic() < deadline
        page.reload()
    visitor.picture("letters-set-aside")
    visitor.fill_in("Discard", "she has moved")
    expect(page.locator("tbody tr:has(form)")).to_have_count(1)
    visitor.fill_in("Retry", "the mail server is back")
    states = sorted(letter.state for letter in known(site.orders, states=tuple(LetterState)).items)
    assert LetterState.DISCARDED in states
    assert [entry.action for entry in site.audit[-2:]] == [
        "discard dead letter",
        "retry dead letter",
    ]


def test_audit_shows_what_was_done(site: Site, visitor: Visitor) -> None:
    run_id = site.arrived("to audit")
    visitor.visit(f"/runs/{run_id}")
    visitor.fill_in("Cancel", "to be seen in the audit")
    page = visitor.visit("/audit")
    line = page.locator("tbody tr").first
    expect(line).to_contain_text(run_id)
    expect(line).to_contain_text("to be seen in the audit")
