"""Processes that serve, a customer who orders without a pause, and a judge of what became of it."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from workflow_adaptertest.servers import Space
from workflow_core import Engine, Record, RecordQuery, RunState, Trigger
from workflow_core.discovery import Config
from workflow_core.errors import AdapterUnavailableError
from workflow_core.ports import RecordStore
from workflow_sql import upgrade

WORKER = Path(__file__).with_name("worker.py")
PATIENCE = 90  # seconds after which something is lost, however slow the machine
AT_ONCE = 2
PAUSE = 0.1
SHIPPED = 4


def load_definition() -> Any:
    """The workers' own module: a client knows the workflow by the same definition."""
    spec = importlib.util.spec_from_file_location("acceptance_worker", WORKER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # annotations are read by the module's name
    spec.loader.exec_module(module)
    return module


definition = load_definition()


def wait_until(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what()}"
        threading.Event().wait(0.05)


class Worker:
    """A process that serves; see worker.py."""

    def __init__(self, settings: Mapping[str, object], did: Counter[tuple[str, str]]) -> None:
        self._did = did
        self._serving = threading.Event()
        self.lament = ""
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", str(WORKER), json.dumps(settings)],
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

    def wait_serving(self) -> None:
        assert self._serving.wait(PATIENCE), self.lament
        assert self._process.poll() is None, self.lament

    def kill(self) -> None:
        """As `kill -9`; all that it said before is heard."""
        self._process.kill()
        assert self._ended() == -signal.SIGKILL, self.lament

    def end(self) -> None:
        """In order."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._ended() == 0, self.lament

    def clean_up(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._ended()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()

    def _ended(self) -> int:
        code = self._process.wait(PATIENCE)
        for reader in self._readers:
            reader.join()
        return code

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            word, *rest = line.split()
            if word == "did":
                self._did[rest[0], rest[1]] += 1
            else:
                self._serving.set()

    def _listen_to_laments(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.lament += line
        self._serving.set()  # it has ended: nobody need wait


class Customer:
    """Orders a few at a time, each until it is acknowledged, and looks what became of them."""

    def __init__(self, engine: Engine, store: RecordStore) -> None:
        self._engine = engine
        self._store = store
        self._full = threading.Event()
        self._problems: list[Exception] = []
        self.runs: dict[str, str] = {}
        """Run ids by order."""

    @contextmanager
    def ordering(self) -> Iterator[None]:
        thread = threading.Thread(target=self._order_on)
        thread.start()
        try:
            yield
        finally:
            self._full.set()
            thread.join()
        for problem in self._problems:
            raise problem

    def see_progress(self) -> None:
        """Until something that is ordered from now on is shipped."""
        before = len(self.runs)
        wait_until(lambda: len(self.runs) > before, lambda: "orders are acknowledged")

        def later() -> list[str]:
            return list(self.runs.values())[before:]

        wait_until(lambda: bool(self._shipped(later())), lambda: self.told(later()))

    def see_all_end(self) -> None:
        left = set(self.runs.values())

        def all_ended() -> bool:
            left.difference_update(self._shipped(left))
            return not left

        wait_until(all_ended, lambda: self.told(left))

    def told(self, left: Collection[str]) -> str:
        lines = [
            f"{record.foreign_id} at status {record.status}, version {record.version}, "
            f"since {record.updated_at:%H:%M:%S}: {record.last_error or record.state.name}"
            for record in self._store.lookup_many(sorted(left)[:10], primary=True).values()
        ]
        return f"{len(left)} of {len(self.runs)} orders are not shipped\n" + "\n".join(lines)

    def judge(self, did: Counter[tuple[str, str]]) -> None:
        """Each order went its way once, whatever was executed twice."""
        records = {record.foreign_id: record for record in self._all()}
        assert records.keys() == self.runs.keys(), "one run for each order"
        for record in records.values():
            about = f"order {record.foreign_id}, run {record.run_id}"
            assert (record.state, record.status) == (RunState.COMPLETED, SHIPPED), about
            history = list(self._store.history(record.run_id))
            assert [entry.version for entry in history] == list(range(1, record.version + 1)), about
            way = [status for status, _ in groupby(entry.status for entry in history)]
            assert way == [1, 2, 3, 4], f"{about} went {way}"
            acts = sorted(what for key, what in did if key.startswith(f"{record.run_id}/"))
            assert acts == ["pay", "release", "ship"], f"{about}: {acts}, one key for each"

    def _order_on(self) -> None:
        number = 0
        try:
            while not self._full.wait(PAUSE):
                names = [str(number + n) for n in range(AT_ONCE)]
                number += AT_ONCE
                self._order_until_acknowledged(names)
        except Exception as problem:
            self._problems.append(problem)

    def _order_until_acknowledged(self, names: list[str]) -> None:
        triggers = [
            Trigger(name, definition.Order(int(name)), idempotency_key=name) for name in names
        ]
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                answers = self._engine.trigger_many(definition.orders, triggers)
            except AdapterUnavailableError:
                assert time.monotonic() < deadline, "the record store stays away"
                continue
            self.runs |= {name: str(run) for name, run in zip(names, answers, strict=True)}
            return

    def _shipped(self, run_ids: Collection[str]) -> set[str]:
        try:
            found = self._store.lookup_many(list(run_ids), primary=True)
        except AdapterUnavailableError:
            return set()
        return {run_id for run_id, record in found.items() if record.status == SHIPPED}

    def _all(self) -> Iterator[Record]:
        query = RecordQuery(workflow="orders", limit=1000)
        while True:
            page = self._store.list_records(query)
            yield from page.items
            if page.next is None:
                return
            query = query.replace(after=page.next)


# -- the systems ---------------------------------------------------------------------------------


@pytest.fixture
def did() -> Counter[tuple[str, str]]:
    """How often a function did what, by idempotency key."""
    return Counter()


StartWorker = Callable[[], Worker]


@pytest.fixture
def settings(
    postgres_space: Space, kafka_space: Space, etcd_space: Space, redis_space: Space
) -> Iterator[Mapping[str, object]]:
    """One system of four servers; its names begin with that of Kafka's space."""
    name = kafka_space.name
    url = str(postgres_space.url)
    upgrade(url, namespace=name)
    yield {
        "record_store": "sql",
        "event_streamer": "kafka",
        "role_scheduler": "etcd",
        "timeout_store": "redis",
        "namespace": name,
        "adapters.sql.url": url,
        "adapters.kafka.bootstrap_servers": [kafka_space.url.bootstrap],
        "adapters.kafka.partitions": 6,
        "adapters.kafka.session_timeout": "6s",
        "adapters.etcd.endpoints": [etcd_space.url.bootstrap],
        "adapters.etcd.prefix": f"{etcd_space.name}/roles",
        "adapters.etcd.lease": "2s",
        "adapters.redis.url": str(redis_space.url),
    }
    with closing(Redis.from_url(str(redis_space.url))) as redis:
        for key in redis.scan_iter(f"workflow-timers:{{{name}*"):
            redis.unlink(key)


@pytest.fixture
def start_worker(
    settings: Mapping[str, object], did: Counter[tuple[str, str]]
) -> Iterator[StartWorker]:
    workers: list[Worker] = []

    def start() -> Worker:
        workers.append(Worker(settings, did))
        return workers[-1]

    yield start
    for worker in workers:
        worker.clean_up()
        print(worker.lament)  # told where the test failed


@pytest.fixture
def customer(settings: Mapping[str, object]) -> Iterator[Customer]:
    """A client: it has the record store, and nothing else."""
    mine = {
        name: value
        for name, value in settings.items()
        if name in {"record_store", "namespace"} or name.startswith("adapters.sql.")
    }
    adapters = Config.load(environ={}, overrides=mine).build()
    with Engine(adapters) as engine:
        yield Customer(engine, adapters.record_store)
