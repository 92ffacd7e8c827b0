"""Hooks: told at least once of what has become of a run, each tried again by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal

import pytest
from workflow_core import LetterState, Pause, Retry, Run, RunState, RunView, Workflow
from workflow_core.errors import AdapterUnavailableError, DefinitionError
from workflow_core.model import Event, EventKind, names
from workflow_core.ports import Capability, Receiver

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster

SECOND = timedelta(seconds=1)


class Status(IntEnum):
    CREATED = 1
    SHIPPED = 2


@dataclass
class Order:
    total: int = 0


OrderRun = Run[Order, Status]
OrderView = RunView[Order, Status]


def orders_with(total: int = 1) -> Workflow[Order, Status]:
    orders = Workflow(
        "order processor",
        Order,
        Status,
        ends=(Status.SHIPPED,),
        retry=Retry(first=SECOND, jitter=False, pause_after=3),
    )

    @orders.step(Status.CREATED)
    def ship(run: OrderRun) -> Literal[Status.SHIPPED] | Pause:
        if run.data.total < 0:
            return Pause("less than nothing")
        run.data.total += total
        return Status.SHIPPED

    return orders


class Ear:
    """A hook that notes what it is told, and fails as often as it is to."""

    def __init__(self, failures: int = 0) -> None:
        self.heard: list[OrderView] = []
        self.calls = 0
        self.failures = failures

    def listen(self, run: OrderView) -> None:
        self.calls += 1
        if self.calls <= self.failures:
            raise ConnectionError(f"nobody answers, {self.calls}")
        self.heard.append(run)


def test_each_change_is_told_to_the_hooks_that_wait_for_it(cluster: Cluster) -> None:
    orders, told = orders_with(), list[tuple[str, RunState]]()
    for verb in (orders.on_pause, orders.on_cancel, orders.on_complete, orders.on_data_deleted):
        for number in (1, 2):

            def hear(run: RunView[Order | None, Status], name: str = verb.__name__) -> None:
                told.append((name, run.state))

            verb(name=f"{verb.__name__} {number}")(hear)  # type: ignore[arg-type]
    cluster.driver.serve(orders)
    cluster.engine.trigger(orders, "1", Order())
    run_id = cluster.engine.trigger(orders, "2", Order(total=-1))
    cluster.driver.settle()
    cluster.engine.cancel(run_id, reason="nobody wants it")
    cluster.driver.settle()
    assert sorted(told) == sorted(
        2
        * [
            ("on_pause", RunState.PAUSED),
            ("on_cancel", RunState.CANCELLED),
            ("on_complete", RunState.COMPLETED),
        ]
    )


def test_hook_sees_the_run_with_its_data_and_reason(cluster: Cluster) -> None:
    orders, ear = orders_with(total=98), Ear()
    orders.on_complete()(ear.listen)
    orders.on_pause(name="paused")(ear.listen)
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "1", Order(total=1))
    cluster.engine.trigger(orders, "2", Order(total=-1))
    cluster.driver.settle()
    done, paused = sorted(ear.heard, key=lambda view: view.foreign_id)
    assert done == cluster.engine.view(orders, run_id)
    assert (done.data.total, done.version, done.stale) == (99, 2, False)
    assert (paused.reason, paused.state) == ("less than nothing", RunState.PAUSED)


def test_async_hooks_are_awaited(cluster: Cluster) -> None:
    orders, ear = orders_with(), Ear(failures=1)

    @orders.on_complete()
    async def tell(run: OrderView) -> None:
        await asyncio.sleep(60)
        ear.listen(run)

    cluster.driver.serve(orders)
    cluster.engine.trigger(orders, "1", Order())
    cluster.driver.settle()
    assert (len(ear.heard), ear.calls) == (1, 2)


def test_one_hook_that_fails_is_tried_again_by_itself(cluster: Cluster) -> None:
    orders, good, bad = orders_with(), Ear(), Ear(failures=2)
    orders.on_complete(name="good")(good.listen)
    orders.on_complete(name="bad")(bad.listen)
    cluster.driver.serve(orders)
    start = cluster.clock.now()
    cluster.engine.trigger(orders, "1", Order())
    cluster.driver.run()
    assert (good.calls, bad.calls) == (1, 1)
    cluster.driver.settle()
    assert (good.calls, bad.calls, len(bad.heard)) == (1, 3, 1)
    assert cluster.since(start) >= 3 * SECOND  # one, then two
    assert cluster.engine.dead_letters(orders).items == []
    handled = cluster.engine.dead_letters(orders, states=[LetterState.HANDLED]).items
    assert [(letter.name, letter.error, letter.value) for letter in handled] == [("bad", "", b"")]


def test_failing_hook_holds_up_neither_others_nor_other_runs(cluster: Cluster) -> None:
    orders, good = orders_with(), Ear()

    @orders.on_complete()
    def bad(run: OrderView) -> None:
        raise ConnectionError(run.foreign_id)

    orders.on_complete(name="good")(good.listen)
    cluster.driver.serve(orders)
    for number in range(20):
        cluster.engine.trigger(orders, str(number), Order())
    cluster.driver.run()
    assert sorted(int(view.foreign_id) for view in good.heard) == list(range(20))


def test_hook_that_fails_for_the_last_time_is_set_aside(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    orders, ear = orders_with(), Ear(failures=3)
    orders.on_complete(name="ear")(ear.listen)
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "1", Order())
    cluster.driver.settle()
    (letter,) = cluster.engine.dead_letters(orders).items
    assert (letter.name, letter.run_id, letter.version) == ("ear", run_id, 2)
    assert (letter.attempts, letter.error) == (3, "ConnectionError: nobody answers, 3")
    assert (letter.state, letter.foreign_id) == (LetterState.SET_ASIDE, "1")
    assert f"set aside as dead letter {letter.id}" in caplog.text
    assert cluster.engine.view(orders, run_id).state is RunState.COMPLETED
    assert ear.calls == 3


def test_exceptions_of_never_are_set_aside_at_once(cluster: Cluster) -> None:
    orders, ear = orders_with(), Ear(failures=1)
    orders.on_complete(name="ear", retry=Retry(never=(ConnectionError,)))(ear.listen)
    cluster.driver.serve(orders)
    cluster.engine.trigger(orders, "1", Order())
    cluster.driver.settle()
    assert [letter.attempts for letter in cluster.engine.dead_letters(orders).items] == [1]


def test_doubled_event_is_told_once(cluster: Cluster) -> None:
    orders, ear = orders_with(), Ear()
    orders.on_complete()(ear.listen)
    cluster.driver.serve(orders)
    cluster.engine.trigger(orders, "1", Order())
    cluster.driver.run()
    (event,) = (e for e in cluster.streamer.sent if e.topic.endswith("run-state-change"))
    with cluster.stream.lock:
        cluster.stream.log.append(event, cluster.clock.now())
        cluster.stream.log.append(event.replace(id="other"), cluster.clock.now())
        cluster.stream.log.append(event.replace(kind=EventKind.NUDGE), cluster.clock.now())
    cluster.driver.run()
    assert ear.calls == 1
    assert len(cluster.streamer.acked) >= 4


def test_hook_that_is_told_late_sees_the_run_as_it_was(cluster: Cluster) -> None:
    """Memory keeps the history without the data: the data is the present one, so it is stale."""
    orders, ear = orders_with(), Ear(failures=1)
    orders.on_pause()(ear.listen)
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "1", Order(total=-1))
    cluster.driver.run()
    cluster.engine.cancel(run_id, reason="moved on")
    cluster.driver.settle()
    (view,) = ear.heard
    assert (view.state, view.version, view.reason) == (RunState.PAUSED, 2, "less than nothing")
    assert view.stale


def test_hook_without_history_sees_the_present_run_as_stale(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = cluster.store.capabilities - {Capability.HISTORY}
    monkeypatch.setattr(type(cluster.store), "capabilities", rest)
    orders, ear = orders_with(), Ear(failures=1)
    orders.on_pause()(ear.listen)
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "1", Order(total=-1))
    cluster.driver.run()
    cluster.engine.cancel(run_id, reason="moved on")
    cluster.driver.settle()
    (view,) = ear.heard
    assert (view.state, view.version, view.reason) == (RunState.PAUSED, 2, "moved on")
    assert view.stale


def test_hook_begins_when_it_is_first_served(cluster: Cluster) -> None:
    cluster.driver.serve(plain := orders_with()).stop()
    cluster.engine.trigger(plain, "before", Order())
    serving = cluster.driver.serve(plain)
    cluster.driver.run()
    serving.stop()
    orders, ear = orders_with(), Ear()
    orders.on_complete()(ear.listen)
    cluster.engine.trigger(orders, "waiting", Order())
    cluster.driver.serve(orders)
    cluster.driver.run()
    cluster.engine.trigger(orders, "after", Order())
    cluster.driver.run()
    assert {view.foreign_id for view in ear.heard} == {"waiting", "after"}


def test_no_step_runs_before_the_place_of_the_hooks_is_fixed(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what the first runs come to would be over before their hooks listen."""
    orders, ear, failures = orders_with(), Ear(), [3]
    orders.on_complete()(ear.listen)
    new_receiver = cluster.streamer.new_receiver

    def late(topics: Sequence[str], name: str, **more: Any) -> Receiver[Event]:
        if name == names.deliveries_consumer(orders.name) and failures[0]:
            failures[0] -= 1
            raise AdapterUnavailableError("not yet")
        return new_receiver(topics, name, **more)

    monkeypatch.setattr(cluster.streamer, "new_receiver", late)
    cluster.engine.trigger(orders, "1", Order())
    cluster.driver.serve(orders)
    cluster.driver.settle()
    assert len(ear.heard) == 1


def test_what_happens_while_nobody_serves_is_told_later(cluster: Cluster) -> None:
    orders, ear = orders_with(), Ear()
    orders.on_cancel()(ear.listen)
    cluster.driver.serve(orders)
    run_id = cluster.engine.trigger(orders, "1", Order(total=-1))
    cluster.driver.run()
    cluster.kill(cluster.engine, "first")
    cluster.client().engine.cancel(run_id, reason="meanwhile")
    second = cluster.join("second").engine
    cluster.driver.serve(orders, engine=second)
    cluster.driver.advance(timedelta(minutes=1))  # the first one's roles become free
    assert [view.reason for view in ear.heard] == ["meanwhile"]


def test_hook_is_told_again_by_another_process_when_the_first_died_in_it(
    cluster: Cluster,
) -> None:
    orders, ear = orders_with(), Ear()

    @orders.on_complete()
    async def tell(run: OrderView) -> None:
        ear.calls += 1
        await asyncio.sleep(3600)
        ear.heard.append(run)

    cluster.driver.serve(orders)
    cluster.engine.trigger(orders, "1", Order())
    cluster.driver.run()
    cluster.kill(cluster.engine, "first")
    cluster.driver.serve(orders, engine=cluster.join("second").engine)
    cluster.driver.advance(timedelta(minutes=1))
    assert ear.calls == 2


def test_failure_is_kept_before_the_event_is_acked(cluster: Cluster) -> None:
    orders, ear = orders_with(), Ear(failures=1)
    orders.on_complete()(ear.listen)
    cluster.driver.serve(orders)
    cluster.engine.trigger(orders, "1", Order())
    cluster.store.script.before = lambda call: _refuse_letters(cluster, call)
    cluster.driver.run()
    if ear.calls:
        topics = {event.topic for event in cluster.streamer.acked}
        assert names.run_state_topic(orders.name) not in topics
    cluster.store.script.heal()
    cluster.driver.settle()
    assert len(ear.heard) == 1


def _refuse_letters(cluster: Cluster, call: str) -> None:
    finished = [r for r in cluster.records.runs.rows.values() if r.state.is_finished]
    if call == "commit" and finished:
        raise AdapterUnavailableError("no letters today")


def test_letter_whose_event_was_lost_is_found_again(cluster: Cluster) -> None:
    orders, ear = orders_with(), Ear(failures=1)
    orders.on_complete()(ear.listen)
    cluster.streamer.loses = lambda event: event.topic == names.retries_topic(orders.name)
    cluster.driver.serve(orders)
    cluster.engine.trigger(orders, "1", Order())
    cluster.driver.settle()
    assert (ear.calls, ear.heard) == (1, [])
    cluster.streamer.loses = lambda event: False
    cluster.driver.advance(timedelta(minutes=25))
    assert len(ear.heard) == 1


def test_retry_that_comes_too_early_waits_for_its_time(cluster: Cluster) -> None:
    """As a reconciler's, that files it again: it is the same version that comes in time."""
    orders, ear = orders_with(), Ear(failures=1)
    orders.on_complete()(ear.listen)
    cluster.driver.serve(orders)
    cluster.engine.trigger(orders, "1", Order())
    cluster.driver.run()
    (row,) = [event for event in cluster.rows() if event.topic == names.retries_topic(orders.name)]
    with cluster.stream.lock:
        cluster.stream.log.append(row.replace(id="early"), cluster.clock.now())
    cluster.driver.run()
    assert ear.calls == 1
    cluster.driver.settle()
    assert len(ear.heard) == 1


def test_hook_that_is_no_longer_declared_is_set_aside(cluster: Cluster) -> None:
    orders, ear = orders_with(), Ear(failures=1)
    orders.on_complete(name="old")(ear.listen)
    serving = cluster.driver.serve(orders)
    cluster.engine.trigger(orders, "1", Order())
    cluster.driver.run()
    serving.stop()
    newer = orders_with()
    newer.on_complete(name="new")(ear.listen)
    cluster.driver.serve(newer)
    cluster.driver.settle()
    (letter,) = cluster.engine.dead_letters(newer).items
    assert (letter.name, letter.error) == ("old", "hook old is no longer declared")


def test_workflow_without_hooks_costs_nothing(cluster: Cluster) -> None:
    cluster.driver.serve(orders := orders_with())
    cluster.engine.trigger(orders, "1", Order())
    cluster.driver.settle()
    assert not [process for process in cluster.engine.processes() if "deliver" in process.name]
    assert not [topic for topic in cluster.stream.log._topics if "retries" in topic]
    held = cluster.engine._serving.roles  # type: ignore[union-attr]
    assert len(held) == 16 + 1  # shards and the reconciler


def test_hooks_need_no_role_of_their_own(cluster: Cluster) -> None:
    orders = orders_with()
    orders.on_complete()(Ear().listen)
    serving = cluster.driver.serve(orders)
    cluster.driver.run()
    assert len(serving.roles) == 16 + 2  # shards, the reconciler, and the upkeep of dead letters


def _generator(run: OrderView) -> Iterator[None]:
    yield


@pytest.mark.parametrize(
    ("declare", "told"),
    [
        (lambda o: o.on_pause()(lambda: None), "orders.on_pause(…), <lambda>"),
        (lambda o: o.on_pause()(3), "is no function"),
        (lambda o: o.on_pause()(_generator), "is a generator"),
        (lambda o: o.on_pause(name="")(lambda run: None), "1 to 100 printable"),
        (lambda o: o.on_pause(retry=Retry(then=Status.SHIPPED))(lambda run: None), "then=…"),
        (
            lambda o: (o.on_pause(name="a")(_note), o.on_cancel(name="a")(_note)),
            "the name 'a' is taken by a (",
        ),
    ],
)
def test_wrong_hook_is_refused_where_it_stands(
    declare: Callable[[Workflow[Order, Status]], object], told: str
) -> None:
    with pytest.raises(DefinitionError) as caught:
        declare(orders_with())
    if not told.startswith("orders."):
        assert told in str(caught.value)
    else:
        assert "on_pause(…), <lambda> (" in str(caught.value)


def _note(run: OrderView) -> None:
    pass


def test_hook_cannot_be_added_to_a_workflow_in_use() -> None:
    orders = orders_with()
    orders.check()
    with pytest.raises(DefinitionError, match="in use"):
        orders.on_pause()(_note)
