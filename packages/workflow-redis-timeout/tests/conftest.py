"""Stores on a part of a server of one's own, timers to put there, and servers of other kinds."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from workflow_adaptertest.servers import NotAvailableError, Proxied, Server, Space
from workflow_adaptertest.servers.place import Tools
from workflow_adaptertest.servers.ports import free_ports
from workflow_core.model import Timeout
from workflow_core.ports import Clock, Secret
from workflow_redis_timeout import RedisSettings, RedisTimeoutStore

OpenStore = Callable[..., RedisTimeoutStore]
PATIENCE = 60  # seconds; for what happens in less than one on a machine that has nothing else to do


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Waits for it, and fails where it does not come."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE} s"
        threading.Event().wait(0.01)


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool], str], None]:
    """Waits for a condition, and fails where it does not come."""
    return wait_until


class Make:
    """Timers, each of a run of its own."""

    def __init__(self) -> None:
        self._made = 0

    def timeout(self, **changes: Any) -> Timeout:
        self._made += 1
        run_id = changes.get("run_id", f"run-{self._made}")
        values: dict[str, Any] = {
            "key": f"{run_id}/3/give up",
            "workflow": "orders",
            "run_id": run_id,
            "status": 2,
            "entered_version": 3,
            "name": "give up",
        }
        return Timeout(**(values | changes))

    def timeouts(self, count: int, **changes: Any) -> list[Timeout]:
        return [self.timeout(**changes) for _ in range(count)]


@pytest.fixture
def make() -> Make:
    return Make()


@pytest.fixture
def open_at() -> Iterator[OpenStore]:
    """Opens stores at a URL in a namespace; closed afterwards."""
    with ExitStack() as stores:

        def open_one(
            url: object, namespace: str = "shop", *, clock: Clock | None = None, **settings: Any
        ) -> RedisTimeoutStore:
            chosen = RedisSettings(url=Secret(str(url)), **settings)
            return stores.enter_context(RedisTimeoutStore(chosen, namespace=namespace, clock=clock))

        yield open_one


@pytest.fixture
def open_store(open_at: OpenStore, redis_space: Space) -> OpenStore:
    """Opens handles on the test's own part of the one server."""

    def open_one(**settings: Any) -> RedisTimeoutStore:
        return open_at(redis_space.url, redis_space.name, **settings)

    return open_one


@pytest.fixture
def open_behind(open_at: OpenStore, redis_behind: Proxied, redis_space: Space) -> OpenStore:
    """The same through a proxy."""

    def open_one(**settings: Any) -> RedisTimeoutStore:
        return open_at(redis_behind.url, redis_space.name, **settings)

    return open_one


@pytest.fixture
def open_on_cluster(open_at: OpenStore, redis_cluster_space: Space) -> OpenStore:
    """Opens handles on the test's own part of the cluster."""
    url = str(redis_cluster_space.url).replace("redis:", "redis+cluster:", 1)

    def open_one(**settings: Any) -> RedisTimeoutStore:
        return open_at(url, redis_cluster_space.name, **settings)

    return open_one


@pytest.fixture
def client(redis_server: Server) -> Iterator[Redis]:
    """A look at the server past the store."""
    with closing(
        Redis.from_url(
            str(redis_server.url), decode_responses=True, encoding_errors="surrogateescape"
        )
    ) as client:
        yield client


# -- servers with options of their own ---------------------------------------------------------


class RedisProcess:
    """A server of the test's own. Ended by its own pid."""

    def __init__(self, words: Sequence[str], port: int, folder: Path) -> None:
        self.port = port
        self.folder = folder
        self._words = words
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def client(self, **options: Any) -> Redis:
        return Redis(port=self.port, decode_responses=True, **options)

    def ask(self, *words: str) -> Any:
        client: Any = self.client()  # its types for this are not there
        return client.execute_command(*words)

    def start(self) -> None:
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                self._words, cwd=self.folder, stdout=output, stderr=output
            )
        wait_until(self._listens, f"port {self.port} answers")

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def _listens(self) -> bool:
        assert self._process is not None
        ended = self._process.poll()
        assert ended is None, (self.folder / "output").read_text(encoding="utf-8")[-2_000:]
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class StartRedis:
    """Starts servers of the test's own."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self.started: list[RedisProcess] = []

    def __call__(self, **options: str | int) -> RedisProcess:
        """A server with these options, underscores for hyphens; it keeps nothing by default.

        With a certificate it listens for nothing but TLS.
        """
        (port,) = free_ports(1)
        folder = self._new_folder()
        chosen: dict[str, str | int] = {
            ("tls-port" if "tls_cert_file" in options else "port"): port,
            "bind": "127.0.0.1",
            "dir": str(folder),
            "save": "",
            "appendonly": "no",
        }
        if "tls-port" in chosen:
            chosen["port"] = 0
        chosen |= {name.replace("_", "-"): value for name, value in options.items()}
        words = [word for name, value in chosen.items() for word in (f"--{name}", str(value))]
        return self._started([self._program, *words], port, folder)

    def sentinel(self, lines: Sequence[str]) -> RedisProcess:
        """A Sentinel with this configuration, which it rewrites as it goes.

        With a certificate it listens for nothing but TLS, as a server does.
        """
        (port,) = free_ports(1)
        folder = self._new_folder()
        file = folder / "sentinel.conf"
        is_encrypted = any(line.startswith("tls-cert-file") for line in lines)
        listen = ["port 0", f"tls-port {port}"] if is_encrypted else [f"port {port}"]
        text = "\n".join([*listen, "bind 127.0.0.1", f"dir {folder}", *lines, ""])
        file.write_text(text, encoding="ascii")
        return self._started([self._program, str(file), "--sentinel"], port, folder)

    def _new_folder(self) -> Path:
        folder = self._folder / str(len(self.started))
        folder.mkdir()
        return folder

    def _started(self, words: Sequence[str], port: int, folder: Path) -> RedisProcess:
        process = RedisProcess(words, port, folder)
        self.started.append(process)
        process.start()
        return process


@pytest.fixture
def tools(pytestconfig: pytest.Config) -> Tools:
    return Tools(pytestconfig.rootpath / ".services" / "installed")


@pytest.fixture
def start_redis(tools: Tools, tmp_path: Path) -> Iterator[StartRedis]:
    try:
        start = StartRedis(tools.need("redis-server"), tmp_path)
    except NotAvailableError as error:
        if os.environ.get("CI", "").lower() in {"1", "true", "yes"}:
            pytest.fail(f"skipped, which CI does not allow: {error}", pytrace=False)
        pytest.skip(str(error))
    yield start
    for process in start.started:
        process.kill()


@pytest.fixture
def in_time() -> Callable[[Callable[[], Any]], Any]:
    """What the call answers or raises, from a thread of its own; fails where it takes too long."""

    def call_in_time(call: Callable[[], Any]) -> Any:
        outcome: list[Any] = []

        def run() -> None:
            try:
                outcome.append(call())
            except Exception as error:
                outcome.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(PATIENCE)
        assert outcome, f"no end within {PATIENCE} s"
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        return outcome[0]

    return call_in_time
