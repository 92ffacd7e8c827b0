"""Receivers that answer in time, that there is nothing, while events wait."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

import pytest
from workflow_core import ConnectorEvent, Engine, Run, RunView, Trigger, Workflow
from workflow_core.memory import MemoryConnectorSource, MemoryDatabase
from workflow_core.model import names
from workflow_core.ports import Receiver
from workflow_core.testing import Driver, FakeClock

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster

MINUTE = timedelta(minutes=1)


def to_all(name: str) -> bool:
    return True


def to_none(name: str) -> bool:
    return False


class Status(IntEnum):
    BEGUN = 1
    DONE = 2


@dataclass
class Nothing:
    pass


@pytest.fixture
def flow() -> Workflow[Nothing, Status]:
    flow = Workflow("flow", Nothing, Status, ends=(Status.DONE,))

    @flow.step(Status.BEGUN)
    def end(run: Run[Nothing, Status]) -> Literal[Status.DONE]:
        return Status.DONE

    return flow


def test_deaf_receiver_is_found_when_events_wait(
    cluster: Cluster, flow: Workflow[Nothing, Status]
) -> None:
    """Seen to fail without the look at the lag: every poll ends in time, and all roles are idle."""
    cluster.driver.serve(flow)
    cluster.driver.advance(MINUTE)
    cluster.streamer.deaf = to_all
    run_id = cluster.engine.trigger(flow, "one", Nothing())
    cluster.driver.advance(MINUTE)
    assert cluster.engine.health().live, "so much is usual where there is a backlog"
    cluster.driver.advance(6 * MINUTE)
    health = cluster.engine.health()
    assert (health.live, health.ready) == (False, False)
    (problem,) = health.problems
    assert problem.startswith("flow-main-steps reception is deaf: it is handed nothing, and an")
    cluster.streamer.deaf = to_none
    cluster.driver.run()
    assert cluster.engine.health().ready
    assert cluster.engine.view(flow, run_id).status is Status.DONE


def test_nobody_is_deaf_when_there_is_nothing_to_hear(
    cluster: Cluster, flow: Workflow[Nothing, Status]
) -> None:
    cluster.driver.serve(flow)
    cluster.streamer.deaf = to_all
    cluster.driver.advance(60 * MINUTE)
    assert cluster.engine.health().ready


def test_process_that_stood_still_is_not_blamed_for_what_came_meanwhile(
    cluster: Cluster, flow: Workflow[Nothing, Status]
) -> None:
    """Seen to fail when it is not asked a second time: it finds an hour old event at once."""
    serving = cluster.driver.serve(flow)
    cluster.driver.advance(2 * MINUTE)
    cluster.engine.trigger(flow, "one", Nothing())
    cluster.clock.advance(60 * MINUTE)
    serving.hearing.poll(timedelta(0))  # before the reception has come to poll
    assert cluster.engine.health().live
    cluster.driver.run()
    cluster.driver.advance(MINUTE)
    assert cluster.engine.health().ready


def test_process_that_reads_a_part_is_not_blamed_for_the_others(
    cluster: Cluster, flow: Workflow[Nothing, Status]
) -> None:
    """Seen to fail when whoever finds that an event waits is deaf: both would be ended."""
    second = cluster.join("second")
    cluster.driver.serve(flow)
    cluster.driver.serve(flow, engine=second.engine)
    cluster.driver.advance(MINUTE)
    second.streamer.deaf = to_all
    for number in range(40):
        cluster.engine.trigger(flow, f"r-{number}", Nothing())
    cluster.driver.advance(7 * MINUTE)
    for engine in (cluster.engine, second.engine):
        health = engine.health()
        assert health.ready
        (problem,) = health.problems
        assert "is handed nothing" in problem
        assert problem.endswith("it is deaf, or another process is that reads a part")


def test_receiver_is_asked_about_seldom_and_only_where_it_received_nothing(
    joined: Cluster, flow: Workflow[Nothing, Status], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Idle is cheap: a look at the lag costs a question for each topic and part."""
    asked: list[str] = []
    lag = joined.streamer.lag

    def counted(topics: list[str], name: str) -> timedelta | None:
        asked.append(name)
        return lag(topics, name)

    joined.driver.serve(flow)
    joined.driver.advance(10 * MINUTE)
    monkeypatch.setattr(joined.streamer, "lag", counted)
    for number in range(30):
        joined.engine.trigger(flow, f"r-{number}", Nothing())
        joined.driver.advance(MINUTE / 2)
    busy = asked.count("flow-main-steps")
    assert busy <= 2  # the reconciler's
    joined.driver.advance(60 * MINUTE)
    assert asked.count("flow-main-steps") - busy <= 12 + 6


def test_deaf_receiver_of_hooks_is_found(cluster: Cluster, flow: Workflow[Nothing, Status]) -> None:
    """Seen to fail when steps' receivers alone are looked at."""
    told: list[str] = []

    @flow.on_complete()
    def tell(run: RunView[Nothing, Status]) -> None:
        told.append(run.foreign_id)

    consumer = names.deliveries_consumer("flow")
    cluster.driver.serve(flow)
    cluster.driver.advance(MINUTE)
    cluster.streamer.deaf = lambda name: name == consumer
    cluster.engine.trigger(flow, "one", Nothing())
    cluster.driver.advance(7 * MINUTE)
    (problem,) = cluster.engine.health().problems
    assert problem.startswith(f"{consumer} is deaf: it is handed nothing, and an event has waited")
    assert not cluster.engine.health().live
    cluster.streamer.deaf = to_none
    cluster.driver.run()
    assert cluster.engine.health().ready
    assert told == ["one"]


def test_deaf_receiver_of_a_follower_is_found(
    cluster: Cluster, flow: Workflow[Nothing, Status]
) -> None:
    """Seen to fail when steps' receivers alone are looked at."""
    follower = Workflow("follower", Nothing, Status, ends=(Status.DONE,))

    @follower.step(Status.BEGUN)
    def end(run: Run[Nothing, Status]) -> Literal[Status.DONE]:
        return Status.DONE

    @follower.follow(flow)
    def follow(run: RunView[Nothing, Status]) -> Trigger[Nothing]:
        return Trigger(run.foreign_id, Nothing())

    cluster.driver.serve(flow, follower)
    cluster.driver.advance(MINUTE)
    consumer = names.connector_consumer("follower", "flow")
    cluster.streamer.deaf = lambda name: name == consumer
    cluster.engine.trigger(flow, "one", Nothing())
    cluster.driver.advance(7 * MINUTE)
    (problem,) = cluster.engine.health().problems
    assert problem.startswith(f"{consumer} is deaf")


def test_hook_that_is_slow_makes_nobody_deaf(
    cluster: Cluster, flow: Workflow[Nothing, Status], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in hand is heard. Seen to fail when a receiver listens in vain while it works."""
    calls: list[Callable[[], None]] = []
    told: list[str] = []

    @flow.on_complete()
    def tell(run: RunView[Nothing, Status]) -> None:
        told.append(run.foreign_id)

    monkeypatch.setattr("workflow_core.engine.intakes._at_once", calls.append)
    cluster.driver.serve(flow)
    cluster.engine.trigger(flow, "one", Nothing())
    cluster.driver.advance(4 * MINUTE)
    assert cluster.engine.health().problems == ()
    (call,) = calls
    call()
    cluster.driver.run()
    assert told == ["one"]


def test_receiver_that_knows_is_believed_though_it_reads_a_part_and_hears_another(
    cluster: Cluster, flow: Workflow[Nothing, Status]
) -> None:
    """Seen to fail when only those are asked that were handed nothing."""
    second = cluster.join("second")
    cluster.driver.serve(flow)
    cluster.driver.serve(flow, engine=second.engine)
    second.streamer.deaf_for = lambda: 2 * MINUTE
    for number in range(200):
        cluster.engine.trigger(flow, f"r-{number}", Nothing())
        if number % 10 == 0:
            cluster.driver.advance(MINUTE / 2)
    assert cluster.engine.health().ready
    assert second.engine.health().problems == (
        "flow-main-steps reception is deaf: it is handed nothing, and an event has waited for"
        " 120 s",
    )
    assert not second.engine.health().live
    second.streamer.deaf_for = lambda: timedelta(0)
    cluster.driver.advance(6 * MINUTE)
    assert second.engine.health().ready


def test_once_is_no_proof(cluster: Cluster, flow: Workflow[Nothing, Status]) -> None:
    """Seen to fail when it is not asked a second time."""
    answers = [2 * MINUTE]
    cluster.streamer.deaf_for = lambda: answers.pop() if answers else timedelta(0)
    cluster.driver.serve(flow)
    for _ in range(20):
        cluster.driver.advance(MINUTE / 2)
        assert cluster.engine.health().ready
    assert not answers


def test_one_that_cannot_be_asked_keeps_nobody_from_being_found(
    cluster: Cluster, flow: Workflow[Nothing, Status]
) -> None:
    """Seen to fail when what has no answer is asked again before all others."""
    cluster.driver.serve(flow)
    cluster.driver.advance(MINUTE)
    cluster.streamer.script.fail("deaf_for")
    cluster.streamer.deaf = to_all
    cluster.engine.trigger(flow, "one", Nothing())
    cluster.driver.advance(8 * MINUTE)
    assert "flow-main-steps reception is deaf" in str(cluster.engine.health().problems)


def test_connector_that_knows_to_be_deaf_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail when steps' receivers alone are looked at."""
    clock = FakeClock()
    flow = Workflow("flow", Nothing, Status, ends=(Status.DONE,))

    @flow.step(Status.BEGUN)
    def end(run: Run[Nothing, Status]) -> Literal[Status.DONE]:
        return Status.DONE

    @flow.connector("payments")
    def take(event: ConnectorEvent) -> None:
        return None

    source = MemoryConnectorSource(MemoryDatabase(clock), "payments")
    engine = Engine.in_memory(clock=clock, connectors={"payments": source})
    with Driver(engine, clock=clock) as driver:
        driver.serve(flow)
        driver.advance(6 * MINUTE)
        assert engine.health().ready
        with source.new_receiver("any") as any_one:
            kind: type[Receiver[ConnectorEvent]] = type(any_one)
        monkeypatch.setattr(kind, "deaf_for", lambda receiver: 2 * MINUTE)
        driver.advance(6 * MINUTE)
        (problem,) = engine.health().problems
        assert problem.startswith(f"{names.connector_consumer('flow', 'payments')} is deaf")
