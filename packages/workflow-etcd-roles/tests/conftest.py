"""Members in processes of their own, what they believed to hold, and schedulers in this one."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

PATIENCE = 60.0  # seconds for what has to happen, on a machine that does much else


@dataclass
class Stay:
    """A member's belief to hold a role: from the first look at which it did to the last."""

    role: str
    holder: str
    token: int
    begun: float
    seen: float


class Member:
    """One process, and its log."""

    def __init__(self, name: str, log: Path, command: Sequence[str]) -> None:
        self.name = name
        self._log = log
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def wait_until_ready(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(PATIENCE)

    def end(self) -> None:
        if self.process.poll() is None:
            self.kill()
        if self.process.stdout is not None:
            self.process.stdout.close()

    @property
    def stays(self) -> list[Stay]:
        """All its beliefs so far."""
        ended: list[Stay] = []
        held: dict[str, Stay] = {}
        if not self._log.exists():
            return []
        *lines, _ = self._log.read_text(encoding="utf-8").split("\n")
        for line in lines:
            match line.split():
                case ["+", when, role, token]:
                    held[role] = Stay(role, self.name, int(token), float(when), float(when))
                case ["=", when]:
                    for stay in held.values():
                        stay.seen = float(when)
                case ["-", role] if role in held:
                    ended.append(held.pop(role))
        return [*ended, *held.values()]

    @property
    def held(self) -> set[str]:
        """What it holds as far as its log tells."""
        held: set[str] = set()
        for line in self._log.read_text(encoding="utf-8").split("\n"):
            match line.split():
                case ["+", _, role, _]:
                    held.add(role)
                case ["-", role]:
                    held.discard(role)
        return held


class Members:
    """All processes of one test, which share roles."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._all: list[Member] = []
        self._others: list[Members] = []

    def start(
        self, kind: str, endpoints: str, prefix: str, *, roles: int, lease: int, clock: str = "true"
    ) -> Member:
        name = f"member-{len(self._all) + 1}"
        log = self._folder / f"{name}.log"
        script = str(Path(__file__).with_name("member.py"))
        command = [sys.executable, "-W", "error", script, kind, endpoints, prefix, name, str(log)]
        options = ["--roles", str(roles), "--lease", str(lease), "--clock", clock]
        member = Member(name, log, [*command, *options])
        self._all.append(member)
        member.wait_until_ready()
        return member

    @property
    def names(self) -> list[str]:
        """Those that were started, in order."""
        return [member.name for member in self._all]

    def all_held(self, roles: int) -> bool:
        """Whether the living ones among them hold all the roles."""
        alive = [member for member in self._all if member.process.poll() is None]
        return sum(len(member.held) for member in alive) == roles

    @property
    def history(self) -> dict[str, list[Stay]]:
        """Who believed to hold which role and when, by role, in the order of the grants."""
        stays: dict[str, list[Stay]] = defaultdict(list)
        for member in self._all:
            for stay in member.stays:
                stays[stay.role].append(stay)
        for each in stays.values():
            each.sort(key=lambda stay: stay.token)
        return stays

    @property
    def overlaps(self) -> list[tuple[Stay, Stay]]:
        """Two who held one role at once, or in another order than that of their tokens."""
        return [
            (one, two)
            for stays in self.history.values()
            for one, two in pairwise(stays)
            if one.seen >= two.begun or one.token == two.token
        ]

    @property
    def longest_gap(self) -> float:
        """The longest time, in seconds, for which nobody held a role between two who did."""
        return max(
            (
                two.begun - one.seen
                for stays in self.history.values()
                for one, two in pairwise(stays)
            ),
            default=0,
        )

    def apart(self, folder: Path) -> Members:
        """Others, who share roles of their own; ended with these."""
        self._others.append(Members(folder))
        return self._others[-1]

    def end(self) -> None:
        for member in self._all:
            member.end()
        for other in self._others:
            other.end()


def wait_until(condition: Callable[[], bool], *, what: str) -> None:
    """Fails where it never comes to be."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"it never came to be that {what}"
        threading.Event().wait(0.02)


@pytest.fixture
def until() -> Callable[..., None]:
    return wait_until


@pytest.fixture
def members(tmp_path: Path) -> Iterator[Members]:
    all_members = Members(tmp_path)
    yield all_members
    all_members.end()
