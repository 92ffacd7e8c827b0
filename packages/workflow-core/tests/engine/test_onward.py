"""Runs go onward with what this process has just committed, before their events arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

import pytest
from workflow_core.definition import Repeat, Run, Workflow
from workflow_core.engine import Trigger
from workflow_core.engine.onward import Settled
from workflow_core.errors import AdapterUnavailableError
from workflow_core.model import Event, EventKind, OutboxEvent, RunState, names
from workflow_core.ports import Capability

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster

SECOND = timedelta(seconds=1)


class Status(IntEnum):
    CREATED = 1
    PAID = 2
    PACKED = 3
    SHIPPED = 4


@dataclass
class Order:
    notes: list[str] = field(default_factory=list)


OrderRun = Run[Order, Status]


@pytest.fixture
def calls() -> list[str]:
    return []


@pytest.fixture
def orders(calls: list[str]) -> Workflow[Order, Status]:
    flow = Workflow("orders", Order, Status, ends=(Status.SHIPPED,))

    @flow.step(Status.CREATED)
    def pay(run: OrderRun) -> Literal[Status.PAID]:
        calls.append(f"pay {run.foreign_id}")
        run.data.notes.append("paid")
        return Status.PAID

    @flow.step(Status.PAID)
    def pack(run: OrderRun) -> Literal[Status.PACKED]:
        calls.append(f"pack {run.foreign_id}")
        run.data.notes.append("packed")
        return Status.PACKED

    @flow.step(Status.PACKED)
    def ship(run: OrderRun) -> Literal[Status.SHIPPED]:
        calls.append(f"ship {run.foreign_id}")
        return Status.SHIPPED

    return flow


def hear_no_more(cluster: Cluster) -> None:
    """Whatever is in the stream, receivers say that there is nothing."""
    cluster.streamer.deaf = lambda name: True


def test_run_goes_to_its_end_though_no_more_of_its_events_arrive(
    joined: Cluster, orders: Workflow[Order, Status], calls: list[str]
) -> None:
    """Seen to fail when each step waited for its event."""
    joined.driver.serve(orders)
    joined.streamer.script.after = lambda call: (
        hear_no_more(joined) if call == "recv_many" and joined.streamer.sent else None
    )
    run_id = joined.engine.trigger(orders, "o", Order())
    joined.driver.run()
    assert joined.record(run_id).state is RunState.COMPLETED
    assert calls == ["pay o", "pack o", "ship o"]
    assert [event.version for event in joined.streamer.acked] == [1]


def test_events_that_arrive_afterwards_are_acked_without_a_look_up(
    joined: Cluster, orders: Workflow[Order, Status], calls: list[str]
) -> None:
    """Seen to fail when nothing was kept of what is settled: each was looked up, to be dropped."""
    joined.driver.serve(orders)
    joined.driver.run()
    joined.streamer.deaf = lambda name: "pay o" in calls
    run_id = joined.engine.trigger(orders, "o", Order())
    joined.driver.advance(SECOND / 2)
    joined.store.script.calls.clear()
    joined.streamer.deaf = lambda name: False
    joined.driver.run()
    assert [event.version for event in joined.streamer.acked if event.run_id == run_id] == [1, 2, 3]
    assert calls == ["pay o", "pack o", "ship o"]
    assert joined.store.script.calls["lookup_many"] == 0
    assert joined.record(run_id).data == b'{"notes":["paid","packed"]}'


def test_what_was_settled_long_ago_is_looked_up(
    joined: Cluster, orders: Workflow[Order, Status], calls: list[str]
) -> None:
    """A server that has lost its last writes delivers again. Seen to fail without a limit."""
    joined.driver.serve(orders)
    joined.driver.run()
    joined.streamer.deaf = lambda name: "pay o" in calls
    joined.engine.trigger(orders, "o", Order())
    joined.driver.run()
    joined.store.script.calls.clear()
    joined.driver.advance(2 * SECOND)
    joined.streamer.deaf = lambda name: False
    joined.driver.advance(SECOND)
    assert joined.store.script.calls["lookup_many"] > 0
    assert calls == ["pay o", "pack o", "ship o"]


@pytest.mark.parametrize("call", ["recv_many", "commit"])
def test_what_was_settled_is_looked_up_after_an_adapter_did_not_answer(
    joined: Cluster, orders: Workflow[Order, Status], calls: list[str], call: str
) -> None:
    """It may be another server when it answers. Seen to fail when nothing was forgotten."""
    joined.driver.serve(orders)
    joined.driver.run()
    joined.streamer.deaf = lambda name: "pay o" in calls
    script = joined.streamer.script if call == "recv_many" else joined.store.script

    def fail_once(made: str) -> None:
        if made == call and len(calls) == 3:
            script.heal()
            raise AdapterUnavailableError("away for a moment")

    script.before = fail_once
    joined.engine.trigger(orders, "o", Order())
    joined.driver.advance(SECOND / 2)
    joined.store.script.calls.clear()
    joined.streamer.deaf = lambda name: False
    joined.driver.advance(SECOND)
    assert joined.store.script.calls["lookup_many"] > 0
    assert calls == ["pay o", "pack o", "ship o"]


def test_run_waits_for_its_event_where_the_streamer_balances_its_members(
    joined: Cluster,
    orders: Workflow[Order, Status],
    calls: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who reads the next topic's part is not known here. Seen to fail when all went onward."""
    has = frozenset({Capability.BALANCES_MEMBERS})
    monkeypatch.setattr(type(joined.streamer), "capabilities", property(lambda streamer: has))
    joined.driver.serve(orders)
    joined.streamer.deaf = lambda name: "pay o" in calls
    joined.engine.trigger(orders, "o", Order())
    joined.driver.advance(SECOND)
    assert calls == ["pay o"]
    joined.streamer.deaf = lambda name: False
    joined.driver.advance(SECOND)
    assert calls == ["pay o", "pack o", "ship o"]


@pytest.mark.parametrize("is_followed", [True, False])
def test_run_does_not_go_onward_once_its_shard_is_let_go(
    joined: Cluster, orders: Workflow[Order, Status], calls: list[str], is_followed: bool
) -> None:
    """Another process may hold it by then. Seen to fail when it went on through any receiver.

    Nor before the reception has come to it: to open another receiver may take long.
    """
    serving = joined.driver.serve(orders)
    joined.driver.run()
    (reception,) = serving._receptions
    let_go = False

    def stand_aside(call: str) -> None:
        nonlocal let_go
        if call == "commit" and calls == ["pay o"] and not let_go:
            let_go = True
            for index in range(1, reception._shards or 0):
                reception.let_go(index)  # another receiver reads what is left
            if is_followed:
                reception.poll(timedelta(0))

    joined.store.script.after = stand_aside
    joined.streamer.deaf = lambda name: "pay o" in calls
    run_id = joined.engine.trigger(orders, "o", Order())
    reception.poll(timedelta(0))
    for process in [*serving._workers, serving._committer] * 3:
        process.poll(timedelta(0))
    assert calls == ["pay o"]
    assert joined.record(run_id).version == 2


@pytest.mark.parametrize(("seconds", "copies"), [(10, 0), (100, 1)])
def test_shard_is_not_given_up_while_a_run_is_gone_onward(
    joined: Cluster, seconds: int, copies: int
) -> None:
    """Its next body runs before its event has arrived; who gets the shard would be handed that.

    Seen to fail when receipts alone counted, and when the copy that is made for safety after half a
    minute let the shard go.
    """
    flow = Workflow("orders", Order, Status, ends=(Status.SHIPPED,))
    flow.add_step(Status.CREATED, lambda run: Status.PAID, to=(Status.PAID,))
    begun: list[str] = []

    @flow.step(Status.PAID)
    async def pack(run: OrderRun) -> Literal[Status.SHIPPED]:
        begun.append(run.foreign_id)
        await asyncio.sleep(seconds)
        return Status.SHIPPED

    serving = joined.driver.serve(flow)
    joined.driver.run()
    (reception,) = serving._receptions
    shards = range(reception._shards or 0)
    rows = joined.records.runs.rows
    joined.streamer.deaf = lambda name: any(row.status == Status.PAID for row in rows.values())
    run_id = joined.engine.trigger(flow, "o", Order())
    joined.driver.run()
    assert begun == ["o"]
    for index in shards:
        reception.let_go(index)
    joined.driver.advance(seconds / 2 * SECOND)
    assert len(joined.rows()) == copies
    assert not any(reception.is_free_of(index) for index in shards)
    joined.driver.advance(seconds * SECOND)
    assert joined.record(run_id).state is RunState.COMPLETED
    assert all(reception.is_free_of(index) for index in shards)


def test_nothing_goes_onward_once_a_stop_has_begun(
    joined: Cluster, orders: Workflow[Order, Status], calls: list[str]
) -> None:
    """Seen to fail: the stop waited for the run's end, step by step, or for its whole grace."""
    serving = joined.driver.serve(orders)

    def stop(call: str) -> None:
        if call == "commit" and calls == ["pay o"]:
            serving._window.close_entrance()

    joined.store.script.before = stop
    run_id = joined.engine.trigger(orders, "o", Order())
    joined.driver.run()
    assert calls == ["pay o"]
    assert serving._window.in_hand() == []
    joined.store.script.heal()
    assert serving.stop() == []
    joined.driver.serve(orders, engine=joined.join("second").engine)
    joined.driver.settle()
    assert joined.record(run_id).state is RunState.COMPLETED
    assert calls == ["pay o", "pack o", "ship o"]


def test_status_with_timers_is_waited_for(joined: Cluster) -> None:
    """Its reception may have yet to arm them. Seen to fail when the step began before."""
    begun: list[str] = []
    flow = Workflow("orders", Order, Status, ends=(Status.SHIPPED,))
    flow.add_step(Status.CREATED, lambda run: Status.PAID, to=(Status.PAID,))

    @flow.step(Status.PAID)
    def pack(run: OrderRun) -> Literal[Status.SHIPPED]:
        begun.append(run.foreign_id)
        return Status.SHIPPED

    @flow.timeout(Status.PAID, after=SECOND)
    def expire(run: OrderRun) -> Literal[Status.SHIPPED]:
        return Status.SHIPPED

    joined.driver.serve(flow)
    joined.driver.run()
    rows = joined.records.runs.rows
    joined.streamer.deaf = lambda name: any(row.status == Status.PAID for row in rows.values())
    joined.engine.trigger(flow, "o", Order())
    joined.driver.run()
    assert begun == []
    joined.streamer.deaf = lambda name: False
    joined.driver.run()
    assert begun == ["o"]


def test_delayed_event_is_waited_for(joined: Cluster) -> None:
    """Seen to fail when the delay was not looked at: all repeats at once."""
    flow = Workflow("orders", Order, Status, ends=(Status.SHIPPED,))
    begun: list[int] = []

    @flow.step(Status.CREATED)
    def look(run: OrderRun) -> Literal[Status.SHIPPED] | Repeat:
        begun.append(run.repeat)
        return Status.SHIPPED if run.repeat == 2 else Repeat(after=10 * SECOND)

    joined.driver.serve(flow)
    joined.engine.trigger(flow, "o", Order())
    joined.driver.run()
    assert begun == [0]
    assert [event.kind for event in joined.rows()] == [EventKind.REPEATED]
    joined.driver.advance(11 * SECOND)
    assert begun == [0, 1]


def test_runs_that_go_onward_take_turns_with_those_that_arrive(joined: Cluster) -> None:
    """One that repeats at once keeps nobody waiting. Seen to fail when it went before all."""
    flow = Workflow("orders", Order, Status, ends=(Status.SHIPPED,))
    begun: list[str] = []

    @flow.step(Status.CREATED)
    def look(run: OrderRun) -> Literal[Status.SHIPPED] | Repeat:
        begun.append(run.foreign_id)
        return Status.SHIPPED if run.repeat == 100 or run.foreign_id != "busy" else Repeat()

    joined.driver.serve(flow)
    joined.engine.trigger(flow, "busy", Order())
    joined.engine.trigger_many(flow, [Trigger(f"o{n}", Order()) for n in range(5)])
    joined.driver.run()
    assert begun[:6].count("busy") < 3
    assert begun.count("busy") == 101


def test_stale_event_that_is_doubled_runs_nothing_again(
    joined: Cluster, orders: Workflow[Order, Status], calls: list[str]
) -> None:
    joined.driver.serve(orders)
    joined.engine.trigger(orders, "o", Order())
    joined.driver.run()
    copies = [
        OutboxEvent(event=event.replace(id=f"{event.id}-{number}"))
        for event in joined.streamer.sent
        if event.topic.startswith("orders") and event.topic != names.run_state_topic("orders")
        for number in range(3)
    ]
    joined.store.add_outbox_events(copies)
    joined.driver.settle()
    assert calls == ["pay o", "pack o", "ship o"]


@pytest.mark.parametrize(("runs", "goes_onward"), [(5, True), (1_500, False)])
def test_runs_wait_for_their_events_where_much_is_in_hand(
    joined: Cluster, orders: Workflow[Order, Status], runs: int, goes_onward: bool
) -> None:
    """Else a lane that is full stays so, until all who are in it are through: newcomers wait for
    whole runs, and for ever behind runs that repeat. Seen to fail without a limit."""
    serving = joined.driver.serve(orders)
    joined.driver.run()
    (reception,), (worker,) = serving._receptions, serving._workers
    joined.engine.trigger_many(orders, [Trigger(f"o{n}", Order()) for n in range(runs)])
    for process in [reception] * 3 + [worker, serving._committer]:
        process.poll(timedelta(0))
    versions = {item.event.version for item in serving._window.in_hand()}
    assert versions == ({1, 2} if goes_onward else {1})


def test_settled_keeps_so_many_and_no_more(make_event: Callable[[int], Event]) -> None:
    settled = Settled()
    for number in range(20_000):
        settled.note((f"r{number}", 2, 1), 0.0)
    assert len(settled._since) == 4_096
    assert not settled.take(make_event(0), 0.0)
    assert settled.take(make_event(19_999), 0.5)
    assert not settled.take(make_event(19_999), 0.5)
    assert not settled.take(make_event(19_998), 1.1)


@pytest.fixture
def make_event() -> Callable[[int], Event]:
    def make(number: int) -> Event:
        return Event(
            id=f"e{number}",
            topic="orders-1",
            workflow="orders",
            run_id=f"r{number}",
            foreign_id=f"o{number}",
            status=1,
            state=RunState.RUNNING,
            version=2,
        )

    return make
