"""``workflow guard``, and the guard at a start."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from workflow_ctl.exits import Exit

if TYPE_CHECKING:
    from tests.conftest import Shop

LESS = """
from enum import IntEnum
from ctl_shop import Order
from workflow_core import Workflow


class Status(IntEnum):
    PAID = 3
    SHIPPED = 4


orders = Workflow("orders", Order, Status, ends=(Status.SHIPPED,))
orders.add_step(Status.PAID, lambda run: Status.SHIPPED, to=[Status.SHIPPED])
"""


@pytest.fixture
def less(shop: Shop) -> Shop:
    Path("ctl_less.py").write_text(LESS)
    return shop


def test_guard_says_yes_where_all_is_there(shop: Shop) -> None:
    shop.trigger("order-1")
    answer = shop.here("guard", "ctl_shop:orders")
    assert answer.out == "orders: 1 live runs, safe to deploy\n"


def test_guard_says_no_and_why(less: Shop) -> None:
    """Seen to fail when the exit code was zero all the same."""
    less.trigger("order-1")
    answer = less.here("guard", "ctl_less", code=Exit.NO)
    assert "NOT safe to deploy" in answer.out
    assert "1 live runs stand at status 1, and the code has no such status" in answer.out
    (report,) = less.here("guard", "ctl_less", "--json", code=Exit.NO).json
    assert report["findings"][0]["missing"] == "status"


def test_guard_moves_along_a_mapping_when_told(less: Shop) -> None:
    run_id = less.trigger("order-1")
    assert less.here("guard", "ctl_less", "--map", "1=paid").out.endswith("safe to deploy\n")
    assert less.here("runs", "show", run_id, "--json").json["status"] == 1
    answer = less.here("guard", "ctl_less", "--map", "orders:1=PAID", "--move")
    assert "moved: 1 runs" in answer.out
    assert less.here("runs", "show", run_id, "--json").json["status"] == 3


def test_guard_parks_when_told(less: Shop) -> None:
    run_id = less.trigger("order-1")
    assert "parked: 1 runs" in less.here("guard", "ctl_less", "--park", code=Exit.NO).out
    shown = less.here("runs", "show", run_id, "--json").json
    assert shown["state"] == "paused"
    assert "deploy guard" in shown["reason"]


def test_guard_compares_edges_with_what_was_saved(shop: Shop) -> None:
    shop.trigger("order-1")
    shop.run("guard", "ctl_shop:orders", "--save", "shape.json")
    (shape,) = json.loads(Path("shape.json").read_text())
    shape["edges"]["1"].append(4)
    Path("shape.json").write_text(json.dumps([shape]))
    answer = shop.here("guard", "ctl_shop:orders", "--before", "shape.json", code=Exit.NO)
    assert re.search(r"no longer leads to SHIPPED", answer.out)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["ctl_shop", "--map", "1=PAID"],
        ["ctl_shop:orders", "--map", "CREATED=PAID"],
        ["ctl_shop:orders", "--map", "7=nowhere"],
        ["ctl_shop:orders", "--map", "1=PAID"],
        ["ctl_shop:orders", "--before", "nowhere.json"],
        ["ctl_shop:orders", "--before", "ctl_shop.py"],
    ],
)
def test_guard_refuses_what_cannot_be_meant(shop: Shop, words: list[str]) -> None:
    assert shop.here("guard", *words, code=Exit.USAGE).err


def test_a_start_is_refused_or_parks_when_asked(less: Shop) -> None:
    """Seen to fail when the guard was not asked at the start."""
    run_id = less.trigger("order-1")
    answer = less.here("run", "ctl_less", "--guard", "refuse", code=Exit.NO)
    assert "the code has no such status" in answer.err
    assert less.here("runs", "show", run_id, "--json").json["state"] == "initiated"
    process = less.start(
        "run", "ctl_less", "--guard", "park", "--embedded", less.file, told=Path("err")
    )
    less.until(lambda: "serving orders" in Path("err").read_text(), "the start")
    assert less.here("runs", "show", run_id, "--json").json["state"] == "paused"
    process.terminate()
    assert process.wait(timeout=60) == Exit.OK
