"""After the deletion of a run's data no byte of it is left in the files of the database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from pathlib import Path
from typing import Any, Literal

from workflow_core import Engine, Retry, Run, RunState, Workflow
from workflow_core.discovery import embedded

SECRET = "4111-1111-1111-1111"
PATIENCE = timedelta(seconds=60)


class Status(IntEnum):
    CREATED = 1
    CHECKED = 2
    DONE = 3


@dataclass
class Order:
    card: str
    looks: int = 0


orders = Workflow("orders", Order, Status, ends=(Status.DONE,))


@orders.step(Status.CREATED, retry=Retry(first=timedelta(milliseconds=1)))
def check(run: Run[Order, Status]) -> Literal[Status.CHECKED]:
    if run.attempt < 3:
        raise ValueError(f"card {run.data.card} refused")
    run.data.looks += 1
    return Status.CHECKED


@orders.step(Status.CHECKED)
def finish(run: Run[Order, Status]) -> Literal[Status.DONE]:
    return Status.DONE


@orders.timeout(Status.CHECKED, after=timedelta(days=1))
def give_up(run: Run[Order, Status]) -> Literal[Status.DONE]:
    return Status.DONE


@orders.on_complete(retry=Retry(first=timedelta(milliseconds=1), pause_after=2))
def tell(view: Any) -> None:
    raise ValueError(f"nobody to be told of {view.data.card}")


def test_no_file_holds_the_payload_of_a_run_whose_data_was_deleted(tmp_path: Path) -> None:
    """Its data in each version, the errors of its attempts, of its dead letter, its reasons.

    Seen to fail without the emptying of the record, and of its dead letters.
    """
    overrides = {"adapters.sql.history": "with_data"}
    config = embedded(tmp_path / "orders.db", overrides=overrides)
    with Engine(config.build()) as engine, engine.serving(orders):
        run_id = engine.trigger(orders, "order-1", Order(SECRET * 50))
        engine.wait_until_ended(orders, run_id, timeout=PATIENCE)
        while not engine.dead_letters(orders).items:
            engine.wait_until_ended(orders, run_id, timeout=PATIENCE)
        held = [f.name for f in tmp_path.iterdir() if SECRET.encode() in f.read_bytes()]
        assert held  # else the search finds nothing anywhere
        receipt = engine.delete_data(orders, run_id, who="ada", why="ticket 7")
        (record,) = [r for r in engine.history(run_id) if r.state is RunState.DATA_DELETED]
        assert record.data in (None, b"")
        for file in tmp_path.iterdir():
            assert SECRET.encode() not in file.read_bytes(), file.name
    assert "its history: data, errors and reasons" in receipt.erased
    for file in tmp_path.iterdir():
        assert SECRET.encode() not in file.read_bytes(), file.name
