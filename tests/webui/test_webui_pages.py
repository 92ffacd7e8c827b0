"""Every page in a real browser: what one sees is what the store holds."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect
from workflow_core import RecordQuery, RunState

if TYPE_CHECKING:
    from tests.webui.conftest import Site, Visitor

WORKFLOW = "workflow=order+processing"


@pytest.fixture(scope="module")
def filled(site: Site) -> dict[str, str]:
    """Runs of every kind; their ids by what they are."""
    runs = {
        "waiting": site.arrived("order-1001", customer="Ann Byron"),
        "shipped": site.arrived("order-1002", customer="Bo Lindqvist"),
        "unreached": site.arrived("order-1003", customer="unreachable"),
        "failing": site.order("order-1004", -5),
        "homeless": site.order("order-1005", 20, address=""),
        "refused": site.order("order-1006", 0),
        "cancelled": site.arrived("order-1007"),
    }
    for name in ("shipped", "unreached"):
        site.engine.callback(site.paid, runs[name], "receipt-7")
        site.until(runs[name], lambda record: record.state is RunState.COMPLETED)
    site.engine.cancel(runs["cancelled"], reason="ann: sold out")
    site.until(runs["failing"], lambda record: record.attempts == 1)
    site.until(runs["homeless"], lambda record: record.state is RunState.PAUSED)
    site.until(runs["refused"], lambda record: record.state is RunState.COMPLETED)
    for number in range(60):
        site.order(f"bulk-{number:02}", 20, notes=["ring twice"])
    for number in range(60):
        run = site.engine.live_run(site.orders, f"bulk-{number:02}")
        site.until(run, lambda record: record.status == 2)
    return runs


def counted(site: Site, **query: Any) -> int:
    return sum(site.engine.counts(RecordQuery(**query)).values())


PAGES = {
    "overview": "/",
    "runs": "/runs",
    "runs of a workflow": f"/runs?{WORKFLOW}",
    "workflows": "/workflows",
    "workflow": "/workflows/order%20processing",
    "new run": "/workflows/order%20processing/begin",
    "schedules": "/schedules",
    "flow": f"/flow?{WORKFLOW}",
    "letters": "/letters",
    "bulk": "/bulk",
    "audit": "/audit",
    "not there": "/nowhere",
    **{
        f"run {name}": f"/runs/{{{name}}}" for name in ("waiting", "shipped", "failing", "homeless")
    },
}


@pytest.mark.parametrize("name", PAGES)
def test_page_is_drawn_accessible_and_fits(
    filled: dict[str, str], visitor: Visitor, name: str
) -> None:
    """Seen to fail with a grey that is too light, a field without a label, a table too wide."""
    page = visitor.visit(PAGES[name].format(**filled))
    if name == "not there":
        visitor.problems.clear()  # the browser tells of the 404, as it should
    expect(page.locator("h1")).to_be_visible()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        visitor.check_accessible()
        visitor.picture(f"{name.replace(' ', '-')}-{scheme}")
    visitor.check_fits()
    page.set_viewport_size({"width": 390, "height": 844})
    visitor.check_fits()
    visitor.picture(f"{name.replace(' ', '-')}-phone")


def test_overview_shows_what_the_store_counts(
    site: Site, filled: dict[str, str], visitor: Visitor
) -> None:
    page = visitor.visit("/")
    section = page.locator("section.workflow")
    for state in (RunState.COMPLETED, RunState.CANCELLED, RunState.PAUSED):
        many = counted(site, workflow=site.orders.name, states=[state])
        line = section.locator(".state-counts li", has_text=state.name.lower())
        expect(line.locator(".num")).to_have_text(str(many))
    expect(page.locator(".health")).to_contain_text("All adapters answer")
    expect(section.locator("svg.bars")).to_be_visible()


def test_list_is_filtered_paged_and_sorted_as_the_store_says(
    site: Site, filled: dict[str, str], visitor: Visitor
) -> None:
    page = visitor.visit(f"/runs?{WORKFLOW}&limit=25")
    total = counted(site, workflow=site.orders.name)
    expect(page.locator("#sum strong")).to_have_text(str(total))
    seen: set[str] = set()
    while True:
        seen |= {str(row.get_attribute("data-run")) for row in page.locator("tr[data-run]").all()}
        if not page.locator("[rel=next]").count():
            break
        page.locator("[rel=next]").click()
    assert len(seen) == total
    page.locator("[rel=prev]").click()
    page.get_by_label("Status").select_option("4")
    expect(page.locator("tr[data-run]")).to_have_count(
        counted(site, workflow=site.orders.name, statuses=[4])
    )
    assert "status=4" in page.url
    page.get_by_role("link", name="Clear").click()
    page.locator(".facets a", has_text="cancelled").click()
    gone = counted(site, workflow=site.orders.name, states=[RunState.CANCELLED])
    expect(page.locator("tr[data-run]")).to_have_count(gone)
    expect(page.locator("tr[data-run]", has_text="order-1007")).to_be_visible()
    page.goto(f"{site.url}/runs?{WORKFLOW}")
    page.get_by_label("customer").fill("Ann Byron")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("tr[data-run]")).to_have_count(1)
    expect(page.locator("tr[data-run]")).to_have_attribute("data-run", filled["waiting"])


def test_run_page_shows_what_the_record_holds(
    site: Site, filled: dict[str, str], visitor: Visitor
) -> None:
    record = site.record(filled["failing"])
    page = visitor.visit(f"/runs/{filled['failing']}")
    expect(page.locator("h1")).to_have_text(record.foreign_id)
    expect(page.locator("pre.error")).to_have_text(record.last_error)
    expect(page.locator(".stay")).to_have_count(1)
    expect(page.locator(".timeline")).to_contain_text("attempt 1 failed")
    expect(page.locator(".node.here")).to_contain_text("CREATED")
    page.goto(f"{site.url}/runs/{filled['shipped']}")
    expect(page.locator(".stay")).to_have_count(4)
    expect(page.locator(".way.taken")).to_have_count(3)
    page.get_by_label("Find in the data").fill("receipt-7")
    expect(page.locator(".tree li.found")).to_have_count(1)
    expect(page.locator(".tree li:visible")).to_have_count(1)


def test_graph_leads_to_the_runs_that_it_counts(
    site: Site, filled: dict[str, str], visitor: Visitor
) -> None:
    page = visitor.visit("/workflows/order%20processing")
    waiting = counted(site, workflow=site.orders.name, statuses=[2], states=[RunState.RUNNING])
    node = page.locator("a", has=page.locator(".node", has_text="AWAITING_PAYMENT"))
    expect(node).to_contain_text(f"{waiting} live")
    node.click()
    expect(page).to_have_url(f"{site.url}/runs?{WORKFLOW}&status=2")


def test_pages_can_be_read_without_javascript(
    site: Site, filled: dict[str, str], open_visitor: Callable[..., Visitor]
) -> None:
    visitor = open_visitor(java_script_enabled=False)
    page = visitor.visit(f"/runs?{WORKFLOW}&limit=25")
    expect(page.locator("tr[data-run]")).to_have_count(25)
    page.get_by_label("Foreign id").fill("order-1002")
    page.get_by_role("button", name="Filter").click()
    page.locator("tr[data-run] a").first.click()
    expect(page.locator("h1")).to_have_text("order-1002")
    expect(page.locator(".tree")).to_contain_text("Bo Lindqvist")
    for path in PAGES.values():
        page.goto(site.url + path.format(**filled))
        expect(page.locator("h1")).to_be_visible()
    visitor.problems.clear()


def test_keys_do_what_the_help_says(site: Site, filled: dict[str, str], visitor: Visitor) -> None:
    page = visitor.visit(f"/runs?{WORKFLOW}&limit=25")
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("x")
    second = page.locator("tr[data-run]").nth(1)
    expect(second).to_have_attribute("aria-selected", "true")
    expect(second.locator("input")).to_be_checked()
    expect(page.locator("[data-chosen-count]")).to_have_text("1 ticked")
    page.keyboard.press("/")
    expect(page.get_by_label("Search")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    expect(page).to_have_url(re.compile("after="))
    page.wait_for_load_state()  # a key pressed before its script runs is lost
    page.keyboard.press("j")
    run = page.locator("tr[aria-selected]").get_attribute("data-run")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{site.url}/runs/{run}")
    page.keyboard.press("g")
    page.keyboard.press("w")
    expect(page).to_have_url(f"{site.url}/workflows")


def test_theme_is_chosen_and_kept(filled: dict[str, str], visitor: Visitor) -> None:
    page = visitor.visit("/")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Theme").click()
    dark = page.evaluate(ground)
    assert dark != light
    visitor.visit("/runs")
    assert page.evaluate(ground) == dark


def test_list_and_run_stay_fresh_by_events(
    site: Site, filled: dict[str, str], open_visitor: Callable[..., Visitor]
) -> None:
    """Seen to fail when the stream never says `changed`."""
    run_id = site.arrived("fresh")
    one, many = open_visitor(), open_visitor()
    one.visit(f"/runs/{run_id}")
    many.visit("/runs?foreign_id=fresh")
    for visitor in (one, many):
        expect(visitor.page.locator("[data-live-state]")).to_have_text("Live")
    site.engine.pause(run_id, reason="bo: hold it")
    expect(one.page.locator(".standing")).to_contain_text("paused")
    expect(one.page.locator(".actions")).to_contain_text("Resume")
    expect(many.page.locator("tr[data-run] .state")).to_have_text("paused")
    site.engine.cancel(run_id, reason="bo: done with it")


def test_page_asks_by_itself_where_there_can_be_no_stream(
    site: Site, filled: dict[str, str], visitor: Visitor
) -> None:
    """Seen to fail when the script does not poll once its stream is closed."""
    run_id = site.arrived("polled")
    visitor.page.route("**/live?*", lambda route: route.fulfill(status=503, body="{}"))
    page = visitor.visit(f"/runs/{run_id}")
    expect(page.locator("[data-live-state]")).to_have_text("Asks every 5 s")
    site.engine.pause(run_id, reason="bo: hold it")
    expect(page.locator(".standing")).to_contain_text("paused")
    site.engine.cancel(run_id, reason="bo: done with it")
    visitor.problems.clear()  # the browser tells of the 503


def test_open_form_and_ticks_outlive_a_refresh(
    site: Site, filled: dict[str, str], open_visitor: Callable[..., Visitor]
) -> None:
    """Seen to fail when the script replaces a part in which a form is open."""
    run_id = site.arrived("busy hands")
    one, many = open_visitor(), open_visitor()
    page = one.visit(f"/runs/{run_id}")
    page.locator("summary", has_text="Cancel").click()
    page.locator("details[open]").get_by_label("Reason").fill("half a sen")
    many.visit(f"/runs?{WORKFLOW}&state=running")
    many.page.locator("tr[data-run]", has_text="bulk-").locator("input").first.check()
    ticked = many.page.locator("tr[data-run]", has=many.page.locator(":checked"))
    chosen = ticked.get_attribute("data-run")
    other = site.arrived("somebody else's")
    site.engine.pause(run_id, reason="bo: hold it")
    expect(page.locator(".standing")).to_contain_text("paused")
    expect(page.locator("details[open]").get_by_label("Reason")).to_have_value("half a sen")
    expect(many.page.locator(f"tr[data-run='{other}']")).to_be_visible()
    expect(many.page.locator(f"tr[data-run='{chosen}'] input")).to_be_checked()
    for run in (run_id, other):
        site.engine.cancel(run, reason="bo: done with it")
