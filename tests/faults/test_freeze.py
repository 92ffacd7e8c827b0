"""A worker that is frozen for longer than its lease, and thawed when all is over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from workflow_core import Record

if TYPE_CHECKING:
    from tests.faults.conftest import Fleet, Start, Stopped

IN_HAND = 5
NAMES = [f"{number}-frozen" for number in range(200)]
LATER = [f"{number}-thawed" for number in range(200)]


def test_frozen_worker_commits_nothing_stale_when_thawed(
    start: Start,
    fleet: Fleet,
    judge: Callable[[Path], dict[str, Record]],
    stopped: Stopped,
    tmp_path: Path,
) -> None:
    """Seen to fail when updates do not compare the version: a late outcome replaces a newer one."""
    database = tmp_path / "orders.db"
    frozen = start(database)
    frozen.tell("shut")
    frozen.begin(*NAMES)
    in_hand = [key_of(frozen.did.get(timeout=60)) for _ in range(IN_HAND)]
    with stopped(frozen, database):
        other = start(database)
        other.settle()  # so the leases of the frozen one are over
        taken_over = judge(database)
        assert all(fleet.did[key, "pay"] == 2 for key in in_hand)
    frozen.tell("open")  # only now do the bodies end that were in hand
    frozen.begin(*LATER)
    frozen.settle()
    frozen.end()
    other.end()
    runs = judge(database)
    assert runs.keys() == {*NAMES, *LATER}
    assert {name: runs[name] for name in NAMES} == taken_over


def key_of(line: str) -> str:
    return line.split()[1]
