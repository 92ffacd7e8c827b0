"""Serves in several processes: starts them, starts anew those that die, stops them in order.

The children are sessions of their own, so that a Ctrl-C on the terminal reaches the parent alone
and is passed on once; a second one ends them at once. A child whose parent dies, be it by kill -9,
sees its standard input end and stops in order. A child that ends by itself is started again, after
a second and then twice as long each time; one that says that it is used wrongly ends all.

SIGHUP is a rolling restart: one child after the other is stopped in order and started anew, and
the next only once the one before has begun to work.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from queue import Empty, SimpleQueue
from types import FrameType

from workflow_ctl.exits import Exit
from workflow_ctl.live import LiveView, Row
from workflow_ctl.logs import log_to
from workflow_ctl.session import Session

__all__ = ["Child", "Supervisor", "child_arguments", "supervise"]

_LOOK = 0.2  # seconds between two looks at the children
_FIRST_PAUSE, _LAST_PAUSE = 1.0, 30.0
_SETTLED = 60.0  # seconds of life after which a death is no longer one of a row
_READY = 60.0  # seconds that a rolling restart waits for a child to begin its work


class Child:
    """One process, over all its lives. One thread.

    Args:
        number: 1 and up.
        arguments: what it is started with.
    """

    def __init__(self, number: int, arguments: Sequence[str]) -> None:
        self.number = number
        self.restarts = 0
        self.is_ready = False
        self._is_told_to_stop = False
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = -1
        self._started = 0.0
        self._pause = _FIRST_PAUSE
        self._next_start = 0.0

    def start(self) -> None:
        """Begin a life."""
        read, write = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "workflow_ctl", *self._arguments, "--ready-to", str(write)],
                stdin=subprocess.PIPE,
                pass_fds=[write],
                start_new_session=True,
            )
        finally:
            os.close(write)
        self._close_ready()
        self._ready, self.is_ready = read, False
        self._is_told_to_stop = False
        self._started = time.monotonic()

    @property
    def pid(self) -> int | None:
        """Its process id while it lives."""
        return None if self._process is None else self._process.pid

    @property
    def age(self) -> float:
        """Seconds of its present life."""
        return time.monotonic() - self._started

    def look(self) -> int | None:
        """What it ended with, told once; None: it lives, or that was told."""
        if self._process is None:
            return None
        if not self.is_ready and select.select([self._ready], [], [], 0)[0]:
            self.is_ready = bool(os.read(self._ready, 1))
        code = self._process.poll()
        if code is None:
            return None
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None
        self._close_ready()
        self._pause = _FIRST_PAUSE if self.age > _SETTLED else min(self._pause * 2, _LAST_PAUSE)
        self._next_start = time.monotonic() + self._pause / 2
        return code

    def start_if_due(self) -> None:
        """Begin another life, some time after the last one ended by itself."""
        if self._process is None and time.monotonic() >= self._next_start:
            self.restarts += 1
            self.start()

    def tell(self, number: int) -> None:
        """Send it a signal; nothing where it has ended."""
        if self._process is not None:
            self._process.send_signal(number)

    def stop(self, *, at_once: bool = False) -> None:
        """Let it stop in order, for which it is told once; told again, it ends at once."""
        if at_once or not self._is_told_to_stop:
            self._is_told_to_stop = True
            self.tell(signal.SIGTERM)

    def _close_ready(self) -> None:
        if self._ready >= 0:
            os.close(self._ready)
            self._ready = -1


class Supervisor:
    """Keeps some children alive. The main thread only.

    Args:
        children: not started yet.
        say: told in a sentence what happens.
    """

    def __init__(self, children: Sequence[Child], say: Callable[[str], object]) -> None:
        self.children = children
        self._say = say
        self._signals: SimpleQueue[int] = SimpleQueue()
        self._stopping = False
        self._worst = Exit.OK

    def run(self, view: AbstractContextManager[object]) -> Exit:
        """Keep them alive until a signal says to stop; answers the exit code."""
        handled = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.getsignal(number) for number in handled}

        def tell(number: int, frame: FrameType | None) -> None:
            self._signals.put(number)  # made for handlers: it takes no lock of Python's

        for number in handled:
            signal.signal(number, tell)
        try:
            with view:
                for child in self.children:
                    child.start()
                while self._turn():
                    pass
        finally:
            for child in self.children:
                child.tell(signal.SIGTERM)
            for number, handler in before.items():
                signal.signal(number, handler)
        return self._worst

    def _turn(self) -> bool:
        """One look; answers whether there is more to come."""
        self._heed(self._next_signal())
        for child in self.children:
            pid = child.pid
            code = child.look()
            if code is not None:
                self._ended(child, pid, code)
            elif not self._stopping:
                child.start_if_due()
        return not self._stopping or any(child.pid is not None for child in self.children)

    def _next_signal(self) -> int | None:
        try:
            return self._signals.get(timeout=_LOOK)
        except Empty:
            return None

    def _heed(self, number: int | None) -> None:
        if number is None:
            return
        if number == signal.SIGHUP and not self._stopping:
            self._restart_all()
            return
        if number == signal.SIGHUP:
            return
        self._say("stopping at once" if self._stopping else "stopping; again to end at once")
        self._stop(at_once=self._stopping)

    def _stop(self, *, at_once: bool = False) -> None:
        self._stopping = True
        for child in self.children:
            child.stop(at_once=at_once)

    def _ended(self, child: Child, pid: int | None, code: int) -> None:
        if self._stopping:
            if code != 0:
                self._say(f"process {child.number} ({pid}) ended {_how(code)}")
            if code != 0 and not (code == -signal.SIGTERM and not child.is_ready):
                self._worst = self._worst or Exit.PARTLY
            return  # and one that had not begun yet has nothing to put in order
        if code == Exit.USAGE:  # it has said what is wrong, and no restart mends that
            self._worst = Exit.USAGE
            self._stop()
            return
        self._say(f"process {child.number} ({pid}) ended {_how(code)}; it is started again")

    def _restart_all(self) -> None:
        self._say("rolling restart")
        for child in self.children:
            if not self._restart(child):
                return
        self._say("rolling restart: done")

    def _restart(self, child: Child) -> bool:
        """Whether it works again; False: a signal to stop came, or it did not begin in time."""
        child.stop()
        while child.pid is not None and child.look() is None:
            if self._is_told_to_stop():
                return False
        child.start()
        while not child.is_ready:
            code = child.look()
            if code is not None or child.age > _READY:
                self._say(
                    f"rolling restart: process {child.number} did not begin to work, "
                    "so the others are left as they are"
                )
                return False
            if self._is_told_to_stop():
                return False
        return True

    def _is_told_to_stop(self) -> bool:
        """Wait a moment; whether a stop was asked for in it."""
        number = self._next_signal()
        if number in (signal.SIGINT, signal.SIGTERM):
            self._signals.put(number)
            return True
        return False


def _how(code: int) -> str:
    return f"by signal {-code}" if code < 0 else f"with exit code {code}"


def supervise(session: Session, processes: int, arguments: Sequence[str], *, live: bool) -> Exit:
    """Serve in so many processes; answers the exit code."""
    out = session.out
    log_to(out.console if live else out.errors)
    workflows = list(session.workflows)
    children = [Child(number, arguments) for number in range(1, processes + 1)]
    say = out.line if live else out.note
    say(f"serving {', '.join(workflows)} in {processes} processes; process {os.getpid()} leads")

    def rows() -> Sequence[Row]:
        return [
            (
                f"process {child.number}",
                child.pid or "dead",
                "works" if child.is_ready else "starts",
                f"{child.age:.0f} s",
                f"{child.restarts} restarts" if child.restarts else "",
            )
            for child in children
        ]

    columns = ("where", "pid", "", "since", "")
    view: AbstractContextManager[object] = (
        LiveView(out.console, session, workflows, session.engine, columns, rows)
        if live
        else nullcontext()
    )
    code = Supervisor(children, say).run(view)
    if out.as_json:
        out.document({"restarts": sum(child.restarts for child in children)})
    return code


def child_arguments(
    session: Session, references: Sequence[str], pool: str, statuses: Sequence[str]
) -> list[str]:
    """The words with which a child does what this command was asked for."""
    words = ["run", *references, "--child", "--pool", pool]
    for status in statuses:
        words += ["--status", status]
    if session.config_file is not None:
        words += ["--config", str(session.config_file)]
    if session.embedded_file is not None:
        words += ["--embedded", str(session.embedded_file)]
    for key, value in session.overrides.items():
        words += ["--set", f"{key}={value}"]
    return words
