"""Metrics: names and labels of the Go original, and others; of bounded numbers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from workflow_core import Pause
from workflow_core.model import RecordQuery, StockGone
from workflow_otel import INSTRUMENTS

if TYPE_CHECKING:
    from tests.conftest import Lab

Orders = Callable[..., Any]
CREATED = {"workflow_name": "orders", "process_name": "created-consumer"}


def fails(run: Any) -> Any:
    raise ConnectionError("the secret of o-1")


def live(lab: Lab, orders: Orders) -> None:
    """Something of all that there is."""
    flow = orders(create=lambda run: fails(run) if run.data.total else Pause("ask"))
    lab.driver.serve(flow)
    run_id = lab.engine.trigger(flow, "o-1", _order(flow, 1))
    lab.engine.pause(run_id, reason="wait")
    lab.engine.resume(run_id, who="me")
    lab.engine.trigger(flow, "o-2", _order(flow, 0))
    lab.driver.advance(timedelta(minutes=2))


def _order(flow: Any, total: int) -> Any:
    return flow.data_type(total)


def test_the_course_of_runs_is_counted(lab: Lab, orders: Orders) -> None:
    live(lab, orders)
    changes = {
        (dict(labels)["previous_run_state"], dict(labels)["current_run_state"]): value
        for labels, value in lab.points()["workflow_run_state_changes"].items()
    }
    assert changes["Unknown", "Initiated"] == 2
    assert changes["Running", "Paused"] == 1
    assert lab.value("workflow_process_error_count", **CREATED) == 2
    assert lab.value("workflow_retries", **CREATED) == 1
    assert lab.value("workflow_given_up", **CREATED) == 1
    assert lab.value("workflow_process_latency_seconds", **CREATED).count == 3
    assert lab.value("workflow_process_states", **CREATED) == 2
    assert lab.value("workflow_process_lag_alert", **CREATED) == 0


def test_what_there_is_is_told_also_where_there_is_none(lab: Lab, orders: Orders) -> None:
    live(lab, orders)
    assert lab.value("workflow_paused_runs", workflow_name="orders") == 2
    assert (
        lab.value(
            "workflow_live_runs", workflow_name="orders", status="CREATED", run_state="Paused"
        )
        == 2
    )
    letters = {"workflow_name": "orders", "kind": "hook"}
    assert lab.value("workflow_dead_letters", **letters, state="set aside") == 2
    assert lab.value("workflow_dead_letters", **letters, state="retrying") == 0
    assert lab.value("workflow_outbox_events", workflow_name="orders", state="due") == 0
    assert lab.value("workflow_workers", workflow_name="orders", state="live") == 1
    assert lab.value("workflow_workers", workflow_name="orders", state="lost") == 0


def test_what_another_process_counts_is_told_here_no_more(lab: Lab, orders: Orders) -> None:
    """Seen to fail when what was told last stayed."""
    live(lab, orders)
    assert "workflow_paused_runs" in lab.points()
    assert lab.engine._core.observers is not None
    lab.engine._core.observers.tell(StockGone(workflow="orders"))
    points = lab.points()
    for gone in ("workflow_paused_runs", "workflow_live_runs", "workflow_dead_letters"):
        assert gone not in points


def test_a_run_that_is_paused_no_more_is_counted_no_more(lab: Lab, orders: Orders) -> None:
    live(lab, orders)
    for record in lab.engine.runs(_all()).items:
        lab.engine.cancel(record.run_id, reason="enough")
    lab.driver.advance(timedelta(minutes=2))
    assert lab.value("workflow_paused_runs", workflow_name="orders") == 0
    assert "workflow_live_runs" not in lab.points()


def _all() -> RecordQuery:
    return RecordQuery(workflow="orders")


def test_adapters_are_timed_and_their_batches_and_idle_looks_counted(
    lab: Lab, orders: Orders
) -> None:
    live(lab, orders)
    call = {"port": "event_streamer", "adapter": "memory", "operation": "recv_many"}
    assert lab.value("workflow_idle_operations", **call) > 0
    points = lab.points()
    timed = {dict(labels)["operation"] for labels in points["workflow_adapter_call_seconds"]}
    assert {"store_many", "lookup_many", "begin", "commit"} <= timed
    assert "recv_many" not in timed
    batch = {"port": "record_store", "adapter": "memory", "operation": "store_many"}
    assert lab.value("workflow_adapter_batch_size", **batch).count > 0


def test_a_step_that_was_late_at_last_is_not_late_for_ever(
    lab: Lab, orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail when the last lag stayed: an alert that nothing could end."""
    live(lab, orders)
    assert "workflow_process_lag_alert" in lab.points()
    monkeypatch.setattr("workflow_otel.metrics._LAG_HOLDS", -1.0)
    assert "workflow_process_lag_alert" not in lab.points()
    assert "workflow_process_states" in lab.points()


def test_every_metric_has_the_labels_that_it_says_and_no_more(lab: Lab, orders: Orders) -> None:
    """Seen to fail with a label too many in the list."""
    live(lab, orders)
    for name, points in lab.points().items():
        for labels in points:
            assert {key for key, _ in labels} == set(INSTRUMENTS[name].labels), name


def test_labels_tell_nothing_of_a_run(lab: Lab, orders: Orders) -> None:
    live(lab, orders)
    ids = [record.run_id for record in lab.engine.runs(_all()).items]
    told = repr([list(points) for points in lab.points().values()])
    for secret in [*ids, "o-1", "o-2", "secret", "address"]:
        assert secret not in told
