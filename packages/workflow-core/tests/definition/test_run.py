"""The run as a body sees it."""

from enum import IntEnum

import pytest
from workflow_core.definition import CancelReason, Run


class Status(IntEnum):
    CREATED = 1


def test_run_needs_data_and_status_alone_when_a_unit_test_makes_it() -> None:
    run = Run(data={"total": 1}, status=Status.CREATED)
    assert (run.data, run.status, run.attempt, run.repeat) == ({"total": 1}, Status.CREATED, 1, 0)
    assert not run.cancelled
    assert run.resumed is None


def test_idempotency_key_stays_when_only_version_and_attempt_change() -> None:
    """Seen to fail with the version in the key: a retried charge was charged twice."""
    keys = {
        Run(
            data=None,
            status=Status.CREATED,
            run_id="r",
            entered_version=3,
            repeat=1,
            version=version,
            attempt=attempt,
        ).idempotency_key
        for version, attempt in [(3, 1), (4, 2), (9, 1)]
    }
    assert keys == {"r/3/1"}


@pytest.mark.parametrize(("entered_version", "repeat"), [(4, 1), (3, 2)])
def test_idempotency_key_is_new_when_the_stay_or_the_repeat_is(
    entered_version: int, repeat: int
) -> None:
    run = Run(
        data=None, status=Status.CREATED, run_id="r", entered_version=entered_version, repeat=repeat
    )
    assert run.idempotency_key == f"r/{entered_version}/{repeat}" != "r/3/1"


def test_run_asks_each_time_when_the_body_looks_whether_it_is_cancelled() -> None:
    answers = iter([None, CancelReason.TIMED_OUT, CancelReason.MOVED_ON])
    run = Run(data=None, status=Status.CREATED, cancelled=lambda: next(answers))
    assert [run.cancelled, run.cancelled] == [False, True]
    assert run.cancel_reason is CancelReason.MOVED_ON


def test_run_asks_each_time_whether_its_process_is_being_stopped() -> None:
    answers = iter([False, True])
    run = Run(data=None, status=Status.CREATED, stopping=lambda: next(answers))
    assert [run.stopping, run.stopping] == [False, True]


def test_run_shows_no_data_when_it_is_printed() -> None:
    run = Run(data="bob@example.org", status=Status.CREATED, run_id="r", workflow="w", version=2)
    assert repr(run) == "<Run r of 'w' at CREATED, version 2>"
