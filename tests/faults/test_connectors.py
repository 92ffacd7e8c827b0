"""Processes that are fed from a foreign stream, killed with -9 again and again, on one file."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from workflow_core import Engine, LetterState, RecordQuery

WORKER = Path(__file__).with_name("connected.py")
PATIENCE = 120  # seconds after which something is lost, however slow the machine
LIVES = max(1, int(os.environ.get("FAULTS_KILLS", "42")) // 21)
PLACES = 2
ORDERS = [f"order-{number}" for number in range(400)]
POISON = [f"poison-{number}" for number in range(4)]


class Fed:
    """A process; what it says is kept."""

    def __init__(self, database: Path, stream: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", str(WORKER), str(database), str(stream)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # its poison is no news
            text=True,
        )
        self.said: list[str] = []

    def hear_until_asked(self, times: int) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line.strip())
            times -= line.startswith("asked")
            if times <= 0:
                return

    def end(self) -> None:
        """In order, if it still lives."""
        rest, _ = self.process.communicate("", PATIENCE)
        self.said += rest.splitlines()

    def kill(self) -> None:
        self.process.kill()
        self.end()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Fed]]:
    lines = [*ORDERS, *POISON]
    random.Random(7).shuffle(lines)
    stream = tmp_path / "stream"
    stream.write_text("\n".join(lines), encoding="utf-8")
    started: list[Fed] = []

    def start() -> Fed:
        started.append(Fed(tmp_path / "orders.db", stream))
        return started[-1]

    yield start
    for fed in started:
        if fed.process.poll() is None:
            fed.kill()


def test_no_run_twice_and_none_missing_when_processes_are_killed(
    start: Callable[[], Fed], tmp_path: Path
) -> None:
    """Seen to fail with keys that are not made of the event: runs are begun again."""
    killed: list[Fed] = []

    def be_hunted(place: int) -> None:
        chance = random.Random(place)
        for _ in range(LIVES):
            fed = start()
            killed.append(fed)
            fed.hear_until_asked(chance.randint(1, 40))
            time.sleep(chance.uniform(0, 0.02))
            fed.kill()

    with ThreadPoolExecutor(PLACES) as places:
        list(places.map(be_hunted, range(PLACES)))
    last = start()
    with Engine.embedded(tmp_path / "orders.db") as engine:
        runs = settled(engine)
        letters = engine.dead_letters("orders", states=[LetterState.SET_ASIDE]).items
    last.end()
    assert Counter(runs.values()) == Counter(ORDERS)
    assert sorted(letter.foreign_id for letter in letters) == POISON
    told = {line for fed in [*killed, last] for line in fed.said if line.startswith("told")}
    assert told == {f"told {run_id}" for run_id in runs}
    asked = Counter(line for fed in [*killed, last] for line in fed.said if "asked order" in line)
    print({"killed": len(killed), "asked": asked.total(), "of": len(ORDERS)})


def settled(engine: Engine) -> dict[str, str]:
    """The foreign ids of all runs, by run id, when all have ended and all poison is aside."""
    everything = RecordQuery(workflow="orders", limit=1000)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        runs = engine.runs(everything).items
        has_ended = len(runs) >= len(ORDERS) and all(run.state.is_finished for run in runs)
        is_retrying = engine.dead_letters("orders", states=[LetterState.RETRYING]).items
        aside = engine.dead_letters("orders").items
        if has_ended and not is_retrying and len(aside) == len(POISON):
            return {run.run_id: run.foreign_id for run in runs}
        time.sleep(0.1)
    raise AssertionError(f"not settled in {PATIENCE} s")
