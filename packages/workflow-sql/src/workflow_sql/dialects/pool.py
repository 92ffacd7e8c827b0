"""A process's open connections to a server."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from sqlalchemy import Connection
from workflow_core.errors import AdapterUnavailableError
from workflow_core.ports import leave_to_parent

__all__ = ["Held", "Pool"]

_TRUSTED = 30.0  # seconds; what has been idle for longer is asked whether it lives
_LONGEST_LIFE = 1800.0  # seconds; so that all processes find a new server behind an old name


class Held:
    """One open connection.

    Attributes:
        server: where it leads, as that says itself.
        epoch: the number of the epoch that it belongs to.
    """

    def __init__(self, connection: Connection, *, server: str, epoch: int) -> None:
        self.connection = connection
        self.driver: Any = connection.connection.dbapi_connection
        self.server = server
        self.epoch = epoch
        self.opened_at = self.used_at = time.monotonic()

    def drop(self) -> None:
        """Close it, whatever state it is in."""
        with suppress(Exception):
            self.connection.invalidate()
        with suppress(Exception):
            self.connection.close()
        with suppress(Exception):
            self.driver.close()


class Pool:
    """Lends connections, the one used last first. Any thread.

    A connection that has died while it was idle is not lent: one look at its socket tells, without
    a word to the server. One that was idle for half a minute is asked besides, since a firewall
    forgets in silence. One that leads to a server of the past is not lent either.

    Args:
        size: how many at most.
        open: opens one. Raises the driver's errors.
        is_current: whether it leads to the server of the present.
        socket: the number of a connection's socket.
        ping: asks one; raises the driver's errors.
    """

    def __init__(
        self,
        size: int,
        *,
        open: Callable[[], Held],
        is_current: Callable[[Held], bool],
        socket: Callable[[Any], int],
        ping: Callable[[Any], object],
    ) -> None:
        self._size = size
        self._open = open
        self._is_current = is_current
        self._socket = socket
        self._ping = ping
        self._start()

    def _start(self) -> None:
        self._change = threading.Condition()
        self._idle: list[Held] = []
        self._lent: set[Held] = set()
        self._opening = 0
        self._closed = False

    def take(self, timeout: float) -> Held:
        """A living connection, the caller's until it is given back.

        Raises:
            AdapterUnavailableError: all are in use, and none came back in time.
            Exception: the driver's errors: none can be opened.
        """
        while True:
            held = self._reserve(timeout)
            if held is None:
                return self._open_new()
            if self._is_alive(held):
                return held
            held.drop()
            self._forget(held)

    def _reserve(self, timeout: float) -> Held | None:
        """An idle connection, or None and the right to open one."""
        end = time.monotonic() + timeout
        with self._change:
            while not self._idle and len(self._lent) + self._opening >= self._size:
                rest = end - time.monotonic()
                if self._closed or rest <= 0:
                    break
                self._change.wait(rest)
            if self._closed:
                raise ConnectionError("closed")
            if self._idle:
                held = self._idle.pop()
                self._lent.add(held)
                return held
            if len(self._lent) + self._opening >= self._size:
                raise AdapterUnavailableError(
                    f"all {self._size} connections of this process are in use",
                    adapter="sql",
                    hint="Keep transactions short, or raise the setting pool_size",
                )
            self._opening += 1
            return None

    def _open_new(self) -> Held:
        try:
            held = self._open()
        except BaseException:
            with self._change:
                self._opening -= 1
                self._change.notify()
            raise
        with self._change:
            self._opening -= 1
            self._lent.add(held)
            if not self._closed:
                return held
        held.drop()
        raise ConnectionError("closed")

    def _is_alive(self, held: Held) -> bool:
        now = time.monotonic()
        if now - held.opened_at > _LONGEST_LIFE or not self._is_current(held):
            return False
        try:
            if _has_news(self._socket(held.driver)) or now - held.used_at > _TRUSTED:
                self._ping(held.driver)
        except Exception:
            return False
        return True

    def give(self, held: Held, *, healthy: bool) -> None:
        """Give it back; what is not healthy is closed."""
        held.used_at = time.monotonic()
        with self._change:
            self._lent.discard(held)
            kept = healthy and not self._closed
            if kept:
                self._idle.append(held)
            self._change.notify()
        if not kept:
            held.drop()

    def _forget(self, held: Held) -> None:
        with self._change:
            self._lent.discard(held)
            self._change.notify()

    @property
    def is_closed(self) -> bool:
        """Whether it lends no more."""
        return self._closed

    def forsake(self) -> None:
        """In a forked child: the connections are the parent's."""
        leave_to_parent((self._idle, self._lent, self._change))
        self._start()

    def close(self) -> None:
        """Close the idle ones now, those lent when they come back. Twice is harmless."""
        with self._change:
            self._closed = True
            idle, self._idle = self._idle, []
            self._change.notify_all()
        for held in idle:
            held.drop()


def _has_news(socket: int) -> bool:
    """Whether something came though nothing was asked: nearly always the end."""
    if not hasattr(select, "poll"):
        return bool(select.select([socket], [], [], 0)[0])
    look = select.poll()
    look.register(socket, select.POLLIN)
    return bool(look.poll(0))
