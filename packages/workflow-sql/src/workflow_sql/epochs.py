"""Whether the database still is what this process remembers of it.

A replica that takes over may lack the last commits, and a database may be set back to a backup.
Then what a process remembers is of a history that never was: up to where events are settled, how
far a receiver has read, what was acked since cursors were saved, which roles are held. New events
get ids that were passed already, and an ack that stands for a lost commit would pass over an event
whose run is back where it was.

What the database itself has is sound, whatever it lacks: a replica or a backup has all that was
committed up to some moment, and nothing of what came later; and whatever moves a cursor or deletes
an event is committed after that which it follows from. So there is nothing to repair. Whoever
remembers something notes with it the number of the epoch that it belongs to, and reads it anew when
the number is another. What comes twice by that is dropped by its version.

A new epoch begins

- when a connection leads to another server than before, or to one that was started anew. Servers
  say which they are when a connection is opened and when a transaction begins, in a statement that
  is made anyway, so a pooler in between hides nothing. Connections of the epoch before are given
  up: their server may live on, and be written to by nobody else;
- when the server only reads: what is open has to go where it is written now;
- when the event that was the last of the settled ones is another or gone (`horizon`): the tables
  were set back under open connections.

Cursors are moved only in a transaction of the epoch in which the events were received. So an ack
does not outlive the commit that it stands for.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from workflow_core.ports import in_forked_child

__all__ = ["Epochs"]

logger = logging.getLogger(__name__)


class Epochs:
    """Counts them, for one database and process. Any thread.

    Args:
        began: called when a new one has begun, by whichever thread has met it.

    Attributes:
        number: of the epoch that it is; it only grows.
    """

    def __init__(self, began: Callable[[], object] = lambda: None) -> None:
        self._began = began
        self._server: str | None = None
        self.number = 0
        self._make_lock()
        in_forked_child(self._make_lock)

    def _make_lock(self) -> None:
        self._lock = threading.Lock()

    def met(self, server: str) -> int:
        """A connection that was opened just now leads to this server; its epoch's number."""
        with self._lock:
            before, self._server = self._server, server
            if before in (None, server):
                return self.number
            self.number += 1
            number = self.number
        logger.info("the database's server is another, or was started anew: reading all anew")
        self._began()
        return number

    def end(self, number: int, why: str) -> None:
        """What is remembered of this epoch does not hold; nothing happens if it is over already."""
        with self._lock:
            if number != self.number:
                return
            self.number += 1
        logger.warning("%s: reading all anew", why)
        self._began()
