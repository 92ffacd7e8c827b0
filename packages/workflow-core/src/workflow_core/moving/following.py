"""Makes the timers of one timeout store those of another, by key.

One that is missing on the side that is moved from and open on the other was closed, and is closed
there too. Those that were closed before are closed there as well: one that fired and left its run
where it was would be armed again by a reconciler. Only the stay where a live run is counts for
that: no other is ever armed again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from functools import partial

from workflow_core.errors import MoveError
from workflow_core.model import Record, RecordQuery, RunState, Timeout, names
from workflow_core.moving.marks import NOT_MOVED
from workflow_core.moving.progress import Progress, Told
from workflow_core.moving.stores import Stores
from workflow_core.moving.walks import batches, pages, paired, rows, timeouts_page
from workflow_core.ports import RecordStore, TimeoutStore

__all__ = ["Following"]

_LIVE = [state for state in RunState if state.is_live]
_SAME_TIME = timedelta(seconds=5)  # a timer's due time comes over as a delay
_FAR = timedelta(days=3650)


class Following:
    """Brings timers over. One thread.

    Args:
        source: where they are, with the records of their runs.
        target: where they go.
        told: called after each batch.
        batch: how many are in one question.
    """

    def __init__(self, source: Stores, target: Stores, told: Told, batch: int) -> None:
        if source.timeouts is None or target.timeouts is None:
            raise MoveError("one of the two sides has no timeout store")
        self._records: RecordStore = source.records
        self._known: RecordStore = target.records
        self._source: TimeoutStore = source.timeouts
        self._target: TimeoutStore = target.timeouts
        self._told = told
        self._batch = batch

    def close(self) -> list[str]:
        """Close what is closed; answers the workflows that have live runs."""
        seen = written = 0
        workflows: dict[str, None] = {}
        query = RecordQuery(states=_LIVE, limit=self._batch)
        for found in pages(lambda after: self._records.list_records(query.replace(after=after))):
            records = [record for record in found if record.workflow not in NOT_MOVED]
            workflows.update(dict.fromkeys(record.workflow for record in records))
            written += self._close(records)
            seen += len(records)
            self._told(Progress(stage="closed timers of live runs", seen=seen, written=written))
        return list(workflows)

    def follow(self, workflows: Iterable[str]) -> None:
        """Arm, reschedule, park and close, until both sides have the same open timers.

        Raises:
            MoveError: the target has timers of runs that it does not know.
        """
        seen = written = 0
        for workflow in workflows:
            both = paired(
                self._open(self._source, workflow), self._open(self._target, workflow), _key
            )
            for batch in batches(both, self._batch):
                written += self._pairs(batch)
                seen += len(batch)
                self._told(Progress(stage="timers", seen=seen, written=written))

    def _open(self, store: TimeoutStore, workflow: str) -> Iterator[Timeout]:
        return rows(partial(timeouts_page, store, workflow, self._batch))

    def _pairs(self, pairs: Sequence[tuple[Timeout | None, Timeout | None]]) -> int:
        now = self._known.now()
        closed = [theirs for mine, theirs in pairs if mine is None and theirs is not None]
        differing = [
            mine.replace(delay=mine.due_at - now)
            for mine, theirs in pairs
            if mine is not None and not _same(mine, theirs)
        ]
        if closed:
            self._refuse_strangers(closed)
            self._target.cancel_many([timeout.key for timeout in closed])
        if differing:
            self._target.create_many(differing)
            self._target.reschedule_many(differing)
            self._target.park_many([timeout.key for timeout in differing if timeout.parked])
        return len(closed) + len(differing)

    def _refuse_strangers(self, timeouts: Sequence[Timeout]) -> None:
        """What is about to be closed has to be of a run that was brought here."""
        known = self._known.lookup_many([timeout.run_id for timeout in timeouts], primary=True)
        for timeout in timeouts:
            if timeout.run_id not in known:
                raise MoveError(
                    f"the target has a timer of run {timeout.run_id}, which is no run of this move",
                    hint="Give the new timeout store a namespace, or a database, of its own",
                )

    def _close(self, records: Sequence[Record]) -> int:
        by_id = {record.run_id: record for record in records}
        there = set(self._target.closed_keys(list(by_id)))
        closed = [
            timeout
            for key in self._source.closed_keys(list(by_id))
            if key not in there and (timeout := _closed(key, by_id)) is not None
        ]
        if closed:
            self._target.create_many(closed)
            self._target.cancel_many([timeout.key for timeout in closed])
        return len(closed)


def _closed(key: str, records: dict[str, Record]) -> Timeout | None:
    """The timer of this key, if it is of the stay where its run is."""
    record = records.get(key.partition("/")[0])
    stay = None if record is None else names.stay_of_timer(record.run_id, key)
    if record is None or stay is None or stay[0] != record.entered_version:
        return None
    return Timeout(
        key=key,
        workflow=record.workflow,
        run_id=record.run_id,
        status=record.status,
        entered_version=record.entered_version,
        name=stay[1],
        delay=_FAR,
    )


def _same(mine: Timeout, theirs: Timeout | None) -> bool:
    if theirs is None or abs(mine.due_at - theirs.due_at) > _SAME_TIME:
        return False
    return mine == theirs.replace(due_at=mine.due_at, delay=mine.delay)


def _key(timeout: Timeout) -> str:
    return timeout.key
