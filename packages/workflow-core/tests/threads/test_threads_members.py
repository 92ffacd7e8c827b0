"""Members that join and leave: the shards spread, and are handed over in order."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from workflow_core import Workflow
from workflow_core.engine import Engine, Serving

if TYPE_CHECKING:
    from tests.threads.conftest import Cluster, Tally

LOOKS = 6000  # each after ten milliseconds


def shards(serving: Serving) -> int:
    return sum(role.startswith("chain-main-steps-") for role in serving.roles)


def wait_until_spread(servings: Sequence[Serving]) -> None:
    """Until all 16 shards are held, and none of the members holds nothing."""
    for _ in range(LOOKS):
        held = [shards(serving) for serving in servings]
        if sum(held) == 16 and all(held):
            return
        servings[0].wait(timedelta(milliseconds=10))
    raise AssertionError("the shards never spread")


def test_shards_spread_when_members_join_and_come_back_when_they_leave(
    joined: Cluster, flow: Workflow[Any, Any]
) -> None:
    first = joined.engine().serving(flow).start()
    wait_until_spread([first])
    second = joined.engine().serving(flow).start()
    wait_until_spread([first, second])
    third = joined.engine().serving(flow).start()
    wait_until_spread([first, second, third])
    second.stop()
    wait_until_spread([first, third])
    third.stop()
    wait_until_spread([first])


def test_nothing_runs_twice_when_members_join_and_leave_during_a_burst(
    cluster: Cluster, tally: Tally, flow: Workflow[Any, Any]
) -> None:
    """Seen to fail when a recalled shard was released before what came from it was committed."""
    client = cluster.engine()
    begun: list[str] = []
    enough = threading.Event()

    def keep_triggering() -> None:
        """Some hundreds are under way at any time."""
        last: list[str] = []
        while not enough.is_set():
            fresh = cluster.begin(client, flow, 200)
            cluster.wait_for_all(client, flow, last)
            begun.extend(fresh)
            last = fresh

    members: list[tuple[Engine, Serving]] = []

    def join() -> None:
        engine = cluster.engine()
        members.append((engine, engine.serving(flow).start()))

    join()
    triggering = threading.Thread(target=keep_triggering)
    triggering.start()
    try:
        for leaver in (None, None, 0, None, 1):
            join()
            wait_until_spread([serving for _, serving in members])
            if leaver is not None:
                engine, serving = members.pop(leaver)
                assert serving.stop() == []
                engine.close()
                wait_until_spread([serving for _, serving in members])
    finally:
        enough.set()
        triggering.join()
    cluster.wait_for_all(client, flow, begun)
    assert tally.repeated == {}
    cluster.check_histories(begun, versions=4)
