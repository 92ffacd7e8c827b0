"""Code changes under running runs: old code leaves them waiting, new code takes them up.

Each deploy is a new engine on the same store; nothing is replayed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal

from workflow_core.definition import Run, Workflow
from workflow_core.model import RecordQuery, RunState

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster

HOUR = timedelta(hours=1)


class Status(IntEnum):
    CREATED = 1
    WAITING = 2
    DONE = 3


class WiderStatus(IntEnum):
    CREATED = 1
    WAITING = 2
    DONE = 3
    CHECKED = 4


@dataclass
class Order:
    total: int = 0


@dataclass
class WiderOrder:
    total: int = 0
    currency: str = "EUR"


ENDS = (Status.DONE,)


def waiting(*, step: bool = True, timer: bool = False, waits: bool = False) -> Any:
    """Runs come to WAITING, from where a callback leads on, and perhaps a step or a timer."""
    orders = Workflow("orders", Order, Status, ends=ENDS, starts=(Status.CREATED, Status.WAITING))
    if step:
        orders.add_step(Status.CREATED, lambda run: Status.WAITING, to=[Status.WAITING])
    else:
        orders.add_callback(
            Status.CREATED, lambda run: Status.WAITING, payload=None, to=[Status.WAITING]
        )

    @orders.callback(Status.WAITING)
    def go_on(run: Run[Order, Status]) -> Literal[Status.DONE]:
        return Status.DONE

    if timer:

        @orders.timeout(Status.WAITING, after=timedelta(minutes=5))
        def give_up(run: Run[Order, Status]) -> Literal[Status.DONE]:
            return Status.DONE

    if waits:
        orders.add_step(Status.WAITING, lambda run: Status.DONE, to=[Status.DONE])
    return orders


def deploy(cluster: Cluster, workflow: Any, name: str) -> Any:
    """One more process with this code; answers what it serves, to be stopped."""
    return cluster.driver.serve(workflow, engine=cluster.join(name).engine)


def test_step_that_is_added_takes_up_the_runs_that_wait_there(cluster: Cluster) -> None:
    """By the events that wait in the stream for it; where these are gone, by the reconciler."""
    old = waiting()
    serving = deploy(cluster, old, "old")
    run_ids = [cluster.engine.trigger(old, f"order-{n}", Order()) for n in range(3)]
    cluster.driver.run()
    serving.stop()
    deploy(cluster, waiting(waits=True), "new")
    cluster.driver.advance(HOUR)
    assert {cluster.record(run_id).status for run_id in run_ids} == {Status.DONE}


def test_step_that_is_removed_leaves_its_runs_where_they_are(cluster: Cluster) -> None:
    """And they go on when it comes back, or when somebody calls."""
    new = waiting(step=False)
    serving = deploy(cluster, new, "without")
    run_ids = [cluster.engine.trigger(waiting(), f"order-{n}", Order()) for n in range(2)]
    cluster.driver.advance(HOUR)
    assert {cluster.record(run_id).version for run_id in run_ids} == {1}
    cluster.engine.callback(next(_callbacks(new, Status.CREATED)), run_ids[0])
    assert cluster.record(run_ids[0]).status == Status.WAITING
    serving.stop()
    deploy(cluster, waiting(), "with")
    cluster.driver.advance(HOUR)
    assert cluster.record(run_ids[1]).status == Status.WAITING


def _callbacks(workflow: Any, status: Status) -> Any:
    from workflow_core.definition import Callback

    return (Callback(workflow, step) for step in workflow.callbacks if step.status == status)


def test_timer_that_is_added_fires_for_the_runs_that_wait_there(cluster: Cluster) -> None:
    """Armed by the events that wait in the stream, or by the rounds that arm what is missing."""
    old = waiting()
    serving = deploy(cluster, old, "old")
    run_id = cluster.engine.trigger(old, "order-1", Order())
    cluster.driver.run()
    serving.stop()
    deploy(cluster, waiting(timer=True), "new")
    cluster.driver.advance(HOUR)
    assert cluster.record(run_id).status == Status.DONE


def test_timer_that_is_removed_fires_for_nobody(cluster: Cluster) -> None:
    old = waiting(timer=True)
    serving = deploy(cluster, old, "old")
    run_id = cluster.engine.trigger(old, "order-1", Order())
    cluster.driver.run()
    serving.stop()
    deploy(cluster, waiting(), "new")
    cluster.driver.advance(HOUR)
    record = cluster.record(run_id)
    assert (record.status, record.state) == (Status.WAITING, RunState.RUNNING)


def test_status_that_is_added_is_come_to_by_runs_of_the_old_code(cluster: Cluster) -> None:
    old = waiting(step=False)
    serving = deploy(cluster, old, "old")
    run_id = cluster.engine.trigger(old, "order-1", Order())
    cluster.driver.run()
    serving.stop()
    new = Workflow("orders", Order, WiderStatus, ends=(WiderStatus.DONE,))
    new.add_step(WiderStatus.CREATED, lambda run: WiderStatus.CHECKED, to=[WiderStatus.CHECKED])
    new.add_step(WiderStatus.CHECKED, lambda run: WiderStatus.DONE, to=[WiderStatus.DONE])
    deploy(cluster, new, "new")
    cluster.driver.advance(HOUR)
    assert cluster.record(run_id).status == WiderStatus.DONE
    assert WiderStatus.CHECKED in cluster.record(run_id).passed


def test_status_that_is_removed_leaves_its_runs_for_the_operator(cluster: Cluster) -> None:
    """Its runs stand still, disturb nobody, are found, and can be moved."""
    wider = Workflow("orders", Order, WiderStatus, ends=(WiderStatus.DONE,))
    wider.add_callback(
        WiderStatus.CHECKED, lambda run: WiderStatus.DONE, payload=None, to=[WiderStatus.DONE]
    )
    run_id = cluster.engine.trigger(wider, "order-1", Order(), status=WiderStatus.CHECKED)
    new = waiting(waits=True)
    deploy(cluster, new, "new")
    other = cluster.engine.trigger(new, "order-2", Order())
    cluster.driver.advance(HOUR)
    assert cluster.record(other).status == Status.DONE
    assert cluster.record(run_id).version == 1
    query = RecordQuery(workflow="orders", statuses=[WiderStatus.CHECKED])
    done = cluster.engine.bulk(query).move(new, Status.WAITING, who="ada", why="status removed")
    assert done.changed == 1
    cluster.driver.run()
    assert cluster.record(run_id).status == Status.DONE


def test_field_that_is_added_has_its_default_and_survives_the_old_code(cluster: Cluster) -> None:
    """As in a rolling deploy. Seen to fail where the old code writes what it knows alone."""
    old = waiting(step=False)
    deploy(cluster, old, "old")
    begun_by_old = cluster.engine.trigger(old, "order-1", Order(total=1))
    new = Workflow("orders", WiderOrder, Status, ends=ENDS, starts=(Status.CREATED, Status.WAITING))
    new.add_callback(Status.CREATED, lambda run: Status.WAITING, payload=None, to=[Status.WAITING])
    new.add_callback(Status.WAITING, lambda run: Status.DONE, payload=None, to=[Status.DONE])
    assert cluster.engine.view(new, begun_by_old).data == WiderOrder(1, "EUR")
    begun_by_new = cluster.engine.trigger(new, "order-2", WiderOrder(2, "CHF"))
    cluster.engine.callback(next(_callbacks(old, Status.CREATED)), begun_by_new)
    assert cluster.engine.view(old, begun_by_new).data == Order(total=2)
    assert cluster.engine.view(new, begun_by_new).data == WiderOrder(2, "CHF")


def test_field_that_is_removed_stays_with_runs_that_have_it(cluster: Cluster) -> None:
    """Waiting runs go on without it, and a roll-back finds it. Seen to fail as the one above."""
    old = Workflow("orders", WiderOrder, Status, ends=ENDS, starts=(Status.WAITING,))
    old.add_callback(Status.WAITING, lambda run: Status.DONE, payload=None, to=[Status.DONE])
    run_id = cluster.engine.trigger(old, "order-1", WiderOrder(1, "CHF"))
    new = Workflow("orders", Order, Status, ends=ENDS, starts=(Status.WAITING,))

    def count(run: Run[Order, Status]) -> Status:
        run.data.total += 1
        return Status.DONE

    new.add_step(Status.WAITING, count, to=[Status.DONE])
    deploy(cluster, new, "new")
    cluster.driver.advance(HOUR)
    assert cluster.record(run_id).status == Status.DONE
    assert cluster.engine.view(new, run_id).data == Order(2)
    assert cluster.engine.view(old, run_id).data == WiderOrder(2, "CHF")


def test_old_and_new_workers_side_by_side_finish_every_run(cluster: Cluster) -> None:
    """The new code has a step that the old one lacks; whoever takes a run up, it ends."""
    old, new = waiting(), waiting(waits=True)
    deploy(cluster, old, "old")
    deploy(cluster, new, "new")
    run_ids = [cluster.engine.trigger(old, f"order-{n}", Order()) for n in range(40)]
    cluster.driver.advance(HOUR)
    assert {cluster.record(run_id).status for run_id in run_ids} <= {Status.WAITING, Status.DONE}
    for engine in list(cluster.driver._engines)[1:2]:
        engine.close()  # the deploy is through
    cluster.driver.advance(HOUR)
    assert {cluster.record(run_id).status for run_id in run_ids} == {Status.DONE}
