"""The two halves of a move: `copy` while the old stores serve, `switch` while nobody does.

**What is the same is left alone.** A run is looked up on the other side and adopted where it
differs in anything, so no place has to be remembered: an interrupted move is simply begun again,
and reads, but does not write, what it had done. A pass over what has changed since the pass before
began only shortens the switch; that walks over everything and is what correctness stands on.

**Timers** follow once the runs are there (`following.py`). **Events of the outbox** come over in
the switch alone: most would be published a moment later anyway.

**Timers alone** go to another timeout store by `switch_timers`: nothing is adopted then, and a mark
in the store that they have left says that it is not to be moved from again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial

from workflow_core.errors import MoveError, RunInProgressError
from workflow_core.model import (
    OutboxEvent,
    Record,
    RecordQuery,
    RunState,
)
from workflow_core.moving.digest import Digest, digest_of, digest_of_timers, without_search
from workflow_core.moving.following import Following
from workflow_core.moving.marks import NOT_MOVED, Marks, TimerMarks
from workflow_core.moving.progress import Progress, Told, untold
from workflow_core.moving.stores import Stores
from workflow_core.moving.walks import batches, outbox_page, pages, paired, rows
from workflow_core.ports import Capability, RecordStore, RunCopy

__all__ = ["copy", "switch", "switch_timers"]

_MARGIN = timedelta(minutes=1)
"""How long before its commit a transaction may have stamped what it writes."""
_PASSES = 10
_TRIES = 10


def copy(source: Stores, target: Stores, *, told: Told = untold, batch: int = 500) -> None:
    """Copy runs with their history, and timers, while the source serves. Call it as often as liked.

    Killed at any moment it leaves a target that the next call goes on with.

    Args:
        source: where all is now.
        target: empty, or begun by an earlier call for this very source. Nobody may serve it.
            Without a timeout store only where the source has none either.
        told: called after each batch, on this thread; what it raises ends the copying.
        batch: how many runs, timers or events are in one question or transaction.

    Raises:
        MoveError: the target is not this move's.
        ConfigurationError: the schema of one of the stores is not current.
        NotSupportedError: an adapter cannot be moved from or to.
        AdapterUnavailableError: no answer; call it again.
    """
    Marks(source, target).check()
    move = _Move(source, target, told, batch)
    since: datetime | None = None
    for _ in range(_PASSES):
        begun = source.records.now()
        written = move.runs(since)
        if since is not None and written <= batch:
            break
        since = begun - _MARGIN
    move.timers()


def switch(source: Stores, target: Stores, *, told: Told = untold, batch: int = 500) -> Digest:
    """Bring over what `copy` has left, compare both sides, and mark the move as completed.

    Nobody may serve, trigger or steer runs on the source from before this call on: no port can
    keep writers out, so that is the operator's part. Somebody who writes all the same is found by
    the comparison, unless he writes after it. On success serve the target, and never the source
    again.

    Args and errors as `copy`; further:

    Raises:
        MoveError: the sides differ, since somebody still writes; or the move was completed before.

    Returns:
        What there is on either side.
    """
    marks = Marks(source, target)
    marks.check()
    move = _Move(source, target, told, batch)
    move.runs(None)
    move.drop_gone()
    move.timers()
    move.outbox()
    digest = move.compared()
    marks.complete()
    return digest


def switch_timers(
    source: Stores, target: Stores, *, told: Told = untold, batch: int = 500
) -> Digest:
    """Bring the timers alone to another timeout store, while the records stay where they are.

    Nobody may serve, trigger or steer runs from before this call on until processes are started
    with the new timeout store. Killed at any moment it leaves both stores such that it can be
    called again.

    Args:
        source: the record store, and where timers are now.
        target: the same record store, and where timers go; a store that they have left earlier
            will do, if only it holds none of other runs.
        told: as of `copy`.
        batch: as of `copy`.

    Raises:
        MoveError: the record stores are not the same; the timers have left the source already;
            the target holds timers of other runs; or the sides differ, since somebody writes.
        AdapterUnavailableError: no answer; call it again.

    Returns:
        How many timers there are on either side.
    """
    following = Following(source, target, told, batch)
    if not Marks(source, target).are_one():
        raise MoveError(
            "the two sides have not the same record store",
            hint="To move records too, copy and switch",
        )
    marks = TimerMarks(source, target)
    marks.check()
    workflows = following.close()
    following.follow(workflows)
    here, there = (
        digest_of_timers(store, workflows, batch) for store in (marks.source, marks.target)
    )
    if here != there:
        raise _differ(here, there)
    marks.complete()
    return here


class _Move:
    def __init__(self, source: Stores, target: Stores, told: Told, batch: int) -> None:
        self._source = source
        self._target = target
        self._told = told
        self._batch = batch
        self._workflows: dict[str, None] = {}
        self._shared = source.records.capabilities & target.records.capabilities
        self._total: int | None = None
        self._following: Following | None = None
        if source.timeouts is not None and target.timeouts is not None:
            self._following = Following(source, target, told, batch)

    # -- runs ----------------------------------------------------------------------------------

    def runs(self, since: datetime | None) -> int:
        """Bring over what differs among all runs, or those updated since; how many that were."""
        stage = "runs" if since is None else "runs that have changed meanwhile"
        query = RecordQuery(updated_after=since, limit=self._batch)
        seen = written = 0
        if self._total is None:
            self._total = sum(self._source.records.count_records(RecordQuery()).values())
        for records in self._record_pages(self._source.records, query):
            self._workflows.update(dict.fromkeys(record.workflow for record in records))
            standing = self._target.records.lookup_many([r.run_id for r in records], primary=True)
            differing = [r for r in records if not self._same(r, standing.get(r.run_id))]
            self._adopt(differing)
            seen += len(records)
            written += len(differing)
            self._tell(stage, seen, written, self._total if since is None else None)
        return written

    def drop_gone(self) -> None:
        """Delete in the target what was purged in the source after it had been copied."""
        seen = dropped = 0
        for records in self._record_pages(self._target.records, RecordQuery(limit=self._batch)):
            standing = self._source.records.lookup_many([r.run_id for r in records], primary=True)
            gone = [record for record in records if record.run_id not in standing]
            self._drop(gone)
            seen += len(records)
            dropped += len(gone)
            self._tell("runs that were purged meanwhile", seen, dropped)

    def _record_pages(self, store: RecordStore, query: RecordQuery) -> Iterator[Sequence[Record]]:
        for items in pages(lambda after: store.list_records(query.replace(after=after))):
            yield [record for record in items if record.workflow not in NOT_MOVED]

    def _same(self, mine: Record, theirs: Record | None) -> bool:
        return theirs is not None and self._kept(mine) == self._kept(theirs)

    def _kept(self, record: Record) -> Record:
        return record if Capability.SEARCH in self._shared else without_search(record)

    def _adopt(self, records: Sequence[Record]) -> None:
        """What is in the way of a foreign id's live run has ended, or gone, in the source."""
        for _ in range(_TRIES):
            try:
                return self._target.records.adopt(self._copies(records))
            except RunInProgressError as error:
                ids = [*(record.run_id for record in records), error.live_run_id]
                found = self._source.records.lookup_many(ids, primary=True)
                if error.live_run_id not in found:
                    there = self._target.records.lookup_many([error.live_run_id], primary=True)
                    self._drop(list(there.values()))
                records = list(found.values())
        raise MoveError(
            "live runs of one foreign id follow each other too fast to be copied",
            hint="Call it again, or switch",
        )

    def _copies(self, records: Sequence[Record]) -> list[RunCopy]:
        """Without a history where a run was purged just now: the switch drops it."""
        if Capability.HISTORY not in self._shared:
            return [RunCopy(record=record) for record in records]
        told = self._source.records.history_many([record.run_id for record in records])
        return [RunCopy(record=r, history=told.get(r.run_id, ())) for r in records]

    def _drop(self, records: Sequence[Record]) -> None:
        if not records:
            return
        ended = [record.replace(state=RunState.CANCELLED) for record in records]
        self._target.records.adopt([RunCopy(record=record) for record in ended])
        ids = [record.run_id for record in records]
        stray = [
            event.id
            for event in rows(partial(outbox_page, self._target.records, self._batch))
            if event.event.run_id in ids
        ]
        self._target.records.delete_outbox_events(stray)
        if self._target.timeouts is not None:
            self._target.timeouts.forget(ids)
        self._target.records.purge(RecordQuery(run_ids=ids, limit=len(ids)))

    # -- timers --------------------------------------------------------------------------------

    def timers(self) -> None:
        """Make the timers of the target those of the source, closed ones too."""
        if self._following is not None:
            self._following.close()
            self._following.follow(self._workflows)

    # -- the outbox ----------------------------------------------------------------------------

    def outbox(self) -> None:
        """Make the outbox of the target that of the source."""
        mine, theirs = (
            rows(partial(outbox_page, side.records, self._batch))
            for side in (self._source, self._target)
        )
        both = paired(mine, theirs, _id)
        seen = written = 0
        for batch in batches(both, self._batch):
            gone = [right.id for left, right in batch if left is None and right is not None]
            new = [left for left, right in batch if left is not None and right is None]
            self._target.records.delete_outbox_events(gone)
            self._target.records.add_outbox_events(new)
            seen += len(batch)
            written += len(gone) + len(new)
            self._tell("outbox events", seen, written)

    # -- the end -------------------------------------------------------------------------------

    def compared(self) -> Digest:
        """What both sides hold.

        Raises:
            MoveError: they differ.
        """
        there = self._digest(self._target, "target")
        here = self._digest(self._source, "source")
        if here != there:
            raise _differ(here, there)
        return here

    def _digest(self, side: Stores, name: str) -> Digest:
        return digest_of(
            side,
            shared=self._shared,
            batch=self._batch,
            told=lambda seen: self._tell(f"comparing the {name}", seen, 0, self._total),
        )

    def _tell(self, stage: str, seen: int, written: int, total: int | None = None) -> None:
        self._told(Progress(stage=stage, seen=seen, written=written, total=total))


def _differ(here: Digest, there: Digest) -> MoveError:
    return MoveError(
        f"source and target differ: {_told(here)} against {_told(there)}",
        hint="Somebody still writes to the source, or serves the target: stop all processes of both"
        " and switch again",
    )


def _told(digest: Digest) -> str:
    return (
        f"{digest.runs} runs, {digest.versions} versions, {digest.timers} timers,"
        f" {digest.events} events, checksum {digest.checksum[:16]}"
    )


def _id(event: OutboxEvent) -> str:
    return event.id
