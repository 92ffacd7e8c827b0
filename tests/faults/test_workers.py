"""Who is working, told of real processes: one is killed, one frozen, one stopped in order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from workflow_adaptertest.servers import Space
from workflow_core import Engine, WorkerState, WorkerView
from workflow_sql import upgrade

from tests.faults import serving_worker
from tests.faults.freezing import freeze

PATIENCE = 90  # seconds after which it never comes true, however slow the machine
WORKER = Path(serving_worker.__file__)
BEATS = timedelta(seconds=3)  # the time of ten
LIVE, LOST = WorkerState.LIVE, WorkerState.LOST


class Fleet:
    """Processes that serve over one database, by what their code is called."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.engine: Engine = serving_worker.engine(url, "onlooker")
        self._processes: dict[str, subprocess.Popen[str]] = {}

    def start(self, *names: str, pool: str = "main") -> None:
        for name in names:
            self._processes[name] = subprocess.Popen(
                [sys.executable, WORKER, self._url, name, pool],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        for name in names:
            output = self._processes[name].stdout
            assert output is not None
            assert output.readline() == "serving\n"

    def signal(self, name: str, number: signal.Signals) -> None:
        os.kill(self._processes[name].pid, number)

    def freeze(self, name: str) -> None:
        file = self._url.removeprefix("sqlite:///")
        freeze(self._processes[name].pid, None if file == self._url else Path(file))

    def stop(self, name: str) -> None:
        """In order."""
        process = self._processes.pop(name)
        process.communicate(timeout=PATIENCE)

    def wait(self, holds: Callable[[dict[str, WorkerView]], bool]) -> dict[str, WorkerView]:
        """Until it holds of the workers; fails where it never does."""
        end = time.monotonic() + PATIENCE
        while not holds(found := {w.code_version: w for w in self.engine.workers()}):
            assert time.monotonic() < end, found
            time.sleep(0.05)
        return found

    def wait_states(self, **states: WorkerState) -> dict[str, WorkerView]:
        return self.wait(lambda found: {n: w.state for n, w in found.items()} == states)

    def wait_overlap(self, name: str, *, is_there: bool) -> None:
        """Until the worker's health tells, or does not tell, of a step that two pools run."""
        process = self._processes[name]
        assert process.stdin is not None
        assert process.stdout is not None
        end = time.monotonic() + PATIENCE
        while True:
            process.stdin.write("?\n")
            process.stdin.flush()
            problems = json.loads(process.stdout.readline())
            if is_there == any("both run the step at BEGUN" in problem for problem in problems):
                return
            assert time.monotonic() < end, problems
            time.sleep(0.05)

    def close(self) -> None:
        for process in self._processes.values():
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
            process.kill()
            process.communicate()
        self.engine.close()


@pytest.fixture(params=["sqlite", "postgres"])
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'workers.db'}"
    else:
        space: Space = request.getfixturevalue("postgres_space")
        url = str(space.url)
    upgrade(url)
    fleet = Fleet(url)
    yield fleet
    fleet.close()


def test_killed_worker_is_lost_and_the_other_has_its_roles(fleet: Fleet) -> None:
    """Seen to fail when a worker is told by its record alone, however old its beat; when a lost one
    is told with what it plays now, which is nothing; and when nobody takes over what is free.
    """
    assert fleet.engine.workers() == []
    fleet.start("one", "two")
    both = fleet.wait(lambda found: len(found) == 2 and all(w.roles for w in found.values()))
    assert {worker.state for worker in both.values()} == {LIVE}
    assert both["one"].instance.split("-")[-2] == str(fleet._processes["one"].pid)
    assert both["one"].versions["workflow-sql"]
    fleet.wait(lambda found: found["one"].last_seen > both["one"].last_seen)
    fleet.signal("one", signal.SIGKILL)
    found = fleet.wait_states(one=LOST, two=LIVE)
    assert found["one"].roles, "what it played when it was last heard of"
    all_roles = {*both["one"].roles, *both["two"].roles}
    fleet.wait(lambda found: all_roles <= set(found["two"].roles))


def test_frozen_worker_is_lost_until_it_goes_on(fleet: Fleet) -> None:
    """Seen to fail when the beats end with one that comes late: its roles alone make it live."""
    fleet.start("one", "two")
    fleet.wait_states(one=LIVE, two=LIVE)
    fleet.freeze("one")
    lost = fleet.wait_states(one=LOST, two=LIVE)["one"]
    fleet.signal("one", signal.SIGCONT)
    fleet.wait_states(one=LIVE, two=LIVE)
    fleet.wait(lambda found: found["one"].last_seen > lost.last_seen)


def test_worker_that_stops_in_order_is_not_reported(fleet: Fleet) -> None:
    """Seen to fail when a stop leaves the record as it is."""
    fleet.start("one", "two")
    fleet.wait_states(one=LIVE, two=LIVE)
    fleet.stop("two")
    assert {w.code_version for w in fleet.engine.workers()} == {"one"}


def test_worker_tells_when_it_last_did_some_work(fleet: Fleet) -> None:
    """Seen to fail when upkeep counts, as it is never idle then, and when no work counts."""
    fleet.start("one")
    fleet.wait_states(one=LIVE)
    engine, flow = fleet.engine, serving_worker.flow
    run_id = engine.trigger(flow, "run", serving_worker.Nothing())
    done = engine.wait_until_ended(flow, run_id, timedelta(seconds=PATIENCE))

    def has_told(found: dict[str, WorkerView]) -> bool:
        told = found["one"].last_progress
        return told is not None and told >= done.created_at

    def has_rested(found: dict[str, WorkerView]) -> bool:
        told = found["one"].last_progress
        return told is not None and found["one"].last_seen - told > BEATS

    fleet.wait(has_told)
    fleet.wait(has_rested)


def test_pools_of_two_processes_that_share_a_status_are_told_and_each_run_goes_on_once(
    fleet: Fleet,
) -> None:
    """As while a deploy moves a status; when one of them stops, all is well.

    Seen to fail where pools are not compared.
    """
    fleet.start("one")
    fleet.start("two", pool="slow")
    for name in ("one", "two"):
        fleet.wait_overlap(name, is_there=True)
    engine, flow = fleet.engine, serving_worker.flow
    ids = [engine.trigger(flow, f"run {n}", serving_worker.Nothing()) for n in range(50)]
    for run_id in ids:
        engine.wait_until_ended(flow, run_id, timedelta(seconds=PATIENCE))
    fleet.stop("two")
    fleet.wait_overlap("one", is_there=False)
    for run_id in ids:
        assert [entry.version for entry in engine.history(run_id)] == [1, 2]
