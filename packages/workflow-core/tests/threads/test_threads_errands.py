"""Errands: each gets a thread as long as there is one."""

from __future__ import annotations

import threading

from workflow_core.engine.errands import Errands

LIMIT = 60.0  # seconds; only a hang gets there


def test_as_many_errands_run_at_once_as_there_are_threads() -> None:
    """Two errands that come at once must not both count on a thread that just became free."""
    errands = Errands(threads=4)
    for _ in range(200):
        together = threading.Barrier(4, timeout=LIMIT)
        futures = [errands.submit(together.wait) for _ in range(4)]
        for future in futures:
            future.result(LIMIT)


def test_more_errands_than_threads_wait_for_their_turn() -> None:
    errands = Errands(threads=2)
    futures = [errands.submit(lambda number=number: number) for number in range(100)]  # type: ignore[misc]
    assert [future.result(LIMIT) for future in futures] == list(range(100))
