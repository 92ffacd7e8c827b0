"""Who is working: processes that serve say so, and one that died is found by its silence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

import pytest
from workflow_core import EngineSettings, Run, RunState, WorkerState, Workflow
from workflow_core.errors import AdapterUnavailableError, StoppedError
from workflow_core.memory import MemoryRoleScheduler
from workflow_core.model import RecordQuery, names

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
ROLES = 17  # sixteen shards and the reconciler
WORKERS = RecordQuery(workflow=names.WORKERS, limit=1000)


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


def states(cluster: Cluster) -> dict[str, WorkerState]:
    return {worker.instance: worker.state for worker in cluster.engine.workers()}


def test_worker_is_told_with_its_roles_and_versions_when_it_serves(
    make_cluster: Callable[..., Cluster], flow: Workflow[Nothing, Status]
) -> None:
    cluster = make_cluster(settings=EngineSettings(shards=2, code_version="abc123"))
    assert cluster.engine.workers() == []
    began = cluster.clock.now()
    cluster.driver.serve(flow)
    cluster.driver.advance(90 * SECOND)
    (worker,) = cluster.engine.workers()
    assert (worker.instance, worker.state) == ("first", WorkerState.LIVE)
    assert (worker.pool, list(worker.workflows)) == ("main", ["flow"])
    assert list(worker.roles) == [
        "flow-main-steps-0-of-2",
        "flow-main-steps-1-of-2",
        "flow-reconciler",
    ]
    assert worker.versions["workflow-core"]
    assert worker.code_version == "abc123"
    # its second beat came when it had its roles
    assert (worker.started_at, worker.last_seen) == (began, began + 65 * SECOND)


def test_two_workers_share_the_roles_and_both_are_told(
    cluster: Cluster, flow: Workflow[Nothing, Status]
) -> None:
    cluster.driver.serve(flow)
    cluster.driver.serve(flow, engine=cluster.join("second").engine)
    cluster.driver.advance(MINUTE)
    one, two = cluster.engine.workers()
    assert (one.instance, two.instance) == ("first", "second")
    assert not set(one.roles) & set(two.roles)
    assert len(one.roles) + len(two.roles) == ROLES


def test_worker_that_was_killed_is_lost_after_three_beats_and_forgotten_after_a_day(
    cluster: Cluster, flow: Workflow[Nothing, Status]
) -> None:
    """Seen to fail when a worker is told by its record alone, however old its beat."""
    second = cluster.join("second").engine
    cluster.driver.serve(flow)
    cluster.driver.serve(flow, engine=second)
    cluster.driver.advance(10 * SECOND)
    cluster.kill(second, "second")
    cluster.driver.advance(2 * MINUTE)
    assert states(cluster) == {"first": WorkerState.LIVE, "second": WorkerState.LIVE}
    cluster.driver.advance(MINUTE + SECOND)
    assert states(cluster) == {"first": WorkerState.LIVE, "second": WorkerState.LOST}
    lost = cluster.engine.workers()[1]
    assert lost.roles, "those that it played are told, so that one knows what stood still"
    cluster.driver.advance(23 * HOUR)
    assert states(cluster)["second"] is WorkerState.LOST
    cluster.driver.advance(2 * HOUR)
    assert states(cluster) == {"first": WorkerState.LIVE}


def test_worker_that_stopped_in_order_is_not_reported(
    cluster: Cluster, flow: Workflow[Nothing, Status]
) -> None:
    """Seen to fail when a stop leaves the record as it is: lost after three minutes."""
    serving = cluster.driver.serve(flow)
    cluster.driver.run()
    serving.stop()
    assert cluster.engine.workers() == []
    cluster.driver.advance(HOUR)
    assert cluster.engine.workers() == []
    cluster.driver.serve(flow)
    cluster.driver.run()
    assert states(cluster) == {"first": WorkerState.LIVE}


def test_worker_with_a_role_is_live_though_the_store_has_not_heard_of_it(
    cluster: Cluster, flow: Workflow[Nothing, Status]
) -> None:
    """The role scheduler is asked too: its leases end within seconds.

    Seen to fail when only the beats count.
    """
    client = cluster.join("client").engine
    cluster.driver.serve(flow)
    cluster.driver.run()
    cluster.store.script.fail("commit")
    cluster.driver.advance(5 * MINUTE)
    cluster.store.script.heal()
    (worker,) = client.workers()
    assert (worker.state, bool(worker.roles)) == (WorkerState.LIVE, True)


def test_roles_are_as_of_the_last_beat_where_the_scheduler_cannot_tell(
    cluster: Cluster, flow: Workflow[Nothing, Status], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail when roles are told at the first beat alone: there it has none yet."""

    def away(self: MemoryRoleScheduler, roles: object) -> dict[str, str]:
        raise AdapterUnavailableError("no answer")

    def ignorant(self: MemoryRoleScheduler, roles: object) -> dict[str, str]:
        return {}

    for answer in (away, ignorant):
        monkeypatch.setattr(MemoryRoleScheduler, "holders", answer)
        serving = cluster.driver.serve(flow)
        cluster.driver.advance(6 * SECOND)
        (worker,) = cluster.engine.workers()
        assert len(worker.roles) == ROLES
        serving.stop()


def test_beat_with_a_lost_answer_is_no_second_worker(
    cluster: Cluster, flow: Workflow[Nothing, Status]
) -> None:
    """Seen to fail when a new write is made for the one whose answer was lost."""
    cluster.store.script.fail("commit", took_effect=True, times=1)
    cluster.driver.serve(flow)
    cluster.driver.advance(3 * SECOND)
    cluster.store.script.fail("commit", took_effect=True, times=1)
    cluster.driver.advance(10 * MINUTE)
    assert states(cluster) == {"first": WorkerState.LIVE}
    assert len(cluster.engine.runs(WORKERS).items) == 1


def test_frozen_worker_is_told_again_when_it_goes_on_after_its_record_was_ended(
    cluster: Cluster, flow: Workflow[Nothing, Status]
) -> None:
    """Seen to fail when a lost compare-and-swap ends the beats for good."""
    cluster.driver.serve(flow)
    cluster.driver.run()
    (record,) = cluster.engine.runs(WORKERS).items
    cluster.records.runs.rows[record.run_id] = record.replace(
        version=record.version + 7, state=RunState.CANCELLED
    )
    assert cluster.engine.workers() == []
    cluster.driver.advance(MINUTE + SECOND)
    assert states(cluster) == {"first": WorkerState.LIVE}


def test_records_are_few_and_short_however_long_it_serves(
    cluster: Cluster, flow: Workflow[Nothing, Status]
) -> None:
    """Seen to fail without the renewal: one record of 3,000 versions."""
    cluster.driver.serve(flow)
    cluster.driver.advance(50 * HOUR)
    records = cluster.engine.runs(WORKERS).items
    assert 1 <= len(records) <= 4
    assert max(record.version for record in records) <= 61
    (worker,) = cluster.engine.workers()
    assert cluster.clock.now() - worker.started_at == 50 * HOUR


@pytest.mark.parametrize("took_effect", [True, False])
def test_stop_is_written_over_a_beat_of_which_nobody_knows(
    cluster: Cluster, flow: Workflow[Nothing, Status], took_effect: bool
) -> None:
    """Seen to fail when a lost compare-and-swap is the end of it."""
    serving = cluster.driver.serve(flow)
    cluster.driver.run()
    cluster.store.script.fail("commit", took_effect=took_effect)
    cluster.driver.advance(MINUTE + SECOND)
    cluster.store.script.heal()
    serving.presence.leave()  # without the polls that a driven stop begins with
    assert [r.state for r in cluster.engine.runs(WORKERS).items] == [RunState.COMPLETED]


def test_stop_goes_on_when_the_store_is_away(
    cluster: Cluster, flow: Workflow[Nothing, Status], caplog: pytest.LogCaptureFixture
) -> None:
    serving = cluster.driver.serve(flow)
    cluster.driver.run()
    cluster.store.script.fail("commit")
    assert serving.stop() == []
    assert "that this worker has stopped could not be written" in caplog.text
    cluster.store.script.heal()
    cluster.driver.advance(4 * MINUTE)
    assert states(cluster) == {"first": WorkerState.LOST}


def test_beats_are_as_often_as_the_settings_say(
    make_cluster: Callable[..., Cluster], flow: Workflow[Nothing, Status]
) -> None:
    """Another engine's settings do not matter: a record says when its next beat is due."""
    cluster = make_cluster(settings=EngineSettings(beat_every=10 * MINUTE))
    cluster.driver.serve(flow)
    cluster.driver.advance(MINUTE)
    reader = cluster.join("reader", settings=EngineSettings(beat_every=SECOND)).engine
    cluster.kill(cluster.engine, "first")
    cluster.clock.advance(25 * MINUTE)
    assert [worker.state for worker in reader.workers()] == [WorkerState.LIVE]
    cluster.clock.advance(10 * MINUTE)
    assert [worker.state for worker in reader.workers()] == [WorkerState.LOST]


def test_workers_are_in_no_list_of_runs_unless_asked_for(
    cluster: Cluster, flow: Workflow[Nothing, Status]
) -> None:
    """Seen to fail when the engine lists what the store lists: five records for three runs."""
    cluster.driver.serve(flow)
    cluster.driver.run()
    runs = [cluster.engine.trigger(flow, f"r-{n}", Nothing()) for n in range(3)]
    cluster.driver.run()
    everything = RecordQuery()
    assert [record.run_id for record in cluster.engine.runs(everything).items] == sorted(runs)
    assert {key[0] for key in cluster.engine.counts(everything)} == {"flow"}
    assert {r.workflow for r in cluster.engine.runs(everything, reserved=True).items} == {
        "flow",
        names.WORKERS,
    }
    assert cluster.engine.counts(everything, reserved=True)[names.WORKERS, 1, RunState.RUNNING]
    (worker,) = cluster.engine.runs(WORKERS).items
    assert cluster.engine.runs(RecordQuery(run_ids=[worker.run_id])).items == [worker]


def test_page_is_filled_up_where_something_is_left_out(
    cluster: Cluster, flow: Workflow[Nothing, Status]
) -> None:
    """Seen to fail when a page is filtered and handed on: one run less."""
    cluster.driver.serve(flow)
    cluster.driver.advance(SECOND)
    runs = sorted(cluster.engine.trigger(flow, f"r-{n}", Nothing()) for n in range(5))
    first = cluster.engine.runs(RecordQuery(limit=2))
    assert [record.run_id for record in first.items] == runs[:2]
    second = cluster.engine.runs(RecordQuery(limit=10, after=first.next))
    assert [record.run_id for record in second.items] == runs[2:]


def test_worker_with_an_unreadable_record_is_told_as_such_beside_the_others(
    cluster: Cluster, flow: Workflow[Nothing, Status]
) -> None:
    """A deploy to and fro: newer code has written what this one cannot read.

    Seen to fail when the first unreadable record ends the answer.
    """
    cluster.driver.serve(flow)
    cluster.driver.serve(flow, engine=cluster.join("second").engine)
    cluster.driver.advance(MINUTE)
    (record,) = (
        r for r in cluster.engine.runs(WORKERS).items if r.foreign_id.startswith("second/")
    )
    cluster.records.runs.rows[record.run_id] = record.replace(data=b'{"instance": 7}')
    first, second = cluster.engine.workers()
    assert (first.instance, first.state, first.trouble) == ("first", WorkerState.LIVE, "")
    assert (second.instance, second.state) == ("second", WorkerState.UNREADABLE)
    assert (second.last_seen, list(second.roles)) == (record.updated_at, [])
    assert "cannot be read" in second.trouble
    assert "instance" in second.trouble, "what is wrong with it"


def test_closed_engine_is_not_asked(cluster: Cluster) -> None:
    cluster.engine.close()
    with pytest.raises(StoppedError):
        cluster.engine.workers()
