"""Hooks on real threads: what hangs holds up itself alone, and a stop leaves nothing behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from workflow_core import Run, RunView, Workflow
from workflow_core.engine import intake

if TYPE_CHECKING:
    from tests.threads.conftest import Cluster, Tally

LIMIT = 60


class Ear:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.told: set[str] = set()
        self._changed = threading.Condition()

    def hear(self, run: RunView[Any, Any] | Run[Any, Any]) -> None:
        with self._changed:
            self.told.add(run.run_id)
            self._changed.notify_all()

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.told) >= count, LIMIT)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


def test_hook_that_hangs_holds_up_itself_alone(
    cluster: Cluster,
    flow: Workflow[Any, Any],
    gate: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Though its backlog is more than there is room for. Seen to fail when none made room."""
    monkeypatch.setattr(intake, "_ROOM", 100)
    monkeypatch.setattr(intake, "_FRUITLESS", 3)
    monkeypatch.setattr(intake, "_KEEP", 10)
    good, slow, hanging = Ear(), Ear(), Ear()
    flow.on_complete(name="good")(good.hear)

    @flow.on_complete()
    async def take_a_while(run: RunView[Any, Any]) -> None:
        await asyncio.sleep(0.001)
        slow.hear(run)

    @flow.on_complete()
    def hang(run: RunView[Any, Any]) -> None:
        hanging.hear(run)
        gate.wait()

    engine = cluster.engine()
    serving = engine.serving(flow).start()
    run_ids = cluster.begin(engine, flow, 300)
    good.wait_for(300)
    slow.wait_for(300)
    assert good.told == slow.told == set(run_ids)
    abandoned = serving.stop(timedelta(0))
    assert any("hook hang of run" in name for name in abandoned)
    gate.set()
    engine.close()


def test_stop_leaves_no_thread_behind_when_there_are_hooks(
    joined: Cluster, tally: Tally, flow: Workflow[Any, Any]
) -> None:
    before = set(threading.enumerate())
    ear = Ear()
    flow.on_complete(name="ear")(ear.hear)
    engine = joined.engine()
    engine.serving(flow).start()
    joined.begin(engine, flow, 100)
    ear.wait_for(50)
    engine.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(LIMIT)
    assert set(threading.enumerate()) - before == set()


def test_all_processes_together_tell_of_each_run(
    cluster: Cluster, flow: Workflow[Any, Any]
) -> None:
    ear = Ear()
    flow.on_complete(name="ear")(ear.hear)
    engines = [cluster.engine() for _ in range(3)]
    for engine in engines:
        engine.serving(flow).start()
    run_ids = cluster.begin(engines[0], flow, 300)
    ear.wait_for(300)
    engines[1].close()
    more = cluster.begin(engines[0], flow, 100)
    ear.wait_for(400)
    assert ear.told == {*run_ids, *more}
