"""Health: who is deaf, who only waits for an adapter, and that asking never hangs."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import Any, Literal

import pytest
from workflow_core import AdapterState, Engine, EngineSettings, Health, Record, Run, Workflow
from workflow_core.discovery import Adapters
from workflow_core.engine.process import ProcessState, ProcessThread
from workflow_core.errors import AdapterError, AdapterUnavailableError, InputError
from workflow_core.memory import (
    MemoryDatabase,
    MemoryEventStreamer,
    MemoryRecordStore,
    MemoryRoleScheduler,
)
from workflow_core.model import Event
from workflow_core.ports import AdapterContext, Delivery, Receiver
from workflow_core.testing import FakeClock

LIMIT = 60
SOON = timedelta(milliseconds=100)
LONG = timedelta(minutes=2)  # more than a poll may take
EVERYBODY = {"record_store", "event_streamer", "role_scheduler"}


class Status(IntEnum):
    BEGUN = 1
    DONE = 2


@dataclass
class Data:
    pass


class Bench:
    """An engine over memory, parts of which a test freezes. All thaws at the end."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.thawed = threading.Event()
        self.frozen: set[str] = set()
        self.reached = threading.Event()
        """Something frozen was called."""
        self.asked: Counter[str] = Counter()
        self.errors: dict[str, Exception] = {}
        database = MemoryDatabase()
        self.flow = Workflow("flow", Data, Status, ends=(Status.DONE,))
        self.flow.step(Status.BEGUN)(self._step())
        self.engine = Engine(
            Adapters(
                record_store=Store(database, self),
                event_streamer=Streamer(database, self),
                role_scheduler=MemoryRoleScheduler(database, instance="one"),
                context=AdapterContext(instance="one"),
                names={"record_store": "memory"},
            ),
            clock=self.clock,
            settings=EngineSettings(shards=2),
        )

    def _step(self) -> Callable[[Run[Data, Status]], Literal[Status.DONE]]:
        def step(run: Run[Data, Status]) -> Literal[Status.DONE]:
            self.pass_by("body")
            return Status.DONE

        step.__annotations__ = {"run": Run[Data, Status], "return": Literal[Status.DONE]}
        return step

    def pass_by(self, place: str) -> None:
        """Called by what can be frozen."""
        self.asked[place] += 1
        if place in self.errors:
            raise self.errors[place]
        if place in self.frozen:
            self.reached.set()
            assert self.thawed.wait(LIMIT)

    def freeze(self, *places: str) -> None:
        self.frozen = {*places}

    def thaw(self) -> None:
        self.frozen = set()
        self.thawed.set()

    def wait_reached(self) -> None:
        assert self.reached.wait(LIMIT)

    def wait_roles(self) -> None:
        """Until it plays all its roles."""
        self.wait_until(lambda health: len(health.roles) == 3)  # two shards and the reconciler

    def wait_until(self, holds: Callable[[Health], bool]) -> Health:
        """Ask until it holds; fails where it never does."""
        end = time.monotonic() + LIMIT
        while not holds(health := self.engine.health()):
            assert time.monotonic() < end, health.problems
        return health


class Store(MemoryRecordStore):
    def __init__(self, database: MemoryDatabase, bench: Bench) -> None:
        super().__init__(database)
        self._bench = bench

    def check_health(self) -> str:
        self._bench.pass_by("store")
        return super().check_health()

    def latest(self, workflow: str, foreign_id: str) -> Record:
        self._bench.pass_by("latest")
        return super().latest(workflow, foreign_id)


class Streamer(MemoryEventStreamer):
    def __init__(self, database: MemoryDatabase, bench: Bench) -> None:
        super().__init__(database, instance="one")
        self._bench = bench

    def new_receiver(self, *arguments: Any, **options: Any) -> Receiver[Event]:
        receiver = super().new_receiver(*arguments, **options)
        recv_many = receiver.recv_many

        def deaf(limit: int, timeout: timedelta) -> Sequence[Delivery[Event]]:
            self._bench.pass_by("receiver")
            return recv_many(limit, timeout)

        receiver.recv_many = deaf  # type: ignore[method-assign]  # one that a test can freeze
        return receiver


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.thaw()
    bench.engine.close()


@pytest.fixture
def serving(bench: Bench) -> Iterator[Bench]:
    """One that serves and plays its roles."""
    with bench.engine.serving(bench.flow):
        bench.wait_roles()
        yield bench
        bench.thaw()


def test_client_is_live_and_ready_when_its_adapters_answer(bench: Bench) -> None:
    health = bench.engine.health()
    assert (health.live, health.ready, health.problems) == (True, True, ())
    assert {adapter.port: adapter.name for adapter in health.adapters} == {
        "record_store": "memory",
        "event_streamer": "Streamer",
        "role_scheduler": "MemoryRoleScheduler",
    }
    assert {adapter.detail for adapter in health.adapters} == {"memory, 0 runs"}
    assert (health.roles, health.at) == ((), bench.clock.now())


def test_every_role_is_told_with_its_processes_when_serving(serving: Bench) -> None:
    health = serving.engine.health()
    assert (health.live, health.ready) == (True, True)
    players = {role.role: role.processes for role in health.roles}
    assert {*players.values()} == {("flow-main-steps reception",), ("upkeep",)}
    assert {name for names in players.values() for name in names} <= {
        process.name for process in health.processes
    }
    assert json.loads(json.dumps(health.to_dict()))["roles"][0]["state"] in ("idle", "running")


def test_progress_is_told_when_a_run_has_passed(serving: Bench) -> None:
    run_id = serving.engine.trigger(serving.flow, "one", Data())
    serving.engine.wait_until_ended(serving.flow, run_id, timedelta(seconds=LIMIT))
    health = serving.wait_until(lambda health: any(role.last_progress for role in health.roles))
    assert serving.clock.now() in {role.last_progress for role in health.roles}


def test_consumer_is_found_when_its_receiver_never_returns(serving: Bench) -> None:
    """Seen to fail when a poll's age is not looked at: all roles seem idle."""
    serving.freeze("receiver")
    serving.wait_reached()
    serving.clock.advance(LONG)
    health = serving.engine.health()
    assert (health.live, health.ready) == (False, False)
    (problem,) = health.problems
    assert problem == "flow-main-steps reception has hung for 120 s"
    stuck = {role.role for role in health.roles if role.state is ProcessState.STUCK}
    assert stuck == {r.role for r in health.roles if r.processes == ("flow-main-steps reception",)}
    assert len(stuck) == 2
    serving.thaw()
    assert serving.wait_until(lambda health: health.live).ready


def test_nobody_is_deaf_when_the_whole_machine_stood_still(serving: Bench) -> None:
    """Seen to fail without the second look: all polls are two minutes old for a moment."""
    for _ in range(3):
        serving.clock.advance(LONG)
        assert serving.engine.health().live


def test_long_step_is_told_and_no_reason_to_end_the_process(serving: Bench) -> None:
    """Seen to fail when a worker does not say that it is in a body."""
    serving.freeze("body")
    run_id = serving.engine.trigger(serving.flow, "one", Data())
    serving.wait_reached()
    serving.clock.advance(LONG)
    health = serving.engine.health()
    assert (health.live, health.ready) == (True, True)
    (worker,) = [process for process in health.processes if process.doing]
    assert worker.doing == f"flow: step step of run {run_id}"
    assert (worker.state, worker.polling_for) == (ProcessState.RUNNING, LONG)


def test_async_steps_are_found_deaf_when_a_body_blocks_their_loop(bench: Bench) -> None:
    """Seen to fail when the loop is not looked at: every thread of the engine's own works."""
    flow = Workflow("async flow", Data, Status, ends=(Status.DONE,))

    @flow.step(Status.BEGUN)
    async def block(run: Run[Data, Status]) -> Literal[Status.DONE]:
        bench.pass_by("async body")
        return Status.DONE

    def much_later(health: Health) -> bool:
        bench.clock.advance(LONG)
        return not health.live

    bench.freeze("async body")
    with bench.engine.serving(flow):
        bench.engine.trigger(flow, "one", Data())
        bench.wait_reached()
        health = bench.wait_until(much_later)
        assert health.problems[0].startswith("a body has blocked the loop of the async ones for")
        bench.thaw()
        bench.wait_until(lambda health: health.live)


def test_coroutine_is_told_when_all_threads_of_its_verbs_hang(bench: Bench) -> None:
    """Seen to hang when it waits its turn behind the other verbs."""

    async def hang() -> Health:
        verbs = [
            asyncio.ensure_future(bench.engine.aio.live_run(bench.flow, "one")) for _ in range(20)
        ]
        await asyncio.to_thread(bench.wait_reached)
        health = await asyncio.wait_for(bench.engine.aio.health(SOON), LIMIT)
        bench.thaw()
        await asyncio.gather(*verbs, return_exceptions=True)
        return health

    bench.freeze("latest")
    assert asyncio.run(hang()).live


def test_asking_ends_in_time_and_asks_once_when_an_adapter_hangs(bench: Bench) -> None:
    """Seen to fail when each call starts a question of its own: five threads hang."""
    bench.freeze("store")
    for _ in range(5):
        health = bench.engine.health(SOON)
        assert (health.live, health.ready) == (True, False)
        states = {adapter.port: adapter.state for adapter in health.adapters}
        assert states == dict.fromkeys(EVERYBODY, AdapterState.OK) | {
            "record_store": AdapterState.SILENT
        }
        assert "no answer for" in health.problems[0]
    assert bench.asked["store"] == 1
    bench.thaw()
    assert bench.engine.health().ready


def test_late_answer_is_not_taken_for_a_quick_one(bench: Bench) -> None:
    """Seen to fail when any answer that comes within the call is taken, however old its question.

    The adapter is asked again instead.
    """
    bench.freeze("store")
    assert not bench.engine.health(SOON).ready
    bench.engine._checkup._probes._asked["record_store"]._asked_at -= 1000
    threading.Thread(target=bench.thaw).start()
    assert bench.engine.health(timedelta(seconds=LIMIT)).ready
    assert bench.asked["store"] == 2


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (AdapterUnavailableError("no answer", adapter="memory"), "no answer (adapter memory)"),
        (RuntimeError("password=secret"), "its check failed with RuntimeError"),
    ],
    ids=["ours", "a driver's"],
)
def test_adapter_is_failing_when_its_check_raises(
    bench: Bench, error: Exception, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench.errors["store"] = error
    health = bench.engine.health()
    (store,) = [adapter for adapter in health.adapters if adapter.port == "record_store"]
    assert (health.live, health.ready) == (True, False)
    assert (store.state, store.detail) == (AdapterState.FAILING, told)
    assert "secret" not in str(health)
    caplog.clear()


def test_hanging_process_is_excused_while_an_adapter_is_unwell(serving: Bench) -> None:
    """Seen to fail without the excuse: a database that is away ends all processes."""
    serving.errors["store"] = AdapterUnavailableError("no answer")
    serving.freeze("receiver")
    serving.wait_reached()
    serving.clock.advance(LONG)
    health = serving.engine.health()
    assert (health.live, health.ready) == (True, False)
    assert "flow-main-steps reception has hung for 120 s" in health.problems
    del serving.errors["store"]
    assert serving.engine.health().ready, "it has the same time again"
    serving.clock.advance(LONG)
    assert not serving.engine.health().live


def test_process_that_always_fails_is_found_unless_an_adapter_is_away(serving: Bench) -> None:
    serving.errors["receiver"] = AdapterError("refused for good")
    serving.wait_until(lambda health: any(process.failures for process in health.processes))
    serving.clock.advance(LONG)
    health = serving.wait_until(lambda health: not health.live)
    assert health.problems[0] == "flow-main-steps reception has failed for 120 s"
    assert "AdapterError: refused for good" in health.problems[1]
    serving.errors["receiver"] = AdapterUnavailableError("away")
    assert serving.wait_until(lambda health: health.live).ready


def test_process_is_not_ready_when_it_stops(serving: Bench) -> None:
    serving.freeze("body")
    serving.engine.trigger(serving.flow, "one", Data())
    serving.wait_reached()
    closing = threading.Thread(target=serving.engine.close)
    closing.start()
    health = serving.wait_until(lambda health: not health.ready)
    assert (health.live, health.problems) == (True, ("it is stopping",))
    serving.thaw()
    closing.join()
    health = serving.engine.health()
    assert (health.live, health.ready, health.problems) == (
        False,
        False,
        ("this engine is closed",),
    )


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_dead_thread_is_found(serving: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail when nobody looks whether the thread is alive: it would be idle for ever."""

    def end(thread: ProcessThread) -> None:
        raise SystemExit

    monkeypatch.setattr(ProcessThread, "_failed", end)
    serving.errors["receiver"] = AdapterError("refused for good")
    health = serving.wait_until(lambda health: not health.live)
    assert health.problems == ("the thread of flow-main-steps reception has ended",)


def test_time_to_answer_is_refused_when_it_is_none(bench: Bench) -> None:
    with pytest.raises(InputError, match="greater than zero"):
        bench.engine.health(timedelta(0))
