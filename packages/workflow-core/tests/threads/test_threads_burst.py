"""Bursts over one, two and four engines, and many writers of the same thing at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from workflow_core import RunState, Workflow
from workflow_core.errors import RunEndedError, RunInProgressError, WorkflowError

if TYPE_CHECKING:
    from tests.threads.conftest import Cluster, Tally

WRITERS = 50


@pytest.mark.parametrize("engines", [1, 2, 4])
def test_burst_is_done_once_each_whatever_the_number_of_engines(
    cluster: Cluster, tally: Tally, flow: Workflow[Any, Any], engines: int
) -> None:
    """Seen to fail when the window forgot which versions it has in hand: some never ended."""
    members = [cluster.engine() for _ in range(engines)]
    for member in members:
        member.serving(flow).start()
    share = 2000 // engines
    run_ids = [run_id for member in members for run_id in cluster.begin(member, flow, share)]
    cluster.wait_for_all(members[0], flow, run_ids)
    assert len(run_ids) == 2000
    assert tally.repeated == {}
    assert len(tally.executions) == 3 * len(run_ids)
    cluster.check_histories(run_ids, versions=4)


def at_once(calls: list[Callable[[], object]]) -> list[object]:
    """What each call answers or raises, all of them let loose together."""
    start = threading.Barrier(len(calls))
    answers: list[object] = [None] * len(calls)

    def do(index: int) -> None:
        start.wait()
        try:
            answers[index] = calls[index]()
        except WorkflowError as error:
            answers[index] = error

    threads = [threading.Thread(target=do, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_trigger_makes_one_run_when_fifty_ask_for_the_same_foreign_id(
    cluster: Cluster, flow: Workflow[Any, Any]
) -> None:
    engines = [cluster.engine() for _ in range(5)]
    answers = at_once(
        [
            partial(engines[index % 5].trigger, flow, "same", flow.data_type())
            for index in range(WRITERS)
        ]
    )
    (run_id,) = [answer for answer in answers if isinstance(answer, str)]
    losers = [answer for answer in answers if isinstance(answer, RunInProgressError)]
    assert len(losers) == WRITERS - 1
    assert {loser.live_run_id for loser in losers} == {run_id}


def test_trigger_answers_one_run_when_fifty_ask_with_the_same_key(
    joined: Cluster, flow: Workflow[Any, Any]
) -> None:
    engines = [joined.engine() for _ in range(5)]
    answers = at_once(
        [
            partial(
                engines[index % 5].trigger, flow, "same", flow.data_type(), idempotency_key="key"
            )
            for index in range(WRITERS)
        ]
    )
    assert len(set(answers)) == 1
    assert len(joined.records.runs.rows) == 1


def test_cancel_is_done_by_one_when_fifty_cancel(joined: Cluster, flow: Workflow[Any, Any]) -> None:
    engines = [joined.engine() for _ in range(5)]
    run_id = engines[0].trigger(flow, "one", flow.data_type())
    answers = at_once(
        [partial(engines[index % 5].cancel, run_id, reason="enough") for index in range(WRITERS)]
    )
    assert answers.count(None) == 1
    assert sum(isinstance(answer, RunEndedError) for answer in answers) == WRITERS - 1
    record = joined.records.runs.rows[run_id]
    assert (record.version, record.state) == (2, RunState.CANCELLED)


def test_operators_never_break_runs_when_they_meddle_with_a_burst(
    cluster: Cluster, flow: Workflow[Any, Any]
) -> None:
    """Pause and resume from many threads while steps commit: each version is committed once."""
    engine = cluster.engine()
    engine.serving(flow).start()
    run_ids = cluster.begin(engine, flow, 500)

    def meddle(run_id: str) -> None:
        try:
            engine.pause(run_id, reason="a look")
            engine.resume(run_id, who="the test")
        except RunEndedError:
            pass

    def meddle_with(mine: list[str]) -> None:
        for run_id in mine:
            meddle(run_id)

    answers = at_once([partial(meddle_with, run_ids[index::WRITERS]) for index in range(WRITERS)])
    assert answers == [None] * WRITERS
    cluster.wait_for_all(engine, flow, run_ids)
    for run_id in run_ids:
        history = engine.history(run_id)
        assert [entry.version for entry in history] == list(range(1, len(history) + 1))
