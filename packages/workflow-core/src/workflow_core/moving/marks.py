"""Whose runs are these? Records of a reserved workflow on either side tell.

A target that has runs and no mark, the mark of another move, or one whose move was completed is
refused, and so is a target that is the source itself: completed, its runs have gone on, and to copy
the old ones over them would undo that.
"""

from __future__ import annotations

import random
from datetime import timedelta

from workflow_core.errors import MoveError, RunNotFoundError
from workflow_core.model import Record, RecordQuery, RunState, Timeout, names, uuid7
from workflow_core.moving.stores import Stores
from workflow_core.moving.walks import pages
from workflow_core.ports import RecordStore, TimeoutStore, Write

__all__ = ["NOT_MOVED", "Marks", "TimerMarks"]

MARKS = "_move"
NOT_MOVED = frozenset({MARKS, names.WORKERS})
"""The reserved workflows of what belongs to a store: its marks, and who serves over it."""
_CLOCKS_APART = timedelta(minutes=1)
_TO, _FROM = "to", "from"  # their foreign ids: on the source, on the target
_LEFT, _PROBE = "left", "probe"
_NEVER = timedelta(days=3650)


class Marks:
    """Says whether this move may be, and that it was."""

    def __init__(self, source: Stores, target: Stores) -> None:
        self._source = source
        self._target = target
        self._random = random.SystemRandom()

    def check(self, *, only_look: bool = False) -> None:
        """Refuse what is not this move's to write to, before anything is written there.

        Args:
            only_look: write no marks either.

        Raises:
            MoveError: it is refused.
            ConfigurationError: a schema is not current.
            NotSupportedError: an adapter cannot be moved from or to.
        """
        for side in (self._source, self._target):
            side.records.check_health()
            if side.timeouts is not None:
                side.timeouts.check_health()
        if self._source.timeouts is not None:
            _refuse_left(self._source.timeouts)
        self._source.records.list_outbox(limit=1)
        self._target.records.list_outbox(limit=1)
        self._target.records.adopt([])
        apart = abs(self._source.records.now() - self._target.records.now())
        if apart > _CLOCKS_APART:
            raise MoveError(
                f"the clocks of the two stores differ by {apart}",
                hint="Set them right first: what is due would come so much too early or too late",
            )
        if self.are_one(only_look=only_look):
            raise MoveError("source and target are the same store, or one is a copy of the other")
        here = self._found(self._source.records, _TO)
        self._check_target(b"" if here is None else here.run_id.encode(), only_look)
        self._check_timers()

    def are_one(self, *, only_look: bool = False) -> bool:
        """Whether both sides have the same record store; where one only looks, as far as known."""
        here = self._found(self._source.records, _TO)
        if here is None and not only_look:
            here = self._new(self._source.records, _TO, b"")
        there = self._found(self._target.records, _TO)
        return here is not None and there is not None and there.run_id == here.run_id

    def complete(self) -> None:
        """From now on the target is refused as one."""
        mark = self._target.records.latest(MARKS, _FROM)
        completed = mark.replace(
            version=mark.version + 1, write_id=self._id(), state=RunState.COMPLETED
        )
        self._target.records.store(Write(record=completed))
        if self._target.timeouts is not None:
            _drop(self._target.timeouts, _LEFT)

    def _check_timers(self) -> None:
        source = self._source.timeouts
        if source is None or self._target.timeouts is not None:
            return
        for workflow, _, _ in self._source.records.count_records(RecordQuery()):
            if source.list_timeouts(workflow, limit=1).items:
                raise MoveError(
                    f"{workflow!r} has timers, and the target has no timeout store",
                    hint="Choose one in its configuration",
                )

    def _check_target(self, source: bytes, only_look: bool) -> None:
        mark = self._found(self._target.records, _FROM)
        if mark is None:
            if _holds_runs(self._target.records):
                raise MoveError(
                    "the target holds runs that no move has brought there",
                    hint="Move to an empty store: another database, schema or namespace",
                )
            if not only_look:
                self._new(self._target.records, _FROM, source)
        elif mark.data != source:
            raise MoveError("the target holds runs that were moved from another store")
        elif not mark.state.is_live:
            raise MoveError(
                "this move was completed", hint="Serve the new stores, and no longer the old ones"
            )

    def _found(self, store: RecordStore, name: str) -> Record | None:
        try:
            return store.latest(MARKS, name)
        except RunNotFoundError:
            return None

    def _new(self, store: RecordStore, name: str, data: bytes) -> Record:
        record = Record(
            workflow=MARKS,
            foreign_id=name,
            run_id=self._id(),
            status=1,
            state=RunState.RUNNING,
            version=1,
            write_id=self._id(),
            data=data,
        )
        store.store(Write(record=record))
        return record

    def _id(self) -> str:
        return uuid7(self._source.records.now(), self._random)


class TimerMarks:
    """Says which timeout store the timers have left, by a parked timer that none of ours fires.

    To move from that one again would close timers that were armed since in the other.

    Attributes:
        source: the timeout store that is moved from.
        target: the one that is moved to.
    """

    def __init__(self, source: Stores, target: Stores) -> None:
        if source.timeouts is None or target.timeouts is None:
            raise MoveError("one of the two sides has no timeout store")
        self.source = source.timeouts
        self.target = target.timeouts
        self._random = random.SystemRandom()
        self._now = source.records.now

    def check(self) -> None:
        """Refuse a source that timers have left, and a target that is the source.

        Raises:
            MoveError: it is refused.
        """
        self.source.check_health()
        self.target.check_health()
        _refuse_left(self.source)
        probe = self._put(self.source, _PROBE)
        is_one = probe in [timeout.key for timeout in _timers(self.target, _PROBE)]
        _drop(self.source, _PROBE)
        if is_one:
            raise MoveError("source and target are the same timeout store")

    def complete(self) -> None:
        """From now on the source is refused as one, and the target is none that was left."""
        _drop(self.target, _LEFT)
        self._put(self.source, _LEFT)

    def _put(self, store: TimeoutStore, name: str) -> str:
        run_id = uuid7(self._now(), self._random)  # closed keys are remembered: each is new
        mark = Timeout(
            key=names.timer_key(run_id, 1, name),
            workflow=MARKS,
            run_id=run_id,
            status=1,
            entered_version=1,
            name=name,
            delay=_NEVER,
        )
        store.create(mark)
        store.park(mark.key)
        return mark.key


def _refuse_left(store: TimeoutStore) -> None:
    if _timers(store, _LEFT):
        raise MoveError(
            "the timers have left this timeout store already",
            hint="Serve with the one that they were moved to",
        )


def _timers(store: TimeoutStore, name: str) -> list[Timeout]:
    return [timeout for timeout in store.list_timeouts(MARKS).items if timeout.name == name]


def _drop(store: TimeoutStore, name: str) -> None:
    found = _timers(store, name)
    store.cancel_many([timeout.key for timeout in found])
    store.forget([timeout.run_id for timeout in found])


def _holds_runs(store: RecordStore) -> bool:
    found = pages(lambda after: store.list_records(RecordQuery(after=after)))
    return any(record.workflow not in NOT_MOVED for items in found for record in items)
