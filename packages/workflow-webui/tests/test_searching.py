"""Free text over more runs than one page looks through."""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING
from uuid import UUID

from workflow_core import Record, RunState
from workflow_core.ports import Write

if TYPE_CHECKING:
    from tests.conftest import House


def fill(house: House, foreign_ids: list[str]) -> None:
    """Ended runs, the first of these begun first."""
    house.engine.adapters.record_store.store_many(
        [
            Write(
                record=Record(
                    workflow="orders",
                    foreign_id=foreign_id,
                    run_id=str(UUID(int=number)),
                    status=4,
                    state=RunState.COMPLETED,
                    version=1,
                    write_id=f"w{number}",
                    data=b"{}",
                )
            )
            for number, foreign_id in enumerate(foreign_ids)
        ]
    )


def found(page: str) -> list[str]:
    return re.findall(r'<td class="main-cell"[^>]*><a[^>]*><bdi>([^<]*)', page)


def searched(page: str) -> str:
    line = page.split('id="searched"')[1].split(">", 1)[1].split("</p>")[0]
    return re.sub(r"<[^>]*>", "", line).replace("\u202f", " ").strip()


def link(page: str, relation: str) -> str:
    """Where it leads; "" where there is none."""
    hit = re.search(rf'rel="{relation}" href="([^"]*)"', page)
    return f"/runs{hit[1].replace('&amp;', '&')}" if hit else ""


def test_any_number_of_runs_is_gone_through_page_by_page(house: House) -> None:
    """Each page tells how far all of them have come, and all of that is in its URL.

    Seen to fail when a page counts itself alone, and when the way back forgets what was counted.
    """
    needles = {0: "needle a", 2_600: "needle b", 5_199: "needle c"}
    fill(house, [needles.get(number, f"hay {number}") for number in range(5_200)])
    pages = [house.client.get("/runs?q=needle").text]
    while url := link(pages[-1], "next"):
        pages.append(house.client.get(url).text)
    assert [found(page) for page in pages] == [["needle c"], ["needle b"], ["needle a"]]
    first, second, third = map(searched, pages)
    assert first.startswith("Looked through 2 000 of 5 200 runs, back to those begun ")
    assert second.startswith("Looked through 4 000 of 5 200 runs, back to those begun ")
    assert third == "Looked through 5 200 of 5 200 runs: that is all."
    back = house.client.get(link(pages[2], "prev")).text
    assert found(back) == ["needle b"]
    assert searched(back) == second
    assert searched(house.client.get(link(back, "prev")).text) == first


def test_page_without_a_hit_says_so_and_where_to_go_on(house: House) -> None:
    """Seen to fail when the text is not looked for from the bookmark on."""
    fill(house, ["needle", *(f"hay {number}" for number in range(2_000))])
    page = house.client.get("/runs?q=needle").text
    assert found(page) == []
    assert "Not found in the 2\u202f000 runs that this page looked through" in page
    assert found(house.client.get(link(page, "next")).text) == ["needle"]


def test_page_holds_no_more_than_its_size_and_the_next_leaves_none_out(house: House) -> None:
    """Seen to fail when a page takes all that was found in what it read at once."""
    fill(house, [f"needle {number}" for number in range(60)])
    first = house.client.get("/runs?q=needle&limit=25").text
    second = house.client.get(link(first, "next")).text
    third = house.client.get(link(second, "next")).text
    seen = [found(page) for page in (first, second, third)]
    assert [len(each) for each in seen] == [25, 25, 10]
    assert [*chain(*seen)] == [f"needle {number}" for number in reversed(range(60))]
    answer = house.client.get("/api/runs?q=needle&limit=25").json()
    assert (len(answer["items"]), answer["looked_through"]) == (25, 25)


def test_page_of_found_runs_stands_still(house: House) -> None:
    """Seen to fail when it is watched: each change would have thousands of runs read again."""
    house.order("needle")
    assert 'data-watch="list"' in house.client.get("/runs").text
    assert 'data-watch=""' in house.client.get("/runs?q=needle").text
