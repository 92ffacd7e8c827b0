"""How servers are found again: after a kill of whoever started them, beside others, in a hurry."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from workflow_adaptertest.servers import KINDS, DidNotStartError, Fleet, NotAvailableError
from workflow_adaptertest.servers import ports as ports_of_servers
from workflow_adaptertest.servers.kinds.redis import RedisServer
from workflow_adaptertest.servers.place import Node, Place, Tools, hand_over
from workflow_adaptertest.servers.ports import free_ports
from workflow_adaptertest.servers.processes import (
    Process,
    find,
    launch,
    noted,
    wait_until_gone,
)
from workflow_adaptertest.servers.protocols.redis import Redis

pytestmark = pytest.mark.skipif(
    not os.environ.get("CI") and bool(RedisServer().missing(Tools(Path()))),
    reason="these start small servers of Redis, which is not installed",
)


def process_of(fleet: Fleet, name: str, node: int = 0) -> Process:
    found = find(fleet.nodes(name)[node].note)
    assert found is not None
    return found


def call(fleet: Fleet, *words: str) -> object:
    with Redis(fleet.url("redis").address) as redis:
        return redis.call(*words)


@pytest.fixture
def python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a program in another process."""

    def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-c", program, *map(str, arguments)]
        return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)

    return run


def test_second_start_takes_the_running_server(fleet: Fleet) -> None:
    fleet.start(["redis"])
    first = process_of(fleet, "redis")
    Fleet(fleet.folder).start(["redis", "redis"])
    assert process_of(fleet, "redis") == first
    assert fleet.is_up("redis")


DIES_BEFORE_THE_SERVER_ANSWERS = """
import os, signal, sys
from pathlib import Path
from workflow_adaptertest.servers import Fleet
Fleet.wait_for = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
Fleet(Path(sys.argv[1])).start(["redis"])
"""


def test_server_of_a_killed_starter_is_adopted(
    fleet: Fleet, python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    assert python(DIES_BEFORE_THE_SERVER_ANSWERS, fleet.folder).returncode == -signal.SIGKILL
    orphan = process_of(fleet, "redis")
    fleet.start(["redis"])
    assert process_of(fleet, "redis") == orphan


def test_server_of_a_killed_starter_is_stopped(
    fleet: Fleet, python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    python(DIES_BEFORE_THE_SERVER_ANSWERS, fleet.folder)
    orphan = process_of(fleet, "redis")
    fleet.stop()
    assert not orphan.is_running()
    assert fleet.entries() == {}


def test_data_of_a_killed_preparation_does_not_count(
    fleet: Fleet, python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    program = """
import os, signal, sys
from pathlib import Path
from workflow_adaptertest.servers import Fleet
Path.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
Fleet(Path(sys.argv[1])).start(["postgres"])
"""
    assert python(program, fleet.folder).returncode == -signal.SIGKILL
    data = fleet.nodes("postgres")[0].data
    left = list(data.parent.glob("data.new*"))
    assert left
    assert not data.exists()
    fleet.start(["postgres"])
    assert fleet.is_up("postgres")
    assert not any(folder.exists() for folder in left)


def test_recycled_pid_is_left_alone(fleet: Fleet) -> None:
    """Seen to fail with processes compared by their pids alone: the bystander was killed."""
    fleet.start(["redis"])
    note = fleet.nodes("redis")[0].note
    own = process_of(fleet, "redis")
    with subprocess.Popen(["sleep", "600"]) as bystander:
        text = note.read_text(encoding="utf-8")
        note.write_text(text.replace(str(own.pid), str(bystander.pid), 1), encoding="utf-8")
        assert find(note) is None
        fleet.stop()
        assert bystander.poll() is None
        bystander.kill()
    own.send(signal.SIGKILL)


def test_process_of_another_boot_is_not_the_same(fleet: Fleet) -> None:
    fleet.start(["redis"])
    note = fleet.nodes("redis")[0].note
    whole = note.read_text(encoding="utf-8")
    stat, _, boot = whole.strip().rpartition(" ")
    note.write_text(f"{stat} {boot[::-1]}\n", encoding="utf-8")
    assert find(note) is None
    note.write_text(whole, encoding="utf-8")


def test_two_fleets_do_not_know_each_other(fleet: Fleet, tmp_path: Path) -> None:
    other = Fleet(tmp_path / "other")
    fleet.start(["redis"])
    other.start(["redis"])
    try:
        call(fleet, "SET", "a", "1")
        assert call(fleet, "GET", "a") == b"1"
        other.stop()
        assert fleet.is_up("redis")
    finally:
        other.stop()


def test_two_starters_at_once_start_one_server(fleet: Fleet) -> None:
    program = """
import sys
from pathlib import Path
from workflow_adaptertest.servers import Fleet
from workflow_adaptertest.servers.processes import find
fleet = Fleet(Path(sys.argv[1]))
fleet.start(["redis"])
print(find(fleet.nodes("redis")[0].note).pid)
"""
    words = [sys.executable, "-c", program, str(fleet.folder)]
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate(timeout=60)[0] for process in both]
    assert told[0].strip().isdigit()
    assert told[0] == told[1]


def test_nobody_else_changes_a_fleet_meanwhile(fleet: Fleet) -> None:
    with (
        fleet.alone(),
        (fleet.folder / "fleet.lock").open("w") as other,
        pytest.raises(BlockingIOError),
    ):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_dead_node_is_started_again_on_its_data(fleet: Fleet) -> None:
    fleet.start(["redis"])
    call(fleet, "SET", "a", "1")
    dead = process_of(fleet, "redis")
    dead.send(signal.SIGKILL)
    assert wait_until_gone([dead], seconds=30)
    fleet.start(["redis"])
    assert process_of(fleet, "redis") != dead
    assert call(fleet, "GET", "a") == b"1"


def test_frozen_node_is_thawed_by_start(fleet: Fleet) -> None:
    fleet.start(["redis"])
    process_of(fleet, "redis").send(signal.SIGSTOP)
    fleet.start(["redis"])
    assert call(fleet, "PING") == b"PONG"


def test_frozen_node_is_ended_in_good_order_by_stop(fleet: Fleet) -> None:
    fleet.start(["redis"])
    frozen = process_of(fleet, "redis")
    log = fleet.nodes("redis")[0].log
    frozen.send(signal.SIGSTOP)
    fleet.stop()
    assert not frozen.is_running()
    assert "ready to exit, bye bye" in log.read_text(encoding="utf-8")


def test_stopped_server_comes_back_where_it_was(fleet: Fleet) -> None:
    fleet.start(["redis"])
    before = fleet.url("redis")
    call(fleet, "SET", "a", "1")
    fleet.stop()
    fleet.start(["redis"])
    assert fleet.url("redis") == before
    assert call(fleet, "GET", "a") == b"1"


def test_server_moves_when_somebody_has_its_port(fleet: Fleet) -> None:
    fleet.start(["redis"])
    port = fleet.url("redis").address[1]
    fleet.stop()
    with socket.create_server(("127.0.0.1", port)):
        fleet.start(["redis"])
        assert fleet.url("redis").address[1] != port
        assert fleet.is_up("redis")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_server_that_moves_leaves_no_data_elsewhere(fleet: Fleet) -> None:
    """Its data knows the old ports, and here it is not below the fleet's own folder."""
    fleet.folder.mkdir(mode=0o700)
    fleet.start(["postgres-replica"])
    assert fleet.folder not in fleet.nodes("postgres-replica")[0].folder.parents
    ports = [port for _, port in fleet.url("postgres-replica").addresses]
    fleet.stop()
    with socket.create_server(("127.0.0.1", ports[0])):
        fleet.start(["postgres-replica"])
        assert fleet.is_up("postgres-replica")


def test_stop_is_content_with_nothing_to_stop(fleet: Fleet) -> None:
    fleet.stop()
    fleet.start(["redis"])
    fleet.stop(["etcd"])
    assert fleet.is_up("redis")
    fleet.stop(["redis"])
    fleet.stop(["redis"])
    assert not fleet.is_up("redis")


def test_last_user_stops_what_nobody_keeps(fleet: Fleet) -> None:
    with fleet.used():
        with Fleet(fleet.folder).used():
            fleet.start(["redis"])
        assert fleet.is_up("redis")
        process = process_of(fleet, "redis")
    assert not process.is_running()


def test_kept_server_outlives_its_users(fleet: Fleet) -> None:
    fleet.start(["redis"], kept=True)
    with fleet.used():
        fleet.start(["redis"])
    assert fleet.is_up("redis")


def test_servers_of_a_killed_user_go_with_the_next_one(
    fleet: Fleet, python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    program = """
import os, signal, sys
from pathlib import Path
from workflow_adaptertest.servers import Fleet
fleet = Fleet(Path(sys.argv[1]))
with fleet.used():
    fleet.start(["redis"])
    os.kill(os.getpid(), signal.SIGKILL)
"""
    python(program, fleet.folder)
    assert fleet.is_up("redis")
    with fleet.used():
        pass
    assert fleet.entries() == {}


class Stillborn(RedisServer):
    """A server that says something and ends."""

    title = "stillborn"

    def nodes(self, place: Place) -> list[Node]:
        folder = hand_over(place.folder / "1", None)
        node = Node(name="1", folder=folder, port=place.ports["primary"])
        return [node.running("sh", "-c", "echo it is too cold here; exit 3")]


def test_server_that_ends_at_once_tells_its_last_words(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KINDS, "stillborn", Stillborn())
    with pytest.raises(DidNotStartError, match="it is too cold here"):
        fleet.start(["stillborn", "redis"])
    assert fleet.is_up("redis")  # nobody else is held up by it


def test_unknown_name_tells_the_known_ones(fleet: Fleet) -> None:
    with pytest.raises(NotAvailableError, match="postgres-replica"):
        fleet.start(["postgress"])


def test_half_written_state_is_never_seen(fleet: Fleet) -> None:
    fleet.start(["redis"])
    assert set(json.loads((fleet.folder / "state.json").read_text(encoding="utf-8"))) == {"redis"}
    assert not list(fleet.folder.glob("state.[0-9]*"))


def test_free_ports_lie_where_no_connection_starts_from() -> None:
    """Else a client of a killed server may be given the server's own port, and talk to itself."""
    ports = free_ports(200)
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert len(set(ports)) == 200
    assert max(ports) < lowest


class Another(RedisServer):
    title = "another"


def test_port_of_a_server_that_does_not_listen_is_nobody_elses(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else two that start side by side may choose the same, and one of them never comes up.

    Seen to fail with `free_ports` not told of the other servers' ports.
    """
    fleet.start(["redis"])
    port = fleet.place("redis").ports["primary"]
    fleet.stop()
    numbers = iter([port, *free_ports(1)])
    monkeypatch.setattr(ports_of_servers._random, "randrange", lambda *_range: next(numbers))
    monkeypatch.setitem(KINDS, "another", Another())
    fleet.start(["another"])
    chosen = fleet.place("another").ports["primary"]
    fleet.stop()  # while its kind is known
    assert chosen != port


def test_launched_process_is_known_before_it_is_the_server(tmp_path: Path) -> None:
    process = launch(["sleep", "600"], note=tmp_path / "note", log=tmp_path / "log")
    assert find(tmp_path / "note") == process
    process.send(signal.SIGKILL)


def test_family_has_the_childrens_children(tmp_path: Path) -> None:
    script = "sh -c 'sleep 600 & echo ready; wait' & wait"
    process = launch(["sh", "-c", script], note=tmp_path / "note", log=tmp_path / "log")
    while "ready" not in (tmp_path / "log").read_text(encoding="utf-8"):
        assert process.is_running()
    family = process.family()
    for member in family:
        member.send(signal.SIGKILL)
    assert len(family) == 3


LEAVES_ITS_THREADS_BEHIND = """
import ctypes, threading
threading.Thread(target=threading.Event().wait).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def test_process_is_gone_with_its_last_thread(tmp_path: Path) -> None:
    """Seen to fail where a process that had ended counted as gone: its disk was busy."""
    command = [sys.executable, "-c", LEAVES_ITS_THREADS_BEHIND]
    process = launch(command, note=tmp_path / "note", log=tmp_path / "log")
    while process.is_running():
        time.sleep(0.01)
    assert noted(tmp_path / "note") == process
    assert not process.is_gone()
    os.kill(process.pid, signal.SIGKILL)
    assert wait_until_gone([process], seconds=20)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_closed_home_is_left_for_a_place_where_the_servers_user_may_be(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    place = hand_over(closed / "run" / "primary", "postgres")
    assert place == hand_over(closed / "run" / "primary", "postgres")
    assert closed not in place.parents
    place.rmdir()
