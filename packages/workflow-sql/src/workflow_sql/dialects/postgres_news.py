"""Word of other processes' commits, by PostgreSQL's LISTEN and NOTIFY.

NOTIFY within a transaction would make commits queue up behind one another, those of the whole
database. So nothing is told within one: after the commit a thread says once for all that has come
together, at most fifty times a second. A word that is lost costs a moment: who waits also looks by
itself, seldom.

Behind a pooler that lends its connections for a transaction at a time, LISTEN succeeds and hears
nothing. So each new listener first listens for a word of its own; where that does not come, the
process says so in its log and looks for news itself, as with the other databases.

When the database's server is another the connections are too: the old one may live on and tell
nothing.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg

__all__ = ["PostgresNews"]

logger = logging.getLogger(__name__)

_AT_MOST_EVERY = 0.02  # seconds
_HEAR_EVERY = 0.01  # seconds; what several processes tell meanwhile is heard at once
_TEST = 3.0  # seconds that a word of one's own may take
_TEST_AGAIN = 300.0  # seconds
_RECONNECT = (0.5, 30.0)  # seconds until the first try, and at most
_LISTEN = 1.0  # seconds; how long the thread may take to notice that it is to end


class PostgresNews:
    """Hears and tells. Any thread.

    Args:
        channel: its name: a plain identifier.
        connect: opens a connection of the driver's own.
        heard: called when another process has told something, or may have.
    """

    def __init__(
        self,
        channel: str,
        *,
        connect: Callable[[], psycopg.Connection[Any]],
        heard: Callable[[], None],
    ) -> None:
        self._channel = channel
        self._connect = connect
        self._heard = heard
        self.restart()

    def restart(self) -> None:
        """Begin anew, as in a forked child."""
        self._me = uuid.uuid4().hex
        self.is_heard = self.is_deaf = False
        self._closed = threading.Event()
        self._to_tell = threading.Event()
        self._starting = threading.Lock()
        self._moves = 0
        self._started: set[str] = set()

    def listen(self) -> None:
        """Begin to hear, if that has not happened yet."""
        self._start("listen", self._listen_on)

    def tell(self) -> None:
        """Let other processes look, soon."""
        self._start("tell", self._tell_on)
        self._to_tell.set()

    def move(self) -> None:
        """The database's server is another: connect anew, soon."""
        self._moves += 1

    def _start(self, name: str, work: Callable[[], None]) -> None:
        if name in self._started:
            return
        with self._starting:
            if name not in self._started and not self._closed.is_set():
                self._started.add(name)
                threading.Thread(target=work, name=f"workflow-sql-{name}", daemon=True).start()

    def close(self) -> None:
        """End the threads, soon. Twice is harmless."""
        self._closed.set()
        self._to_tell.set()

    # -- telling -------------------------------------------------------------------------------

    def _tell_on(self) -> None:
        connection: psycopg.Connection[Any] | None = None
        moves = self._moves
        while True:
            self._to_tell.wait()
            if self._closed.is_set():
                break
            self._to_tell.clear()
            try:
                if connection is not None and moves != self._moves:
                    connection.close()
                if connection is None or connection.closed:
                    moves = self._moves
                    connection = self._connect()
                self._say(connection, self._me)
            except (psycopg.Error, OSError):  # those who wait look by themselves
                if connection is not None:
                    connection.close()
                connection = None
                self._closed.wait(_RECONNECT[0])
            self._closed.wait(_AT_MOST_EVERY)
        if connection is not None:
            connection.close()

    def _say(self, connection: psycopg.Connection[Any], word: str) -> None:
        told = (self._channel, word)
        connection.execute(
            "select pg_notify(%s, %s)", told, prepare=False
        )  # a pooler mixes them up

    # -- hearing -------------------------------------------------------------------------------

    def _listen_on(self) -> None:
        pause, longest = _RECONNECT
        while not self._closed.is_set():
            moves = self._moves
            try:
                with self._connect() as connection:
                    heard_itself = self._listen(connection, moves)
                pause = _RECONNECT[0] if heard_itself else _TEST_AGAIN
            except (psycopg.Error, OSError):
                self.is_heard = False
                pause = min(pause * 2, longest)
            self._closed.wait(pause)

    def _listen(self, connection: psycopg.Connection[Any], moves: int) -> bool:
        """Until the connection ends, or the server moves; False: nothing can be heard on it."""
        connection.execute(f'listen "{self._channel}"')
        if not self._hears_itself(connection):
            if not self._closed.is_set():
                self.is_deaf = True
                logger.warning(
                    "the database's notifications do not come through, as behind a pooler that"
                    " lends connections for a transaction: looking for news every now and then"
                    " instead. A url that leads to the server itself makes waking quicker"
                )
            return False
        self.is_heard, self.is_deaf = True, False
        self._heard()  # what was told while nobody listened
        try:
            while not self._closed.is_set() and moves == self._moves:
                notices = list(connection.notifies(timeout=_LISTEN, stop_after=1))
                if any(notice.payload != self._me for notice in notices):
                    self._heard()
                    self._closed.wait(_HEAR_EVERY)
        finally:
            self.is_heard = False
        return True

    def _hears_itself(self, connection: psycopg.Connection[Any]) -> bool:
        word = f"test {self._me} {uuid.uuid4().hex}"
        with suppress(psycopg.Error, OSError), self._connect() as other:
            self._say(other, word)
            for notice in connection.notifies(timeout=_TEST):
                if notice.payload == word:
                    return True
        return False
