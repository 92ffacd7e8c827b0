"""NUL characters and halves of surrogate pairs, the same way on every store, memory too."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from pathlib import Path
from typing import Any, Literal

import pytest
from workflow_core import Engine, Pause, RecordQuery, Retry, Run, RunState, Workflow
from workflow_core.errors import InputError

LONG = timedelta(seconds=60)
SOON = timedelta(milliseconds=10)
HOSTILE = "a\0b\ud800c"
SHOWN = "a\\0b\\ud800c"


class Status(IntEnum):
    ORDERED = 1
    ASKED = 2
    BOOKED = 3


@dataclass
class Order:
    note: str = ""


OrderRun = Run[Order, Status]
orders = Workflow(
    "orders",
    Order,
    Status,
    ends=(Status.BOOKED,),
    retry=Retry(first=SOON, maximum=SOON),
)


@orders.step(Status.ORDERED)
def check(run: OrderRun) -> Literal[Status.ASKED] | Pause:
    if run.foreign_id == "fails" and run.attempt == 1:
        raise ValueError(HOSTILE)
    if run.foreign_id == "spoils" and run.attempt == 1:
        run.data.note = "\ud800"
    if run.foreign_id == "pauses" and run.resumed is None:
        return Pause(HOSTILE)
    return Status.ASKED


@orders.callback(Status.ASKED)
def answered(run: OrderRun, answer: str) -> Literal[Status.BOOKED]:
    run.data.note = answer
    return Status.BOOKED


@pytest.fixture(params=["memory", "sqlite", "postgres", "mysql", "mariadb"])
def engine(
    request: pytest.FixtureRequest, tmp_path: Path, new_home: Callable[[str], Any]
) -> Iterator[Engine]:
    if request.param == "memory":
        made = Engine.in_memory()
    elif request.param == "sqlite":
        made = Engine.embedded(tmp_path / "orders.db")
    else:
        home = new_home(request.param)
        ports = ("RECORD_STORE", "TIMEOUT_STORE", "EVENT_STREAMER", "ROLE_SCHEDULER")
        environ = {f"WORKFLOW_{port}": "sql" for port in ports}
        made = Engine.from_config(
            environ=environ
            | {"WORKFLOW_SQL__URL": home.url, "WORKFLOW_NAMESPACE": home.namespace or ""}
        )
    with made as engine:
        yield engine


@pytest.mark.parametrize("text", ["a\0b", "a\ud800"], ids=["NUL", "surrogate"])
def test_text_that_not_every_store_keeps_is_refused_by_all(engine: Engine, text: str) -> None:
    """Seen to fail on PostgreSQL with both, on the others with half a pair: the driver's errors."""
    refused: list[Callable[[], object]] = [
        lambda: engine.trigger(orders, text, Order()),
        lambda: engine.view(orders, text),
        lambda: engine.live_run(orders, text),
        lambda: engine.history(text),
        lambda: engine.wait_for(orders, text, Status.BOOKED, LONG),
        lambda: engine.pause(text, reason="r"),
        lambda: engine.runs(RecordQuery(run_ids=[text])),
        lambda: engine.runs(RecordQuery(foreign_id=text)),
    ]
    for verb in refused:
        with pytest.raises(InputError, match="NUL characters or lone surrogates"):
            verb()
    assert engine.runs(RecordQuery()).items == []


def test_reasons_and_errors_are_kept_with_what_they_cannot_hold_written_out(
    engine: Engine,
) -> None:
    """A step's own words and a person's: nobody is to lose them. Data keeps its NUL as it is."""
    with engine.serving(orders):
        for name in ("fails", "pauses", "spoils"):
            engine.trigger(orders, name, Order())
        fails, pauses, spoils = (
            engine.live_run(orders, name) for name in ("fails", "pauses", "spoils")
        )
        engine.wait_for(orders, fails, Status.ASKED, LONG)
        assert any(entry.error == f"ValueError: {SHOWN}" for entry in engine.history(fails))
        engine.wait_for(orders, spoils, Status.ASKED, LONG)
        assert any("half of a surrogate pair" in entry.error for entry in engine.history(spoils))
        end = time.monotonic() + LONG.total_seconds()
        while engine.view(orders, pauses).state is not RunState.PAUSED:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert SHOWN in engine.view(orders, pauses).reason
        engine.resume(pauses, who=HOSTILE, why=HOSTILE)
        engine.wait_for(orders, pauses, Status.ASKED, LONG)
        assert any(SHOWN in entry.reason for entry in engine.history(pauses))
        engine.cancel(spoils, reason=HOSTILE, who=HOSTILE)
        assert SHOWN in engine.view(orders, spoils).reason
        with pytest.raises(InputError, match="half of a surrogate pair"):
            engine.callback(answered, fails, "\ud800")
        engine.callback(answered, fails, "a\0b")
        assert engine.wait_until_ended(orders, fails, LONG).data.note == "a\0b"
