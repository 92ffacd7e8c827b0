"""Texts that some store cannot keep, or not look for, are refused before one is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import Any, Literal

import pytest
from workflow_core.definition import Call, Retry, Run, Workflow
from workflow_core.engine import Engine
from workflow_core.errors import InputError
from workflow_core.memory import MemoryConnectorSource, MemoryDatabase
from workflow_core.model import ConnectorEvent, RecordQuery
from workflow_core.testing import Driver, FakeClock

NOW = timedelta(0)


class Status(IntEnum):
    CREATED = 1
    PAID = 2


@dataclass
class Order:
    note: str = ""


orders = Workflow("orders", Order, Status, ends=(Status.PAID,), search=("note",))


@orders.callback(Status.CREATED)
def paid(run: Run[Order, Status], receipt: str) -> Literal[Status.PAID]:
    run.data.note = receipt
    return Status.PAID


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine.in_memory() as engine:
        yield engine


VERBS: dict[str, Callable[[Engine, str], object]] = {
    "trigger": lambda engine, it: engine.trigger(orders, it, Order()),
    "trigger, by key": lambda engine, it: engine.trigger(
        orders, "order-1", Order(), idempotency_key=it
    ),
    "trigger, header": lambda engine, it: engine.trigger(
        orders, "order-1", Order(), headers={"origin": it}
    ),
    "trigger, attribute": lambda engine, it: engine.trigger(orders, "order-1", Order(note=it)),
    "callback": lambda engine, it: engine.callback(paid, it, "receipt"),
    "view": lambda engine, it: engine.view(orders, it),
    "live_run": lambda engine, it: engine.live_run(orders, it),
    "wait_for": lambda engine, it: engine.wait_for(orders, it, Status.PAID, NOW),
    "wait_until_ended": lambda engine, it: engine.wait_until_ended(orders, it, NOW),
    "history": lambda engine, it: engine.history(it),
    "why": lambda engine, it: engine.why(it),
    "pause": lambda engine, it: engine.pause(it, reason="for once"),
    "resume": lambda engine, it: engine.resume(it, who="Ann"),
    "cancel": lambda engine, it: engine.cancel(it, reason="for good"),
    "retry_now": lambda engine, it: engine.retry_now(it, who="Ann"),
    "move": lambda engine, it: engine.move(orders, it, Status.PAID, who="Ann"),
    "begin_again": lambda engine, it: engine.begin_again(orders, it, who="Ann"),
    "delete_data": lambda engine, it: engine.delete_data(orders, it, who="Ann"),
    "runs, workflow": lambda engine, it: engine.runs(RecordQuery(workflow=it)),
    "runs, foreign id": lambda engine, it: engine.runs(RecordQuery(foreign_id=it)),
    "runs, run ids": lambda engine, it: engine.runs(RecordQuery(run_ids=["x", it])),
    "runs, attribute": lambda engine, it: engine.runs(
        RecordQuery(workflow="orders", search={"note": it})
    ),
    "counts": lambda engine, it: engine.counts(RecordQuery(foreign_id=it)),
    "bulk": lambda engine, it: engine.bulk(RecordQuery(foreign_id=it)),
    "dead_letters": lambda engine, it: engine.dead_letters(it),
    "dead_letters, about": lambda engine, it: engine.dead_letters(orders, about=it),
    "aio.view": lambda engine, it: asyncio.run(engine.aio.view(orders, it)),
    "aio.wait_for": lambda engine, it: asyncio.run(
        engine.aio.wait_for(orders, it, Status.PAID, NOW)
    ),
}


@pytest.mark.parametrize("verb", VERBS)
def test_verb_refuses_what_no_store_can_look_for(engine: Engine, verb: str) -> None:
    """Seen to fail with look-ups that ask the store, which is not asked here either."""
    asked: list[Any] = []
    store = engine._core.store
    for name in ("lookup_many", "lookup", "latest", "history", "list_records", "store_many"):
        setattr(store, name, lambda *words, **more: asked.append(words))
    for text in ("a\0b", "a\ud800", "\udfff"):
        with pytest.raises(InputError, match=r"NUL characters|half of a surrogate") as refused:
            VERBS[verb](engine, text)
        assert asked == []
        str(refused.value).encode()


@pytest.mark.parametrize("way", ["foreign_id", "run_id"])
def test_connector_sets_a_call_by_such_an_id_aside(way: str) -> None:
    """Seen to fail with a foreign id that the store is asked for."""
    calls = Workflow("calls", Order, Status, ends=(Status.PAID,), retry=Retry(pause_after=1))
    calls.add_step(Status.CREATED, lambda run: Status.PAID, to=[Status.PAID])

    @calls.connector("payments")
    def pay(event: ConnectorEvent) -> Call:
        return Call(paid, "receipt", **{way: "a\0b"})

    clock = FakeClock()
    payments = MemoryConnectorSource(MemoryDatabase(clock), "payments")
    engine = Engine.in_memory(clock=clock, connectors={"payments": payments})
    with Driver(engine, clock=clock) as driver:
        driver.serve(calls)
        payments.send("key", b"{}")
        driver.settle()
        (letter,) = engine.dead_letters(calls).items
        assert "NUL characters" in letter.error
