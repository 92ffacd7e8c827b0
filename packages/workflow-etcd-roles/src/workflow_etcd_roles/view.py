"""What etcd has below a prefix, kept up to date by a watch.

One read, then a watch from the revision after it: at rest nothing is asked. When the watch breaks,
whatever the reason (a member that restarts, a compaction, an expired token), all of it is read
anew. A view may be late, never wrong for its revision; whoever decides by it makes sure with a
transaction.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from etcd3 import etcdrpc
from workflow_core.errors import AdapterError, ClosedError

from workflow_etcd_roles.connection import Connection
from workflow_etcd_roles.requests import after, under

__all__ = ["Entry", "View", "Watcher", "view_of"]

logger = logging.getLogger(__name__)

_FIRST_PAUSE = 0.1  # seconds after a failure
_LAST_PAUSE = 1.0


@dataclass(frozen=True)
class Entry:
    """A key's value, the revision at which it was created, and the lease that it hangs on."""

    value: bytes
    created: int
    lease: int


@dataclass(frozen=True)
class View:
    """All keys below the prefix at one revision. `number` grows with each change."""

    entries: Mapping[bytes, Entry]
    revision: int
    number: int


class Watcher:
    """Keeps a `View`. Any thread.

    Args:
        connection: to the cluster.
        prefix: of the keys.
        changed: called by the watching thread after each change.
    """

    def __init__(self, connection: Connection, prefix: bytes, changed: Callable[[], None]) -> None:
        self._connection = connection
        self._prefix = prefix
        self._changed = changed
        self._condition = threading.Condition()
        self._entries: dict[bytes, Entry] = {}
        self._revision = 0
        self._number = 0
        self._view: View | None = None
        self._is_current = False  # the watch stands
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to watch. Twice is harmless."""
        with self._condition:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._watch, name="workflow-etcd-watch", daemon=True
                )
                self._thread.start()

    @property
    def number(self) -> int:
        """That of the present view."""
        return self._number

    def view(self, *, since: int, timeout: float) -> View | None:
        """The present view, once it is of revision `since` or later; None: not within `timeout`."""
        end = time.monotonic() + timeout
        with self._condition:
            while not (self._is_current and self._revision >= since):
                rest = end - time.monotonic()
                if rest <= 0 or self._closed.is_set():
                    return None
                self._condition.wait(rest)
            if self._view is None:
                self._view = View(dict(self._entries), self._revision, self._number)
            return self._view

    def close(self) -> None:
        """Watch no longer; whoever waits for a view gets none. The stream ends with `interrupt`."""
        self._closed.set()
        with self._condition:
            self._condition.notify_all()

    def join(self, timeout: float) -> None:
        """Wait for the thread's end."""
        if self._thread is not None:
            self._thread.join(timeout)

    # -- the thread ----------------------------------------------------------------------------

    def _watch(self) -> None:
        pause = _FIRST_PAUSE
        while not self._closed.is_set():
            began = time.monotonic()
            try:
                self._read_all()
                self._follow()
            except ClosedError:
                return
            except AdapterError as error:
                logger.info("the watch of the roles broke, it begins again: %s", error)
            with self._condition:
                self._is_current = False
            # a watch that stood for a while was well: the next one may begin at once
            pause = _FIRST_PAUSE if time.monotonic() - began > _LAST_PAUSE else 2 * pause
            self._closed.wait(min(pause, _LAST_PAUSE))

    def _read_all(self) -> None:
        answer = self._connection.ask(under(self._prefix), doing="reading the roles")
        self._publish(view_of(answer).entries, answer.header.revision, complete=True)

    def _follow(self) -> None:
        request = etcdrpc.WatchRequest(
            create_request=etcdrpc.WatchCreateRequest(
                key=self._prefix,
                range_end=after(self._prefix),
                start_revision=self._revision + 1,
            )
        )
        with self._connection.stream(request) as answers:
            for answer in answers:
                if answer.canceled:
                    if "token" in answer.cancel_reason or "auth" in answer.cancel_reason:
                        self._connection.refuse_token()
                    return
                if answer.events:
                    self._apply(answer)

    def _apply(self, answer: Any) -> None:
        changes = {
            event.kv.key: None if event.type == event.DELETE else _entry(event.kv)
            for event in answer.events
        }
        # not the header's revision: it may be ahead of what the answer tells
        self._publish(changes, answer.events[-1].kv.mod_revision)

    def _publish(
        self, changes: Mapping[bytes, Entry | None], revision: int, *, complete: bool = False
    ) -> None:
        with self._condition:
            if complete:
                self._entries.clear()
            for key, entry in changes.items():
                if entry is None:
                    self._entries.pop(key, None)
                else:
                    self._entries[key] = entry
            self._revision = revision
            self._number += 1
            self._view = None
            self._is_current = True
            self._condition.notify_all()
        self._changed()


def _entry(found: Any) -> Entry:
    return Entry(found.value, found.create_revision, found.lease)


def view_of(answer: Any) -> View:
    """What a read of everything below a prefix answered."""
    entries = {found.key: _entry(found) for found in answer.kvs}
    return View(entries, answer.header.revision, 0)
