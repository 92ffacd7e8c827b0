"""Why a run does not move that is due: where its event is, and who could not be asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import pytest
from workflow_core import Cause, EngineSettings, Why
from workflow_core.definition import Retry, Run, Workflow
from workflow_core.engine.transition import status_event
from workflow_core.errors import AdapterUnavailableError
from workflow_core.memory import MemoryEventStreamer, MemoryRoleScheduler, MemoryTimeoutStore
from workflow_core.ports import RoleScheduler

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster

MINUTE = timedelta(minutes=1)


class Status(IntEnum):
    CREATED = 1
    WAITING = 2
    TIMED = 3
    LAGGING = 4
    DONE = 9


@dataclass
class Order:
    total: int = 0


OrderRun = Run[Order, Status]
Body = Callable[[OrderRun], Any]


def orders_with(
    body: Body = lambda run: Status.WAITING,
    *,
    after: timedelta | None = MINUTE,
    fires_at: Callable[[OrderRun, datetime], datetime | None] | None = None,
    fires: Body = lambda run: Status.DONE,
    concurrency: int = 10,
) -> Workflow[Order, Status]:
    orders = Workflow("orders", Order, Status, ends=[Status.DONE], starts=list(Status)[:4])
    all_of_them = list(Status)
    orders.add_step(
        Status.CREATED,
        body,
        to=all_of_them,
        retry=Retry(first=MINUTE, jitter=False, pause_after=2),
        concurrency=concurrency,
    )
    orders.add_callback(Status.WAITING, lambda run: Status.DONE, payload=None, to=[Status.DONE])

    def give_up(run: OrderRun) -> Any:
        return fires(run)

    more: dict[str, Any] = {"after": after} if fires_at is None else {"fires_at": fires_at}
    orders.add_timeout(Status.TIMED, give_up, to=all_of_them, name="give up", **more)
    orders.add_timeout(
        Status.CREATED, give_up, to=all_of_them, after=timedelta(days=1), name="too old"
    )
    orders.add_step(
        Status.LAGGING, lambda run: Status.DONE, to=[Status.DONE], lag=timedelta(hours=1)
    )
    return orders


def fails(run: OrderRun) -> Any:
    raise ConnectionError("the bank does not answer")


def unplugged(*asked: object, **more: object) -> Any:
    raise AdapterUnavailableError("the test pulls the plug")


def told(why: Why) -> str:
    """All of it, once it is known that each reason says what to do."""
    assert all(reason.detail and reason.todo for reason in why.reasons)
    return "\n".join(f"{reason.detail}. {reason.todo}" for reason in why.reasons)


# -- where its event is ----------------------------------------------------------------------------


def test_why_says_that_nobody_serves_it(cluster: Cluster) -> None:
    """Seen to fail when roles were not asked for."""
    orders = orders_with()
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.clock.advance(MINUTE)
    why = cluster.engine.why(run_id, orders)
    assert why.cause is Cause.NOT_SERVED
    assert "No process serves 'orders'" in told(why)
    assert "Start a process" in told(why)


def test_why_looks_at_the_pool_that_works_on_the_status(cluster: Cluster) -> None:
    """Seen to fail when it was always the main one."""
    orders = orders_with()
    cluster.driver.serve(orders)
    cluster.driver.run()
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.clock.advance(MINUTE)
    why = cluster.client().engine.why(run_id, orders, pool="slow")
    assert Cause.NOT_SERVED not in [reason.cause for reason in why.reasons], "it cannot ask"
    cluster.driver.run()
    asking = cluster.join("another").engine
    run_id = asking.trigger(orders, "order-2", Order())
    why = asking.why(run_id, orders, pool="slow")
    assert why.cause is Cause.NOT_SERVED
    assert "in pool 'slow'" in told(why)


def test_why_says_how_many_shards_nobody_holds(cluster: Cluster) -> None:
    orders = orders_with()
    cluster.driver.serve(orders)
    cluster.driver.run()
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    holders = MemoryRoleScheduler.holders

    def all_but_one(scheduler: MemoryRoleScheduler, roles: Sequence[str]) -> Mapping[str, str]:
        held = dict(holders(scheduler, roles))
        held.pop("orders-main-steps-3-of-16", None)
        return held

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemoryRoleScheduler, "holders", all_but_one)
        why = cluster.engine.why(run_id)
    assert why.cause is Cause.NOT_SERVED
    assert "1 of the 16 shards" in told(why)


def test_why_finds_that_the_processes_have_another_number_of_shards(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(settings=EngineSettings(shards=4))
    orders = orders_with()
    cluster.driver.serve(orders)
    cluster.driver.run()
    cluster.settings = EngineSettings(shards=5)
    asking = cluster.join("another").engine
    run_id = asking.trigger(orders, "order-1", Order())
    why = asking.why(run_id, orders)
    assert why.cause is Cause.NOT_SERVED
    assert "another engine.shards than 5" in told(why)


def test_why_says_that_its_event_is_not_published(outbox: Cluster) -> None:
    """Seen to fail when rows that are due were not told from those that are not."""
    orders = orders_with()
    filed_at = outbox.clock.now()
    outbox.client().engine.trigger(orders, "order-0", Order())
    outbox.clock.advance(MINUTE)
    run_id = outbox.client("another").engine.trigger(orders, "order-1", Order())
    outbox.clock.advance(MINUTE)
    why = outbox.engine.why(run_id, orders)
    assert [reason.cause for reason in why.reasons] == [Cause.NOT_SERVED, Cause.NOT_PUBLISHED]
    assert f"{filed_at:%H:%M:%S}" in told(why)


def test_why_finds_that_the_streamer_is_ill_while_relays_try(outbox: Cluster) -> None:
    """Seen to fail when the streamer was not asked for its health."""
    orders = orders_with()
    outbox.driver.serve(orders)
    outbox.driver.run()
    outbox.streamer.script.fail("send_many")
    run_id = outbox.engine.trigger(orders, "order-1", Order())
    outbox.driver.advance(MINUTE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemoryEventStreamer, "check_health", unplugged)
        why = outbox.engine.why(run_id)
    outbox.streamer.script.heal()
    causes = [reason.cause for reason in why.reasons]
    assert causes == [Cause.NOT_PUBLISHED, Cause.TIMER, Cause.UNAVAILABLE]


def test_why_says_that_its_event_is_in_hand_and_not_published(outbox: Cluster) -> None:
    """Seen to fail when a row that is held was taken for one that is filed for later."""
    orders = orders_with()
    run_id = outbox.client().engine.trigger(orders, "order-1", Order())
    outbox.clock.advance(MINUTE)
    (claimed,) = outbox.store.claim_outbox_events(["orders"], limit=9, lease=MINUTE)
    assert claimed.event.run_id == run_id
    why = outbox.engine.why(run_id, orders)
    assert [reason.cause for reason in why.reasons] == [Cause.NOT_SERVED, Cause.NOT_PUBLISHED]
    assert "has it in hand" in told(why)


def test_why_says_that_its_event_is_filed_for_later(joined: Cluster) -> None:
    orders = orders_with()
    run_id = joined.engine.trigger(orders, "order-1", Order())
    joined.driver.serve(orders)
    joined.clock.advance(MINUTE)
    record = joined.record(run_id)
    copy = status_event(record, joined.engine._core.identity, delay=MINUTE)
    joined.store.add_outbox_events([copy])
    why = joined.client().engine.why(run_id, orders)
    assert why.cause is Cause.FILED_FOR_LATER


@pytest.mark.parametrize(("seconds", "age"), [(0.003, "0:00:01"), (60, "0:01:00")])
def test_why_says_how_old_the_oldest_event_of_its_status_is(
    joined: Cluster, seconds: float, age: str
) -> None:
    """Seen to fail when an age below a second was told with its microseconds."""
    orders = orders_with()
    run_id = joined.engine.trigger(orders, "order-1", Order())
    joined.clock.advance(timedelta(seconds=seconds))
    why = joined.engine.why(run_id, orders)
    assert [reason.cause for reason in why.reasons][:2] == [Cause.NOT_SERVED, Cause.QUEUED]
    assert f"not done is {age} old" in told(why)


def test_why_says_that_it_waits_its_turn_where_it_is_served(joined: Cluster) -> None:
    """Seen to fail when one was told to start a process though one serves."""
    orders = orders_with()
    joined.driver.serve(orders)
    joined.driver.run()
    run_id = joined.engine.trigger(orders, "order-1", Order())
    joined.clock.advance(MINUTE)
    why = joined.join("another").engine.why(run_id, orders)
    assert why.cause is Cause.QUEUED
    assert "start more processes" in told(why)
    assert "Start a process that serves" not in told(why)


def test_why_finds_that_its_event_was_lost(cluster: Cluster) -> None:
    """Seen to fail when a lag of zero was taken for an event that waits."""
    orders = orders_with()
    cluster.streamer.loses = lambda event: True
    cluster.driver.serve(orders)
    cluster.driver.run()
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.driver.advance(MINUTE)
    why = cluster.engine.why(run_id)
    assert why.cause is Cause.NOT_DRIVEN
    assert "0:05:00 after the loss" in told(why)
    cluster.streamer.loses = lambda event: False
    cluster.engine.retry_now(run_id, who="ann")
    cluster.driver.run()
    assert cluster.record(run_id).status == Status.WAITING, "as it was told to do"


def test_why_says_that_a_run_moves(cluster: Cluster) -> None:
    orders = orders_with()
    cluster.driver.serve(orders)
    cluster.driver.run()
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    why = cluster.engine.why(run_id)
    assert why.cause is Cause.MOVING
    cluster.driver.run()
    assert cluster.engine.why(run_id).cause is Cause.CALLBACK


def test_why_says_that_a_run_moves_while_it_is_looked_at(joined: Cluster) -> None:
    """Seen to fail when the version was not looked at again."""
    orders = orders_with()
    run_id = joined.engine.trigger(orders, "order-1", Order())

    def write(call: str) -> None:
        if call == "now":
            joined.records.runs.rows[run_id] = joined.record(run_id).replace(
                version=joined.record(run_id).version + 1
            )

    joined.store.script.before = write
    why = joined.engine.why(run_id, orders)
    joined.store.script.heal()
    assert [reason.cause for reason in why.reasons] == [Cause.MOVING]
    assert why.version > 1


def test_why_tells_which_adapters_do_not_answer(make_cluster: Callable[..., Cluster]) -> None:
    """Seen to fail when the streamer's error was raised."""
    cluster = make_cluster(apart=True)
    orders = orders_with()
    cluster.driver.serve(orders)
    cluster.driver.run()
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    cluster.clock.advance(MINUTE)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemoryRoleScheduler, "holders", unplugged)
        patch.setattr(MemoryEventStreamer, "lag", unplugged)
        patch.setattr(MemoryTimeoutStore, "of_run", unplugged)
        why = cluster.engine.why(run_id)
    assert [reason.cause for reason in why.reasons] == [Cause.UNAVAILABLE] * 3
    for adapter in ("role scheduler", "event streamer", "timeout store"):
        assert adapter in told(why)


def test_why_tells_what_it_could_not_ask(joined: Cluster) -> None:
    orders = orders_with()
    run_id = joined.engine.trigger(orders, "order-1", Order())
    joined.clock.advance(MINUTE)
    why = joined.client().engine.why(run_id, orders)
    assert why.cause is Cause.QUEUED
    assert len(why.not_asked) == 3
    assert {text.partition(":")[0] for text in why.not_asked} == {
        "Who serves it",
        "Whether its event is in the stream",
        "Its timers",
    }


def test_why_does_not_take_a_scheduler_that_cannot_tell_for_nobody(cluster: Cluster) -> None:
    """Seen to fail when its empty answer was believed."""
    orders = orders_with()
    run_id = cluster.engine.trigger(orders, "order-1", Order())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemoryRoleScheduler, "holders", RoleScheduler.holders)
        why = cluster.engine.why(run_id, orders)
    assert Cause.NOT_SERVED not in [reason.cause for reason in why.reasons]
    assert any("cannot tell who holds" in each for each in why.not_asked)
