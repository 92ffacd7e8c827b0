"""A disk that is full for longer than the leases last, and then no more."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest
from workflow_sql import upgrade

if TYPE_CHECKING:
    from workflow_adaptertest.servers import Server, Space

    from tests.faults.conftest import Fleet, Judge, Start, Worker

IN_HAND = 5
BEFORE = [f"{number}-before" for number in range(40)]
PLENTY = 2000  # orders that do not fit into what a full disk has left


class Disk(ABC):
    """Where the database is, and how to fill that up."""

    told: ClassVar[str]
    """How an error names the cause."""
    laments: ClassVar[Sequence[str]] = ("committer failed, next try", "was lost")
    """What a worker warns of meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "orders.db"
        self.settings: Mapping[str, object] = {}
        """Beyond the database file."""

    @abstractmethod
    def fill(self, worker: Worker) -> None:
        """From now on nothing can be written."""

    @abstractmethod
    def make_room(self, worker: Worker) -> None:
        """It can again."""


class SmallDisk(Disk):
    """A file system of its own, filled up by another file."""

    told = "the disk or the database is full"
    size = "16m"

    def fill(self, worker: Worker) -> None:
        with self._ballast.open("wb", buffering=0) as file, suppress_full():
            while True:
                file.write(bytes(4096))

    def make_room(self, worker: Worker) -> None:
        self._ballast.unlink()

    @property
    def _ballast(self) -> Path:
        return self.database.with_name("ballast")


class LimitedFiles(Disk):
    """The worker may write to no file: needs no rights, and is there on every machine."""

    told = "the disk failed"

    def fill(self, worker: Worker) -> None:
        self._limit(worker, 0)

    def make_room(self, worker: Worker) -> None:
        self._limit(worker, resource.RLIM_INFINITY)

    def _limit(self, worker: Worker, size: int) -> None:
        limits = (size, resource.RLIM_INFINITY)
        resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE, limits)


class ServerDisk(Disk):
    """Of a database server."""

    told = "the server has run out of"
    # a lease's renewal may need no more room than it has
    laments = ("committer failed, next try",)

    def __init__(self, folder: Path, server: Server, space: Space) -> None:
        super().__init__(folder)
        self.settings = {"adapters.sql.url": str(space.url)}
        self._server = server

    def fill(self, worker: Worker) -> None:
        self._server.fill_disk()

    def make_room(self, worker: Worker) -> None:
        self._server.free_disk()


@contextmanager
def suppress_full() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise


def mount(folder: Path) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"size={SmallDisk.size}", "tmpfs", str(folder)]
    with suppress(FileNotFoundError):
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    return False


def unmount(folder: Path) -> None:
    subprocess.run(["umount", str(folder)], check=True)


def may_mount() -> bool:
    """Tried, since root in a container may often not."""
    with tempfile.TemporaryDirectory() as name:
        mounted = os.geteuid() == 0 and mount(Path(name))
        if mounted:
            unmount(Path(name))
    return mounted


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Disk]:
    assert mount(tmp_path)
    yield SmallDisk(tmp_path)
    unmount(tmp_path)


@pytest.fixture
def limited_files(tmp_path: Path) -> Disk:
    return LimitedFiles(tmp_path)


@pytest.fixture
def server_disk(
    tmp_path: Path, postgres_small_disk_server: Server, postgres_small_disk_space: Space
) -> Disk:
    upgrade(str(postgres_small_disk_space.url))
    return ServerDisk(tmp_path, postgres_small_disk_server, postgres_small_disk_space)


WAYS = ["limited_files", *(["small_disk", "server_disk"] if may_mount() else [])]


@pytest.fixture(params=WAYS)
def disk(request: pytest.FixtureRequest) -> Disk:
    made: Disk = request.getfixturevalue(request.param)
    return made


def test_engine_goes_on_without_restart_when_a_full_disk_has_room_again(
    disk: Disk, start: Start, fleet: Fleet, judge: Judge
) -> None:
    """Seen to fail when the committer drops what it could not commit: runs are left behind."""
    worker = start(disk.database, settings=disk.settings)
    worker.tell("shut")
    worker.begin(*BEFORE)
    for _ in range(IN_HAND):
        worker.did.get(timeout=60)
    disk.fill(worker)
    refusal = begin_until_refused(worker)
    assert disk.told in refusal
    worker.tell("open")
    for words in disk.laments:
        worker.wait_for_lament(words)
    disk.make_room(worker)
    name = refusal.split()[1]
    assert worker.begin(name) == [f"began {name}"]
    worker.settle()
    worker.end()
    judge(disk.database, settings=disk.settings)
    again = {visit: times for visit, times in fleet.did.items() if times > 1}
    assert all(what == "pack" for _, what in again), "a step ran again, not its commit alone"


def begin_until_refused(worker: Worker) -> str:
    for number in range(PLENTY):
        (answer,) = worker.begin(f"{number}-during")
        if answer.startswith("refused"):
            return answer
    raise AssertionError("the disk never was full")
