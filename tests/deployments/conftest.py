"""The deployments of examples/deployments as a person has them: the folder, an environment.

What is not the test's to say is the file's; the environment names the servers, and a namespace of
the test's own.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from workflow_adaptertest.servers import Server
from workflow_core import Engine, RunState, Trigger
from workflow_core.discovery import Config
from workflow_core.model import HistoryEntry

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "deployments"
NAME = "deployments_shop"  # as nobody else names a module: it stays loaded
PATIENCE = 150  # seconds after which something is lost, however slow the machine
BIN = Path(sys.executable).parent

Environ = Mapping[str, str]


def _load_shop() -> Any:
    spec = importlib.util.spec_from_file_location(NAME, FOLDER / "shop.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module  # annotations are read by the module's name
    spec.loader.exec_module(module)
    return module


shop = _load_shop()


@dataclass
class Worker:
    """One `workflow run`, as a machine of its own would have it."""

    process: subprocess.Popen[bytes]
    log: Path

    def wait_serving(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while "serving orders" not in self.told():
            assert self.process.poll() is None, self.told()
            assert time.monotonic() < deadline, self.told()
            threading.Event().wait(0.05)

    def told(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def stop(self) -> None:
        """By SIGTERM, as each manager of processes does."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE) == 0, self.told()

    def kill(self) -> None:
        self.process.kill()
        assert self.process.wait(PATIENCE) == -signal.SIGKILL, self.told()


@dataclass
class Deployment:
    """A copy of the folder, one of its files, and the environment that it is used in."""

    folder: Path
    environ: dict[str, str]
    workers: list[Worker] = field(default_factory=list)

    def run(self, script: str) -> str:
        """What a shell prints that stops at the first mistake; it has to end with 0."""
        log = self.folder / "script.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", script],
                cwd=self.folder,
                env=self.environ,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = process.wait(PATIENCE)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)  # what it left in the background
        told = log.read_text(encoding="utf-8")
        assert code == 0, told
        return told

    def upgrade(self) -> None:
        self.run("workflow db upgrade")

    def start(self) -> Worker:
        log = self.folder / f"worker-{len(self.workers)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [BIN / "workflow", "run", "--guard", "refuse"],
                cwd=self.folder,
                env=self.environ,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self.workers.append(Worker(process, log))
        return self.workers[-1]

    @contextmanager
    def customer(self) -> Iterator[Customer]:
        """A client over the same file."""
        config = Config.load(self.folder / self.environ["WORKFLOW_CONFIG"], environ=self.environ)
        with Engine(config.build()) as engine:
            yield Customer(engine)

    def clean_up(self) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.kill()
                worker.process.wait(PATIENCE)
            print(worker.told())  # told where the test failed


class Customer:
    """Orders without a pause, and looks what became of it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._full = threading.Event()
        self._problems: list[Exception] = []
        self.runs: list[str] = []

    @contextmanager
    def ordering(self) -> Iterator[None]:
        self._full.clear()
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
        """Until what is ordered from now on is shipped."""
        before, deadline = len(self.runs), time.monotonic() + PATIENCE
        while len(self.runs) == before:
            assert time.monotonic() < deadline, "no order is acknowledged"
            threading.Event().wait(0.02)
        self._wait_for(self.runs[-1])

    def see_all_end(self) -> dict[str, list[HistoryEntry]]:
        """What each run went through, oldest first."""
        runs, self.runs = self.runs, []
        assert runs
        for run_id in runs:
            self._wait_for(run_id)
        store = self._engine.adapters.record_store
        return {run_id: list(store.history(run_id)) for run_id in runs}

    def _wait_for(self, run_id: str) -> None:
        patience = timedelta(seconds=PATIENCE)
        self._engine.wait_for(shop.orders, run_id, shop.Status.SHIPPED, patience)

    def _order_on(self) -> None:
        try:
            while not self._full.wait(0.05):
                names = (f"order-{time.monotonic_ns()}-{n}" for n in range(2))
                triggers = [Trigger(name, shop.Order(100)) for name in names]
                self.runs += map(str, self._engine.trigger_many(shop.orders, triggers))
        except Exception as problem:
            self._problems.append(problem)


WAY = [1, 2, 3, 4]


def judge(histories: Mapping[str, list[HistoryEntry]], *, killed: bool) -> None:
    """Each transition once; and where nobody was killed, not one attempt and not one more write."""
    for run_id, history in histories.items():
        about = f"run {run_id}: " + ", ".join(
            f"{it.status} ({it.attempts}) {it.reason} {it.error}".strip() for it in history
        )
        assert history[-1].state is RunState.COMPLETED, about
        assert [it.version for it in history] == list(range(1, len(history) + 1)), about
        assert [status for status, _ in groupby(it.status for it in history)] == WAY, about
        if not killed:
            assert len(history) == len(WAY), about
            assert {it.attempts for it in history} == {0}, about
            assert not any(it.error for it in history), about


# -- where they run ------------------------------------------------------------------------------

Servers = Callable[..., dict[str, str]]


@pytest.fixture
def servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    """What the environment says of four servers, with names of the test's own; by its database."""
    with ExitStack() as spaces:

        def enter(database: str, *, kafka: str) -> dict[str, str]:
            found = {}
            for name in (database, kafka, "etcd", "redis"):
                server: Server = request.getfixturevalue(f"{name}_server")
                found[name] = spaces.enter_context(server.own_space())
            name = found[kafka].name
            spaces.callback(_forget_timers, str(found["redis"].url), name)
            plain = "?ssl_disabled=true" if database == "mysql" else ""
            return {
                "WORKFLOW_NAMESPACE": name,
                "DATABASE_URL": f"{found[database].url}{plain}",
                "KAFKA_SERVERS": found[kafka].url.bootstrap,
                "ETCD_ENDPOINTS": found["etcd"].url.bootstrap,
                "REDIS_URL": str(found["redis"].url),
            }

        yield enter


def _forget_timers(url: str, namespace: str) -> None:
    with closing(Redis.from_url(url)) as redis:
        for key in redis.scan_iter(f"workflow-timers:{{{namespace}*"):
            redis.unlink(key)


@pytest.fixture
def deploy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str, Environ], Deployment]]:
    """A file of the folder, in use with these variables."""
    made: list[Deployment] = []

    def make(file: str, environ: Environ) -> Deployment:
        folder = tmp_path / "deployment"
        shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
        monkeypatch.chdir(folder)  # where the file of SQLite is, for the customer too
        ours_alone = {name: it for name, it in os.environ.items() if "WORKFLOW_" not in name}
        path_variable = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
        chosen = {"WORKFLOW_CONFIG": file, "WORKFLOW_APP": "shop:orders"}
        made.append(Deployment(folder, {**ours_alone, **path_variable, **chosen, **environ}))
        return made[-1]

    yield make
    for deployment in made:
        deployment.clean_up()
