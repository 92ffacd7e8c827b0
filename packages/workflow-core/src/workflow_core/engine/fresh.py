"""Fresh records: what this process has just committed, as it is stored.

A look-up tells how a run was a moment ago, and its step begins up to 50 ms later. A record that was
committed here less than half of that ago tells the same without asking: whoever changes the run
meanwhile wins its compare-and-swap, now as then. That is a round trip less between two steps.

What is unsure is left out: a store that does not tell its stamps, a commit whose first answer was
lost, a next try that waits, and what was committed before this process began to read the run's
shard, since who held that before may have gone on with it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from workflow_core.engine.lane import FRESH
from workflow_core.model import UNSTAMPED, Record
from workflow_core.ports import Clock, Write

__all__ = ["FreshRecords", "as_stored"]

_USABLE = FRESH / 2  # seconds: the rest is for the bodies before it
_MOST = 1_024  # records of a generation, and one commit's more; there are two
_MOST_UNSURE = 10_000  # writes
_LARGEST = 8_192  # bytes of data that are worth their memory


class _Fresh(NamedTuple):
    write: Write
    at: datetime
    since: float


class FreshRecords:
    """Any thread.

    Args:
        clock: by its monotonic side.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._young: dict[str, _Fresh] = {}
        self._old: dict[str, _Fresh] = {}
        self._since = self._last = 0.0
        self._unsure: dict[str, None] = {}

    def forked(self) -> None:
        """In a forked child: whoever held the lock stayed with the parent."""
        self._lock = threading.Lock()

    def doubt(self, writes: Sequence[Write]) -> None:
        """Nobody knows whether these are stored: if they are, it is with other stamps."""
        with self._lock:
            self._unsure.update((write.record.write_id, None) for write in writes)
            while len(self._unsure) > _MOST_UNSURE:
                del self._unsure[next(iter(self._unsure))]

    def keep(self, stored: Sequence[Write], at: datetime) -> None:
        """These were committed just now, stamped with this time."""
        now = self._clock.monotonic()
        with self._lock:
            if now - self._since > _USABLE or len(self._young) > _MOST:
                self._old = {} if now - self._last > _USABLE else self._young
                self._young, self._since = {}, now
            self._last = now
            for write in stored:
                run_id, version = write.record.run_id, write.record.version
                known = self._young.get(run_id) or self._old.get(run_id)
                if known is not None and known.write.record.version > version:
                    continue  # another thread's commit came after this one, and was told before
                self._forget(run_id)
                if _is_known(write) and write.record.write_id not in self._unsure:
                    self._young[run_id] = _Fresh(write, at, now)

    def forget(self, stored: Sequence[Write]) -> None:
        """These were committed, nobody knows when: what was known of their runs is old."""
        with self._lock:
            for write in stored:
                self._forget(write.record.run_id)

    def _forget(self, run_id: str) -> None:
        self._young.pop(run_id, None)
        self._old.pop(run_id, None)

    def of(
        self, versions: Mapping[str, int], *, after: float = -1.0
    ) -> tuple[dict[str, Record], float]:
        """Which of these runs are known at this version or a later one, and since when at least.

        Args:
            versions: by run id.
            after: what was not committed later than this is not known.
        """
        now = since = self._clock.monotonic()
        found: dict[str, Record] = {}
        young, old = self._young, self._old
        if not (young or old):
            return found, since
        for run_id, version in versions.items():
            fresh = young.get(run_id) or old.get(run_id)
            if (
                fresh is not None
                and fresh.write.record.version >= version
                and fresh.since > after
                and now - fresh.since <= _USABLE
            ):
                found[run_id] = as_stored(fresh.write, fresh.at)
                since = min(since, fresh.since)
        return found, since


def as_stored(write: Write, at: datetime) -> Record:
    """The record of a write that has no next try, as it is stored at this time."""
    record = write.record
    return record.replace(
        created_at=at if record.version == 1 else record.created_at,
        updated_at=at,
        entered_at=at if record.entered_version == record.version else record.entered_at,
        next_try_at=None,
        search=record.search if write.search is None else write.search,
    )


def _is_known(write: Write) -> bool:
    record = write.record
    return (
        write.retry_in is None
        and len(record.data) <= _LARGEST
        and (record.version == 1 or record.created_at != UNSTAMPED)
    )
