"""Steps that take their process with them: marked, begun alone and counted, paused in the end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

import pytest
from workflow_core.definition import Retry, Run, Workflow
from workflow_core.engine import Trigger
from workflow_core.engine.suspicion import Suspicion, suspected, suspicion_of
from workflow_core.model import EventKind, Record, RunState

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.engine.conftest import Cluster, Member


class Status(IntEnum):
    CREATED = 1
    DONE = 2


@dataclass
class Order:
    takes: float = 0.0


OrderRun = Run[Order, Status]

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


class Watch:
    """Which attempts began, and how many bodies ran at once."""

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.last: OrderRun | None = None
        self.forget()

    def times(self, foreign_id: str) -> int:
        return sum(began == foreign_id for began, _ in self.begun)

    def forget(self) -> None:
        """Another process works now; what the dead one still does touches nothing."""
        self.begun: list[tuple[str, int]] = []
        self.running: list[str] = []
        self.most = 0


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def orders(watch: Watch) -> Workflow[Order, Status]:
    """A step that takes as long as the order says."""
    orders = Workflow("order processor", Order, Status, ends=(Status.DONE,))

    @orders.step(Status.CREATED, retry=Retry(first=SECOND, pause_after=3))
    async def work(run: OrderRun) -> Literal[Status.DONE]:
        watch.begun.append((run.foreign_id, run.attempt))
        watch.keys.add(run.idempotency_key)
        watch.last = run
        running = watch.running
        running.append(run.foreign_id)
        watch.most = max(watch.most, len(running))
        await asyncio.sleep(run.data.takes)
        running.remove(run.foreign_id)
        return Status.DONE

    return orders


class Heirs:
    """Kills the process that serves, and lets the next one serve."""

    def __init__(self, cluster: Cluster, orders: Workflow[Order, Status], watch: Watch) -> None:
        self._cluster = cluster
        self._orders = orders
        self._watch = watch
        self._count = 1
        self._engine, self._name = cluster.engine, "first"
        self.client = cluster.client().engine
        cluster.driver.serve(orders)

    def begin(self, **takes: float) -> dict[str, str]:
        """One run each, begun by the process that serves."""
        triggers = [Trigger(name, Order(seconds)) for name, seconds in takes.items()]
        ids = self.client.trigger_many(self._orders, triggers)
        self._cluster.driver.advance(SECOND)
        return {name: str(run_id) for name, run_id in zip(takes, ids, strict=True)}

    def kill(self, *, forbids: str = "") -> Member:
        """As kill -9; answers the one that serves next, whose store fails at `forbids`."""
        self._cluster.kill(self._engine, self._name)
        self._count += 1
        self._watch.forget()
        self._name = f"member {self._count}"
        member = self._cluster.join(self._name)
        self._engine = member.engine
        if forbids:
            member.store.script.fail(forbids)
        self._cluster.driver.serve(self._orders, engine=member.engine)
        self._cluster.driver.advance(20 * SECOND)  # the roles of the dead are free at its end
        return member

    def kill_twice(self, *, forbids: str = "") -> Member:
        """What was in hand was begun once more, among others; then that process dies as well."""
        self.kill()
        return self.kill(forbids=forbids)

    def wait_for(self, *foreign_ids: str) -> None:
        """Let time pass until one of their bodies runs, with nothing else under way."""
        for _ in range(6000):
            if len(self._watch.running) == 1 and self._watch.running[0] in foreign_ids:
                return
            self._cluster.driver.advance(timedelta(milliseconds=10))
        raise AssertionError(f"none of {foreign_ids} runs alone: {self._watch.running}")


@pytest.fixture
def heirs(cluster: Cluster, orders: Workflow[Order, Status], watch: Watch) -> Heirs:
    return Heirs(cluster, orders, watch)


def state(cluster: Cluster, run_id: str) -> tuple[RunState, int]:
    record = cluster.record(run_id)
    return record.state, record.attempts


# -- what kills is found ---------------------------------------------------------------------------


def test_run_that_kills_its_process_is_counted_and_paused_and_its_neighbours_finish(
    cluster: Cluster, heirs: Heirs, watch: Watch
) -> None:
    """Seen to fail when suspects were run like all others: nothing was ever counted."""
    runs = heirs.begin(killer=1000, one=30, two=30)
    assert sorted(watch.running) == ["killer", "one", "two"]
    heirs.kill()
    assert sorted(watch.running) == ["killer", "one", "two"]
    assert state(cluster, runs["killer"]) == (RunState.INITIATED, 0)
    for attempts in (1, 2, 3):
        heirs.kill()
        heirs.wait_for("killer")
        assert state(cluster, runs["killer"]) == (RunState.INITIATED, attempts)
        assert "ProcessDiedError" in cluster.record(runs["killer"]).last_error
    heirs.kill()
    cluster.driver.advance(MINUTE)
    record = cluster.record(runs["killer"])
    assert (record.state, record.attempts) == (RunState.PAUSED, 3)
    assert "its process died" in record.reason
    assert watch.times("killer") == 0
    for neighbour in ("one", "two"):
        assert state(cluster, runs[neighbour]) == (RunState.COMPLETED, 0)


def test_what_a_dead_process_merely_had_in_hand_is_begun_together_under_one_mark(
    cluster: Cluster, heirs: Heirs, watch: Watch
) -> None:
    """Seen to fail when each of them was begun alone: one at a time, with a commit for each."""
    runs = heirs.begin(**{f"run {n}": 60 for n in range(8)})
    heirs.kill()
    assert watch.most == 8
    for run_id in runs.values():
        record = cluster.record(run_id)
        assert (record.version, record.attempts) == (2, 0)
        assert record.reason == "a process died that had the run in hand"
    cluster.driver.advance(2 * MINUTE)
    assert {state(cluster, run_id) for run_id in runs.values()} == {(RunState.COMPLETED, 0)}
    assert sorted(watch.begun) == [(f"run {n}", 1) for n in range(8)]
    assert cluster.rows() == []


def test_each_of_those_begun_when_a_process_died_has_the_next_to_itself_for_a_moment(
    cluster: Cluster, heirs: Heirs, watch: Watch
) -> None:
    """Seen to fail when what had been marked was begun together once more."""
    runs = heirs.begin(**{f"run {n}": 60 for n in range(4)})
    heirs.kill()
    assert watch.most == 4
    heirs.kill()
    heirs.wait_for(*runs)
    cluster.driver.advance(2 * MINUTE)
    assert {state(cluster, run_id) for run_id in runs.values()} == {(RunState.COMPLETED, 0)}
    assert sorted(watch.begun) == [(f"run {n}", 1) for n in range(4)]


def test_suspect_that_ran_alone_once_and_died_has_the_process_to_itself_for_seconds(
    cluster: Cluster, heirs: Heirs, watch: Watch
) -> None:
    """Seen to fail when all suspects were granted the same moment."""
    heirs.begin(killer=1000)
    heirs.kill_twice()
    heirs.wait_for("killer")
    heirs.kill()
    heirs.wait_for("killer")
    heirs.begin(other=1)
    assert watch.running == ["killer"]
    cluster.driver.advance(3 * SECOND)
    assert watch.running == ["killer"]
    cluster.driver.advance(2 * SECOND)
    assert watch.times("other") == 1


def test_suspect_waits_for_no_long_step_and_keeps_none_waiting(
    cluster: Cluster, heirs: Heirs, watch: Watch
) -> None:
    """Seen to fail when a suspect began only where nothing else ran at all."""
    runs = heirs.begin(**{f"long {n}": 600 for n in range(5)})
    heirs.kill_twice()
    heirs.wait_for(*runs)
    cluster.driver.advance(SECOND)
    assert len(watch.running) == 5
    heirs.begin(quick=0)
    assert watch.times("quick") == 1


def test_ordinary_work_has_its_turn_between_suspects(
    cluster: Cluster, heirs: Heirs, watch: Watch
) -> None:
    """Seen to fail when the next suspect always went first."""
    runs = heirs.begin(**{f"long {n}": 600 for n in range(9)})
    heirs.kill_twice()
    heirs.wait_for(*runs)
    heirs.client.trigger(heirs._orders, "quick", Order())
    cluster.driver.advance(timedelta(milliseconds=350))
    assert watch.times("quick") == 1
    assert len(watch.running) < 9


# -- what is counted -------------------------------------------------------------------------------


def test_innocent_suspect_is_told_the_attempt_and_key_that_it_would_have_had(
    cluster: Cluster, heirs: Heirs, watch: Watch
) -> None:
    """Seen to fail when the attempt was told from the record that counts it: it was the second."""
    runs = heirs.begin(one=30)
    heirs.kill_twice()
    cluster.driver.advance(MINUTE)
    assert watch.begun == [("one", 1)]
    assert len(watch.keys) == 1
    assert cluster.record(runs["one"]).state is RunState.COMPLETED
    assert cluster.rows() == []


def test_attempt_that_was_counted_ahead_and_fails_is_counted_once(cluster: Cluster) -> None:
    """Seen to fail when its failure was made from the record that counts it."""
    fails = [True]
    attempts: list[int] = []
    orders = Workflow("order processor", Order, Status, ends=(Status.DONE,))

    @orders.step(Status.CREATED, retry=Retry(first=MINUTE, jitter=False))
    async def work(run: OrderRun) -> Literal[Status.DONE]:
        attempts.append(run.attempt)
        await asyncio.sleep(run.data.takes)
        if fails[0]:
            raise ValueError("no")
        return Status.DONE

    heirs = Heirs(cluster, orders, Watch())
    runs = heirs.begin(one=30)
    heirs.kill_twice()
    cluster.driver.advance(MINUTE)
    record = cluster.record(runs["one"])
    assert (record.attempts, record.last_error, record.version) == (1, "ValueError: no", 4)
    fails[0] = False
    cluster.driver.advance(2 * MINUTE)
    assert attempts == [1, 1, 1, 2]
    assert state(cluster, runs["one"]) == (RunState.COMPLETED, 0)


def test_stop_takes_back_an_attempt_that_was_counted_ahead(
    cluster: Cluster, heirs: Heirs, watch: Watch
) -> None:
    """A deploy costs no attempt. Seen to fail when the stop only abandoned the body."""
    runs = heirs.begin(one=1000)
    member = heirs.kill_twice()
    heirs.wait_for("one")
    assert state(cluster, runs["one"]) == (RunState.INITIATED, 1)
    member.engine.close()
    assert state(cluster, runs["one"]) == (RunState.INITIATED, 0)
    assert cluster.record(runs["one"]).last_error == ""


def test_stop_leaves_nothing_suspect_of_what_was_begun_under_a_mark(
    cluster: Cluster, heirs: Heirs, watch: Watch
) -> None:
    """Seen to fail when the stop only abandoned the bodies: they were begun alone afterwards."""
    runs = heirs.begin(one=30, two=30)
    heirs.kill().engine.close()
    watch.forget()
    cluster.driver.serve(heirs._orders, engine=cluster.join("after the deploy").engine)
    cluster.driver.advance(20 * SECOND)
    assert sorted(watch.running) == ["one", "two"]
    assert {state(cluster, run_id) for run_id in runs.values()} == {(RunState.INITIATED, 0)}


def test_what_cannot_be_marked_does_not_begin(cluster: Cluster, heirs: Heirs, watch: Watch) -> None:
    """Seen to fail when a lost answer to the commit let the bodies begin all the same."""
    runs = heirs.begin(one=30, two=30)
    member = heirs.kill(forbids="commit")
    cluster.driver.advance(MINUTE)
    assert watch.begun == []
    member.store.script.heal()
    cluster.driver.advance(MINUTE)
    assert {state(cluster, run_id) for run_id in runs.values()} == {(RunState.COMPLETED, 0)}


def test_run_that_moves_on_while_it_is_marked_is_left_out_and_the_others_begin(
    cluster: Cluster, heirs: Heirs, watch: Watch
) -> None:
    """Seen to fail when a conflict was taken for a mark: its body began as well."""
    runs = heirs.begin(one=30, two=30)
    member = heirs.kill(forbids="commit")

    def pause_between(call: str) -> None:
        if call == "lookup_many":
            member.store.script.heal()
            heirs.client.pause(runs["one"], reason="by hand")

    member.store.script.heal()
    member.store.script.after = pause_between
    cluster.driver.advance(MINUTE)
    assert watch.begun == [("two", 1)]
    assert state(cluster, runs["one"]) == (RunState.PAUSED, 0)


def test_stop_takes_back_the_marks_of_what_waits_behind_a_plain_function(cluster: Cluster) -> None:
    """Seen to fail when the stop dropped what waited and said nothing: it was begun alone then."""
    begun: list[str] = []
    at_first: list[Callable[[], object]] = []
    orders = Workflow("order processor", Order, Status, ends=(Status.DONE,))

    @orders.step(Status.CREATED)
    def work(run: OrderRun) -> Literal[Status.DONE]:
        begun.append(run.foreign_id)
        while at_first:
            at_first.pop()()
        return Status.DONE

    heirs = Heirs(cluster, orders, Watch())
    cluster.store.script.fail("commit")
    runs = heirs.begin(one=0, two=0, three=0)
    cluster.kill(cluster.engine, "first")
    heir = cluster.join("heir")
    serving = cluster.driver.serve(orders, engine=heir.engine)
    (lane,) = serving.window._waiting.lanes
    lane.learn(Status.CREATED, 0.0)  # its body is known to be quick: they are claimed together
    begun.clear()
    at_first.append(serving.stop)
    cluster.driver.advance(20 * SECOND)
    assert len(begun) == 1
    cluster.kill(heir.engine, "heir")  # it stopped within one of its own polls, which goes on
    begun.clear()
    last = cluster.join("after the deploy")
    cluster.driver.serve(orders, engine=last.engine)
    cluster.driver.advance(20 * SECOND)
    assert sorted(begun) == ["one", "three", "two"]
    for run_id in runs.values():
        reasons = [entry.reason for entry in heirs.client.history(run_id)]
        assert reasons.count("a process died that had the run in hand") == 1
        assert all(entry.attempts == 0 for entry in heirs.client.history(run_id))


def test_stop_that_comes_while_an_attempt_is_counted_waits_for_nothing(
    cluster: Cluster, heirs: Heirs, watch: Watch
) -> None:
    """Seen to fail when what was counted too late stayed in hand: the stop took its whole grace."""
    runs = heirs.begin(one=1000)
    member = heirs.kill_twice(forbids="commit")
    serving = member.engine._serving
    assert serving is not None

    def close_between(call: str) -> None:
        if call == "commit" and cluster.record(runs["one"]).attempts:
            member.store.script.heal()
            assert list(serving.window.close_entrance()) == []

    member.store.script.heal()
    member.store.script.after = close_between
    cluster.driver.advance(20 * SECOND)
    assert serving.window.in_hand() == []
    assert watch.begun == []
    assert state(cluster, runs["one"]) == (RunState.INITIATED, 0)


def test_stop_that_comes_while_runs_are_marked_leaves_nothing_suspect(
    cluster: Cluster, heirs: Heirs, watch: Watch
) -> None:
    """Seen to fail when what was dropped meanwhile kept its mark."""
    runs = heirs.begin(one=30, two=30)
    member = heirs.kill(forbids="commit")
    serving = member.engine._serving
    assert serving is not None

    def close_between(call: str) -> None:
        if call == "commit" and cluster.record(runs["one"]).reason:
            member.store.script.heal()
            serving.window.close_entrance()

    member.store.script.heal()
    member.store.script.after = close_between
    cluster.driver.advance(20 * SECOND)
    assert serving.window.in_hand() == []
    assert watch.begun == []
    for run_id in runs.values():
        assert [entry.reason for entry in heirs.client.history(run_id)][-2:] == [
            "a process died that had the run in hand",
            "",
        ]


def test_suspect_whose_outcome_was_committed_is_dropped_uncounted(
    cluster: Cluster, heirs: Heirs, watch: Watch
) -> None:
    cluster.streamer.script.fail("ack")
    runs = heirs.begin(one=0)
    version = cluster.record(runs["one"]).version
    heirs.kill()
    cluster.driver.advance(MINUTE)
    assert watch.begun == []
    assert cluster.record(runs["one"]).version == version


def test_attempt_that_cannot_be_counted_does_not_begin(
    cluster: Cluster, heirs: Heirs, watch: Watch
) -> None:
    """Seen to fail when a lost answer to the commit let the body begin all the same."""
    runs = heirs.begin(one=30)
    member = heirs.kill_twice(forbids="commit")
    cluster.driver.advance(MINUTE)
    assert watch.begun == []
    member.store.script.heal()
    cluster.driver.advance(MINUTE)
    assert state(cluster, runs["one"]) == (RunState.COMPLETED, 0)


# -- who is suspect --------------------------------------------------------------------------------


def test_copy_that_comes_due_is_suspect(cluster: Cluster, heirs: Heirs, watch: Watch) -> None:
    """It drives a long step whose process died. Seen to fail when the copy was like any other."""
    runs = heirs.begin(slow=1000)
    cluster.driver.advance(35 * SECOND)
    (copy,) = cluster.rows()
    assert (copy.kind, suspicion_of(copy)) == (EventKind.NUDGE, Suspicion.HELD)
    heirs.kill()
    cluster.driver.advance(2 * MINUTE)
    assert watch.running == ["slow"]
    record = cluster.record(runs["slow"])
    assert (record.version, record.attempts) == (2, 0)
    assert record.reason == "a process died that had the run in hand"


def test_doubled_delivery_makes_what_waits_suspect_too(
    joined: Cluster, orders: Workflow[Order, Status], watch: Watch
) -> None:
    """Seen to fail when a second delivery only added its receipt."""
    serving = joined.driver.serve(orders)
    joined.driver.advance(SECOND)
    joined.store.script.fail("lookup_many")
    run_id = joined.client().engine.trigger(orders, "one", Order(5))
    joined.driver.run()
    (item,) = serving._window.in_hand()
    ((receiver, delivery),) = item.receipts
    serving._window.admit(item.lane, receiver, [delivery.replace(suspect=True)])
    joined.store.script.heal()
    joined.driver.run()
    assert joined.record(run_id).reason == "a process died that had the run in hand"


def test_event_of_a_counted_attempt_that_arrives_while_it_runs_is_the_same_work(
    cluster: Cluster, heirs: Heirs, watch: Watch
) -> None:
    """Seen to fail when the item in hand stood for the version before: its body was cancelled."""
    runs = heirs.begin(one=40)
    heirs.kill_twice()
    heirs.wait_for("one")
    cluster.driver.advance(10 * SECOND)  # its next try is due after one second
    assert cluster.rows() == []
    assert watch.last is not None
    assert not watch.last.cancelled
    cluster.driver.advance(40 * SECOND)
    assert watch.begun == [("one", 1)]
    assert state(cluster, runs["one"]) == (RunState.COMPLETED, 0)


def test_suspicion_is_a_header_of_the_event_alone(
    cluster: Cluster, heirs: Heirs, orders: Workflow[Order, Status]
) -> None:
    runs = heirs.begin(one=1000)
    record: Record = cluster.record(runs["one"])
    assert record.headers == {}
    event = cluster.streamer.sent[0]
    held = suspected(event)
    assert suspicion_of(event) is None
    assert suspicion_of(held) is Suspicion.HELD
    for graver in (Suspicion.TRIED, Suspicion.BEGUN):
        assert suspicion_of(suspected(suspected(held, graver))) is graver
    assert suspicion_of(suspected(suspected(held, Suspicion.BEGUN), Suspicion.TRIED)) is (
        Suspicion.BEGUN
    )
    unheard_of = held.replace(headers={"workflow-suspect": "of something newer"})
    assert suspicion_of(unheard_of) is Suspicion.HELD
