"""What the servers' tests share."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from workflow_adaptertest.servers import Fleet, Server, ServerUrl, Space

Ask = Callable[..., str]

SQL = (
    "create table if not exists memo (k varchar(9), v varchar(9));"
    " insert into memo values ('{key}', '{value}')",
    "select v from memo where k = '{key}'",
)
WORDS = {
    "postgres": (["-c", SQL[0]], ["-c", SQL[1]]),
    "my": (["-e", SQL[0]], ["-e", SQL[1]]),
    "maria": (["-e", SQL[0]], ["-e", SQL[1]]),
    "redis": (["set", "{space}:{key}", "{value}"], ["get", "{space}:{key}"]),
    "etcd": (["put", "{space}/{key}", "{value}"], ["get", "--print-value-only", "{space}/{key}"]),
}


@pytest.fixture
def ask() -> Ask:
    """Runs a client to its end and answers what it printed."""

    def run(*command: str, given: str = "") -> str:
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    return run


@dataclass
class Memo:
    """Keeps values in a server by its real client, in the test's own part of it."""

    server: Server
    space: Space
    ask: Ask

    def put(self, key: str, value: str) -> None:
        self._call(0, key, value, self.space.url)

    def get(self, key: str, address: int = 0) -> str:
        return self._call(1, key, "", self.space.url.at([self.space.url.addresses[address]]))

    def put_at(self, url: ServerUrl, key: str, value: str) -> None:
        self._call(0, key, value, url)

    def _call(self, verb: int, key: str, value: str, url: ServerUrl) -> str:
        words: Sequence[str] = next(
            both[verb] for prefix, both in WORDS.items() if self.server.name.startswith(prefix)
        )
        filled = [word.format(key=key, value=value, space=self.space.name) for word in words]
        return self.ask(*self.server.client(url), *filled)


@pytest.fixture
def memo(request: pytest.FixtureRequest, ask: Ask) -> Callable[[str], Memo]:
    """The memo of the server of that name."""

    def of(name: str) -> Memo:
        prefix = name.replace("-", "_")
        server: Server = request.getfixturevalue(f"{prefix}_server")
        space: Space = request.getfixturevalue(f"{prefix}_space")
        return Memo(server, space, ask)

    return of


@pytest.fixture
def catch_up(ask: Ask) -> Callable[[Server], None]:
    """Waits until the replica has all that its primary has at this moment."""

    def wait(server: Server) -> None:
        primary = server.client()
        replica = server.client(server.url.at(server.url.addresses[1:]))
        here = ask(*primary, "-c", "select pg_current_wal_lsn()")
        there = ["-c", f"select pg_last_wal_replay_lsn() >= '{here}'"]
        deadline = time.monotonic() + 30
        while ask(*replica, *there) != "t":
            assert time.monotonic() < deadline, "the replica does not catch up"

    return wait


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for a server that will never answer need not wait for long."""
    for module in ("wire", "http"):
        monkeypatch.setattr(f"workflow_adaptertest.servers.protocols.{module}._SECONDS", 0.5)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A fleet of the test's own."""
    own = Fleet(tmp_path / "fleet")
    yield own
    folders = [node.folder for name in own.entries() for node in own.nodes(name)]
    own.stop()
    for folder in folders:  # PostgreSQL's may be outside this test's, which root alone can enter
        shutil.rmtree(folder)
