"""Errors and headers in letters about runs whose data is deleted.

What else a letter of a run carries is its ids. Who deletes the data blanks the letters of all
workflows that it knows to follow the run's. A follower that is declared in other processes alone is
known to those: so whoever keeps letters looks, round by round, for such as are about runs whose
data is deleted. That finds what failed during the deletion too.
"""

from __future__ import annotations

from collections.abc import Sequence

from workflow_core.engine.core import Core
from workflow_core.engine.dead_letters import OPEN
from workflow_core.engine.gate import Gate
from workflow_core.engine.letters import ERASED, Letters, cause_of, origin_of, statuses
from workflow_core.engine.rounds import RecordRounds
from workflow_core.errors import VersionConflictError
from workflow_core.model import (
    Event,
    LetterKind,
    LetterState,
    Record,
    RecordQuery,
    RunState,
    names,
)
from workflow_core.ports import Capability

__all__ = ["LetterErasing", "forget_errors"]

_PAGE = 500
_DELETED = (RunState.REQUESTED_DATA_DELETED, RunState.DATA_DELETED)
_OF_RUNS = (LetterKind.HOOK, LetterKind.CONNECTOR)


class LetterErasing(RecordRounds):
    """One per workflow with letters, as seldom as the reconciler; goes by the letters there are."""

    def __init__(self, workflow: str, core: Core, gate: Gate) -> None:
        every = core.settings.reconcile_every
        name = f"{workflow} dead letters of deleted runs"
        super().__init__(name, core.store, gate, every=every, clock=core.clock)
        self._workflow = workflow
        self._core = core
        # those that are over hold no error any more, but for their history
        has_history = Capability.HISTORY in core.store.capabilities
        self._statuses = statuses(_OF_RUNS, tuple(LetterState) if has_history else OPEN)

    def _new_round(self) -> RecordQuery:
        return RecordQuery(
            workflow=names.dead_letters(self._workflow), statuses=self._statuses, limit=_PAGE
        )

    def _see_to(self, records: Sequence[Record]) -> None:
        about = {
            letter.run_id: cause.run_id
            for letter in records
            if letter.reason != ERASED and isinstance(cause := cause_of(letter), Event)
        }
        if not about:
            return
        runs = self._store.lookup_many(list(dict.fromkeys(about.values())))
        for letter in records:
            run = runs.get(about.get(letter.run_id, ""))
            if run is not None and run.state in _DELETED:
                _forget_error(self._core, self._workflow, letter)


def forget_errors(core: Core, workflow: str, run_id: str) -> None:
    """Blank the errors of all letters about a run whose data is deleted. Twice is harmless.

    Raises:
        AdapterUnavailableError: some may be left: ask again.
    """
    query = RecordQuery(workflow=names.dead_letters(workflow), foreign_id=run_id, limit=_PAGE)
    while True:
        page = core.store.list_records(query)
        for letter in page.items:
            _forget_error(core, workflow, letter)
        if page.next is None:
            return
        query = query.replace(after=page.next)


def _forget_error(core: Core, workflow: str, letter: Record) -> None:
    """In the letter, in its copies, and only then it says so itself, to be looked at no more."""
    letters = Letters(core.identity)
    while letter.reason != ERASED or letter.last_error:
        if not letter.last_error:
            core.store.erase_copies(letter.run_id)
        write = letters.blanked(letter, origin_of(letter, workflow))
        outcome = core.journal.commit([write])[0]
        if outcome is None:
            letter = write.record
        elif isinstance(outcome, VersionConflictError):
            letter = core.store.lookup(letter.run_id)
        else:
            raise outcome
