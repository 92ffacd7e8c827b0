"""Callbacks: who may call, on which run, with what, and who wins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal, cast

import pytest
from workflow_core.definition import Callback, Cancel, Pause, Repeat, Retry, Run, Skip, Workflow
from workflow_core.engine import Engine
from workflow_core.errors import (
    AdapterError,
    AdapterUnavailableError,
    DefinitionError,
    InputError,
    NotAtStatusError,
    PayloadError,
    RunEndedError,
    RunNotFoundError,
    RunPausedError,
    StoppedError,
    VersionConflictError,
)
from workflow_core.model import PauseKind, RunState

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)


class Status(IntEnum):
    CREATED = 1
    AWAITING_PAYMENT = 2
    PAID = 3
    SHIPPED = 4
    REFUSED = 5


@dataclass
class Order:
    notes: list[str] = field(default_factory=list)


OrderRun = Run[Order, Status]


class Shop:
    """The workflow of these tests; `meanwhile` is called in the body of `paid`."""

    def __init__(self) -> None:
        self.meanwhile: Callable[[OrderRun], None] = lambda run: None
        self.calls = 0
        orders = self.orders = Workflow(
            "orders", Order, Status, ends=(Status.SHIPPED, Status.REFUSED)
        )

        @orders.step(Status.CREATED)
        def check(run: OrderRun) -> Literal[Status.AWAITING_PAYMENT] | Pause:
            return Status.AWAITING_PAYMENT

        @orders.callback(Status.AWAITING_PAYMENT)
        def paid(
            run: OrderRun, receipt: str
        ) -> Literal[Status.PAID] | Skip | Repeat | Pause | Cancel:
            self.calls += 1
            self.meanwhile(run)
            run.data.notes.append(receipt)
            answers: dict[str, Any] = {
                "skip": Skip(),
                "repeat": Repeat(after=HOUR),
                "pause": Pause("a person is to look"),
                "cancel": Cancel("stolen"),
                "wrong": Status.SHIPPED,
            }
            return cast("Literal[Status.PAID]", answers.get(receipt, Status.PAID))

        @orders.callback(Status.AWAITING_PAYMENT)
        async def refused(run: OrderRun) -> Literal[Status.REFUSED]:
            await asyncio.sleep(2)
            self.meanwhile(run)
            run.data.notes.append("refused")
            return Status.REFUSED

        @orders.step(Status.PAID)
        def ship(run: OrderRun) -> Literal[Status.SHIPPED]:
            return Status.SHIPPED

        self.paid: Callback[Order, Status, str] = paid
        self.refused: Callback[Order, Status, None] = refused


@pytest.fixture
def shop() -> Shop:
    return Shop()


def waiting_run(cluster: Cluster, shop: Shop, foreign_id: str = "order-1") -> str:
    """A run that waits for its payment, version 2; nothing else is to be done."""
    cluster.driver.serve(shop.orders)
    run_id = cluster.engine.trigger(shop.orders, foreign_id, Order())
    cluster.driver.settle()
    assert cluster.record(run_id).status == Status.AWAITING_PAYMENT
    return run_id


# -- moving on -------------------------------------------------------------------------------------


def test_callback_moves_the_run_on_with_its_payload(cluster: Cluster, shop: Shop) -> None:
    run_id = waiting_run(cluster, shop)
    cluster.engine.callback(shop.paid, run_id, "receipt-7")
    assert cluster.record(run_id).status == Status.PAID, "on return it has moved on"
    cluster.driver.settle()
    view = cluster.engine.view(shop.orders, run_id)
    assert (view.status, view.data.notes, view.version) == (Status.SHIPPED, ["receipt-7"], 4)


def test_async_body_runs_by_the_clock(cluster: Cluster, shop: Shop) -> None:
    run_id = waiting_run(cluster, shop)
    start = cluster.clock.now()
    cluster.engine.callback(shop.refused, run_id)
    assert cluster.since(start) >= 2 * SECOND
    assert cluster.record(run_id).state is RunState.COMPLETED


def test_asyncio_code_calls_back_on_its_own_loop(cluster: Cluster, shop: Shop) -> None:
    run_id, other = waiting_run(cluster, shop), cluster.engine.trigger(shop.orders, "2", Order())
    cluster.driver.settle()
    loops: list[asyncio.AbstractEventLoop] = []
    shop.meanwhile = lambda run: loops.append(asyncio.get_running_loop())

    async def main() -> None:
        await cluster.engine.aio.callback(shop.refused, run_id)
        assert loops == [asyncio.get_running_loop()]
        shop.meanwhile = lambda run: None
        await cluster.engine.aio.callback(shop.paid, other, "receipt")
        with pytest.raises(NotAtStatusError):
            await cluster.engine.aio.callback(shop.paid, other, "receipt")

    asyncio.run(main())
    assert cluster.record(run_id).status == Status.REFUSED
    assert cluster.record(other).status == Status.PAID


def test_client_without_a_streamer_calls_back(cluster: Cluster, shop: Shop) -> None:
    run_id = waiting_run(cluster, shop)
    cluster.client().engine.callback(shop.paid, run_id, "receipt")
    cluster.driver.settle()
    assert cluster.record(run_id).state is RunState.COMPLETED


def test_callback_without_payload_type_takes_none(cluster: Cluster, shop: Shop) -> None:
    run_id = waiting_run(cluster, shop)
    with pytest.raises(PayloadError, match="refused takes no payload, got str"):
        cluster.engine.callback(shop.refused, run_id, "text")  # type: ignore[misc]


@pytest.mark.parametrize("payload", [None, 7, b"receipt", ["receipt"]])
def test_payload_of_another_type_is_refused_before_the_store_is_asked(
    cluster: Cluster, shop: Shop, payload: object
) -> None:
    run_id = waiting_run(cluster, shop)
    cluster.store.script.fail()
    with pytest.raises(PayloadError, match="paid takes str, got") as caught:
        cluster.engine.callback(shop.paid, run_id, payload)  # type: ignore[misc]
    assert (caught.value.workflow, caught.value.run_id) == ("orders", run_id)
    assert shop.calls == 0


def test_what_is_no_callback_is_refused_with_a_hint(cluster: Cluster, shop: Shop) -> None:
    with pytest.raises(InputError, match=r"callback is wanted here, not .* type function"):
        cluster.engine.callback(waiting_run, "run")  # type: ignore[call-overload]
    with pytest.raises(InputError, match="run id is a text, not a int"):
        cluster.engine.callback(shop.refused, 7)  # type: ignore[call-overload]
    with pytest.raises(InputError, match="timedelta"):
        cluster.engine.callback(shop.refused, "run", wait=5)  # type: ignore[call-overload]


# -- where the run is ------------------------------------------------------------------------------


def test_run_elsewhere_is_told_by_name(cluster: Cluster, shop: Shop) -> None:
    run_id = cluster.engine.trigger(shop.orders, "order-1", Order())
    with pytest.raises(NotAtStatusError, match="not at AWAITING_PAYMENT, it is at CREATED") as e:
        cluster.engine.callback(shop.paid, run_id, "receipt")
    assert (e.value.status, e.value.run_id, e.value.workflow) == (1, run_id, "orders")
    assert shop.calls == 0


def test_second_callback_is_told_where_the_first_one_led(cluster: Cluster, shop: Shop) -> None:
    run_id = waiting_run(cluster, shop)
    cluster.engine.callback(shop.paid, run_id, "receipt")
    cluster.driver.settle()
    with pytest.raises(NotAtStatusError, match="it is at SHIPPED, completed"):
        cluster.engine.callback(shop.paid, run_id, "receipt")
    assert cluster.engine.view(shop.orders, run_id).data.notes == ["receipt"]


def test_paused_and_cancelled_runs_are_told(cluster: Cluster, shop: Shop) -> None:
    run_id = waiting_run(cluster, shop)
    cluster.engine.pause(run_id, reason="wait")
    with pytest.raises(RunPausedError, match="Resume it"):
        cluster.engine.callback(shop.paid, run_id, "receipt")
    cluster.engine.cancel(run_id, reason="no more")
    with pytest.raises(RunEndedError, match="has ended: cancelled"):
        cluster.engine.callback(shop.paid, run_id, "receipt")
    assert shop.calls == 0


def test_strange_runs_are_told(cluster: Cluster, shop: Shop) -> None:
    run_id = waiting_run(cluster, shop)
    other = Workflow("refunds", Order, Status, ends=(Status.PAID,))

    @other.callback(Status.AWAITING_PAYMENT)
    def refund(run: OrderRun) -> Literal[Status.PAID]:
        return Status.PAID

    with pytest.raises(RunNotFoundError, match=r"'refunds' has no run .* a run of 'orders'"):
        cluster.engine.callback(refund, run_id)
    with pytest.raises(RunNotFoundError, match="has no run nobody"):
        cluster.engine.callback(refund, "nobody")


# -- bodies that go wrong --------------------------------------------------------------------------


def test_body_that_raises_is_the_callers_error_and_changes_nothing(
    cluster: Cluster, shop: Shop
) -> None:
    run_id = waiting_run(cluster, shop)
    before = cluster.record(run_id)

    def fail(run: OrderRun) -> None:
        run.data.notes.append("half done")
        raise KeyError("broken")

    shop.meanwhile = fail
    with pytest.raises(KeyError, match="broken"):
        cluster.engine.callback(shop.paid, run_id, "receipt")
    with pytest.raises(KeyError, match="broken"):
        cluster.engine.callback(shop.refused, run_id)
    assert cluster.record(run_id) == before


def test_undeclared_answer_and_unfit_data_are_the_callers_errors(
    cluster: Cluster, shop: Shop
) -> None:
    run_id = waiting_run(cluster, shop)
    before = cluster.record(run_id)
    with pytest.raises(DefinitionError, match=r"callback paid \(.*\) answered Status.SHIPPED"):
        cluster.engine.callback(shop.paid, run_id, "wrong")

    def spoil(run: OrderRun) -> None:
        run.data.notes = [7]  # type: ignore[list-item]

    shop.meanwhile = spoil
    with pytest.raises(PayloadError):
        cluster.engine.callback(shop.paid, run_id, "receipt")
    assert cluster.record(run_id) == before


def test_skip_changes_nothing_and_the_callback_can_come_again(cluster: Cluster, shop: Shop) -> None:
    run_id = waiting_run(cluster, shop)
    before = cluster.record(run_id)
    cluster.engine.callback(shop.paid, run_id, "skip")
    assert cluster.record(run_id) == before
    cluster.engine.callback(shop.paid, run_id, "receipt")
    assert cluster.record(run_id).status == Status.PAID


def test_repeat_keeps_the_data_and_leaves_the_run_where_it_is(cluster: Cluster, shop: Shop) -> None:
    run_id = waiting_run(cluster, shop)
    before = cluster.record(run_id)
    cluster.engine.callback(shop.paid, run_id, "repeat")
    after = cluster.record(run_id)
    assert (after.version, after.repeat) == (before.version + 1, before.repeat)
    assert (after.entered_version, after.entered_at) == (before.entered_version, before.entered_at)
    cluster.engine.callback(shop.paid, run_id, "receipt")
    assert cluster.engine.view(shop.orders, run_id).data.notes == ["repeat", "receipt"]


def test_pause_and_cancel_are_kept_with_the_data(cluster: Cluster, shop: Shop) -> None:
    run_id = waiting_run(cluster, shop)
    cluster.engine.callback(shop.paid, run_id, "pause")
    record = cluster.record(run_id)
    assert (record.state, record.pause_kind) == (RunState.PAUSED, PauseKind.STEP)
    assert record.reason == "a person is to look"
    cluster.engine.resume(run_id, who="ann")
    cluster.engine.callback(shop.paid, run_id, "cancel")
    view = cluster.engine.view(shop.orders, run_id)
    assert (view.state, view.data.notes) == (RunState.CANCELLED, ["pause", "cancel"])


# -- a step at the same status ---------------------------------------------------------------------


def retried(shop: Shop) -> tuple[Workflow[Order, Status], Callback[Order, Status, str], list[str]]:
    """A status with a step that fails, or skips, and a callback; and the keys of its attempts."""
    flow = Workflow("retried", Order, Status, ends=(Status.PAID,))
    keys: list[str] = []

    @flow.step(Status.CREATED, retry=Retry(first=HOUR, maximum=HOUR, jitter=False, pause_after=9))
    def ask(run: OrderRun) -> Literal[Status.PAID] | Skip:
        keys.append(run.idempotency_key)
        if "skip" in run.data.notes:
            return Skip()
        raise ConnectionError("no answer")

    @flow.callback(Status.CREATED)
    def told(run: OrderRun, what: str) -> Literal[Status.PAID] | Repeat:
        shop.meanwhile(run)
        run.data.notes.append(what)
        return Repeat() if what != "done" else Status.PAID

    return flow, told, keys


def test_key_of_a_callback_is_its_own_and_stays_while_its_body_runs_again(
    cluster: Cluster, shop: Shop
) -> None:
    """Seen to fail with the stay's key: an API would take the step's call for the callback's."""
    flow, told, keys = retried(shop)
    cluster.driver.serve(flow)
    run_id = cluster.engine.trigger(flow, "order-1", Order())
    cluster.driver.run()
    called: list[str] = []

    def interfere(run: OrderRun) -> None:
        called.append(run.idempotency_key)
        if len(called) == 1:  # a mere retry, against which this call loses
            cluster.driver.advance(HOUR)

    shop.meanwhile = interfere
    cluster.engine.callback(told, run_id, "done")
    assert called == [f"{run_id}/1/told()"] * 2
    assert set(keys) == {f"{run_id}/1/0"}


def test_repeat_of_a_callback_does_not_disturb_the_retries_of_a_step(
    cluster: Cluster, shop: Shop
) -> None:
    """Seen to fail with the write of a step's Repeat: the step ran at once, with another key."""
    flow, told, keys = retried(shop)
    cluster.driver.serve(flow)
    run_id = cluster.engine.trigger(flow, "order-1", Order())
    cluster.driver.run()
    due = cluster.record(run_id).next_try_at
    cluster.driver.advance(HOUR / 2)
    cluster.engine.callback(told, run_id, "hello")
    record = cluster.record(run_id)
    assert (record.attempts, record.next_try_at, len(keys)) == (1, due, 1)
    cluster.driver.advance(HOUR / 2)
    assert len(keys) == 2
    assert keys[0] == keys[1]
    assert cluster.record(run_id).attempts == 2


def test_skipped_run_is_moved_on_by_a_callback(cluster: Cluster, shop: Shop) -> None:
    flow, told, keys = retried(shop)
    cluster.driver.serve(flow)
    run_id = cluster.engine.trigger(flow, "order-1", Order(["skip"]))
    cluster.driver.settle()
    assert cluster.record(run_id).skipped
    cluster.engine.callback(told, run_id, "note")
    cluster.driver.settle()
    assert cluster.record(run_id).skipped, "it still waits for a callback"
    assert len(keys) == 1
    cluster.engine.callback(told, run_id, "done")
    assert cluster.record(run_id).state is RunState.COMPLETED


# -- races -----------------------------------------------------------------------------------------


def test_of_two_callbacks_at_once_one_wins(cluster: Cluster, shop: Shop) -> None:
    """The other runs again, on the run as it is now, and is told where that is."""
    run_id = waiting_run(cluster, shop)

    def meanwhile(run: OrderRun) -> None:
        shop.meanwhile = lambda run: None
        cluster.engine.callback(shop.paid, run_id, "rival")

    shop.meanwhile = meanwhile
    with pytest.raises(NotAtStatusError, match="it is at PAID"):
        cluster.engine.callback(shop.paid, run_id, "loser")
    assert cluster.engine.view(shop.orders, run_id).data.notes == ["rival"]


def test_loss_against_a_mere_retry_is_decided_again(cluster: Cluster, shop: Shop) -> None:
    """Seen to fail with one try only."""
    flow, told, _ = retried(shop)
    cluster.driver.serve(flow)
    run_id = cluster.engine.trigger(flow, "order-1", Order())
    cluster.driver.run()

    def meanwhile(run: OrderRun) -> None:
        shop.meanwhile = lambda run: None
        cluster.driver.advance(HOUR)

    shop.meanwhile = meanwhile
    cluster.engine.callback(told, run_id, "done")
    record = cluster.record(run_id)
    assert (record.state, record.version) == (RunState.COMPLETED, 4)
    assert cluster.engine.view(flow, run_id).data.notes == ["done"]


def test_callback_gives_up_when_it_loses_for_ever(cluster: Cluster, shop: Shop) -> None:
    run_id = waiting_run(cluster, shop)

    def meanwhile(run: OrderRun) -> None:
        cluster.engine.pause(run_id, reason="")
        cluster.engine.resume(run_id, who="ann")

    shop.meanwhile = meanwhile
    with pytest.raises(VersionConflictError):
        cluster.engine.callback(shop.paid, run_id, "receipt")
    assert shop.calls == 5


def test_callback_whose_answer_was_lost_is_done_once(cluster: Cluster, shop: Shop) -> None:
    run_id = waiting_run(cluster, shop)
    cluster.store.script.fail("commit", took_effect=True, times=2)
    cluster.engine.callback(shop.paid, run_id, "receipt")
    assert (cluster.record(run_id).version, shop.calls) == (3, 1)


def test_callback_whose_answer_was_lost_is_done_though_others_moved_on(
    cluster: Cluster, shop: Shop
) -> None:
    """Seen to fail: the caller was told that the run is at SHIPPED, so it had failed."""
    run_id = waiting_run(cluster, shop)
    _lose_answer_and_move_on(cluster)
    cluster.engine.callback(shop.paid, run_id, "receipt")
    cluster.store.script.heal()
    view = cluster.engine.view(shop.orders, run_id)
    assert (view.status, view.data.notes, shop.calls) == (Status.SHIPPED, ["receipt"], 1)


def _lose_answer_and_move_on(cluster: Cluster) -> None:
    def after(call: str) -> None:
        if call == "commit":
            cluster.store.script.heal()
            cluster.driver.settle()
            raise AdapterUnavailableError("the answer is lost")

    cluster.store.script.after = after


def test_callback_passes_on_that_the_store_is_away_or_refuses(cluster: Cluster, shop: Shop) -> None:
    run_id = waiting_run(cluster, shop)
    cluster.store.script.fail("commit")
    with pytest.raises(AdapterUnavailableError):
        cluster.engine.callback(shop.paid, run_id, "receipt")
    cluster.store.script.heal()
    cluster.store.refuses = lambda record: True
    with pytest.raises(AdapterError, match="refuses"):
        cluster.engine.callback(shop.paid, run_id, "receipt")
    cluster.store.refuses = lambda record: False
    assert cluster.record(run_id).status == Status.AWAITING_PAYMENT


# -- waiting for the run to arrive -----------------------------------------------------------------


def late_orders(cluster: Cluster, shop: Shop, delay: timedelta) -> str:
    cluster.driver.serve(shop.orders)
    start_at = cluster.clock.now() + delay
    return cluster.engine.trigger(shop.orders, "order-1", Order(), start_at=start_at)


def test_wait_lets_the_run_arrive(cluster: Cluster, shop: Shop) -> None:
    run_id = late_orders(cluster, shop, 10 * SECOND)
    cluster.engine.callback(shop.paid, run_id, "receipt", wait=60 * SECOND)
    assert cluster.record(run_id).status == Status.PAID
    assert shop.calls == 1


def test_wait_ends_with_where_the_run_is(cluster: Cluster, shop: Shop) -> None:
    run_id = late_orders(cluster, shop, HOUR)
    start = cluster.clock.now()
    with pytest.raises(NotAtStatusError, match="it is at CREATED"):
        cluster.engine.callback(shop.paid, run_id, "receipt", wait=60 * SECOND)
    assert cluster.since(start) == 60 * SECOND


def test_wait_ends_at_once_where_the_run_can_come_no_more(cluster: Cluster, shop: Shop) -> None:
    run_id = waiting_run(cluster, shop)
    cluster.engine.callback(shop.paid, run_id, "receipt")
    cluster.driver.settle()
    start = cluster.clock.now()
    with pytest.raises(NotAtStatusError, match="SHIPPED, completed"):
        cluster.engine.callback(shop.paid, run_id, "receipt", wait=HOUR)
    assert cluster.since(start) < SECOND


def test_asyncio_code_waits_for_the_run_to_arrive(shop: Shop) -> None:
    async def main(engine: Engine) -> None:
        run_id = await engine.aio.trigger(shop.orders, "order-1", Order())
        with pytest.raises(NotAtStatusError):
            await engine.aio.callback(shop.paid, run_id, "early", wait=SECOND / 20)
        call = engine.aio.callback(shop.paid, run_id, "receipt", wait=60 * SECOND)
        with engine.serving(shop.orders):
            await call
            await engine.aio.wait_for(shop.orders, run_id, Status.SHIPPED, 60 * SECOND)

    with Engine.in_memory() as engine:
        asyncio.run(main(engine))
    assert shop.calls == 1


def test_closed_engine_takes_no_callback(cluster: Cluster, shop: Shop) -> None:
    run_id = waiting_run(cluster, shop)
    cluster.engine.close()
    with pytest.raises(StoppedError):
        cluster.engine.callback(shop.paid, run_id, "receipt")
