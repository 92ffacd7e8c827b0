"""What one failure must not do to all that comes after it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal

import pytest
from workflow_core import Retry, Run, RunState, Workflow
from workflow_core.discovery import Adapters
from workflow_core.engine import Engine
from workflow_core.engine.crew import Crew
from workflow_core.engine.gate import Gate
from workflow_core.engine.process import Process
from workflow_core.engine.publisher import Publisher
from workflow_core.engine.relay import Relay
from workflow_core.errors import AdapterError, AdapterUnavailableError
from workflow_core.memory import (
    MemoryDatabase,
    MemoryEventStreamer,
    MemoryRecordStore,
    MemoryRoleScheduler,
)
from workflow_core.model import Event, OutboxEvent, names
from workflow_core.ports import AdapterContext, EventSender
from workflow_core.testing import Driver, FakeClock

if TYPE_CHECKING:
    from tests.threads.conftest import Cluster

LIMIT = timedelta(seconds=60)
NOW = timedelta(0)


class Status(IntEnum):
    BROKEN = 1
    DONE = 2


@dataclass
class Data:
    number: int = 0


class Route(IntEnum):
    FORK = 1
    LEFT = 2
    RIGHT = 3
    DONE = 4


def a_driver() -> tuple[Driver, MemoryEventStreamer]:
    """And the streamer, to put events on."""
    clock = FakeClock()
    database = MemoryDatabase(clock)
    streamer = MemoryEventStreamer(database, instance="here")
    adapters = Adapters(
        record_store=MemoryRecordStore(database),
        event_streamer=streamer,
        role_scheduler=MemoryRoleScheduler(database, instance="here"),
        context=AdapterContext(instance="here", clock=clock),
    )
    return Driver(Engine(adapters), clock=clock), streamer


def an_event(number: int) -> Event:
    return Event(
        id=f"event-{number}",
        topic="flow-1",
        workflow="flow",
        run_id=f"run-{number}",
        foreign_id=f"id-{number}",
        status=1,
        state=RunState.INITIATED,
        version=1,
    )


def test_attempt_is_counted_when_its_error_cannot_be_told(joined: Cluster) -> None:
    """Seen to fail when the text was asked for as it is: the run stayed in hand for ever."""

    class UnspeakableError(Exception):
        def __str__(self) -> str:
            raise ValueError("no words")

    flow = Workflow("broken", Data, Status, ends=(Status.DONE,), retry=Retry(pause_after=1))
    tried = threading.Event()

    @flow.step(Status.BROKEN)
    def broken(run: Run[Data, Status]) -> Literal[Status.DONE]:
        tried.set()
        raise UnspeakableError

    engine = joined.engine()
    serving = engine.serving(flow).start()
    (run_id,) = joined.begin(engine, flow, 1)
    assert tried.wait(LIMIT.total_seconds())
    assert serving.stop() == []
    record = joined.records.runs.rows[run_id]
    assert (record.state, record.attempts) == (RunState.PAUSED, 1)
    assert "UnspeakableError" in record.last_error


class BlindStore(MemoryRecordStore):
    """Says once that it cannot tell what is due, and never that anything has changed."""

    asked = 0

    def next_outbox_due(self, workflows: Sequence[str]) -> timedelta | None:
        self.asked += 1
        if self.asked == 1:
            raise AdapterUnavailableError("not now")
        return super().next_outbox_due(workflows)

    def outbox_changed(self) -> bool:
        return False


def test_relay_looks_again_when_the_store_could_not_tell() -> None:
    """Seen to fail when it took no answer for nothing ever being due."""
    clock = FakeClock()
    database = MemoryDatabase(clock)
    store = BlindStore(database)
    streamer = MemoryEventStreamer(database, instance="here")
    relay = Relay(store, streamer, ["flow"], joined=True, gate=Gate(is_open=True), clock=clock)
    store.add_outbox_events([OutboxEvent(event=an_event(1))])
    with pytest.raises(AdapterUnavailableError):
        relay.poll(NOW)
    assert relay.poll(NOW)
    assert database.log.size() == 1


class HalfSender(EventSender):
    """Publishes every other event."""

    def send(self, event: Event) -> None:
        raise NotImplementedError

    def send_many(
        self, events: Sequence[Event], timeout: timedelta
    ) -> Sequence[AdapterError | None]:
        refusal = AdapterUnavailableError("not now")
        return [refusal if index % 2 else None for index in range(len(events))]


def test_publisher_backs_off_when_a_part_could_not_be_published() -> None:
    """And forgets the rows of the rest first: the back-off may outlast their lease.

    Seen to fail when it reported work well done: its thread span until the lease was over.
    """
    clock = FakeClock()
    store = MemoryRecordStore(MemoryDatabase(clock))
    publisher = Publisher(store, HalfSender, clock, lambda process: None)
    events = [an_event(number) for number in range(4)]
    held = timedelta(seconds=5)
    store.add_outbox_events([OutboxEvent(event=event, held_for=held) for event in events])
    publisher.offer(events, publisher.ticket())
    with pytest.raises(AdapterUnavailableError):
        publisher.poll(NOW)
    assert {row.id for row in store.database.outbox.rows()} == {"event-1", "event-3"}


def test_crew_takes_nobody_on_when_it_was_disbanded() -> None:
    """Else what comes late, such as an event offered during a close, starts a thread for ever."""

    class Late(Process):
        name = "late"

        def poll(self, wait: timedelta) -> bool:
            raise NotImplementedError

    crew = Crew(FakeClock())
    crew.disband(NOW)
    crew.add(Late())
    assert crew.processes == []
    assert not any(thread.name == "late" for thread in threading.enumerate())


def test_bodies_that_leave_by_any_exception_are_failed_attempts(joined: Cluster) -> None:
    """SystemExit and the like end neither a worker nor the loop of the async ones."""
    flow = Workflow("leaving", Data, Status, ends=(Status.DONE,), retry=Retry(pause_after=1))
    leaving: list[type[BaseException]] = [SystemExit, KeyboardInterrupt, GeneratorExit]
    left = threading.Semaphore(0)

    @flow.step(Status.BROKEN)
    def leave(run: Run[Data, Status]) -> Literal[Status.DONE]:
        number = int(run.foreign_id.removeprefix("id-"))
        if number < len(leaving):
            left.release()
            raise leaving[number]
        return Status.DONE

    engine = joined.engine()
    engine.serving(flow).start()
    run_ids: list[Any] = joined.begin(engine, flow, 10)
    joined.wait_for_all(engine, flow, run_ids[len(leaving) :])
    for _ in leaving:  # what has begun is worked off by the closing, and nothing else
        assert left.acquire(timeout=LIMIT.total_seconds())
    engine.close()
    states = [joined.records.runs.rows[run_id].state for run_id in run_ids]
    assert states == [RunState.PAUSED] * 3 + [RunState.COMPLETED] * 7


def test_cursor_moves_on_when_an_event_comes_again_for_a_step_that_takes_long() -> None:
    """Its copy in the outbox drives the run: no second delivery may hold back cursor or shard.

    Seen to fail when only what was delivered before the copy was acked.
    """
    flow = Workflow("long", Data, Status, ends=(Status.DONE,))

    @flow.step(Status.BROKEN)
    async def take_long(run: Run[Data, Status]) -> Literal[Status.DONE]:
        await asyncio.sleep(1000)
        return Status.DONE

    driver, streamer = a_driver()
    topic, consumer = names.status_topic("long", 1), names.consumer("long", "main")
    with driver:
        driver.serve(flow)
        run_id = driver.engine.trigger(flow, "one", Data())
        driver.advance(timedelta(seconds=40))
        again = an_event(1).replace(topic=topic, workflow="long", run_id=run_id)
        streamer.new_sender().send(again)
        assert streamer.lag([topic], consumer) is not None
        driver.advance(timedelta(seconds=10))
        assert streamer.lag([topic], consumer) == NOW
        driver.settle()
        assert driver.engine.view(flow, run_id).status is Status.DONE


def test_run_goes_on_when_an_event_tells_of_a_version_that_was_never_kept() -> None:
    """As after a fail-over that lost a commit: the step ran again, and answered otherwise.

    Seen to fail when the two events were taken for one: the run waited for the reconciler.
    """
    flow = Workflow("lost", Data, Route, ends=(Route.DONE,))

    @flow.step(Route.FORK)
    def fork(run: Run[Data, Route]) -> Literal[Route.LEFT, Route.RIGHT]:
        return Route.LEFT

    @flow.step(Route.LEFT)
    def left(run: Run[Data, Route]) -> Literal[Route.DONE]:
        return Route.DONE

    @flow.step(Route.RIGHT)
    def right(run: Run[Data, Route]) -> Literal[Route.DONE]:
        return Route.DONE

    driver, streamer = a_driver()
    with driver:
        driver.serve(flow)
        run_id = driver.engine.trigger(flow, "one", Data())
        lost = an_event(1).replace(workflow="lost", run_id=run_id, version=2, status=Route.RIGHT)
        streamer.new_sender().send(lost.replace(topic=names.status_topic("lost", Route.RIGHT)))
        driver.advance(timedelta(seconds=1))
        assert driver.engine.view(flow, run_id).status is Route.DONE
