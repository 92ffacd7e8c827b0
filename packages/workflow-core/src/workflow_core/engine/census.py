"""Counts, for observers, what there is of a workflow: live runs, letters, events, workers.

One process does it for all: it holds a role. It counts page by page, each of a bounded number of
rows, and rests after each for many times as long as that took, so that a store with a million live
runs is no slower for it; the count is complete when it comes to the end, and is told then. So what
is told is of no single instant, and the more there is the seldomer it is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta

from workflow_core.engine.core import Core
from workflow_core.engine.gate import Gate
from workflow_core.engine.lane import Lane
from workflow_core.engine.letters import kind_and_state
from workflow_core.engine.observers import Observers
from workflow_core.engine.process import Process
from workflow_core.engine.worker_verbs import count_workers
from workflow_core.errors import UnknownStatusError
from workflow_core.model import (
    LetterKind,
    LetterState,
    RecordQuery,
    RunState,
    StockGone,
    StockTaken,
    names,
)

__all__ = ["Census"]

_EACH = 30.0  # seconds from the end of a count to the next one
_REST = 20.0  # after a page, as a multiple of the time that it took
_PAGE = 5000  # runs looked at at once
_MOST = 10_000  # events of the outbox counted of either sort: more is as bad
_LIVE = tuple(state for state in RunState if state.is_live)
_TOLD = (LetterState.RETRYING, LetterState.SET_ASIDE)


class Census(Process):
    """One per workflow, and only where somebody observes; works while its gate is open."""

    upkeep = True

    def __init__(self, lane: Lane, core: Core, observers: Observers, gate: Gate) -> None:
        self.name = f"{lane.workflow.name} census"
        self._workflow = lane.workflow
        self._core = core
        self._observers = observers
        self._gate = gate
        self._look_at = core.clock.monotonic()
        self._has_told = False
        self._begin()

    def _begin(self) -> None:
        self._runs: Counter[tuple[int, RunState]] = Counter()
        self._letters: Counter[tuple[int, RunState]] = Counter()
        workflow = self._workflow.name
        letters = names.dead_letters(workflow)
        self._left = [
            (self._runs, RecordQuery(workflow=workflow, states=_LIVE, limit=_PAGE)),
            (self._letters, RecordQuery(workflow=letters, limit=_PAGE)),
        ]

    def poll(self, wait: timedelta) -> bool:
        """Count one page, if it is time."""
        if not self._gate.is_open:
            self._give_up()
            return False
        began = self._core.clock.monotonic()
        if began < self._look_at:
            return False
        is_over = self._count_page()
        now = self._core.clock.monotonic()
        self._look_at = now + (_EACH if is_over else _REST * (now - began))
        return True

    def next_due(self) -> timedelta | None:
        """The next page."""
        if not self._gate.is_open:
            return None
        return timedelta(seconds=max(0.0, self._look_at - self._core.clock.monotonic()))

    def _count_page(self) -> bool:
        """Whether it was the last one, so that the count is told."""
        if self._left:  # else it could not be told the last time
            counts, query = self._left[0]
            tally = self._core.store.tally_records(query)
            counts.update(tally.counts)
            rest = [] if tally.next is None else [(counts, query.replace(after=tally.next))]
            self._left[:1] = rest
        if self._left:
            return False
        self._tell()
        self._begin()
        return True

    def _tell(self) -> None:
        name = self._workflow.name
        backlog = self._core.store.outbox_backlog(name, most=_MOST)
        workers = count_workers(self._core, name)
        self._has_told = True
        self._observers.tell(
            StockTaken(
                workflow=name,
                runs={(self._told(s), state): n for (s, state), n in self._runs.items()},
                letters=_by_kind(self._letters),
                outbox_due=None if backlog is None else backlog.due,
                outbox_scheduled=None if backlog is None else backlog.scheduled,
                outbox_age=None if backlog is None else backlog.oldest.total_seconds(),
                workers=workers,
            )
        )

    def _told(self, status: int) -> str:
        try:
            known: str = self._workflow.status(status).name
            return known
        except UnknownStatusError:  # of another version of the code
            return str(status)

    def _give_up(self) -> None:
        """Another process may be counting: what was told here would be counted twice."""
        if self._has_told:
            self._has_told = False
            self._observers.tell(StockGone(workflow=self._workflow.name))
            self._begin()


def _by_kind(
    counts: Mapping[tuple[int, RunState], int],
) -> Mapping[tuple[LetterKind, LetterState], int]:
    found: Counter[tuple[LetterKind, LetterState]] = Counter()
    for (status, _), count in counts.items():
        kind, state = kind_and_state(status)
        if state in _TOLD:
            found[kind, state] += count
    return found
