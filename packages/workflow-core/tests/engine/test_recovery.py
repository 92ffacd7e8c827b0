"""Crashes, lost hints, a store that is away or says no: nothing is lost and nothing runs twice."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

import pytest
from workflow_core.definition import Pause, Repeat, Retry, Run, Skip, Workflow
from workflow_core.engine import Trigger
from workflow_core.errors import AdapterUnavailableError, VersionConflictError
from workflow_core.model import EventKind, OutboxEvent, RunState
from workflow_core.ports import Write

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster


class Status(IntEnum):
    CREATED = 1
    PAID = 2
    SHIPPED = 3


@dataclass
class Order:
    total: int = 0


OrderRun = Run[Order, Status]

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def calls() -> list[str]:
    """Which body was called for which foreign id."""
    return []


@pytest.fixture
def orders(calls: list[str]) -> Workflow[Order, Status]:
    orders = Workflow("order processor", Order, Status, ends=(Status.SHIPPED,))

    @orders.step(Status.CREATED)
    def pay(run: OrderRun) -> Literal[Status.PAID]:
        calls.append(f"pay {run.foreign_id}")
        run.data.total += 1
        return Status.PAID

    @orders.step(Status.PAID)
    def ship(run: OrderRun) -> Literal[Status.SHIPPED]:
        calls.append(f"ship {run.foreign_id}")
        return Status.SHIPPED

    return orders


# -- a process dies --------------------------------------------------------------------------------


def test_nothing_is_acked_before_its_outcome_is_committed(
    cluster: Cluster, orders: Workflow[Order, Status], calls: list[str]
) -> None:
    """The drive invariant. Seen to fail when the committer settled before it committed."""
    cluster.driver.serve(orders)
    client = cluster.client().engine
    run_id = client.trigger(orders, "o", Order())
    cluster.store.script.fail("commit")
    cluster.driver.advance(5 * SECOND)
    assert calls == ["pay o"]
    assert cluster.streamer.acked == []
    cluster.kill(cluster.engine, "first")
    second = cluster.join("second")
    cluster.driver.serve(orders, engine=second.engine)
    cluster.driver.advance(20 * SECOND)
    assert cluster.record(run_id).state is RunState.COMPLETED
    assert cluster.engine.view(orders, run_id).data.total == 1  # executed twice, committed once


def test_commit_whose_answer_was_lost_is_not_done_again(
    cluster: Cluster, orders: Workflow[Order, Status], calls: list[str]
) -> None:
    """Seen to fail when a batch was forgotten whose commit failed: its events were never acked."""
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "o", Order())
    cluster.store.script.fail("commit", took_effect=True, times=3)
    cluster.driver.advance(10 * SECOND)
    record = cluster.record(run_id)
    assert (record.state, record.version) == (RunState.COMPLETED, 3)
    assert {event.version for event in cluster.streamer.acked} == {1, 2}
    assert calls == ["pay o", "ship o"]


def test_crash_between_commit_and_ack_runs_nothing_again(
    cluster: Cluster, orders: Workflow[Order, Status], calls: list[str]
) -> None:
    """What comes again is stale. Seen to fail when triage let every event of a live run through."""
    cluster.driver.serve(orders)
    cluster.streamer.script.fail("ack")
    run_id = cluster.engine.trigger(orders, "o", Order())
    cluster.driver.advance(5 * SECOND)
    done = 3 if cluster.joined else 2  # onward, though nothing more is received
    assert (cluster.record(run_id).version, cluster.streamer.acked) == (done, [])
    cluster.kill(cluster.engine, "first")
    second = cluster.join("second")
    cluster.driver.serve(orders, engine=second.engine)
    cluster.driver.advance(20 * SECOND)
    assert [event.version for event in second.streamer.acked] == [1, 2]
    assert calls == ["pay o", "ship o"]


def test_acks_that_fail_are_given_again(
    cluster: Cluster, orders: Workflow[Order, Status], calls: list[str]
) -> None:
    cluster.driver.serve(orders)
    cluster.streamer.script.fail("ack", times=4)
    cluster.engine.trigger(orders, "o", Order())
    cluster.driver.advance(20 * SECOND)
    assert len(cluster.streamer.acked) == 2
    assert calls == ["pay o", "ship o"]


def test_two_engines_share_the_runs(cluster: Cluster) -> None:
    """One worker at a time per run. Seen to fail when every member read all shards."""
    calls: list[str] = []
    orders = Workflow("order processor", Order, Status, ends=(Status.SHIPPED,))

    @orders.step(Status.CREATED, concurrency=1000)
    async def pay(run: OrderRun) -> Literal[Status.SHIPPED]:
        calls.append(run.foreign_id)
        await asyncio.sleep(5)
        return Status.SHIPPED

    serving = cluster.driver.serve(orders)
    cluster.driver.advance(SECOND)
    second = cluster.join("second")
    other = cluster.driver.serve(orders, engine=second.engine)
    cluster.driver.advance(30 * SECOND)
    shards = [{r for r in each.roles if "-of-" in r} for each in (serving, other)]
    assert not shards[0] & shards[1]
    assert len(shards[0] | shards[1]) == 16
    assert min(len(each) for each in shards) >= 3
    answers = cluster.engine.trigger_many(orders, [Trigger(f"o{n}", Order()) for n in range(200)])
    cluster.driver.settle()
    assert {cluster.record(str(i)).state for i in answers} == {RunState.COMPLETED}
    assert len(calls) == len(set(calls)) == 200
    assert len(cluster.streamer.acked) > 50
    assert len(second.streamer.acked) > 50
    # a clean stop hands its shards over at once
    other.stop()
    cluster.driver.advance(2 * SECOND)
    assert len([role for role in serving.roles if "-of-" in role]) == 16


def test_lost_role_ends_its_shards(
    cluster: Cluster, orders: Workflow[Order, Status], caplog: pytest.LogCaptureFixture
) -> None:
    serving = cluster.driver.serve(orders)
    cluster.driver.run()
    role = next(role for role in serving.roles if role.endswith("-0-of-16"))
    grant = cluster.records.roles._grants[role]
    grant.lease.lost.set()
    cluster.driver.run()
    assert f"role {role} was lost" in caplog.text
    cluster.driver.advance(15 * SECOND)
    assert role in serving.roles  # asked for again


# -- the store is away or says no ------------------------------------------------------------------


@pytest.mark.parametrize("call", ["commit", "lookup_many", "now"])
def test_store_that_is_away_costs_no_attempt_and_runs_no_step_again(
    cluster: Cluster, orders: Workflow[Order, Status], calls: list[str], call: str
) -> None:
    """Outcomes are kept, not steps. Seen to fail when a failed commit put the item back."""
    cluster.driver.serve(orders)
    client = cluster.client().engine
    answers = client.trigger_many(orders, [Trigger(f"o{n}", Order()) for n in range(50)])
    cluster.store.script.fail(call)
    cluster.driver.advance(10 * MINUTE)
    cluster.store.script.heal()
    cluster.driver.settle()
    for answer in answers:
        record = cluster.record(str(answer))
        assert (record.state, record.attempts, record.version) == (RunState.COMPLETED, 0, 3)
    assert len(calls) == len(set(calls)) == 100


def test_row_that_the_store_refuses_holds_up_no_other_and_is_counted(
    cluster: Cluster, orders: Workflow[Order, Status], caplog: pytest.LogCaptureFixture
) -> None:
    """Seen to fail when a refused row made the whole batch be committed again."""
    cluster.driver.serve(orders)
    cluster.store.refuses = lambda record: (
        record.foreign_id == "bad" and b'"total":1' in record.data
    )
    bad = cluster.engine.trigger(orders, "bad", Order())
    good = cluster.engine.trigger_many(orders, [Trigger(f"o{n}", Order()) for n in range(20)])
    cluster.driver.run()
    assert {cluster.record(str(i)).state for i in good} == {RunState.COMPLETED}
    record = cluster.record(bad)
    assert (record.attempts, record.status, record.data) == (1, 1, b'{"total":0}')
    assert "AdapterError: the test refuses this row" in record.last_error
    assert bad in caplog.text
    cluster.store.refuses = lambda record: False
    cluster.driver.settle()
    assert cluster.record(bad).state is RunState.COMPLETED


def test_row_whose_failure_is_refused_too_is_tried_again_without_spinning(
    cluster: Cluster, orders: Workflow[Order, Status], calls: list[str]
) -> None:
    cluster.driver.serve(orders)
    cluster.driver.run()
    bad = cluster.engine.trigger(orders, "bad", Order())
    cluster.store.refuses = lambda record: record.foreign_id == "bad"
    cluster.driver.advance(2 * MINUTE)
    assert cluster.record(bad).version == 1
    assert 4 <= len(calls) <= 6
    cluster.store.refuses = lambda record: False
    cluster.driver.advance(MINUTE)
    assert cluster.record(bad).state is RunState.COMPLETED


def test_of_two_writers_of_a_version_one_wins(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    run_id = cluster.engine.trigger(orders, "o", Order())
    record = cluster.record(run_id)
    store = cluster.store
    outcomes = [
        store.store_many([Write(record=record.replace(version=2, write_id=str(n)))])[0]
        for n in range(2)
    ]
    assert outcomes[0] is None
    assert isinstance(outcomes[1], VersionConflictError)


# -- the reconciler --------------------------------------------------------------------------------


def test_runs_go_on_when_all_hints_are_lost(
    cluster: Cluster, orders: Workflow[Order, Status], calls: list[str]
) -> None:
    """Seen to fail without the reconciler: all stood still for ever."""
    cluster.driver.serve(orders)
    cluster.driver.run()
    cluster.streamer.loses = lambda event: event.kind is EventKind.ENTERED
    answers = cluster.engine.trigger_many(orders, [Trigger(f"o{n}", Order()) for n in range(30)])
    cluster.driver.advance(4 * MINUTE)
    assert calls == []
    cluster.driver.advance(timedelta(hours=1))
    assert {cluster.record(str(i)).state for i in answers} == {RunState.COMPLETED}
    assert len(calls) == len(set(calls)) == 60


def test_runs_go_on_when_the_outbox_was_lost(
    cluster: Cluster, orders: Workflow[Order, Status], caplog: pytest.LogCaptureFixture
) -> None:
    """A restored backup: records without their events. The start of a process looks at once."""
    client = cluster.client()
    client.store.loses_events = True
    run_id = client.engine.trigger(orders, "o", Order())
    assert cluster.rows() == []
    cluster.driver.advance(6 * MINUTE)
    cluster.driver.serve(orders)
    cluster.driver.advance(2 * SECOND)
    assert cluster.record(run_id).state is RunState.COMPLETED
    assert "'order processor': 1 runs stood still and were nudged" in caplog.text


def test_step_that_is_deployed_under_waiting_runs_drives_them(cluster: Cluster) -> None:
    """Seen to fail when no round of the reconciler began with the start of a process."""

    def deploy(*, with_step: bool) -> Workflow[Order, Status]:
        orders = Workflow("order processor", Order, Status, ends=(Status.SHIPPED,))
        orders.add_step(Status.CREATED, lambda run: Status.PAID, to=(Status.PAID,))
        orders.add_callback(
            Status.PAID, lambda run: Status.SHIPPED, payload=None, to=(Status.SHIPPED,)
        )
        if with_step:
            orders.add_step(Status.PAID, lambda run: Status.SHIPPED, to=(Status.SHIPPED,))
        return orders

    before = deploy(with_step=False)
    serving = cluster.driver.serve(before)
    cluster.streamer.loses = lambda event: event.topic.endswith("-2")  # kept for a while only
    answers = cluster.engine.trigger_many(before, [Trigger(f"o{n}", Order()) for n in range(1200)])
    cluster.driver.advance(timedelta(hours=2))
    assert {cluster.record(str(i)).status for i in answers} == {2}
    serving.stop()
    cluster.streamer.loses = lambda event: False
    cluster.driver.serve(deploy(with_step=True))
    cluster.driver.advance(MINUTE)
    assert {cluster.record(str(i)).state for i in answers} == {RunState.COMPLETED}


def test_run_that_is_not_to_be_driven_is_left_alone(cluster: Cluster) -> None:
    """Seen to fail when the reconciler did not ask for drivable runs alone."""
    hour = timedelta(hours=1)
    day = timedelta(days=1)
    calls: list[str] = []
    orders = Workflow("order processor", Order, Status, ends=(Status.SHIPPED,))

    def body(run: OrderRun) -> object:
        calls.append(run.foreign_id)
        if run.foreign_id == "failing":
            raise ValueError("no")
        return {"paused": Pause("p"), "skipped": Skip(), "repeating": Repeat(day)}[run.foreign_id]

    retry = Retry(first=day, maximum=day, jitter=False)
    orders.add_step(Status.CREATED, body, to=(Status.SHIPPED,), retry=retry)
    orders.add_callback(
        Status.CREATED, lambda run: Status.SHIPPED, payload=None, to=(Status.SHIPPED,)
    )
    cluster.driver.serve(orders)
    for name in ("paused", "skipped", "repeating", "failing"):
        cluster.engine.trigger(orders, name, Order())
    cluster.engine.trigger(orders, "later", Order(), start_at=cluster.clock.now() + day)
    cluster.driver.run()
    sent = len(cluster.streamer.sent)
    cluster.driver.advance(20 * hour)
    assert sorted(calls) == ["failing", "paused", "repeating", "skipped"]
    assert len(cluster.streamer.sent) == sent


def test_stale_duplicates_are_harmless(
    cluster: Cluster, orders: Workflow[Order, Status], calls: list[str]
) -> None:
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "o", Order())
    cluster.driver.run()
    old = [event for event in cluster.streamer.sent if event.topic.endswith(("-1", "-2"))]
    copies = [OutboxEvent(event=e.replace(id=f"{e.id}{n}")) for e in old for n in range(3)]
    cluster.store.add_outbox_events(copies)
    cluster.driver.settle()
    assert calls == ["pay o", "ship o"]
    assert cluster.record(run_id).version == 3
    assert cluster.rows() == []


def test_reconciler_goes_on_after_a_store_that_was_away(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    client = cluster.client()
    client.store.loses_events = True
    run_id = client.engine.trigger(orders, "o", Order())
    cluster.driver.advance(6 * MINUTE)
    cluster.store.script.fail("list_records", times=5)
    cluster.driver.serve(orders)
    cluster.driver.advance(10 * SECOND)
    assert any(isinstance(each, AdapterUnavailableError) for each in cluster.driver.failures)
    assert cluster.record(run_id).state is RunState.COMPLETED


def test_lost_retry_is_found_after_its_time(cluster: Cluster) -> None:
    orders = Workflow("order processor", Order, Status, ends=(Status.SHIPPED,))
    attempts: list[int] = []

    @orders.step(Status.CREATED, retry=Retry(first=MINUTE, jitter=False))
    def pay(run: OrderRun) -> Literal[Status.SHIPPED]:
        attempts.append(run.attempt)
        if run.attempt == 1:
            raise ValueError("no")
        return Status.SHIPPED

    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "o", Order())
    cluster.driver.run()
    cluster.streamer.loses = lambda event: event.kind is EventKind.RETRY
    cluster.driver.advance(timedelta(hours=1))
    assert attempts == [1, 2]
    assert cluster.record(run_id).state is RunState.COMPLETED


def test_event_that_comes_too_early_is_filed_for_its_time(cluster: Cluster) -> None:
    """Seen to fail when an early event ran the step: the back-off was broken."""
    orders = Workflow("order processor", Order, Status, ends=(Status.SHIPPED,))
    attempts: list[int] = []

    @orders.step(Status.CREATED, retry=Retry(first=timedelta(hours=1), maximum=timedelta(hours=1), jitter=False))  # fmt: skip  # noqa: E501
    def pay(run: OrderRun) -> Literal[Status.SHIPPED]:
        attempts.append(run.attempt)
        if run.attempt == 1:
            raise ValueError("no")
        return Status.SHIPPED

    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "o", Order())
    cluster.driver.run()
    (retry,) = cluster.rows()
    nudge = retry.replace(id="nudge", kind=EventKind.NUDGE, target="")
    cluster.store.add_outbox_events([OutboxEvent(event=nudge)])
    cluster.driver.advance(timedelta(minutes=59))
    assert attempts == [1]
    assert len(cluster.rows()) == 2
    cluster.driver.settle()
    assert attempts == [1, 2]
    assert cluster.record(run_id).state is RunState.COMPLETED


# -- a stop in the middle --------------------------------------------------------------------------


def test_stop_during_a_look_up_begins_nothing_more(
    cluster: Cluster, orders: Workflow[Order, Status], calls: list[str]
) -> None:
    """Seen to fail when the looked-up items were put back after the entrance was closed."""
    serving = cluster.driver.serve(orders)
    client = cluster.client().engine
    run_ids = [client.trigger(orders, f"o{n}", Order()) for n in range(5)]

    def stop(call: str) -> None:
        if call == "lookup_many":
            cluster.store.script.heal()
            serving._window.close_entrance()

    cluster.store.script.after = stop
    cluster.driver.run()
    assert calls == []
    assert serving.stop() == []
    second = cluster.join("second")
    cluster.driver.serve(orders, engine=second.engine)
    cluster.driver.settle()
    assert {cluster.record(run_id).state for run_id in run_ids} == {RunState.COMPLETED}


def test_stop_is_ordered_though_the_store_is_away(
    cluster: Cluster, orders: Workflow[Order, Status]
) -> None:
    """Seen to fail when the first failure left roles and receivers open."""
    serving = cluster.driver.serve(orders)
    client = cluster.client().engine
    run_id = client.trigger(orders, "o", Order())
    cluster.store.script.fail()
    cluster.driver.advance(SECOND)
    cluster.engine.close()
    assert serving.wait(timedelta(0))
    assert serving.roles == []
    second = cluster.join("second")
    cluster.driver.serve(orders, engine=second.engine)
    cluster.driver.advance(30 * SECOND)
    assert cluster.record(run_id).state is RunState.COMPLETED
