"""Observers: told of all that happens, and unable to do anything about it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Literal, TypeVar

import pytest
from workflow_core import Engine, Pause, Retry, Run, RunState, RunView, Skip, Trigger, Workflow
from workflow_core.errors import RunNotFoundError
from workflow_core.memory import MemoryConnectorSource, MemoryDatabase
from workflow_core.model import (
    AttemptFailed,
    ConnectorEvent,
    EventSkipped,
    EventsPublished,
    LagSeen,
    LetterKept,
    LetterState,
    Observation,
    PortCalled,
    ProcessStanding,
    RecordQuery,
    RoleChange,
    RoleChanged,
    SkipReason,
    Standing,
    StateChanged,
    TimerFired,
    Work,
    WorkDone,
    WorkKind,
)
from workflow_core.ports import Answered, Observer
from workflow_core.testing import Driver, FakeClock

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster

T = TypeVar("T")

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
RETRY = Retry(first=SECOND, jitter=False, pause_after=2)

current: ContextVar[str] = ContextVar("current", default="")


class Status(IntEnum):
    CREATED = 1
    PACKED = 2
    SENT = 3


@dataclass
class Order:
    total: int = 0


OrderRun = Run[Order, Status]
OrderView = RunView[Order, Status]
MakeCluster = Callable[..., "Cluster"]


class Scribe(Observer):
    """Writes down what it is told, and says around each body what the current one is."""

    def __init__(self) -> None:
        self.told: list[Observation] = []
        self.around_: list[str] = []
        self.closed = 0

    def notice(self, observations: Sequence[Observation]) -> None:
        self.told += observations

    def begun(self, run: Work) -> Mapping[str, str]:
        return {"trace": f"{run.headers.get('trace', 'new')}>{run.workflow}"}

    def carried(self) -> Mapping[str, str]:
        return {"trace": current.get()}

    @contextmanager
    def around(self, work: Work) -> Iterator[Answered]:
        line = f"{work.kind} {work.name} of {work.headers.get('trace')}"
        token = current.set(f"{work.kind} {work.name}")
        try:
            yield lambda answer: self.around_.append(f"{line}: {answer}")
        except Exception as error:
            self.around_.append(f"{line} raised {type(error).__name__}")
            raise
        finally:
            current.reset(token)

    def close(self) -> None:
        self.closed += 1

    def of(self, kind: type[T]) -> list[T]:
        return [told for told in self.told if isinstance(told, kind)]


@pytest.fixture
def scribe() -> Scribe:
    return Scribe()


@pytest.fixture(params=["joined", "outbox"])
def observed(request: pytest.FixtureRequest, make_cluster: MakeCluster, scribe: Scribe) -> Cluster:
    return make_cluster(joined=request.param == "joined", observers=[scribe])


def orders_with(
    create: Callable[[OrderRun], object] = lambda run: Status.PACKED,
    pack: Callable[[OrderRun], object] = lambda run: Status.SENT,
) -> Workflow[Order, Status]:
    orders = Workflow("orders", Order, Status, ends=(Status.SENT,), retry=RETRY)

    @orders.step(Status.CREATED)
    def create_it(run: OrderRun) -> Literal[Status.PACKED] | Pause | Skip:
        return create(run)  # type: ignore[return-value]

    @orders.step(Status.PACKED)
    async def pack_it(run: OrderRun) -> Literal[Status.SENT]:
        await asyncio.sleep(1)
        return pack(run)  # type: ignore[return-value]

    @orders.timeout(Status.CREATED, after=HOUR)
    def remind(run: OrderRun) -> Literal[Status.PACKED]:
        return Status.PACKED

    return orders


def test_nobody_observes_so_nothing_stands_between(cluster: Cluster) -> None:
    """Seen to fail when adapters and steps were wrapped for nobody."""
    orders = orders_with()
    serving = cluster.driver.serve(orders)
    core = cluster.engine._core
    assert core.observers is None
    assert core.store is cluster.store
    assert core.streamer is cluster.streamer
    assert serving._lanes[0].steps == orders.steps


def test_the_course_of_a_run_is_told(observed: Cluster, scribe: Scribe) -> None:
    orders = orders_with()
    observed.driver.serve(orders)
    run = observed.driver.begin(orders, "o-1", Order())
    observed.driver.settle()

    assert [(it.before, it.after) for it in scribe.of(StateChanged)] == [
        (None, RunState.INITIATED),
        (RunState.INITIATED, RunState.RUNNING),
        (RunState.RUNNING, RunState.COMPLETED),
    ]
    done = scribe.of(WorkDone)
    assert [(it.work.name, it.answer, it.error) for it in done] == [
        ("create_it", "PACKED", ""),
        ("pack_it", "SENT", ""),
    ]
    assert {it.work.run_id for it in done} == {run.run_id}
    assert [it.work.process for it in done] == ["created-consumer", "packed-consumer"]
    assert {(it.process, it.is_over) for it in scribe.of(LagSeen)} == {
        ("created-consumer", False),
        ("packed-consumer", False),
    }
    assert sum(it.count for it in scribe.of(EventsPublished)) == 3


def test_ports_tell_batches_and_looks_that_found_nothing(observed: Cluster, scribe: Scribe) -> None:
    orders = orders_with()
    observed.driver.serve(orders)
    observed.driver.begin(orders, "o-1", Order())
    observed.driver.settle()
    calls = {(it.port, it.operation): it for it in scribe.of(PortCalled)}
    assert calls["record_store", "store_many"].items == 1
    assert calls["record_store", "store_many"].adapter == "ScriptedStore"
    assert calls["event_streamer", "recv_many"].is_idle
    assert calls["event_streamer", "recv_many"].is_wait
    assert ("event_streamer", "send_within" if observed.joined else "send_many") in calls
    assert ("role_scheduler", "acquire") in calls
    assert not any(it.error for it in scribe.of(PortCalled))


def test_errors_of_an_adapter_are_told_and_answers_that_are_raised_are_not(
    observed: Cluster, scribe: Scribe
) -> None:
    observed.store.script.fail("lookup_primary", times=1)
    observed.engine.trigger(orders_with(), "o-1", Order())
    with pytest.raises(RunNotFoundError):
        observed.engine.cancel("nobody", reason="")
    observed.driver.run()
    told = [(it.operation, it.error) for it in scribe.of(PortCalled) if it.error]
    assert told == [("lookup_many", "AdapterUnavailableError")]


def test_a_failed_step_is_told_until_it_is_given_up(observed: Cluster, scribe: Scribe) -> None:
    def fail(run: OrderRun) -> object:
        raise ConnectionError("the secret of o-1")

    orders = orders_with(create=fail)
    observed.driver.serve(orders)
    observed.driver.begin(orders, "o-1", Order())
    observed.driver.advance(timedelta(minutes=1))
    failed = scribe.of(AttemptFailed)
    assert [(it.kind, it.process, it.error, it.is_last) for it in failed] == [
        (WorkKind.STEP, "created-consumer", "ConnectionError", False),
        (WorkKind.STEP, "created-consumer", "ConnectionError", True),
    ]
    assert scribe.of(StateChanged)[-1].after is RunState.PAUSED
    assert [it.error for it in scribe.of(WorkDone)] == ["ConnectionError"] * 2
    assert [it.work.attempt for it in scribe.of(WorkDone)] == [1, 2]
    assert "secret" not in repr(scribe.told)


def test_verbs_tell_what_they_change(observed: Cluster, scribe: Scribe) -> None:
    orders = orders_with()
    engine = observed.engine
    one, two = (engine.trigger(orders, key, Order()) for key in ("o-1", "o-2"))
    engine.pause(one, reason="wait")
    engine.resume(one, who="me")
    engine.cancel(two, reason="enough")
    engine.delete_data(orders, two, who="me")
    observed.driver.run()
    steps = [(it.before, it.after) for it in scribe.of(StateChanged)]
    assert steps == [
        (None, RunState.INITIATED),
        (None, RunState.INITIATED),
        (RunState.INITIATED, RunState.PAUSED),
        (RunState.PAUSED, RunState.RUNNING),
        (RunState.INITIATED, RunState.CANCELLED),
        (RunState.CANCELLED, RunState.REQUESTED_DATA_DELETED),
        (RunState.REQUESTED_DATA_DELETED, RunState.DATA_DELETED),
    ]


def test_a_trigger_that_lost_changes_nothing(observed: Cluster, scribe: Scribe) -> None:
    orders = orders_with()
    for _ in range(2):
        observed.engine.trigger(orders, "o-1", Order(), idempotency_key="k")
    observed.driver.run()
    assert len(scribe.of(StateChanged)) == 1


def test_change_in_the_transaction_of_a_step_is_told_when_it_has_committed(
    observed: Cluster, scribe: Scribe
) -> None:
    """Seen to fail when what verbs write there is told by nobody, and when it is told at once."""
    others = orders_with(create=lambda run: Skip())
    flow = Workflow("with transaction", Order, Status, ends=(Status.SENT,), retry=RETRY)
    engine, told_within = observed.engine, list[int]()

    @flow.step(Status.CREATED, transaction=True)
    def create(run: OrderRun) -> Literal[Status.SENT]:
        other = engine.trigger(others, f"other-{run.attempt}", Order())
        engine.pause(other, reason="wait")
        observed.driver.run()
        told_within.append(sum(it.workflow == "orders" for it in scribe.of(StateChanged)))
        if run.attempt == 1:
            raise ConnectionError
        return Status.SENT

    observed.driver.serve(flow)
    engine.trigger(flow, "one", Order())
    observed.driver.settle()
    assert told_within == [0, 0]
    assert [(it.before, it.after) for it in scribe.of(StateChanged) if it.workflow == "orders"] == [
        (None, RunState.INITIATED),
        (RunState.INITIATED, RunState.PAUSED),
    ]


def test_timers_tell_how_late_they_are(observed: Cluster, scribe: Scribe) -> None:
    orders = orders_with(create=lambda run: Skip())
    observed.driver.serve(orders)
    observed.driver.begin(orders, "o-1", Order())
    observed.driver.run()
    observed.clock.advance(HOUR + SECOND)
    observed.driver.run()
    (fired,) = scribe.of(TimerFired)
    assert fired.process == "created-timeout-consumer"
    assert fired.late == pytest.approx(1.0)
    assert scribe.of(WorkDone)[1].work.kind is WorkKind.TIMER


def test_events_that_are_dropped_tell_why(observed: Cluster, scribe: Scribe) -> None:
    orders = orders_with()
    one, two = (observed.engine.trigger(orders, key, Order()) for key in ("o-1", "o-2"))
    observed.engine.pause(one, reason="wait")
    observed.engine.resume(one, who="me")  # two events of its older versions are on their way
    observed.engine.cancel(two, reason="enough")
    observed.driver.serve(orders)
    observed.driver.run()
    reasons = {it.reason for it in scribe.of(EventSkipped)}
    assert SkipReason.STALE in reasons
    assert {it.process for it in scribe.of(EventSkipped)} == {"created-consumer"}


def test_roles_and_what_consumers_do_are_told(observed: Cluster, scribe: Scribe) -> None:
    """Seen to fail when the end of a serving told nothing."""
    serving = observed.driver.serve(orders_with())
    observed.driver.run()
    shards = [it for it in scribe.of(RoleChanged) if it.role == "orders-main-steps"]
    assert (shards[0].change, shards[0].held, shards[0].of) == (RoleChange.WANTED, 0, 16)
    assert (shards[-1].change, shards[-1].held) == (RoleChange.GAINED, 16)
    standings = {it.process: it.standing for it in scribe.of(ProcessStanding)}
    assert set(standings) == {
        *("created-consumer", "packed-consumer", "created-timeout-consumer", "outbox-consumer")
    }
    assert set(standings.values()) == {Standing.RUNNING}

    serving.stop()
    observed.driver.run()
    assert scribe.of(RoleChanged)[-1].change is RoleChange.GIVEN_UP
    last = {it.process: it.standing for it in scribe.of(ProcessStanding)}
    assert set(last.values()) == {Standing.SHUTDOWN}


def test_a_pool_tells_of_its_own_steps_alone(observed: Cluster, scribe: Scribe) -> None:
    """Seen to fail when each lane told of all steps and timers of its workflow."""
    observed.engine.serving(orders_with(), pool="packing", statuses=[Status.PACKED]).start()
    observed.driver.run()
    told = {it.process for it in scribe.of(ProcessStanding)}
    assert told == {"packed-consumer", "outbox-consumer"}


def test_a_second_member_is_idle_for_what_the_first_one_has(
    observed: Cluster, scribe: Scribe
) -> None:
    observed.driver.serve(orders_with())
    observed.driver.run()
    before = len(scribe.told)
    other = observed.join("second")
    observed.driver.serve(orders_with(), engine=other.engine)
    observed.driver.run()
    told = [it for it in scribe.told[before:] if isinstance(it, ProcessStanding)]
    assert {it.standing for it in told if it.process == "created-timeout-consumer"} == {
        Standing.IDLE
    }


def test_letters_are_told(observed: Cluster, scribe: Scribe) -> None:
    orders = orders_with()

    @orders.on_complete(retry=RETRY)
    def bill(run: OrderView) -> None:
        raise ConnectionError("no")

    observed.driver.serve(orders)
    observed.driver.begin(orders, "o-1", Order())
    observed.driver.settle()
    assert [(it.name, it.state) for it in scribe.of(LetterKept)] == [
        ("bill", LetterState.RETRYING),
        ("bill", LetterState.SET_ASIDE),
    ]
    assert [it.is_last for it in scribe.of(AttemptFailed)] == [False, True]
    hooked = [it for it in scribe.of(WorkDone) if it.work.kind is WorkKind.HOOK]
    assert [it.work.attempt for it in hooked] == [1, 2]
    assert hooked[0].work.process == "bill-hook-consumer"


def test_what_is_set_up_around_a_body_is_there_in_it(observed: Cluster, scribe: Scribe) -> None:
    """Seen to fail when async bodies were wrapped where they are begun, not in their task."""
    seen: list[str] = []

    def see(answer: Status) -> Callable[[OrderRun], object]:
        def look(run: OrderRun) -> Status:
            seen.append(current.get())
            return answer

        return look

    orders = orders_with(see(Status.PACKED), see(Status.SENT))
    observed.driver.serve(orders)
    observed.driver.begin(orders, "o-1", Order())
    observed.driver.settle()
    assert seen == ["step create_it", "step pack_it"]
    assert scribe.around_ == [
        "step create_it of new>orders: PACKED",
        "step pack_it of new>orders: SENT",
    ]
    assert current.get() == ""


def test_a_run_keeps_the_headers_that_observers_gave_it(observed: Cluster, scribe: Scribe) -> None:
    orders = orders_with()
    run_id = observed.engine.trigger(orders, "o-1", Order(), headers={"trace": "t", "who": "me"})
    assert observed.record(run_id).headers == {"trace": "t>orders", "who": "me"}


def test_what_a_connector_begins_belongs_to_its_call() -> None:
    clock, scribe = FakeClock(), Scribe()
    orders = orders_with()

    @orders.connector("payments")
    def paid(event: ConnectorEvent) -> Trigger[Order]:
        return Trigger(event.key, Order())

    database = MemoryDatabase(clock)
    source = MemoryConnectorSource(database, "payments")
    engine = Engine.in_memory(clock=clock, connectors={"payments": source}, observers=[scribe])
    with Driver(engine, clock=clock) as driver:
        source.send("o-1", b"", headers={"trace": "far"})
        driver.serve(orders)
        driver.settle()
        (record,) = engine.runs(RecordQuery(workflow="orders")).items
        assert scribe.around_[0] == "connector payments of far: trigger"
        assert record.headers["trace"] == "connector payments>orders"


class Saboteur(Observer):
    """Fails wherever it is called, and tries to swallow what bodies raise."""

    def notice(self, observations: Sequence[Observation]) -> None:
        raise RuntimeError("notice")

    def begun(self, run: Work) -> Mapping[str, str]:
        return {"number": 1}  # type: ignore[dict-item]

    def carried(self) -> Mapping[str, str]:
        raise RuntimeError("carried")

    @contextmanager
    def around(self, work: Work) -> Iterator[Answered]:
        def tell(answer: str) -> None:
            raise RuntimeError("answered")

        try:
            yield tell
        except ConnectionError:
            return  # swallowed
        raise RuntimeError("around")


def test_what_observers_raise_goes_no_further(
    make_cluster: MakeCluster, scribe: Scribe, caplog: pytest.LogCaptureFixture
) -> None:
    """Seen to fail when `Working` passed on what an observer's manager raised or answered."""
    cluster = make_cluster(observers=[Saboteur(), scribe])
    tries = 0

    def fail_once(run: OrderRun) -> object:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise ConnectionError
        return Status.PACKED

    orders = orders_with(fail_once)
    cluster.driver.serve(orders)
    run = cluster.driver.begin(orders, "o-1", Order())
    cluster.driver.settle()
    assert run.view.state is RunState.COMPLETED
    assert [it.error for it in scribe.of(WorkDone)] == ["ConnectionError", "", ""]
    complaints = [r.getMessage() for r in caplog.records if "Saboteur" in r.getMessage()]
    assert sorted(line.split("()")[0].split()[-1] for line in complaints) == [
        *("around", "begun", "notice")
    ]


def test_observers_are_closed_with_the_engine(make_cluster: MakeCluster, scribe: Scribe) -> None:
    cluster = make_cluster(observers=[scribe])
    cluster.engine.trigger(orders_with(), "o-1", Order())
    cluster.engine.close()
    assert scribe.closed == 1
    assert scribe.of(StateChanged)  # what had happened by then is told before


def test_what_happens_while_threads_end_is_told_still(
    make_cluster: MakeCluster, scribe: Scribe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail when nothing was told after the threads had ended."""
    cluster = make_cluster(observers=[scribe])
    core = cluster.engine._core
    disband, last = core.crew.disband, EventsPublished(by="relay", count=7)

    def disband_late(timeout: timedelta) -> list[str]:
        late = disband(timeout)
        assert core.observers is not None
        core.observers.tell(last)
        return late

    monkeypatch.setattr(core.crew, "disband", disband_late)
    cluster.engine.close()
    assert last in scribe.told


def test_a_full_queue_drops_what_is_new_and_says_so(
    make_cluster: MakeCluster,
    scribe: Scribe,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("workflow_core.engine.observers._LIMIT", 3)
    cluster = make_cluster(observers=[scribe])
    for number in range(5):
        cluster.engine.trigger(orders_with(), f"o-{number}", Order())
    cluster.driver.run()
    assert "is too slow" in caplog.text
    assert isinstance(scribe.told[0], PortCalled)


def test_a_callback_is_told(observed: Cluster, scribe: Scribe) -> None:
    orders = Workflow("orders", Order, Status, ends=(Status.SENT,))

    @orders.callback(Status.CREATED)
    def confirm(run: OrderRun) -> Literal[Status.SENT]:
        return Status.SENT

    run_id = observed.engine.trigger(orders, "o-1", Order())
    observed.engine.callback(confirm, run_id)
    observed.driver.run()
    (done,) = scribe.of(WorkDone)
    assert (done.work.kind, done.work.process, done.answer) == (
        *(WorkKind.CALLBACK, "created-callback", "SENT"),
    )
    assert scribe.of(StateChanged)[-1].after is RunState.COMPLETED
