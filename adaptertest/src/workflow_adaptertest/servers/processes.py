"""Processes that outlive whoever started them, and are known again by whoever comes next.

A process notes its own pid and the moment of its birth in a file before it becomes the server. So
there is no moment at which a server runs and nobody could find it, and a pid that the system has
given to somebody else meanwhile is never mistaken for it.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from workflow_adaptertest.servers.errors import DidNotStartError

__all__ = ["Process", "find", "freeze", "launch", "noted", "wait_until_gone"]

_PROC = Path("/proc")

# The outer shell leaves at once, so the server has no parent that would have to reap it.
_DETACH = '"$@" </dev/null >>"$0" 2>&1 &'
_NOTE_AND_BECOME = """
if read -r stat 2>/dev/null </proc/$$/stat; then
    read -r boot </proc/sys/kernel/random/boot_id
    born="$stat $boot"
else
    born=$(LC_ALL=C ps -o pid=,lstart= -p $$)
fi
printf '%s\\n' "$born" >"$0.new" && mv "$0.new" "$0" && exec "$@"
"""
_FROZEN = {"T", "t"}
_ENDED = {"Z", "X"}
_NOTE_SECONDS = 20.0
_LOOK_SECONDS = 0.01


@dataclass(frozen=True)
class Process:
    """A process, by its pid and its birth; the pid alone may be somebody else's by now."""

    pid: int
    birth: str

    def is_running(self) -> bool:
        """Whether it lives; one that has ended and waits to be reaped does not."""
        seen = self._look()
        return seen is not None and seen.state not in _ENDED

    def is_gone(self) -> bool:
        """Whether nothing of it is left.

        A process has ended with its first thread; the others may outlive that one by a moment,
        with all its files and ports.
        """
        seen = self._look()
        return seen is None or (seen.state in _ENDED and seen.threads <= 1)

    def is_frozen(self) -> bool:
        """Whether a SIGSTOP has reached it, or it has ended: it does nothing any more."""
        seen = self._look()
        return seen is None or seen.state in _FROZEN | _ENDED

    def _look(self) -> _Seen | None:
        seen = _look_at(self.pid)
        return seen if seen is not None and seen.birth == self.birth else None

    def family(self) -> list[Process]:
        """The process and all its descendants: some servers work in children of their own."""
        if not self.is_running():
            return []
        parents = _parents()
        members = [self.pid]
        for pid in members:  # grows while it is read
            members += [child for child, parent in parents.items() if parent == pid]
        looks = ((pid, _look_at(pid)) for pid in members)
        return [
            Process(pid, seen.birth) for pid, seen in looks if seen and seen.state not in _ENDED
        ]

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to this process, if it is still the same; else does nothing."""
        if self.is_running():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


def launch(
    command: Sequence[str],
    *,
    note: Path,
    log: Path,
    user: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Process:
    """Starts a process in a session of its own; ``note`` is where it can be found again.

    Args:
        command: the program and its arguments.
        note: the file for its pid and birth; its folder has to be writable for ``user``.
        log: gets the standard output and errors.
        user: whom to become first; only root may.
        environment: added to this process's own.

    Raises:
        DidNotStartError: no process came to be.
    """
    note.unlink(missing_ok=True)
    detached = ["sh", "-c", _DETACH, str(log), "sh", "-c", _NOTE_AND_BECOME, str(note), *command]
    become = pwd.getpwnam(user) if user else None
    subprocess.run(
        detached,
        cwd=note.parent,
        env={**os.environ, **(environment or {})},
        start_new_session=True,  # an interrupt from the keyboard is not meant for the servers
        user=become.pw_uid if become else None,
        group=become.pw_gid if become else None,
        extra_groups=[] if become else None,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    deadline = time.monotonic() + _NOTE_SECONDS
    while not note.exists():
        if time.monotonic() > deadline:
            raise DidNotStartError(f"{command[0]} did not start within {_NOTE_SECONDS:.0f} s")
        time.sleep(_LOOK_SECONDS)
    return _read(note)


def find(note: Path) -> Process | None:
    """The process that wrote this note, if it still runs."""
    process = noted(note)
    return process if process is not None and process.is_running() else None


def noted(note: Path) -> Process | None:
    """The process that wrote this note, whatever has become of it; None: there is no such note."""
    try:
        return _read(note)
    except (OSError, ValueError, IndexError):
        return None


def freeze(process: Process) -> list[Process]:
    """Stops a process and all its descendants where they stand; answers who they are.

    A signal takes effect when its receiver next runs, and until then that one may have a child
    more: so they are looked for again until all of them are known to stand still.
    """
    while True:
        family = process.family()
        moving = [member for member in family if not member.is_frozen()]
        if not moving:
            return family
        for member in moving:
            member.send(signal.SIGSTOP)
        time.sleep(_LOOK_SECONDS)


def wait_until_gone(processes: Sequence[Process], *, seconds: float) -> bool:
    """Whether nothing was left of any of them within that time."""
    deadline = time.monotonic() + seconds
    while not all(process.is_gone() for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_SECONDS)
    return True


def _read(note: Path) -> Process:
    text = note.read_text(encoding="utf-8").strip()
    pid, _, rest = text.partition(" ")
    if not rest.startswith("("):
        return Process(int(pid), rest.strip())
    stat, _, boot = text.rpartition(" ")
    return Process(int(pid), f"{_ticks(stat)} {boot}")


@dataclass(frozen=True)
class _Seen:
    """What the system says of a process, living or not yet reaped.

    Attributes:
        birth: when it was born, in the system's own words.
        state: one letter, as ps has it.
        threads: how many it has; one that has ended counts as well while it is not reaped.
    """

    birth: str
    state: str
    threads: int


def _look_at(pid: int) -> _Seen | None:
    if not _PROC.joinpath("self", "stat").exists():
        command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
        env = {**os.environ, "LC_ALL": "C"}
        asked = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        state, _, born = asked.stdout.strip().partition(" ")
        # where there is no /proc, a process has ended with its last thread
        return _Seen(born.strip(), state[0], 1) if born else None
    try:
        stat = _PROC.joinpath(str(pid), "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    boot = _PROC.joinpath("sys", "kernel", "random", "boot_id").read_text(encoding="ascii").strip()
    fields = _fields(stat)
    return _Seen(f"{_ticks(stat)} {boot}", fields[0], int(fields[17]))


def _fields(stat: str) -> list[str]:
    """What follows the name in brackets, which may itself hold spaces and brackets."""
    return stat.rpartition(")")[2].split()


def _ticks(stat: str) -> str:
    """When it was born, in clock ticks since the machine started."""
    return _fields(stat)[19]


def _parents() -> dict[int, int]:
    """The parent of each process of this machine."""
    if not _PROC.joinpath("self", "stat").exists():
        command = ["ps", "-A", "-o", "pid=,ppid="]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return {int(pid): int(parent) for pid, parent in map(str.split, listed.splitlines())}
    parents: dict[int, int] = {}
    for folder in _PROC.iterdir():
        if folder.name.isdecimal():
            with suppress(OSError):
                stat = folder.joinpath("stat").read_text(encoding="utf-8", errors="replace")
                parents[int(folder.name)] = int(_fields(stat)[1])
    return parents
