"""The reconciler: finds live runs that nothing drives, and files their event again.

An event is only a hint, and hints get lost: retention passed, a server failed over, a backup was
restored, another streamer was chosen, a deploy added a step where runs already wait. Filing the
event of the current version again is harmless where it was not lost.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta

from workflow_core.engine.gate import Gate
from workflow_core.engine.journal import Journal
from workflow_core.engine.lane import Lane
from workflow_core.engine.process import Process
from workflow_core.engine.settings import EngineSettings
from workflow_core.engine.transition import Identity, status_event
from workflow_core.model import UNSTAMPED, EventKind, Record, RecordQuery, RunState
from workflow_core.ports import Clock, EventStreamer, RecordStore

__all__ = ["Reconciler"]

logger = logging.getLogger("workflow_core.engine")

_PAGE = 500


class Reconciler(Process):
    """One per lane; works while its gate is open, a page per poll.

    A round begins as soon as the gate opens, so at each start and after each deploy, and then at
    the interval that the settings tell.

    Args:
        in_hand: whether this process is at work on a run as it is.
    """

    upkeep = True

    def __init__(
        self,
        lane: Lane,
        store: RecordStore,
        streamer: EventStreamer,
        journal: Journal,
        identity: Identity,
        *,
        in_hand: Callable[[Record], bool],
        gate: Gate,
        settings: EngineSettings,
        clock: Clock,
    ) -> None:
        self.name = f"{lane.name} reconciler"
        self._lane = lane
        self._store = store
        self._streamer = streamer
        self._journal = journal
        self._identity = identity
        self._in_hand = in_hand
        self._gate = gate
        self._settings = settings
        self._clock = clock
        self._next_round = clock.monotonic()
        self._query: RecordQuery | None = None
        self._before = UNSTAMPED
        self._filed = 0

    def poll(self, wait: timedelta) -> bool:
        """Look at one page, if a round is due."""
        if not self._gate.is_open:
            self._query = None
            return False
        if self._query is None:
            if self._clock.monotonic() < self._next_round:
                return False
            self._query = self._new_round()
        page = self._store.list_records(self._query)
        self._file_again([record for record in page.items if self._stands_still(record)])
        if page.next is None:
            self._end_round()
        else:
            self._query = self._query.replace(after=page.next)
        return True

    def next_due(self) -> timedelta | None:
        """The next round."""
        if not self._gate.is_open:
            return None
        return timedelta(seconds=max(0.0, self._next_round - self._clock.monotonic()))

    def _new_round(self) -> RecordQuery:
        lag = self._streamer.lag(self._lane.topics, self._lane.name) or timedelta(0)
        # What waits its turn in a long queue is driven: filing it again would only lengthen it.
        self._before = self._store.now() - max(self._settings.reconcile_age, lag * 2)
        return RecordQuery(
            workflow=self._lane.workflow.name,
            statuses=sorted(self._lane.steps),
            states=[RunState.INITIATED, RunState.RUNNING],
            updated_before=self._before,
            drivable=True,
            limit=_PAGE,
        )

    def _stands_still(self, record: Record) -> bool:
        """Whether it should have moved on long ago; what this process has in hand is on its way."""
        due = record.next_try_at
        return (due is None or due < self._before) and not self._in_hand(record)

    def _file_again(self, records: Sequence[Record]) -> None:
        self._journal.file(
            [status_event(record, self._identity, kind=EventKind.NUDGE) for record in records]
        )
        self._filed += len(records)

    def _end_round(self) -> None:
        if self._filed:
            logger.warning(
                "workflow %r: %d runs stood still and were nudged",
                self._lane.workflow.name,
                self._filed,
                extra={"workflow": self._lane.workflow.name, "process_name": self.name},
            )
        self._filed = 0
        self._query = None
        self._next_round = self._clock.monotonic() + self._settings.reconcile_every.total_seconds()
