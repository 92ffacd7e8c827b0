"""Lists, single runs, histories, reasons and counts; in text and in JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from workflow_core import Engine, Record, RecordQuery
from workflow_core.ports import Write

if TYPE_CHECKING:
    from tests.conftest import Shop


def test_list_shows_runs_newest_first(shop: Shop) -> None:
    first, second = shop.trigger("order-1"), shop.trigger("order-2")
    answer = shop.known("runs", "list")
    assert [line.split()[0] for line in answer.out.splitlines()] == ["run", second, first]
    assert "CREATED" in answer.out
    assert "initiated" in answer.out


def test_list_says_that_there_is_nothing(shop: Shop) -> None:
    assert shop.here("runs", "list").out == "no runs\n"
    assert shop.here("runs", "list", "--json").json == {"runs": [], "next": None}


def test_list_goes_on_where_the_page_before_ended(shop: Shop) -> None:
    """Seen to fail when the place was not handed on."""
    run_ids = [shop.trigger(f"order-{number}") for number in range(5)]
    seen: list[str] = []
    page = shop.here("runs", "list", "--oldest", "--limit", "2", "--json").json
    while True:
        seen += [run["run_id"] for run in page["runs"]]
        if page["next"] is None:
            break
        page = shop.here(
            "runs", "list", "--oldest", "--limit", "2", "--json", "--after", page["next"]
        ).json
    assert seen == run_ids


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--foreign-id", "order-1"], 1),
        (["--workflow", "refunds"], 0),
        (["--status", "1"], 3),
        (["--workflow", "orders", "--status", "created"], 3),
        (["--status", "2"], 0),
        (["--state", "initiated"], 2),
        (["--state", "paused", "--state", "cancelled"], 1),
        (["--created-after", "1h"], 3),
        (["--created-before", "1h"], 0),
        (["--updated-after", "2000-01-01T00:00Z"], 3),
        (["--workflow", "orders", "--search", "total=7"], 1),
    ],
)
def test_list_finds_what_the_filters_ask_for(shop: Shop, words: list[str], found: int) -> None:
    shop.trigger("order-1", 7)
    shop.trigger("order-2")
    shop.here("runs", "pause", shop.trigger("order-3"), "--reason", "wait")
    assert len(shop.known("runs", "list", "--json", *words).json["runs"]) == found


def test_lists_and_counts_leave_out_the_engines_own_records(shop: Shop) -> None:
    """Seen to fail when they were not left out, and when a page of them ended the list."""
    with Engine.embedded(shop.file) as engine:
        source = shop.module.orders
        engine.trigger(source, "order-1", shop.module.Order())
        rows = [("_schedules", "s"), ("_dead letters of orders", "l")]
        for workflow, foreign_id in rows:
            record = engine.runs(RecordQuery()).items[0]
            _insert(engine, record.replace(workflow=workflow, foreign_id=foreign_id))
    shown = shop.here("runs", "list", "--json", "--limit", "1", "--oldest").json["runs"]
    assert [run["workflow"] for run in shown] == ["orders"]
    assert len(shop.here("runs", "list", "--json", "--reserved").json["runs"]) == 3
    assert shop.here("stats", "--json").json["total"] == 1
    assert shop.here("stats", "--json", "--reserved").json["total"] == 3


def _insert(engine: Engine, record: Record) -> None:
    new = record.replace(run_id=f"{record.workflow}-1", version=1, write_id="w")
    engine._core.store.store(Write(record=new))


def test_show_tells_a_run_and_its_data_only_on_request(shop: Shop) -> None:
    """Seen to fail when the data was always shown."""
    data = '{"receipt": "secret"}'
    run_id = shop.known("trigger", "orders", "order-1", "--data", data).out.strip()
    plain = shop.known("runs", "show", run_id)
    assert "CREATED (1)" in plain.out
    assert "secret" not in plain.out
    assert '"receipt": "secret"' in shop.known("runs", "show", run_id, "--data").out
    assert shop.known("runs", "show", run_id, "--data", "--json").json["data"] == {
        "receipt": "secret"
    }
    assert "data" not in shop.known("runs", "show", run_id, "--json").json


def test_history_tells_each_version(shop: Shop) -> None:
    run_id = shop.trigger("order-1")
    shop.here("runs", "pause", run_id, "--reason", "the bank is closed")
    versions = shop.known("runs", "history", run_id, "--json").json["versions"]
    assert [version["state"] for version in versions] == ["initiated", "paused"]
    assert "the bank is closed" in shop.known("runs", "history", run_id).out


@pytest.mark.parametrize("words", [["why"], ["runs", "why"]])
def test_why_tells_reasons_and_what_to_do(shop: Shop, words: list[str]) -> None:
    run_id = shop.trigger("order-1")
    shop.to_payment(run_id)
    answer = shop.known(*words, run_id)
    assert "it waits for a callback" in answer.out
    assert "Next: Call it back" in answer.out
    (reason,) = shop.known(*words, run_id, "--json").json["reasons"]
    assert reason["cause"] == "callback"


def test_stats_count_by_workflow_status_and_state(shop: Shop) -> None:
    shop.trigger("order-1")
    shop.here("runs", "cancel", shop.trigger("order-2"), "--reason", "no more")
    counts = shop.known("stats", "--json").json
    assert counts["total"] == 2
    assert {(each["state"], each["runs"]) for each in counts["counts"]} == {
        ("initiated", 1),
        ("cancelled", 1),
    }
    assert "CREATED" in shop.known("stats").out


def test_graph_draws_each_definition(shop: Shop) -> None:
    drawn = shop.run("graph", "ctl_shop:orders")
    assert drawn.out.strip() == shop.module.orders.diagram().strip()
    both = shop.run("graph", "--app", "ctl_shop:everything", "--json").json
    assert set(both) == {"orders", "refunds"}
