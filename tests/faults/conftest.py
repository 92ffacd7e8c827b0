"""Worker processes to be harmed, and the judge of what is left afterwards."""

from __future__ import annotations

import json
import os
import queue
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import msgspec
import pytest
from workflow_core import Record, RecordQuery, RunState
from workflow_core.discovery import embedded

from tests.faults.freezing import freeze

WORKER = Path(__file__).with_name("worker.py")
PATIENCE = 90  # seconds after which something is lost, however slow the machine
PAID, PACKED, SHIPPED, REFUSED = 2, 3, 4, 5


class Fleet:
    """All processes of one test, and what they did to the outside world."""

    def __init__(self) -> None:
        self.did: Counter[tuple[str, str]] = Counter()
        """How often a step did what, by idempotency key."""
        self.began: set[str] = set()
        self.started: list[Worker] = []
        self._lock = threading.Lock()

    def note(self, line: str) -> bool:
        """Whether the line was about the outside world."""
        word, *rest = line.split()
        with self._lock:
            if word == "did":
                self.did[rest[0], rest[1]] += 1
            elif word == "began":
                self.began.add(rest[0])
        return word == "did"


class Worker:
    """A process that serves; see worker.py for what it says and obeys."""

    def __init__(self, fleet: Fleet, *arguments: str) -> None:
        self._fleet = fleet
        self._said: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._lamented = threading.Condition()
        self.lament = ""
        self.did: queue.SimpleQueue[str] = queue.SimpleQueue()
        """Its own lines of what it did to the outside world."""
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", str(WORKER), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._readers = [
            threading.Thread(target=self._listen, daemon=True),
            threading.Thread(target=self._listen_to_laments, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def tell(self, *words: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        """Its next line, but for what it did outside."""
        line = self._said.get(timeout=PATIENCE)
        assert line, f"it ended by itself:\n{self.lament}"
        return line

    def wait_for_lament(self, words: str) -> None:
        """Until it has warned of something in these words."""
        with self._lamented:
            heard = self._lamented.wait_for(lambda: words in self.lament, PATIENCE)
        assert heard, self.lament

    def begin(self, *names: str) -> list[str]:
        """What became of these."""
        self.tell("begin", *names)
        return [self.hear() for _ in names]

    def settle(self) -> None:
        self.tell("settle")
        assert self.hear() == "settled"

    def kill(self) -> None:
        """As `kill -9`; all that it said before is heard."""
        self.process.kill()
        assert self._wait() == -signal.SIGKILL, self.lament

    def end(self) -> None:
        """In order."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self._wait() == 0, self.lament

    def clean_up(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self._wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()

    def _wait(self) -> int:
        code = self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join()
        return code

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if self._fleet.note(line):
                self.did.put(line)
            else:
                self._said.put(line.strip())
        self._said.put("")

    def _listen_to_laments(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._lamented:
                self.lament += line
                self._lamented.notify_all()


class Start(Protocol):
    def __call__(
        self, database: Path, *, hunted: str = "", settings: Mapping[str, object] = {}
    ) -> Worker: ...


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


@pytest.fixture
def start(fleet: Fleet) -> Iterator[Start]:
    """Starts workers, each with chances of its own, the same in each run of the test."""
    seeds = random.Random(20)

    def start(database: Path, *, hunted: str = "", settings: Mapping[str, object] = {}) -> Worker:
        options = ["--hunted", hunted] if hunted else []
        options += ["--settings", json.dumps(settings)] if settings else []
        worker = Worker(fleet, str(database), str(seeds.randrange(2**32)), *options)
        fleet.started.append(worker)
        return worker

    yield start
    for worker in fleet.started:
        worker.clean_up()


DIED = "a process died that had the run in hand"


class Judge(Protocol):
    def __call__(
        self, database: Path, *, settings: Mapping[str, object] = {}, set_back: bool = False
    ) -> dict[str, Record]: ...


@pytest.fixture
def judge(fleet: Fleet) -> Judge:
    """Asserts that each order ended as it should, by each step once; answers the runs by name.

    In a database that was set back meanwhile nobody knows any more what else was done.
    """

    def judge(
        database: Path, *, settings: Mapping[str, object] = {}, set_back: bool = False
    ) -> dict[str, Record]:
        if "adapters.sql.url" not in settings:
            with sqlite3.connect(database) as connection:
                assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
            connection.close()
        with embedded(database, overrides=settings).build() as adapters:
            store = adapters.record_store
            assert store.list_outbox_events(["orders"], limit=10) == []
            query = RecordQuery(workflow="orders", limit=1000)
            runs: dict[str, Record] = {}
            failed, marked = Counter[str](), Counter[str]()
            while True:
                page = store.list_records(query)
                for record in page.items:
                    assert record.foreign_id not in runs
                    runs[record.foreign_id] = record
                    history = list(store.history(record.run_id))
                    assert [e.version for e in history] == list(range(1, record.version + 1))
                    failed[record.foreign_id] = sum(entry.attempts > 0 for entry in history)
                    marked[record.foreign_id] = sum(
                        not entry.attempts and entry.reason == DIED for entry in history
                    )
                if page.next is None:
                    break
                query = query.replace(after=page.next)
        assert fleet.began <= runs.keys(), "an order that was acknowledged is lost"
        for record in runs.values():
            assert_as_expected(record, failed[record.foreign_id], marked[record.foreign_id])
        done = {visit for record in runs.values() for visit in visits(record)}
        assert done <= set(fleet.did) if set_back else done == set(fleet.did)
        return runs

    return judge


def assert_as_expected(record: Record, failed: int, marked: int) -> None:
    """The version too: one more or less would be a transition that is doubled or missing.

    Args:
        record: the run as it ended.
        failed: versions that count an attempt.
        marked: those before an attempt that began after a death, and was not counted.
    """
    number = int(record.foreign_id.partition("-")[0])
    assert record.state is RunState.COMPLETED, record
    trail = [what for _, what in visits(record)]
    assert msgspec.json.decode(record.data) == {"number": number, "trail": trail}
    refused = number % 20 == 0
    assert record.status == (REFUSED if refused else SHIPPED)
    assert record.version == 1 + len(trail) + failed + marked
    assert failed or number % 7 or refused


def visits(record: Record) -> list[tuple[str, str]]:
    """The idempotency keys that its steps should have used, and for what."""
    number = int(record.foreign_id.partition("-")[0])
    keys = [(1, 0, "pay")]
    if number % 20:
        packed, shipped = record.passed[PAID], record.passed[PACKED]
        keys += [(packed, 0, "pack")] + [(packed, 1, "pack")] * (number % 11 == 0)
        keys += [(shipped, 0, "ship")]
    return [(f"{record.run_id}/{entered}/{repeat}", what) for entered, repeat, what in keys]


Stopped = Callable[[Worker, Path], AbstractContextManager[None]]


@pytest.fixture
def stopped() -> Stopped:
    """Freezes a worker for a while."""
    return freeze_for_a_while


@contextmanager
def freeze_for_a_while(worker: Worker, database: Path) -> Iterator[None]:
    """Frozen, and goes on afterwards."""
    freeze(worker.process.pid, database)
    try:
        yield
    finally:
        os.kill(worker.process.pid, signal.SIGCONT)
