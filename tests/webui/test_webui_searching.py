"""Free text over thousands of runs, as somebody looks for one of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from playwright.sync_api import expect
from workflow_core import Record, RunState
from workflow_core.ports import Write

if TYPE_CHECKING:
    from tests.webui.conftest import Site, Visitor

RUNS = 6_500
URL = "/runs?workflow=archive&q=needle"


@pytest.fixture(scope="module")
def archive(site: Site) -> None:
    """Thousands of ended runs of a workflow that nobody serves any more; the oldest is wanted."""
    for begin in range(0, RUNS, 500):
        site.engine.adapters.record_store.store_many(
            [_ended(number) for number in range(begin, begin + 500)]
        )


def _ended(number: int) -> Write:
    return Write(
        record=Record(
            workflow="archive",
            foreign_id="needle" if number == 0 else f"hay-{number}",
            run_id=str(UUID(int=number)),
            status=4,
            state=RunState.COMPLETED,
            version=1,
            write_id=f"w{number}",
            data=b"{}",
        )
    )


def test_search_goes_on_until_it_finds_and_keeps_its_place(
    archive: None, site: Site, visitor: Visitor
) -> None:
    """Seen to fail when the script follows no further than one page."""
    page = visitor.visit(URL)
    searched = page.locator("#searched")
    expect(searched).to_contain_text("Looked through 2\u202f000 of 6\u202f500 runs, back to")
    expect(page.locator("td.none")).to_contain_text("Not found in the 2\u202f000 runs")
    visitor.check_accessible()
    visitor.check_fits()
    visitor.picture("searching")
    searched.get_by_role("link", name="Search on").click()
    row = page.locator("tr[data-run]")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("needle")
    expect(searched).to_contain_text("Looked through 6\u202f500 of 6\u202f500 runs: that is all.")
    assert "read=6000" in page.url
    place = page.url
    page.reload()
    expect(row).to_contain_text("needle")
    page.goto(place)
    expect(searched).to_contain_text("that is all")
    visitor.picture("searched")


def test_search_goes_on_without_a_script(
    archive: None, open_visitor: Callable[..., Visitor]
) -> None:
    visitor = open_visitor(java_script_enabled=False)
    page = visitor.visit(URL)
    for read in (4_000, 6_000):
        page.locator("#searched").get_by_role("link", name="Search on").click()
        told = f"Looked through {read:,} of".replace(",", "\u202f")
        expect(page.locator("#searched")).to_contain_text(re.compile(re.escape(told)))
        expect(page.locator("tr[data-run]")).to_have_count(0)
    page.locator("[rel=next]").click()
    expect(page.locator("tr[data-run]")).to_have_count(1)
