"""What two pairs of stores are held against each other by: counts, and a checksum of all content.

Each run, timer and event is hashed for itself and the hashes are added up, so that the order in
which a store lists them is no matter. When a timer or an event is due is left out: it is told as a
delay from the present, and so differs by what passes between asking two stores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from itertools import chain

import msgspec

from workflow_core.model import Event, Record, RecordQuery, Value
from workflow_core.model.value import UNSTAMPED
from workflow_core.moving.marks import NOT_MOVED
from workflow_core.moving.stores import Stores
from workflow_core.moving.walks import pages, rows, timeouts_page
from workflow_core.ports import Capability, TimeoutStore

__all__ = ["Digest", "digest_of", "digest_of_timers", "without_search"]

_SPACE = 1 << 256
_encode = msgspec.json.Encoder().encode


class Digest(Value, frozen=True, kw_only=True):
    """What there is, counted, and the checksum of all of it."""

    runs: int
    """Records of reserved workflows, such as dead letters and schedules, count too."""
    versions: int
    """Of the history; 0 where it is not compared."""
    timers: int
    events: int
    checksum: str


def without_search(record: Record) -> Record:
    """As a store keeps it that has no search attributes."""
    return record.replace(search={}) if record.search else record


def digest_of(
    stores: Stores,
    *,
    shared: frozenset[Capability],
    batch: int = 500,
    told: Callable[[int], None] = lambda runs: None,
) -> Digest:
    """Walk over all that the stores hold.

    Args:
        stores: which.
        shared: what both sides of the move offer; of what one lacks nothing is compared.
        batch: how many are asked for at once.
        told: called with the number of runs so far, after each page.

    Raises:
        AdapterUnavailableError: no answer; ask again.
    """
    tally = _Tally()
    workflows: dict[str, None] = {}
    runs = 0
    query = RecordQuery(limit=batch)
    for items in pages(lambda after: stores.records.list_records(query.replace(after=after))):
        records = [record for record in items if record.workflow not in NOT_MOVED]
        for record in records:
            workflows[record.workflow] = None
            tally.add(record if Capability.SEARCH in shared else without_search(record))
        if Capability.HISTORY in shared:
            told_of = stores.records.history_many([record.run_id for record in records])
            for entry in chain.from_iterable(told_of.values()):
                tally.versions += 1
                tally.add(entry.replace(data=None))  # how much is kept is each store's setting
        runs += len(records)
        told(runs)
    timers = 0 if stores.timeouts is None else _add_timers(tally, stores.timeouts, workflows, batch)
    events = 0
    for filed in pages(lambda after: stores.records.list_outbox(after=after, limit=batch)):
        events += len(filed)
        for row in filed:
            tally.add(row.event)
    return Digest(
        runs=runs, versions=tally.versions, timers=timers, events=events, checksum=tally.checksum
    )


def digest_of_timers(store: TimeoutStore, workflows: Iterable[str], batch: int) -> Digest:
    """Of the open timers of these workflows alone. Raises as `digest_of`."""
    tally = _Tally()
    timers = _add_timers(tally, store, workflows, batch)
    return Digest(runs=0, versions=0, timers=timers, events=0, checksum=tally.checksum)


def _add_timers(tally: _Tally, store: TimeoutStore, workflows: Iterable[str], batch: int) -> int:
    timers = 0
    for workflow in workflows:
        for timeout in rows(partial(timeouts_page, store, workflow, batch)):
            timers += 1
            tally.add(timeout.replace(due_at=UNSTAMPED, delay=timedelta(0)))
    return timers


class _Tally:
    def __init__(self) -> None:
        self.versions = 0
        self._sum = 0

    def add(self, value: Value) -> None:
        digest = hashlib.sha256(type(value).__name__.encode() + _encode(_ordered(value))).digest()
        self._sum = (self._sum + int.from_bytes(digest)) % _SPACE

    @property
    def checksum(self) -> str:
        return f"{self._sum:064x}"


def _ordered(value: Value) -> Value:
    """With its mappings in one order, whatever order a store keeps them in."""
    if isinstance(value, Record):
        return value.replace(
            passed=dict(sorted(value.passed.items())),
            headers=dict(sorted(value.headers.items())),
            search=dict(sorted(value.search.items())),
        )
    if isinstance(value, Event):
        return value.replace(headers=dict(sorted(value.headers.items())))
    return value
