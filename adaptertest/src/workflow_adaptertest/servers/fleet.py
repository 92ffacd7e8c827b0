"""The servers of one folder: started once, found again, stopped by whoever started them."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from workflow_adaptertest.servers import disk
from workflow_adaptertest.servers.errors import DidNotStartError, NotAvailableError
from workflow_adaptertest.servers.kinds import KINDS, Kind, kind
from workflow_adaptertest.servers.place import Node, Place, Tools
from workflow_adaptertest.servers.ports import free_ports, wait_until_free
from workflow_adaptertest.servers.processes import (
    Process,
    find,
    launch,
    noted,
    wait_until_gone,
)
from workflow_adaptertest.servers.url import ServerUrl

__all__ = ["Entry", "Fleet"]

_ANSWER_SECONDS = 180.0  # a first start, from a cold disk, on a machine that does other work
_GRACE_SECONDS = 20.0
_LOOK_SECONDS = 0.03
_LETTING_GO_SECONDS = (
    3.0  # the threads of a killed server may outlive it by a moment, with its ports
)


@dataclass(frozen=True)
class Entry:
    """What is remembered of a server. Its processes are not: each notes itself, see `processes`.

    Attributes:
        ports: by the names that its kind gave them.
        kept: stays until somebody stops it by name; else it goes with its last user.
        version: as the server told it; empty until it answered.
    """

    ports: Mapping[str, int]
    kept: bool
    version: str = ""


@dataclass
class Fleet:
    """All servers below one folder. Several processes may use it at once; thread-safe.

    A server is known by its folder and ports, which are written down before its processes start,
    and each process notes itself before it becomes the server. Whoever is killed half-way leaves
    nothing that the next `start` or `stop` would not find.

    Attributes:
        folder: made on first use; belongs to the fleet alone.
    """

    folder: Path
    _mutex: threading.RLock = field(default_factory=threading.RLock, init=False, repr=False)

    @property
    def tools(self) -> Tools:
        """Where `install` puts what it downloads."""
        return Tools(self.folder / "installed")

    # -- what is there

    def entries(self) -> dict[str, Entry]:
        """All servers that were started and not stopped, whether they run or not."""
        try:
            text = self._state.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        return {name: Entry(**entry) for name, entry in json.loads(text).items() if name in KINDS}

    def place(self, name: str) -> Place:
        """Where a server lives that is among the entries.

        Raises:
            KeyError: it is not.
        """
        return Place(self.folder / "run" / name, self.entries()[name].ports, self.tools)

    def nodes(self, name: str) -> list[Node]:
        """The nodes of a server that is among the entries."""
        return kind(name).nodes(self.place(name))

    def url(self, name: str) -> ServerUrl:
        """Where a server answers that is among the entries."""
        return kind(name).url(self.place(name))

    def is_up(self, name: str) -> bool:
        """Whether every node of it runs and answers."""
        if name not in self.entries():
            return False
        one, url = kind(name), self.url(name)
        return all(
            find(node.note) is not None and _answers(one, url, node) for node in self.nodes(name)
        )

    # -- starting and stopping

    def start(self, names: Sequence[str], *, kept: bool = False) -> None:
        """Starts servers side by side, unless they are up, and waits until all answer.

        What runs already is taken over: a frozen node is thawed, a dead one started again. ``kept``
        servers stay until they are stopped by name; it is never taken back here.

        Raises:
            NotAvailableError: one of them is not installed; no other is held up by that.
            DidNotStartError: one of them does not answer; its log's end is in the text.
        """
        kinds = [kind(name) for name in dict.fromkeys(names)]
        with self.alone(), ThreadPoolExecutor(max(1, len(kinds))) as pool:
            started = [pool.submit(self._start, one, kept=kept) for one in kinds]
            for future in started:
                future.exception()  # all of them, also after one that failed
            for future in started:
                future.result()

    def stop(self, names: Sequence[str] | None = None) -> None:
        """Ends servers, all of them by default, and forgets them; those not there are fine.

        The data of a server stays for its next start, except on a small disk.
        """
        with self.alone():
            there = [name for name in self.entries() if names is None or name in names]
            with ThreadPoolExecutor(max(1, len(there))) as pool:
                for _ in pool.map(self._stop, there):
                    pass

    def start_node(self, name: str, node: Node) -> None:
        """Starts one node again on its own data, without waiting for an answer."""
        with self._mutex:
            self._launch(kind(name), node, self.place(name))

    def wait_for(self, name: str, nodes: Sequence[Node] | None = None) -> str:
        """Waits until these nodes answer, by default all; answers the version.

        Raises:
            DidNotStartError: one died, or did not answer in time.
        """
        one, url = kind(name), self.url(name)
        versions = [_wait_for(one, url, node) for node in nodes or self.nodes(name)]
        return versions[0] or one.version(self.tools)

    def settle(self, name: str) -> None:
        """Makes one server of the nodes again, if all of them run: a cluster heals, in time.

        Raises:
            DidNotStartError: not in time.
        """
        if all(find(node.note) is not None for node in self.nodes(name)):
            kind(name).form(self.place(name))

    # -- using

    @contextmanager
    def used(self) -> Iterator[None]:
        """Marks the fleet as in use by this process, until the end of the block.

        The last user to leave stops all servers that are not kept: also those of a user who was
        killed, since the mark is a lock that goes with its process.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.folder.joinpath("users.lock").open("w") as users:
            fcntl.flock(users, fcntl.LOCK_SH)
            try:
                yield
            finally:
                try:
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    pass  # somebody else uses it and will be the last
                else:
                    self.stop([name for name, entry in self.entries().items() if not entry.kept])

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One process at a time changes what is here; a killed one gives the lock back by that."""
        with ExitStack() as stack:
            stack.enter_context(self._mutex)
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context(self.folder.joinpath("fleet.lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    # -- inside

    @property
    def _state(self) -> Path:
        return self.folder / "state.json"

    def _remember(self, name: str, entry: Entry | None) -> None:
        """Written as a whole or not at all: a half-written state would lose every server."""
        with _STATE:
            entries = self.entries()
            entries.pop(name, None)
            if entry is not None:
                entries[name] = entry
            new = self._state.with_suffix(f".{os.getpid()}")
            text = json.dumps({key: asdict(value) for key, value in entries.items()}, indent=1)
            new.write_text(text + "\n", encoding="utf-8")
            new.replace(self._state)

    def _start(self, one: Kind, *, kept: bool) -> None:
        missing = one.missing(self.tools)
        if missing:
            raise NotAvailableError(f"{one.name}: {missing}")
        known = self.entries().get(one.name)
        entry = Entry(self._ports(one, known), kept=kept or (known is not None and known.kept))
        self._remember(one.name, entry)  # before anything starts that would have to be found again
        place = self.place(one.name)
        nodes = one.nodes(place)
        for node in nodes:
            self._bring_up(one, node, place)
            if one.one_by_one:
                _wait_for(one, one.url(place), node)
        version = self.wait_for(one.name, nodes)
        one.form(place)
        self._remember(one.name, replace(entry, version=version))

    def _ports(self, one: Kind, known: Entry | None) -> Mapping[str, int]:
        """The ports of last time, as long as nobody else has them: clients may know them."""
        folder = self.folder / "run" / one.name
        ports_file = folder / "ports.json"
        ports: dict[str, int] = {}
        if ports_file.exists():
            ports = json.loads(ports_file.read_text(encoding="utf-8"))
        if set(ports) == set(one.port_names):
            nodes = one.nodes(Place(folder, ports, self.tools))
            if known is not None and any(find(node.note) for node in nodes):
                return ports
            if wait_until_free(ports.values(), seconds=_LETTING_GO_SECONDS):
                return ports
        self._wipe(one, folder)  # the data of a cluster knows its ports
        folder.mkdir(parents=True)
        with _PORTS:
            numbers = free_ports(len(one.port_names), besides=self._spoken_for())
            ports = dict(zip(one.port_names, numbers, strict=True))
            new = ports_file.with_suffix(".new")
            new.write_text(json.dumps(ports), encoding="utf-8")
            new.replace(ports_file)
        return ports

    def _spoken_for(self) -> set[int]:
        """All ports that servers of this folder chose: of some, nobody listens there just now."""
        files = self.folder.glob("run/*/ports.json")
        chosen = (json.loads(file.read_text(encoding="utf-8")) for file in files)
        return {number for ports in chosen for number in ports.values()}

    def _wipe(self, one: Kind, folder: Path) -> None:
        # a node's folder may have had to be elsewhere, whatever its ports are
        nowhere = Place(folder, dict.fromkeys(one.port_names, 0), self.tools)
        for place in [*(node.folder for node in one.nodes(nowhere)), folder]:
            if place.exists():
                shutil.rmtree(place)

    def _bring_up(self, one: Kind, node: Node, place: Place) -> None:
        process = find(node.note)
        if process is None:
            self._launch(one, node, place)
        else:
            for member in process.family():
                member.send(signal.SIGCONT)

    def _launch(self, one: Kind, node: Node, place: Place) -> Process:
        if node.disk_megabytes:
            disk.mount(node)
        one.prepare(node, place)
        return launch(
            node.command,
            note=node.note,
            log=node.log,
            user=node.user,
            environment=node.environment,
        )

    def _stop(self, name: str) -> None:
        for node in reversed(self.nodes(name)):
            process = noted(node.note)
            if process is not None:
                family = process.family()
                for member in family:
                    member.send(signal.SIGCONT)
                process.send(signal.Signals[node.stop_signal])
                if not wait_until_gone([process, *family], seconds=_GRACE_SECONDS):
                    for member in family:
                        member.send(signal.SIGKILL)
                    wait_until_gone([process, *family], seconds=_GRACE_SECONDS)
            node.note.unlink(missing_ok=True)
            if node.disk_megabytes:
                disk.unmount(node)
        self._remember(name, None)


# servers start side by side in threads, share one file, and must not choose the same port
_STATE = threading.Lock()
_PORTS = threading.Lock()


def _answers(one: Kind, url: ServerUrl, node: Node) -> bool:
    try:
        one.hello(url.at([("127.0.0.1", node.port)]))
    except OSError:
        return False
    return True


def _wait_for(one: Kind, url: ServerUrl, node: Node) -> str:
    deadline = time.monotonic() + _ANSWER_SECONDS
    while True:
        try:
            return one.hello(url.at([("127.0.0.1", node.port)]))
        except OSError as error:
            if find(node.note) is None:
                raise DidNotStartError(_report(one, node, "ended at once")) from error
            if time.monotonic() > deadline:
                said = f"does not answer ({error})"
                raise DidNotStartError(_report(one, node, said)) from error
        time.sleep(_LOOK_SECONDS)


def _report(one: Kind, node: Node, what: str) -> str:
    return f"{one.name}, node {node.name}: {what}; {node.log} ends with\n{node.log_end()}"
