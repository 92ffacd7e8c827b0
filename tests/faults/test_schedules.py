"""A schedule whose processes are killed with -9 just when they begin its runs."""

from __future__ import annotations

import queue
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from workflow_core import Engine, RecordQuery

SCHEDULED = Path(__file__).with_name("scheduled.py")
PATIENCE = 90  # seconds after which something is lost, however slow the machine
PROCESSES = 2
KILLS = 4


class Places:
    """So many processes at a time; whoever is killed is replaced."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._living: list[subprocess.Popen[str]] = []
        self.asked: queue.SimpleQueue[subprocess.Popen[str]] = queue.SimpleQueue()
        for _ in range(PROCESSES):
            self._start()

    def kill(self, process: subprocess.Popen[str]) -> None:
        process.kill()
        self._living.remove(process)
        self._bury(process)
        self._start()

    def is_living(self, process: subprocess.Popen[str]) -> bool:
        return process in self._living

    def end(self) -> None:
        for process in self._living:
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(PATIENCE) == 0
            self._bury(process)
        self._living.clear()

    def clean_up(self) -> None:
        for process in self._living:
            process.kill()
            self._bury(process)

    def _bury(self, process: subprocess.Popen[str]) -> None:
        process.wait(PATIENCE)
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()

    def _start(self) -> None:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", str(SCHEDULED), str(self._database)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._living.append(process)
        threading.Thread(target=self._listen, args=[process], daemon=True).start()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        try:
            for _ in process.stdout:
                self.asked.put(process)
        except ValueError:  # closed while it was read
            pass


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Callable[[Path], Places]]:
    made: list[Places] = []

    def make(database: Path) -> Places:
        made.append(Places(database))
        return made[-1]

    yield make
    for place in made:
        place.clean_up()


def test_each_tick_begins_one_run_when_processes_are_killed_at_it(
    places: Callable[[Path], Places], tmp_path: Path
) -> None:
    """Seen to fail with the run and its tick in transactions of their own, the tick first."""
    database = tmp_path / "reports.db"
    dice = random.Random(4)
    cluster = places(database)
    killed = 0
    while killed < KILLS:
        process = cluster.asked.get(timeout=PATIENCE)
        if cluster.is_living(process):
            time.sleep(dice.uniform(0, 0.02))  # not waited for anything: the moment is the chance
            cluster.kill(process)
            killed += 1
    for _ in range(2):
        cluster.asked.get(timeout=PATIENCE)
    cluster.end()
    with Engine.embedded(database) as engine:
        runs = engine.runs(RecordQuery(workflow="reports", limit=1000)).items
        (view,) = engine.schedules("reports")
    ticks = sorted(datetime.fromisoformat(run.headers["tick"]) for run in runs)
    assert view.last_tick == ticks[-1]
    second = timedelta(seconds=1)
    assert ticks == [ticks[0] + second * count for count in range(len(ticks))]
    assert len(ticks) > 1, "it went on; several may have been killed at one tick"
