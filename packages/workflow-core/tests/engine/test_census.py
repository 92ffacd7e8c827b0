"""The census: what there is of a workflow, counted by one process, in bounded parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

import pytest
from workflow_core import LetterKind, LetterState, Pause, Retry, Run, RunState, RunView, Workflow
from workflow_core.model import (
    Observation,
    OutboxEvent,
    PortCalled,
    RecordQuery,
    StockGone,
    StockTaken,
)
from workflow_core.ports import Observer

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster

SECOND = timedelta(seconds=1)
RETRY = Retry(first=SECOND, jitter=False, pause_after=1)


class Status(IntEnum):
    CREATED = 1
    PACKED = 2
    SENT = 3


@dataclass
class Order:
    pauses: bool = False


class Counter(Observer):
    def __init__(self) -> None:
        self.told: list[StockTaken | StockGone] = []
        self.tallies = 0

    def notice(self, observations: Sequence[Observation]) -> None:
        self.told += [it for it in observations if isinstance(it, StockTaken | StockGone)]
        self.tallies += sum(
            isinstance(it, PortCalled) and it.operation == "tally_records" for it in observations
        )


def orders(name: str = "orders") -> Workflow[Order, Status]:
    flow = Workflow(name, Order, Status, ends=(Status.SENT,), retry=RETRY)

    @flow.step(Status.CREATED)
    def pack(run: Run[Order, Status]) -> Literal[Status.PACKED] | Pause:
        return Pause("ask") if run.data.pauses else Status.PACKED

    @flow.step(Status.PACKED)
    def send(run: Run[Order, Status]) -> Literal[Status.SENT]:
        return Status.SENT

    @flow.on_complete(retry=RETRY)
    def bill(run: RunView[Order, Status]) -> None:
        raise ConnectionError

    return flow


@pytest.fixture
def counter() -> Counter:
    return Counter()


@pytest.fixture
def cluster(make_cluster: Callable[..., Cluster], counter: Counter) -> Cluster:
    return make_cluster(joined=False, observers=[counter])


def test_what_there_is_is_told(cluster: Cluster, counter: Counter) -> None:
    flow, driver = orders(), cluster.driver
    driver.serve(flow)
    driver.begin(flow, "o-1", Order(pauses=True))
    driver.begin(flow, "o-2", Order())
    driver.run()
    driver.advance(timedelta(minutes=1))
    last = counter.told[-1]
    assert isinstance(last, StockTaken)
    assert last.runs == {("CREATED", RunState.PAUSED): 1}
    assert last.letters == {(LetterKind.HOOK, LetterState.SET_ASIDE): 1}
    assert (last.outbox_due, last.outbox_scheduled, last.outbox_age) == (0, 0, 0.0)
    assert last.workers == {"live": 1, "lost": 0}


def test_lost_workers_of_the_workflow_are_counted(cluster: Cluster, counter: Counter) -> None:
    """Seen to fail when workers of whatever workflow are counted."""
    driver, second = cluster.driver, cluster.join("second").engine
    other = orders("other")
    driver.serve(orders())
    driver.serve(orders(), engine=second)
    driver.serve(other, engine=cluster.join("third").engine)
    driver.run()
    cluster.kill(second, "second")
    driver.advance(timedelta(minutes=5))
    told = {it.workflow: it.workers for it in counter.told if isinstance(it, StockTaken)}
    assert told == {"orders": {"live": 1, "lost": 1}, "other": {"live": 1, "lost": 0}}


def test_count_is_told_later_when_the_store_is_away_at_its_end(
    cluster: Cluster, counter: Counter
) -> None:
    """Seen to fail when what is left to count was forgotten then: no count was ever told again."""
    cluster.driver.serve(orders())
    cluster.store.script.fail("outbox_backlog", times=1)
    cluster.driver.advance(timedelta(seconds=20))
    assert len(counter.told) == 1


def test_many_runs_are_counted_page_by_page_with_rests_between(
    cluster: Cluster, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail when a count began anew with each page."""
    monkeypatch.setattr("workflow_core.engine.census._PAGE", 3)
    flow = orders()
    for number in range(10):
        run_id = cluster.engine.trigger(flow, f"o-{number}", Order())
        cluster.engine.pause(run_id, reason="wait")
    cluster.driver.serve(flow)
    cluster.driver.run()
    (told,) = counter.told
    assert isinstance(told, StockTaken)
    assert told.runs == {("CREATED", RunState.PAUSED): 10}
    assert counter.tallies == 5  # four pages of runs, one of letters
    cluster.driver.advance(timedelta(seconds=29))
    assert counter.tallies == 5


def test_one_member_counts_for_all_and_says_when_it_does_no_longer(
    cluster: Cluster, counter: Counter
) -> None:
    """Seen to fail when the census of a process that lost its role told nothing."""
    flow, driver = orders(), cluster.driver
    servings = [driver.serve(flow), driver.serve(flow, engine=cluster.join("second").engine)]
    driver.run()
    assert len(counter.told) == 1
    gates = [serving._gates["orders-census"] for serving in servings]
    (gate,) = [gate for gate in gates if gate.is_open]
    gate.shut()
    driver.run()
    driver.run()  # what is told at the end of a round is told on with the next one
    assert counter.told[-1] == StockGone(workflow="orders")


def test_nobody_observes_so_nothing_is_counted(make_cluster: Callable[..., Cluster]) -> None:
    serving = make_cluster().driver.serve(orders())
    assert not any("census" in role for role in serving._duties)


def test_a_backlog_tells_what_is_due_from_what_is_scheduled(cluster: Cluster) -> None:
    """Seen to fail when rows that their writer holds counted as scheduled."""
    flow, store = orders(), cluster.store
    for number in range(3):
        cluster.engine.trigger(flow, f"o-{number}", Order())
    event = cluster.rows()[0]
    later = OutboxEvent(event=event.replace(id="later"), delay=timedelta(hours=1))
    store.add_outbox_events([later])
    cluster.clock.advance(SECOND)
    backlog = store.outbox_backlog("orders", most=100)
    assert (backlog.due, backlog.scheduled, backlog.oldest) == (3, 1, SECOND)
    assert store.outbox_backlog("orders", most=2).due == 2
    assert store.outbox_backlog("other", most=2).due == 0


def test_a_tally_counts_page_by_page(cluster: Cluster) -> None:
    for number in range(5):
        cluster.engine.trigger(orders(), f"o-{number}", Order())
    query = RecordQuery(workflow="orders", states=[RunState.INITIATED], limit=3)
    first = cluster.store.tally_records(query)
    assert first.counts == {(1, RunState.INITIATED): 3}
    assert first.next is not None
    second = cluster.store.tally_records(query.replace(after=first.next))
    assert second.counts == {(1, RunState.INITIATED): 2}
    assert second.next is None
