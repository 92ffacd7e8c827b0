"""What the overview says where nobody works on runs, as people see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from workflow_core import WorkerState

if TYPE_CHECKING:
    from tests.webui.conftest import Site, Visitor


def test_status_that_nobody_works_on_stands_out_and_leads_to_its_runs(
    site: Site, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail when the notice's link has the colour of other links: too little contrast."""
    run_id = site.order("order-1", -5)
    site.until(run_id, lambda record: record.attempts == 1)
    (worker,) = site.engine.workers()
    main = worker.replace(statuses={site.orders.name: [3]})
    lost = worker.replace(state=WorkerState.LOST, pool="checks")
    monkeypatch.setattr(site.engine, "workers", lambda: [main, lost])
    page = visitor.visit("/")
    notice = page.locator("section.workflow .notice.bad")
    expect(notice).to_contain_text("No process works on CREATED. 1 run is there: start a process")
    expect(notice).to_contain_text("of the pool checks again")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        visitor.check_accessible()
        visitor.picture(f"unserved-{scheme}")
    page.set_viewport_size({"width": 390, "height": 844})
    visitor.check_fits()
    visitor.picture("unserved-phone")
    notice.get_by_role("link", name="CREATED").click()
    expect(page.locator(f"tr[data-run='{run_id}']")).to_be_visible()
