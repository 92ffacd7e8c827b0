"""Where one server may live on this machine: its folder, its ports, the tools it is run with."""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from workflow_adaptertest.servers.errors import NotAvailableError

__all__ = ["Node", "Place", "Tools", "hand_over"]


@dataclass(frozen=True)
class Tools:
    """Finds programs: those of the machine, and those installed below a folder of our own.

    Attributes:
        folder: holds what ``install`` downloaded, one folder for each thing.
    """

    folder: Path

    def program(self, name: str, *elsewhere: str) -> str | None:
        """The path of a program: from ``elsewhere`` (glob patterns, the last match), or the PATH.

        The PATH of a service account often lacks the administrator's folders, where servers are.
        """
        for pattern in elsewhere:
            root, _, rest = pattern.partition("/")
            matches = sorted(Path(root or "/").glob(f"{rest}/{name}"), key=_by_number)
            if matches:
                return str(matches[-1])
        path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
        return shutil.which(name, path=path)

    def need(self, name: str, *elsewhere: str) -> str:
        """The same, for a program that has to be there.

        Raises:
            NotAvailableError: it is not.
        """
        found = self.program(name, *elsewhere)
        if found is None:
            raise NotAvailableError(f"there is no {name} on this machine")
        return found


@dataclass(frozen=True)
class Place:
    """What a server is given to live in.

    Attributes:
        folder: of this server alone, for its data, logs and notes.
        ports: by the name that the server's kind gave them.
        tools: where its programs are.
    """

    folder: Path
    ports: Mapping[str, int]
    tools: Tools

    def remade(self, data: Path) -> Path:
        """An empty folder beside ``data`` to make it in; what an interrupted try left is gone."""
        for old in data.parent.glob(f"{data.name}.new*"):
            shutil.rmtree(old, ignore_errors=True)
        # another name each time: somebody who was not interrupted with us may still write there
        return data.with_name(f"{data.name}.new{os.getpid()}")


@dataclass(frozen=True, kw_only=True)
class Node:
    """One process of a server: enough to start it, again and again.

    Attributes:
        name: tells it from the server's other nodes.
        folder: its own; the process starts in it.
        port: where its clients connect.
        command: program and arguments.
        environment: added to that of whoever starts it.
        user: whom it runs as; None is whoever starts it.
        stop_signal: the name of the signal that ends it in good order and at once.
        disk_megabytes: the size of a small disk of its own for its data; 0 for the machine's disk.
    """

    name: str
    folder: Path
    port: int
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    stop_signal: str = "SIGTERM"
    disk_megabytes: int = 0

    @property
    def disk(self) -> Path:
        """Where its small disk is mounted, if it has one."""
        return self.folder / "disk"

    @property
    def data(self) -> Path:
        """What the server keeps; whole, or not there."""
        return (self.disk if self.disk_megabytes else self.folder) / "data"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def note(self) -> Path:
        """Says which process it is."""
        return self.folder / "process"

    def running(self, *command: str) -> Node:
        """The same node with this command."""
        return replace(self, command=command)

    def log_end(self, lines: int = 12) -> str:
        """The last lines of what it wrote."""
        with suppress(OSError):
            text = self.log.read_text(encoding="utf-8", errors="replace")
            return "\n".join(text.splitlines()[-lines:])
        return ""


def hand_over(folder: Path, user: str | None) -> Path:
    """A folder like ``folder`` in which ``user`` may write; made if need be.

    A repository below a home folder that is closed to others cannot hold the data of a server which
    runs as another user: its folder is then made among the machine's temporary files, always the
    same one.
    """
    if user is None:
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    account = pwd.getpwnam(user)
    if not _may_reach(folder, account):
        digest = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
        own = f"workflow-servers-{digest}"
        # the first one may be a folder of this session's own, as closed as the other
        places = [Path(place, own) for place in (tempfile.gettempdir(), "/var/tmp")]
        folder = next((place for place in places if _may_reach(place, account)), folder)
    folder.mkdir(parents=True, exist_ok=True)
    if folder.stat().st_uid != account.pw_uid:
        os.chown(folder, account.pw_uid, account.pw_gid)
    return folder


def _may_reach(folder: Path, account: pwd.struct_passwd) -> bool:
    return all(_may_enter(parent, account) for parent in folder.resolve().parents)


def _may_enter(folder: Path, account: pwd.struct_passwd) -> bool:
    if not folder.exists():
        return True  # it will be made, for everybody to enter
    found = folder.stat()
    if found.st_uid == account.pw_uid:
        return bool(found.st_mode & 0o100)
    return bool(found.st_mode & (0o010 if found.st_gid == account.pw_gid else 0o001))


def _by_number(path: Path) -> list[tuple[int, str]]:
    """Sorts version 9 before version 15."""
    return [(int(part) if part.isdecimal() else -1, part) for part in path.parts]
