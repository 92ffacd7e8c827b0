"""Steps through the driver: what each answer does to the run, sync and async."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal

import pytest
from workflow_core.definition import Cancel, Pause, Repeat, Retry, Run, Skip, Workflow
from workflow_core.errors import ServingError
from workflow_core.model import PauseKind, RunState

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster


class Status(IntEnum):
    CREATED = 1
    PAID = 2
    SHIPPED = 3
    REFUSED = 4


class Other(IntEnum):
    PAID = 2


@dataclass
class Order:
    total: int = 0
    notes: list[str] = field(default_factory=list)


OrderRun = Run[Order, Status]


def answering(answer: Callable[[OrderRun], Any], *, is_async: bool) -> Workflow[Order, Status]:
    """A workflow whose first step answers whatever the test says."""
    orders = Workflow("order processor", Order, Status, ends=(Status.SHIPPED, Status.REFUSED))

    def plain(run: OrderRun) -> Any:
        return answer(run)

    async def asynchronous(run: OrderRun) -> Any:
        await asyncio.sleep(0)
        return answer(run)

    body = asynchronous if is_async else plain
    orders.add_step(Status.CREATED, body, to=(Status.PAID, Status.REFUSED))
    orders.add_step(Status.PAID, lambda run: Status.SHIPPED, to=(Status.SHIPPED, Status.CREATED))
    orders.add_callback(Status.CREATED, lambda run: Status.PAID, payload=None, to=(Status.PAID,))
    return orders


@pytest.fixture(params=["sync", "async"])
def is_async(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "async")


def noting(note: str, answer: object) -> Callable[[OrderRun], object]:
    def body(run: OrderRun) -> object:
        run.data.notes.append(note)
        return answer

    return body


# -- declared answers ------------------------------------------------------------------------------


def test_run_goes_from_status_to_status_until_it_ends(cluster: Cluster, is_async: bool) -> None:
    orders = answering(noting("checked", Status.PAID), is_async=is_async)
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order(total=9))
    cluster.driver.run()
    seen = cluster.engine.view(orders, run_id)
    assert (seen.status, seen.state, seen.version) == (Status.SHIPPED, RunState.COMPLETED, 3)
    assert seen.data == Order(total=9, notes=["checked"])
    assert cluster.record(run_id).passed == {1: 1, 2: 2}
    assert cluster.rows() == []


def test_data_may_be_replaced(cluster: Cluster, is_async: bool) -> None:
    def replace(run: OrderRun) -> Status:
        run.data = Order(total=run.data.total + 1)
        return Status.PAID

    orders = answering(replace, is_async=is_async)
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order(total=9, notes=["old"]))
    cluster.driver.run()
    assert cluster.engine.view(orders, run_id).data == Order(total=10)


def test_pause_saves_data_and_stands_still_until_resumed(cluster: Cluster, is_async: bool) -> None:
    def approve(run: OrderRun) -> object:
        run.data.notes.append("seen")
        return Status.PAID if run.resumed else Pause("needs approval")

    orders = answering(approve, is_async=is_async)
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.driver.advance(timedelta(days=2))
    paused = cluster.record(run_id)
    assert (paused.state, paused.pause_kind) == (RunState.PAUSED, PauseKind.STEP)
    seen = cluster.engine.view(orders, run_id)
    assert (seen.reason, seen.data.notes, seen.version) == ("needs approval", ["seen"], 2)
    cluster.engine.resume(run_id, who="ann", why="approved")
    cluster.driver.settle()
    seen = cluster.engine.view(orders, run_id)
    assert (seen.state, seen.data.notes) == (RunState.COMPLETED, ["seen", "seen"])


def test_cancel_saves_data_and_ends_the_run(cluster: Cluster, is_async: bool) -> None:
    orders = answering(noting("sold out", Cancel("no stock")), is_async=is_async)
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.driver.settle()
    seen = cluster.engine.view(orders, run_id)
    assert (seen.status, seen.state) == (Status.CREATED, RunState.CANCELLED)
    assert (seen.reason, seen.data.notes) == ("no stock", ["sold out"])
    # the foreign id is free again
    assert cluster.engine.trigger(orders, "order-1", Order()) != run_id


def test_skip_saves_nothing_and_leaves_the_run(cluster: Cluster, is_async: bool) -> None:
    calls: list[str] = []

    def skip(run: OrderRun) -> object:
        calls.append(run.run_id)
        run.data.notes.append("not saved")
        return Skip()

    orders = answering(skip, is_async=is_async)
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.driver.advance(timedelta(hours=2))
    record = cluster.record(run_id)
    assert (record.skipped, record.state, record.version) == (True, RunState.RUNNING, 2)
    assert cluster.engine.view(orders, run_id).data.notes == []
    assert calls == [run_id]  # nothing drives it: neither an event nor the reconciler
    assert cluster.rows() == []


def test_repeat_saves_data_and_runs_the_step_again(cluster: Cluster, is_async: bool) -> None:
    keys: list[str] = []

    def count(run: OrderRun) -> object:
        keys.append(run.idempotency_key)
        run.data.total += 1
        return Repeat() if run.data.total < 4 else Status.PAID

    orders = answering(count, is_async=is_async)
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.driver.settle()
    assert cluster.engine.view(orders, run_id).data.total == 4
    assert keys == [f"{run_id}/1/{n}" for n in range(4)]


def test_repeat_waits_for_its_delay(cluster: Cluster, is_async: bool) -> None:
    start = cluster.clock.now()
    at: list[timedelta] = []

    def poll(run: OrderRun) -> object:
        at.append(cluster.since(start))
        return Status.PAID if len(at) == 3 else Repeat(after=timedelta(minutes=10))

    orders = answering(poll, is_async=is_async)
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.driver.advance(timedelta(minutes=1))
    assert cluster.record(run_id).next_try_at == start + timedelta(minutes=10)
    cluster.driver.settle()
    assert [round(each.total_seconds()) for each in at] == [0, 600, 1200]
    assert cluster.record(run_id).state is RunState.COMPLETED


def test_repeat_without_delay_for_ever_is_told_by_the_driver(joined: Cluster) -> None:
    orders = answering(lambda run: Repeat(), is_async=False)
    joined.driver.serve(orders)
    run_id = joined.engine.trigger(orders, "order-1", Order())
    with pytest.raises(ServingError, match="Repeat"):
        joined.driver.run(limit=500)
    joined.engine.cancel(run_id, reason="enough")


def test_step_sees_its_run(cluster: Cluster, is_async: bool) -> None:
    seen: list[OrderRun] = []

    def look(run: OrderRun) -> Status:
        seen.append(run)
        return Status.PAID

    orders = answering(look, is_async=is_async)
    cluster.driver.serve(orders)
    start = cluster.clock.now()
    run_id = cluster.engine.trigger(orders, "order-1", Order(), headers={"trace": "abc"})
    cluster.driver.run()
    (run,) = seen
    assert (run.run_id, run.foreign_id, run.workflow) == (run_id, "order-1", "order processor")
    assert (run.version, run.entered_version, run.repeat, run.attempt) == (1, 1, 0, 1)
    assert (run.created_at, run.entered_at) == (start, start)
    assert (run.headers, run.resumed, run.cancelled) == ({"trace": "abc"}, None, False)


# -- undeclared answers ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        pytest.param(Other.PAID, "Other.PAID", id="foreign enum of an equal number"),
        pytest.param(2, "type int", id="int"),
        pytest.param(None, "type NoneType", id="None"),
        pytest.param("PAID", "type str", id="str"),
        pytest.param(Status.SHIPPED, "Status.SHIPPED", id="undeclared status"),
        pytest.param(Pause, "type type", id="class of a directive"),
        pytest.param(Order(notes=["secret"]), "type Order", id="data"),
    ],
)
def test_undeclared_answer_is_a_failed_attempt(
    cluster: Cluster, is_async: bool, answer: object, shown: str
) -> None:
    orders = answering(noting("not saved", answer), is_async=is_async)
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.driver.run()
    record = cluster.record(run_id)
    assert (record.attempts, record.state, record.status) == (1, RunState.INITIATED, 1)
    assert "DefinitionError" in record.last_error
    assert shown in record.last_error
    assert "PAID, REFUSED" in record.last_error
    assert "secret" not in record.last_error
    assert cluster.engine.view(orders, run_id).data.notes == []


def test_coroutine_for_an_answer_is_a_failed_attempt_and_left_open_by_nobody(
    cluster: Cluster, is_async: bool
) -> None:
    """Seen to fail without its being closed: Python warns of what was never awaited."""
    begun: list[Coroutine[Any, Any, Status]] = []

    async def ask() -> Status:
        return Status.PAID

    def forget_to_await(run: OrderRun) -> object:
        begun.append(ask())
        return begun[-1]

    orders = answering(forget_to_await, is_async=is_async)
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.driver.run()
    record = cluster.record(run_id)
    assert (record.attempts, record.status) == (1, Status.CREATED)
    assert "answered a value of type coroutine, which nobody awaits" in record.last_error
    assert [inspect.getcoroutinestate(each) for each in begun] == [inspect.CORO_CLOSED]


def test_undeclared_directive_is_a_failed_attempt(cluster: Cluster) -> None:
    orders = Workflow("order processor", Order, Status, ends=(Status.SHIPPED,))

    @orders.step(Status.CREATED)
    def ship(run: OrderRun) -> Literal[Status.SHIPPED]:
        return Pause("not declared")  # type: ignore[return-value]

    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.driver.run()
    record = cluster.record(run_id)
    assert (record.attempts, record.state) == (1, RunState.INITIATED)
    assert "it declares SHIPPED" in record.last_error


# -- data that cannot be read or written -----------------------------------------------------------


def test_undecodable_data_is_a_failed_attempt_and_stays_as_it_is(
    cluster: Cluster, is_async: bool
) -> None:
    """Old and new code side by side. Seen to fail when a failed attempt encoded the data anew."""
    orders = answering(lambda run: Status.PAID, is_async=is_async)
    newer = b'{"total": "ninety-nine", "notes": [], "added": 1}'
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    table = cluster.records.runs.rows
    table[run_id] = table[run_id].replace(data=newer)
    cluster.driver.advance(timedelta(seconds=1))
    cluster.driver.serve(orders)
    cluster.driver.run()
    record = cluster.record(run_id)
    assert (record.attempts, record.data) == (1, newer)
    assert "DecodeError" in record.last_error
    assert "ninety-nine" not in record.last_error


def test_failed_attempt_keeps_the_very_bytes(cluster: Cluster, is_async: bool) -> None:
    """Seen to fail when a failed attempt stored the encoded data."""

    def spoil(run: OrderRun) -> object:
        run.data.total = 7
        raise ValueError("no")

    orders = answering(spoil, is_async=is_async)
    newer = b'{"notes": [], "total": 1,   "added": {"by": "newer code"}}'
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    table = cluster.records.runs.rows
    table[run_id] = table[run_id].replace(data=newer)
    cluster.driver.advance(timedelta(seconds=1))
    cluster.driver.serve(orders)
    cluster.driver.run()
    assert cluster.record(run_id).data == newer
    assert cluster.record(run_id).attempts == 1


def test_unknown_fields_survive_a_step_of_older_code(cluster: Cluster) -> None:
    """Seen to fail when the data was encoded without the bytes it was decoded from."""
    orders = answering(noting("seen", Status.PAID), is_async=False)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    table = cluster.records.runs.rows
    table[run_id] = table[run_id].replace(data=b'{"total":1,"notes":[],"added":{"by":"newer"}}')
    cluster.driver.advance(timedelta(seconds=1))
    cluster.driver.serve(orders)
    cluster.driver.run()
    record = cluster.record(run_id)
    assert record.state is RunState.COMPLETED
    assert b'"added":{"by":"newer"}' in record.data
    assert b"seen" in record.data


def test_data_that_cannot_be_encoded_is_a_failed_attempt(cluster: Cluster, is_async: bool) -> None:
    def spoil(run: OrderRun) -> object:
        run.data.total = "secret"  # type: ignore[assignment]
        return Status.PAID

    orders = answering(spoil, is_async=is_async)
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order(total=3))
    cluster.driver.run()
    record = cluster.record(run_id)
    assert (record.attempts, record.status) == (1, 1)
    assert "PayloadError" in record.last_error
    assert "secret" not in record.last_error
    assert cluster.engine.view(orders, run_id).data == Order(total=3)


def test_data_over_the_limit_is_a_failed_attempt(joined: Cluster) -> None:
    orders = Workflow("order processor", Order, Status, ends=(Status.SHIPPED,), max_data_bytes=200)

    @orders.step(Status.CREATED)
    def grow(run: OrderRun) -> Literal[Status.SHIPPED]:
        run.data.notes.append("x" * 300)
        return Status.SHIPPED

    joined.driver.serve(orders)
    run_id = joined.engine.trigger(orders, "order-1", Order())
    joined.driver.run()
    assert "PayloadTooLargeError" in joined.record(run_id).last_error
    assert joined.engine.view(orders, run_id).data == Order()


# -- what bodies raise -----------------------------------------------------------------------------


class RudeError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(ValueError("no"), id="exception"),
        pytest.param(SystemExit(3), id="exit"),
        pytest.param(asyncio.CancelledError(), id="cancelled from within"),
        pytest.param(RudeError(), id="without a text"),
        pytest.param(StopIteration(), id="stop iteration"),
    ],
)
def test_whatever_a_body_raises_is_a_failed_attempt(
    cluster: Cluster, is_async: bool, error: BaseException
) -> None:
    """Seen to fail when an async body's own CancelledError counted as abandoned: stuck for good."""
    raised: list[int] = []

    def fail_once(run: OrderRun) -> Status:
        raised.append(run.attempt)
        if run.attempt == 1:
            raise error
        return Status.PAID

    orders = answering(fail_once, is_async=is_async)
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.driver.run()
    assert cluster.record(run_id).attempts == 1
    cluster.driver.settle()
    assert raised == [1, 2]
    assert cluster.record(run_id).state is RunState.COMPLETED


def test_key_is_the_same_over_failures_pause_and_resume(cluster: Cluster) -> None:
    keys: list[str] = []

    def pay(run: OrderRun) -> object:
        keys.append(run.idempotency_key)
        if run.resumed is None:
            raise TimeoutError("the answer was lost")
        return Status.PAID

    orders = answering(pay, is_async=False)
    orders.check()
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.driver.advance(timedelta(seconds=5))
    cluster.engine.pause(run_id, reason="look")
    cluster.engine.resume(run_id, who="ann")
    cluster.driver.settle()
    assert len(keys) > 3
    assert set(keys) == {f"{run_id}/1/0"}


# -- retry -----------------------------------------------------------------------------------------


def failing(retry: Retry, error: type[Exception] = ValueError) -> Workflow[Order, Status]:
    orders = Workflow("order processor", Order, Status, ends=(Status.SHIPPED, Status.REFUSED))

    @orders.step(Status.CREATED, retry=retry)
    def pay(run: OrderRun) -> Literal[Status.SHIPPED, Status.REFUSED]:
        raise error(f"attempt {run.attempt}")

    return orders


def test_retries_come_exactly_by_the_schedule(cluster: Cluster) -> None:
    """Seen to fail when the delay of the event was left out."""
    start = cluster.clock.now()
    at: list[float] = []
    retry = Retry(
        first=timedelta(seconds=1), factor=3, maximum=timedelta(seconds=20), jitter=False,
        pause_after=6,
    )  # fmt: skip
    orders = Workflow("order processor", Order, Status, ends=(Status.SHIPPED,))

    @orders.step(Status.CREATED, retry=retry)
    def pay(run: OrderRun) -> Literal[Status.SHIPPED]:
        at.append(round(cluster.since(start).total_seconds(), 1))
        raise ValueError("no")

    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.driver.advance(timedelta(minutes=5))
    assert at == [0, 1, 4, 13, 33, 53]
    record = cluster.record(run_id)
    assert (record.state, record.pause_kind) == (RunState.PAUSED, PauseKind.AUTOMATIC)
    assert record.attempts == 6
    assert record.reason.startswith("pay failed 6 times")


def test_failure_is_in_the_record_and_can_be_searched(cluster: Cluster) -> None:
    orders = failing(Retry(first=timedelta(minutes=4), jitter=False))
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    start = cluster.clock.now()
    cluster.driver.run()
    seen = cluster.engine.view(orders, run_id)
    assert (seen.attempts, seen.last_error) == (1, "ValueError: attempt 1")
    assert seen.next_try_at == start + timedelta(minutes=4)


def test_retries_go_on_after_a_restart(cluster: Cluster) -> None:
    orders = failing(Retry(first=timedelta(minutes=2), jitter=False, pause_after=3))
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.driver.run()
    cluster.kill(cluster.engine, "first")
    second = cluster.join("second")
    cluster.driver.serve(orders, engine=second.engine)
    cluster.driver.advance(timedelta(seconds=119))
    assert cluster.record(run_id).attempts == 1
    cluster.driver.advance(timedelta(seconds=2))
    assert cluster.record(run_id).attempts == 2
    cluster.driver.settle()
    assert (cluster.record(run_id).attempts, cluster.record(run_id).state) == (3, RunState.PAUSED)


def test_error_of_never_pauses_at_once(cluster: Cluster) -> None:
    orders = failing(Retry(never=(LookupError,)), KeyError)
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.driver.run()
    record = cluster.record(run_id)
    assert (record.state, record.pause_kind, record.attempts) == (
        RunState.PAUSED,
        PauseKind.AUTOMATIC,
        1,
    )


def test_giving_up_goes_to_the_status_of_then(cluster: Cluster) -> None:
    orders = failing(Retry(pause_after=2, then=Status.REFUSED))
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "order-1", Order(total=5))
    cluster.driver.settle()
    seen = cluster.engine.view(orders, run_id)
    assert (seen.status, seen.state, seen.data.total) == (Status.REFUSED, RunState.COMPLETED, 5)
    assert seen.last_error == "ValueError: attempt 2"


def test_failing_run_holds_up_no_other(cluster: Cluster) -> None:
    """Seen to fail when a failed attempt was not committed but tried again on the spot."""
    orders = Workflow("order processor", Order, Status, ends=(Status.SHIPPED,))

    @orders.step(Status.CREATED, retry=Retry(pause_after=5), concurrency=1)
    def pay(run: OrderRun) -> Literal[Status.PAID]:
        if run.foreign_id == "bad":
            raise ValueError("no")
        return Status.PAID

    @orders.step(Status.PAID)
    def ship(run: OrderRun) -> Literal[Status.SHIPPED]:
        return Status.SHIPPED

    cluster.driver.serve(orders)
    bad = cluster.engine.trigger(orders, "bad", Order())
    good = [cluster.engine.trigger(orders, f"order-{n}", Order()) for n in range(100)]
    cluster.driver.run()  # no time passes
    assert {cluster.record(run_id).state for run_id in good} == {RunState.COMPLETED}
    assert cluster.record(bad).attempts == 1
    cluster.driver.settle()
    record = cluster.record(bad)
    assert (record.state, record.pause_kind) == (RunState.PAUSED, PauseKind.AUTOMATIC)


def test_lag_holds_each_stay_back(cluster: Cluster) -> None:
    start = cluster.clock.now()
    at: list[timedelta] = []
    orders = Workflow("order processor", Order, Status, ends=(Status.SHIPPED,))

    @orders.step(Status.CREATED, lag=timedelta(minutes=3))
    def pay(run: OrderRun) -> Literal[Status.PAID]:
        at.append(cluster.since(start))
        return Status.PAID

    @orders.step(Status.PAID, lag=timedelta(minutes=5))
    def ship(run: OrderRun) -> Literal[Status.SHIPPED]:
        at.append(cluster.since(start))
        return Status.SHIPPED

    cluster.driver.serve(orders)
    cluster.engine.trigger(orders, "order-1", Order())
    cluster.driver.settle()
    assert [round(each.total_seconds()) for each in at] == [180, 480]
