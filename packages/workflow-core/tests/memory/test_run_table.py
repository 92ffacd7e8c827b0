"""The table of runs: what stays in it for long costs nobody anything."""

import gc
from collections.abc import Callable
from typing import Any

from workflow_core.memory.run_table import RunTable
from workflow_core.memory.sorted_keys import SortedKeys
from workflow_core.model import Record, RunState


def test_what_grows_with_ended_runs_is_no_work_for_the_collector_of_cycles(
    make_record: Callable[[], Record],
) -> None:
    """Seen to fail with tuples for keys: the more runs had ended, the longer a transition took."""
    table = RunTable()
    for _ in range(5_000):
        record = make_record()
        table.put(record.replace(state=RunState.COMPLETED))
    for _ in range(2):  # the first finds the tuples within, the second what holds nothing else
        gc.collect()
    table.put(make_record().replace(state=RunState.COMPLETED))  # a tuple in it is watched anew
    watched = [each for each in _within(table) if gc.is_tracked(each) and len(each) > 1_100]
    assert watched == []
    lists = [each for each in _within(table) if isinstance(each, list) and len(each) > 500]
    assert len(lists) <= 2  # the newest keys


def _within(root: object) -> list[Any]:
    """All containers that can be reached from there."""
    found: dict[int, Any] = {}
    waiting: list[object] = [root]
    while waiting:
        for each in gc.get_referents(waiting.pop()):
            if isinstance(each, dict | list | tuple | SortedKeys) and id(each) not in found:
                found[id(each)] = each
                waiting.append(each)
    return [each for each in found.values() if not isinstance(each, SortedKeys)]
