"""The deploy guard: each thing that live runs need and new code lacks; mapping; parking."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import pytest
from workflow_core import DefinitionShape, GuardReport, Missing, RunState
from workflow_core.definition import Workflow
from workflow_core.engine import guard
from workflow_core.errors import InputError, UnknownStatusError

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster

HOUR = timedelta(hours=1)


class Old(IntEnum):
    CREATED = 1
    REVIEW = 2
    WAITING = 3
    DONE = 9


class New(IntEnum):
    CREATED = 1
    WAITING = 3
    CHECK = 4
    DONE = 9


@dataclass
class Order:
    total: int = 0


def old() -> Workflow[Order, Old]:
    made = Workflow("orders", Order, Old, ends=[Old.DONE], starts=[Old.CREATED, Old.REVIEW])
    made.add_step(Old.CREATED, lambda run: Old.WAITING, to=[Old.WAITING, Old.REVIEW])
    made.add_step(Old.REVIEW, lambda run: Old.DONE, to=[Old.DONE])
    made.add_callback(Old.WAITING, lambda run: Old.DONE, payload=None, to=[Old.DONE])
    made.add_timeout(Old.WAITING, lambda run: Old.DONE, to=[Old.DONE], after=HOUR, name="late")
    return made


def new(*, timer: str = "late", consumed: bool = True) -> Workflow[Order, New]:
    made = Workflow("orders", Order, New, ends=[New.DONE], starts=[New.CREATED, New.CHECK])
    goal = New.WAITING if consumed else New.DONE
    made.add_step(New.CREATED, lambda run: goal, to=[goal])
    made.add_step(New.CHECK, lambda run: New.DONE, to=[New.DONE])
    if consumed:
        made.add_callback(New.WAITING, lambda run: New.DONE, payload=None, to=[New.DONE])
        made.add_timeout(New.WAITING, lambda run: New.DONE, to=[New.DONE], after=HOUR, name=timer)
    return made


def begin(cluster: Cluster, *statuses: Old) -> list[str]:
    orders = old()
    return [
        cluster.engine.trigger(orders, f"order-{number}", Order(), status=status)
        for number, status in enumerate(statuses)
    ]


def to_waiting(cluster: Cluster) -> str:
    serving = cluster.driver.serve(old())
    run_id = cluster.engine.trigger(old(), "waits", Order())
    cluster.driver.run()
    serving.stop()
    assert cluster.record(run_id).status == Old.WAITING
    return run_id


def missing(report: GuardReport) -> list[Missing]:
    assert report.is_safe == (not report.findings)
    assert all(finding.detail and finding.todo for finding in report.findings)
    return [finding.missing for finding in report.findings]


def test_guard_finds_nothing_where_all_is_there(cluster: Cluster) -> None:
    begin(cluster, Old.CREATED)
    to_waiting(cluster)
    report = cluster.engine.guard(new())
    assert missing(report) == []
    assert report.looked_at == 2


def test_guard_finds_a_status_that_is_gone_while_runs_stand_there(cluster: Cluster) -> None:
    """Seen to fail when paused runs were not counted as live."""
    run_ids = begin(cluster, Old.REVIEW, Old.REVIEW)
    cluster.engine.pause(run_ids[1], reason="wait")
    (finding,) = cluster.engine.guard(new()).findings
    assert (finding.missing, finding.status, finding.runs) == (Missing.STATUS, 2, 2)
    for run_id in run_ids:
        cluster.engine.cancel(run_id, reason="no more")
    assert cluster.engine.guard(new()).is_safe, "nobody needs it any more"


def test_guard_finds_that_nothing_moves_them_on(cluster: Cluster) -> None:
    to_waiting(cluster)
    report = cluster.engine.guard(new(consumed=False))
    assert missing(report) == [Missing.MOVER, Missing.TIMER]


def test_guard_finds_that_their_status_has_become_an_end(cluster: Cluster) -> None:
    """Seen to fail when an end was taken for a status that needs nothing."""
    to_waiting(cluster)
    made = Workflow("orders", Order, New, ends=[New.DONE, New.WAITING])
    made.add_step(New.CREATED, lambda run: New.WAITING, to=[New.WAITING, New.DONE])
    assert missing(cluster.engine.guard(made)) == [Missing.LIFE, Missing.TIMER]


def test_guard_finds_a_timer_that_is_open_and_gone(cluster: Cluster) -> None:
    """Seen to fail when only names were compared, and not at which status."""
    to_waiting(cluster)
    (finding,) = cluster.engine.guard(new(timer="too late")).findings
    assert (finding.missing, finding.name, finding.runs) == (Missing.TIMER, "late", 1)
    assert "WAITING" in finding.detail


def test_guard_looks_at_every_page_of_open_timers(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail when it looked at the first page alone."""
    monkeypatch.setattr(guard, "_PAGE", 1)
    begin(cluster, Old.CREATED, Old.CREATED)
    serving = cluster.driver.serve(old())
    cluster.driver.run()
    serving.stop()
    (finding,) = cluster.engine.guard(new(timer="too late")).findings
    assert finding.runs == 2


def test_guard_finds_an_edge_that_is_gone_by_the_shape_before(cluster: Cluster) -> None:
    begin(cluster, Old.CREATED)
    told = json.loads(json.dumps(DefinitionShape.of(old()).to_dict()))
    before = DefinitionShape.from_dict(told)
    assert before == DefinitionShape.of(old())
    (finding,) = cluster.engine.guard(new(), before=before).findings
    assert finding.missing is Missing.EDGE
    assert "no longer leads to REVIEW" in finding.detail
    cluster.engine.cancel(cluster.engine.live_run(old(), "order-0"), reason="x")
    assert cluster.engine.guard(new(), before=before).is_safe, "nobody stands there"


def test_a_mapping_is_heeded_and_moves_runs_only_when_told(cluster: Cluster) -> None:
    """Seen to fail when a mapping alone moved them."""
    driven, paused = begin(cluster, Old.REVIEW, Old.REVIEW)
    cluster.engine.pause(paused, reason="wait")
    mapping = {2: New.CHECK}
    assert cluster.engine.guard(new(), mapping=mapping).is_safe
    assert cluster.record(driven).status == 2
    report = cluster.engine.guard(new(), mapping=mapping, move=True, who="ann")
    assert report.moved is not None
    assert report.moved.changed == 1
    assert cluster.record(driven).status == New.CHECK
    assert cluster.record(paused).state is RunState.PAUSED, "it was not resumed by that"
    assert [finding.runs for finding in report.findings] == [1], "and is found"
    cluster.driver.serve(new())
    cluster.driver.run()
    assert cluster.record(driven).status == New.DONE


def test_stranded_runs_are_parked_with_the_reason_when_told(cluster: Cluster) -> None:
    (run_id,) = begin(cluster, Old.REVIEW)
    report = cluster.engine.guard(new(), park=True)
    assert report.parked is not None
    assert report.parked.changed == 1
    record = cluster.record(run_id)
    assert record.state is RunState.PAUSED
    assert "deploy guard: 1 live runs stand at status 2" in record.reason
    assert missing(cluster.engine.guard(new())) == [Missing.STATUS]


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"mapping": {1: New.CHECK}}, InputError),
        ({"mapping": {2: Old.REVIEW}}, UnknownStatusError),
        ({"before": DefinitionShape(workflow="others", statuses={}, edges={})}, InputError),
    ],
)
def test_guard_refuses_what_cannot_be_meant(
    cluster: Cluster, more: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        cluster.engine.guard(new(), **more)


@pytest.mark.parametrize("told", [None, [], {}, {"workflow": "x", "statuses": {"a": 1}}, 7])
def test_what_is_no_shape_is_refused(told: object) -> None:
    with pytest.raises(InputError):
        DefinitionShape.from_dict(told)


def test_guard_is_there_for_asyncio_code_too(joined: Cluster) -> None:
    assert asyncio.run(joined.engine.aio.guard(new())).is_safe
