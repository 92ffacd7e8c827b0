"""Retry now, move, begin again; and all of an operator's verbs on many runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal, cast

import pytest
from workflow_core.definition import Repeat, Retry, Run, Skip, Workflow
from workflow_core.engine import Bulk, BulkProgress, EngineSettings
from workflow_core.errors import (
    InputError,
    RunEndedError,
    RunInProgressError,
    RunNotFoundError,
    RunPausedError,
    RunStateError,
    UnknownStatusError,
)
from workflow_core.model import RecordQuery, RunState

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


class Status(IntEnum):
    CREATED = 1
    WAITING = 2
    PAID = 3
    SHIPPED = 4
    UNUSED = 5


class Other(IntEnum):
    WAITING = 2


@dataclass
class Order:
    total: int = 0


OrderRun = Run[Order, Status]
Flow = Workflow[Order, Status]


def orders_with(body: Callable[[OrderRun], object]) -> Flow:
    """What `body` answers, `pay` answers; None: it goes on."""
    orders = Workflow("orders", Order, Status, ends=(Status.SHIPPED,), starts=(Status.CREATED,))

    def pay(run: OrderRun) -> object:
        return body(run) or Status.PAID

    orders.add_step(
        Status.CREATED,
        pay,
        to=[Status.PAID, Status.WAITING],
        retry=Retry(first=HOUR, maximum=HOUR, pause_after=3),
    )

    @orders.callback(Status.WAITING)
    def go_on(run: OrderRun) -> Literal[Status.PAID]:
        return Status.PAID

    @orders.timeout(Status.WAITING, after=10 * MINUTE)
    def give_up(run: OrderRun) -> Literal[Status.SHIPPED]:
        return Status.SHIPPED

    @orders.step(Status.PAID)
    def ship(run: OrderRun) -> Literal[Status.SHIPPED]:
        return Status.SHIPPED

    return orders


def served(cluster: Cluster, body: Callable[[OrderRun], object] = lambda run: None) -> Flow:
    orders = orders_with(body)
    cluster.driver.serve(orders)
    return orders


def fails_once(run: OrderRun) -> None:
    if run.attempt == 1:
        raise ValueError("no")


# -- retry now


def test_retry_now_ends_a_back_off_and_counts_on(cluster: Cluster) -> None:
    """Seen to fail without the event."""
    attempts: list[int] = []

    def body(run: OrderRun) -> None:
        attempts.append(run.attempt)
        if run.attempt < 3:
            raise ValueError("no")
        assert run.resumed is not None
        assert (run.resumed.who, run.resumed.why) == ("ada", "it works again")

    orders = served(cluster, body)
    run_id = cluster.engine.trigger(orders, "o", Order())
    for _ in range(2):
        cluster.driver.run()
        cluster.engine.retry_now(run_id, who="ada", why="it works again")
    cluster.driver.run()
    assert attempts == [1, 2, 3]
    assert cluster.record(run_id).state is RunState.COMPLETED
    reasons = [entry.reason for entry in cluster.engine.history(run_id)]
    assert reasons.count("tried again by ada: it works again") >= 2


def test_retry_now_brings_a_start_and_a_repeat_forward(cluster: Cluster) -> None:
    def body(run: OrderRun) -> object:
        return None if run.repeat else Repeat(after=HOUR)

    orders = served(cluster, body)
    start = cluster.clock.now()
    run_id = cluster.engine.trigger(orders, "o", Order(), start_at=start + HOUR)
    cluster.driver.run()
    cluster.engine.retry_now(run_id, who="ada")
    cluster.driver.run()
    assert cluster.record(run_id).repeat == 1
    cluster.engine.retry_now(run_id, who="ada")
    cluster.driver.run()
    assert cluster.record(run_id).state is RunState.COMPLETED
    assert cluster.clock.now() == start


def test_retry_now_runs_a_step_again_that_answered_skip(cluster: Cluster) -> None:
    calls: list[int] = []

    def body(run: OrderRun) -> object:
        calls.append(run.version)
        return Skip() if len(calls) == 1 else None

    orders = Workflow("orders", Order, Status, ends=(Status.SHIPPED,))
    orders.add_step(Status.CREATED, lambda run: body(run) or Status.SHIPPED, to=[Status.SHIPPED])

    @orders.callback(Status.CREATED)
    def go_on(run: OrderRun) -> Literal[Status.SHIPPED]:
        return Status.SHIPPED

    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "o", Order())
    cluster.driver.run()
    assert cluster.record(run_id).skipped
    cluster.engine.retry_now(run_id, who="ada")
    cluster.driver.run()
    assert cluster.record(run_id).state is RunState.COMPLETED


def test_retry_now_is_refused_where_it_does_not_fit(cluster: Cluster) -> None:
    orders = served(cluster)
    ended = cluster.engine.trigger(orders, "ended", Order())
    cluster.driver.run()
    paused = cluster.engine.trigger(orders, "paused", Order())
    cluster.engine.pause(paused, reason="x")
    with pytest.raises(RunEndedError):
        cluster.engine.retry_now(ended, who="ada")
    with pytest.raises(RunPausedError, match="Resume it"):
        cluster.engine.retry_now(paused, who="ada")
    with pytest.raises(RunNotFoundError):
        cluster.engine.retry_now("nobody", who="ada")


# -- move


@pytest.mark.parametrize("is_paused", [False, True])
def test_moved_run_goes_on_from_there_with_its_data(cluster: Cluster, is_paused: bool) -> None:
    """Seen to fail without the event of the new version."""
    orders = served(cluster, lambda run: Repeat(after=HOUR))
    run_id = cluster.engine.trigger(orders, "o", Order(total=7))
    cluster.driver.run()
    if is_paused:
        cluster.engine.pause(run_id, reason="x")
    cluster.engine.move(orders, run_id, Status.PAID, who="ada", why="paid by cheque")
    moved = cluster.record(run_id)
    assert (moved.status, moved.state) == (Status.PAID, RunState.RUNNING)
    assert moved.resumed is not None
    assert (moved.resumed.who, moved.resumed.why) == ("ada", "paid by cheque")
    cluster.driver.run()
    done = cluster.engine.view(orders, run_id)
    assert (done.state, done.data.total) == (RunState.COMPLETED, 7)
    reasons = [entry.reason for entry in cluster.engine.history(run_id)]
    assert "moved to PAID by ada: paid by cheque" in reasons


def test_move_cancels_the_timer_of_the_old_stay_and_arms_that_of_the_new(cluster: Cluster) -> None:
    orders = served(cluster, lambda run: Status.WAITING)
    run_id = cluster.engine.trigger(orders, "o", Order())
    cluster.driver.run()
    cluster.driver.advance(6 * MINUTE)
    cluster.engine.move(orders, run_id, Status.WAITING, who="ada")
    cluster.driver.advance(6 * MINUTE)
    assert cluster.record(run_id).status == Status.WAITING
    cluster.driver.advance(5 * MINUTE)
    assert cluster.record(run_id).state is RunState.COMPLETED


def test_move_to_an_end_ends_the_run(cluster: Cluster) -> None:
    orders = served(cluster, lambda run: Status.WAITING)
    run_id = cluster.engine.trigger(orders, "o", Order())
    cluster.driver.run()
    cluster.engine.move(orders, run_id, Status.SHIPPED, who="ada")
    assert cluster.record(run_id).state is RunState.COMPLETED
    with pytest.raises(RunEndedError):
        cluster.engine.move(orders, run_id, Status.PAID, who="ada")


def test_move_is_refused_where_nothing_would_move_the_run_on(cluster: Cluster) -> None:
    orders = served(cluster, lambda run: Status.WAITING)
    run_id = cluster.engine.trigger(orders, "o", Order())
    with pytest.raises(UnknownStatusError, match="UNUSED, from where nothing would move it on"):
        cluster.engine.move(orders, run_id, Status.UNUSED, who="ada")
    with pytest.raises(UnknownStatusError):
        cluster.engine.move(orders, run_id, cast("Any", Other.WAITING), who="ada")
    others = Workflow("others", Order, Status, ends=(Status.SHIPPED,))
    others.add_step(Status.CREATED, lambda run: Status.SHIPPED, to=[Status.SHIPPED])
    with pytest.raises(InputError, match="is one of 'orders'"):
        cluster.engine.move(others, run_id, Status.CREATED, who="ada")
    assert cluster.record(run_id).version == 1


def test_result_of_a_step_that_runs_while_it_is_moved_is_dropped(cluster: Cluster) -> None:
    def body(run: OrderRun) -> object:
        if run.version == 1:
            cluster.engine.move(orders, run.run_id, Status.WAITING, who="ada")
        return None

    orders = served(cluster, body)
    run_id = cluster.engine.trigger(orders, "o", Order())
    cluster.driver.run()
    assert cluster.record(run_id).status == Status.WAITING


# -- begin again


def test_begin_again_makes_a_new_run_of_the_same_foreign_id(cluster: Cluster) -> None:
    orders = served(cluster)
    old = cluster.engine.trigger(orders, "o", Order(total=7))
    cluster.driver.run()
    same = cluster.engine.begin_again(orders, old, who="ada", why="sent to the wrong town")
    cluster.driver.run()
    view = cluster.engine.view(orders, same)
    assert (view.foreign_id, view.data.total, view.state) == ("o", 7, RunState.COMPLETED)
    assert cluster.record(same).headers == {
        "begun again from": old,
        "begun again by": "ada",
        "begun again because": "sent to the wrong town",
    }
    other = cluster.engine.begin_again(
        orders, old, status=Status.WAITING, data=Order(total=8), who="ada"
    )
    cluster.driver.run()
    view = cluster.engine.view(orders, other)
    assert (view.status, view.data.total) == (Status.WAITING, 8)
    with pytest.raises(RunInProgressError) as caught:
        cluster.engine.begin_again(orders, old, who="ada")
    assert caught.value.live_run_id == other


# -- many runs


def many(cluster: Cluster, orders: Flow, count: int) -> list[str]:
    return [cluster.engine.trigger(orders, f"order-{n}", Order()) for n in range(count)]


def test_bulk_changes_each_run_that_matches_and_no_other(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In batches: each is one transaction. Seen to fail with one page alone."""
    monkeypatch.setattr("workflow_core.engine.bulk._BATCH", 3)
    orders = orders_with(lambda run: None)
    run_ids = many(cluster, orders, 8)
    cluster.engine.cancel(run_ids[0], reason="x")
    seen: list[int] = []
    cluster.store.script.calls.clear()
    query = RecordQuery(workflow="orders", states=[RunState.INITIATED], limit=1)
    done = cluster.engine.bulk(query, on_progress=lambda p: seen.append(p.seen)).pause(reason="y")
    assert (done.changed, done.unchanged, done.refused, done.seen) == (7, 0, 0, 7)
    assert seen == [3, 6, 7]
    assert cluster.store.script.calls["commit"] == 3
    states = [cluster.record(run_id).state for run_id in run_ids]
    assert states == [RunState.CANCELLED, *[RunState.PAUSED] * 7]


def test_every_verb_is_there_for_many_and_for_asyncio(cluster: Cluster) -> None:
    orders = served(cluster, fails_once)
    run_ids = many(cluster, orders, 4)
    cluster.driver.run()
    query = RecordQuery(workflow="orders", run_ids=run_ids)

    async def steer() -> list[BulkProgress]:
        chosen = cluster.engine.aio.bulk(query)
        return [
            await chosen.pause(reason="x"),
            await chosen.pause(reason="again"),
            await chosen.resume(who="ada"),
            await chosen.resume(who="ada"),
            await chosen.move(orders, Status.WAITING, who="ada"),
            await chosen.retry_now(who="ada"),
            await chosen.cancel(reason="x"),
            await chosen.cancel(reason="again"),
        ]

    done = asyncio.run(steer())
    told = [(p.changed, p.unchanged, p.refused) for p in done]
    assert told == [(4, 0, 0), (0, 4, 0), (4, 0, 0), (0, 0, 4)] + [(4, 0, 0)] * 3 + [(0, 0, 4)]
    assert {type(error) for error in done[3].errors.values()} == {RunStateError}
    assert {type(error) for error in done[7].errors.values()} == {RunEndedError}


def test_single_verbs_are_there_for_asyncio(cluster: Cluster) -> None:
    orders = served(cluster, fails_once)
    (run_id,) = many(cluster, orders, 1)
    cluster.driver.run()

    async def steer() -> str:
        await cluster.engine.aio.retry_now(run_id, who="ada")
        await cluster.engine.aio.move(orders, run_id, Status.SHIPPED, who="ada")
        return await cluster.engine.aio.begin_again(orders, run_id, who="ada")

    assert cluster.record(asyncio.run(steer())).version == 1


@pytest.mark.parametrize("query", [RecordQuery(), RecordQuery(workflow="orders")])
def test_everything_is_refused_unless_it_is_said(cluster: Cluster, query: RecordQuery) -> None:
    """Seen to fail without the guard."""
    orders = orders_with(lambda run: None)
    run_ids = many(cluster, orders, 3)
    with pytest.raises(InputError, match=r"this would be every run.*everything=True"):
        cluster.engine.bulk(query)
    done = cluster.engine.bulk(query, everything=True).cancel(reason="shop closed")
    assert done.changed == 3
    assert {cluster.record(run_id).reason for run_id in run_ids} == {"shop closed"}


def test_bulk_leaves_the_engine_s_own_records_alone(cluster: Cluster) -> None:
    orders = orders_with(lambda run: None)
    orders.schedule("hourly", every=HOUR)(lambda tick: None)
    cluster.driver.serve(orders)
    cluster.driver.run()
    done = cluster.engine.bulk(RecordQuery(), everything=True).cancel(reason="x")
    assert done.seen == 0
    with pytest.raises(InputError, match="the engine's own"):
        cluster.engine.bulk(RecordQuery(workflow="_schedules", states=[RunState.RUNNING]))


def test_bulk_that_loses_against_others_decides_again(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another operator writes between its look and its write. Seen to fail with one try."""
    orders = orders_with(lambda run: None)
    run_ids = many(cluster, orders, 3)
    rival = cluster.client().engine
    commit = Bulk._commit
    interrupted: list[int] = []

    def interrupt(bulk: Bulk, writes: Any, progress: BulkProgress) -> Any:
        if not interrupted:
            rival.pause(run_ids[1], reason="first")
            rival.resume(run_ids[1], who="rival")
        interrupted.append(len(writes))
        return commit(bulk, writes, progress)

    monkeypatch.setattr(Bulk, "_commit", interrupt)
    done = cluster.engine.bulk(RecordQuery(run_ids=run_ids)).cancel(reason="x")
    assert (done.changed, done.refused) == (3, 0)
    assert interrupted == [3, 1]
    assert {cluster.record(run_id).state for run_id in run_ids} == {RunState.CANCELLED}


def test_runs_begun_meanwhile_do_not_keep_it_going(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflow_core.engine.bulk._BATCH", 1)
    orders = orders_with(lambda run: None)
    many(cluster, orders, 2)
    cluster.clock.advance(MINUTE)

    def begin_one_more(progress: BulkProgress) -> None:
        cluster.clock.advance(MINUTE)
        cluster.engine.trigger(orders, f"late-{progress.seen}", Order())

    query = RecordQuery(workflow="orders", states=[RunState.INITIATED])
    done = cluster.engine.bulk(query, on_progress=begin_one_more).cancel(reason="x")
    assert done.changed == 2


def test_answer_that_is_lost_counts_once(cluster: Cluster) -> None:
    orders = orders_with(lambda run: None)
    run_ids = many(cluster, orders, 3)
    cluster.store.script.fail("commit", took_effect=True, times=1)
    done = cluster.engine.bulk(RecordQuery(run_ids=run_ids)).cancel(reason="x")
    assert (done.changed, done.refused) == (3, 0)


def test_row_that_the_store_refuses_harms_no_other(cluster: Cluster) -> None:
    orders = orders_with(lambda run: None)
    run_ids = many(cluster, orders, 3)
    cluster.store.refuses = lambda record: record.run_id == run_ids[1]
    done = cluster.engine.bulk(RecordQuery(run_ids=run_ids)).cancel(reason="x")
    assert (done.changed, done.refused, list(done.errors)) == (2, 1, [run_ids[1]])


def test_who_paused_or_cancelled_is_kept_with_the_reason(cluster: Cluster) -> None:
    """In the history too, when others have steered it since. Seen to fail without `told`."""
    orders = orders_with(lambda run: Status.PAID)
    run_ids = [cluster.engine.trigger(orders, f"order-{n}", Order()) for n in range(2)]
    one, many = run_ids[0], cluster.engine.bulk(RecordQuery(run_ids=run_ids))
    cluster.engine.pause(one, reason="bank is closed", who="ada")
    cluster.engine.resume(one, who="bob")
    asyncio.run(cluster.engine.aio.cancel(one, reason="sold out", who="bob"))
    many.pause(reason="look", who="eve")
    reasons = [entry.reason for entry in cluster.engine.history(one) if entry.reason]
    assert reasons == [
        "paused by ada: bank is closed",
        "resumed by bob",
        "cancelled by bob: sold out",
    ]
    assert cluster.record(run_ids[1]).reason == "paused by eve: look"


def test_history_tells_by_whom_and_why_for_each_verb(cluster: Cluster) -> None:
    """Once each: in the version that it made and in none after. Seen to fail with a resume that
    left no reason, and with a failed attempt that kept the one before it."""
    orders = served(cluster, fails_once)
    engine = cluster.engine
    run_id = engine.trigger(orders, "o", Order())
    engine.pause(run_id, who="ada", reason="bank is closed")
    engine.resume(run_id, who="bob", why="it is open")
    cluster.driver.run()
    engine.retry_now(run_id, who="eve", why="in a hurry")
    engine.move(orders, run_id, Status.WAITING, who="dan", why="to be paid")
    engine.cancel(run_id, who="ada", reason="sold out")
    again = engine.begin_again(orders, run_id, who="bob", why="found one")
    cluster.driver.run()

    def reasons(run_id: str) -> list[str]:
        return [entry.reason for entry in engine.history(run_id)]

    assert reasons(run_id) == [
        "",
        "paused by ada: bank is closed",
        "resumed by bob: it is open",
        "",  # the attempt that failed
        "tried again by eve: in a hurry",
        "moved to WAITING by dan: to be paid",
        "cancelled by ada: sold out",
    ]
    assert reasons(again)[0] == f"begun again from {run_id} by bob: found one"
    assert not any(reasons(again)[1:])
    engine.delete_data(orders, run_id, who="eve", why="request 4711")
    told = [reason for reason in reasons(run_id) if reason]
    assert set(told) == {"data deleted by eve: request 4711"}


def test_history_tells_that_nobody_resumed_what_the_workflow_did(
    make_cluster: Callable[..., Cluster],
) -> None:
    settings = EngineSettings(auto_resume_after=MINUTE, auto_resumes=1)
    cluster = make_cluster(settings=settings)

    def fails(run: OrderRun) -> None:
        raise ValueError("no")

    orders = served(cluster, fails)
    run_id = cluster.engine.trigger(orders, "o", Order())
    cluster.driver.advance(3 * HOUR)
    reasons = [entry.reason for entry in cluster.engine.history(run_id)]
    told = "resumed by workflow: automatic resume 1 of at most 1 in a row"
    assert reasons.count(told) == 1
