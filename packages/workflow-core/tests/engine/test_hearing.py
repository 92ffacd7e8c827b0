"""Receivers that answer in time, that there is nothing, while events wait."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

import pytest
from workflow_core import Run, Workflow

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster

MINUTE = timedelta(minutes=1)


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
    cluster.streamer.is_deaf = True
    run_id = cluster.engine.trigger(flow, "one", Nothing())
    cluster.driver.advance(MINUTE)
    assert cluster.engine.health().live, "so much is usual where there is a backlog"
    cluster.driver.advance(6 * MINUTE)
    health = cluster.engine.health()
    assert (health.live, health.ready) == (False, False)
    (problem,) = health.problems
    assert problem.startswith("flow-main-steps reception is deaf: it is handed nothing, and an")
    cluster.streamer.is_deaf = False
    cluster.driver.run()
    assert cluster.engine.health().ready
    assert cluster.engine.view(flow, run_id).status is Status.DONE


def test_nobody_is_deaf_when_there_is_nothing_to_hear(
    cluster: Cluster, flow: Workflow[Nothing, Status]
) -> None:
    cluster.driver.serve(flow)
    cluster.streamer.is_deaf = True
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
    second.streamer.is_deaf = True
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
