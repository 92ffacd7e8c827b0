"""The verbs on dead letters: list, retry, discard; and their upkeep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from workflow_core.definition import Workflow
from workflow_core.engine.core import Core
from workflow_core.engine.gate import Gate
from workflow_core.engine.journal import Journal
from workflow_core.engine.letters import (
    Letters,
    Origin,
    letter_of,
    origin_of,
    retry_event,
    state_of,
)
from workflow_core.engine.letters import statuses as statuses_of
from workflow_core.engine.patience import patiently
from workflow_core.engine.process import Process
from workflow_core.engine.settings import EngineSettings
from workflow_core.engine.transition import Identity
from workflow_core.errors import (
    InputError,
    RunNotFoundError,
    RunStateError,
    VersionConflictError,
    WorkflowError,
)
from workflow_core.model import (
    DeadLetter,
    LetterKind,
    LetterState,
    Page,
    Record,
    RecordQuery,
    SortOrder,
    names,
)
from workflow_core.model.texts import checked_text
from workflow_core.ports import Clock, RecordStore, Write

if TYPE_CHECKING:
    from workflow_core.engine.client import Client

__all__ = ["OPEN", "AsyncDeadLetterVerbs", "DeadLetterVerbs", "LetterReconciler"]

T = TypeVar("T")

_TRIES = 5
_PAGE = 500
OPEN = (LetterState.RETRYING, LetterState.SET_ASIDE)
"""The states of letters that somebody is to do something about."""


class DeadLetterVerbs:
    """`Engine.dead_letters`, `retry_dead_letter`, `discard_dead_letter`."""

    _core: Core

    def dead_letters(
        self,
        workflow: Workflow[Any, Any] | str,
        *,
        kinds: Sequence[LetterKind] = tuple(LetterKind),
        states: Sequence[LetterState] = (LetterState.SET_ASIDE,),
        about: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Page[DeadLetter]:
        """One page of what hooks, connectors and deletions could not handle, newest first.

        Args:
            workflow: the definition, or its name.
            kinds: of these alone.
            states: those set aside if left out; `LetterState` has the others.
            about: of this run id, or this key of a connector's events, alone.
            after: ``Page.next`` of the page before.
            limit: at most so many; 1 or more.

        Raises:
            InputError: ``after`` is none of the store's, ``limit`` is less than one, or no letter
                can be about such a text.
            AdapterUnavailableError: no answer.
        """
        self._check_open()
        name = _name_of(workflow)
        if limit < 1:
            raise InputError(f"limit must be 1 or more, not {limit}")
        checked_text(name, "a workflow's name")
        checked_text(about or "", "what a letter is about")
        page = self._core.store.list_records(
            RecordQuery(
                workflow=names.dead_letters(name),
                statuses=statuses_of(kinds, states),
                foreign_id=about,
                order=SortOrder.NEWEST_FIRST,
                after=after,
                limit=limit,
            )
        )
        return Page(items=[letter_of(record, name) for record in page.items], next=page.next)

    def retry_dead_letter(self, letter: DeadLetter) -> None:
        """Let it be tried again at once, and then as often as at first.

        Any engine may ask for it; a process that serves the workflow does it.

        Raises:
            RunNotFoundError: it is gone.
            RunStateError: it has been handled or discarded meanwhile.
            AdapterUnavailableError: nobody knows: ask again.
        """
        self._change_letter(letter, self._letters().asked_again)

    def discard_dead_letter(self, letter: DeadLetter) -> None:
        """Give it up for good: it is not tried again, and its content is forgotten.

        Raises:
            RunNotFoundError: it is gone.
            RunStateError: it has been handled or discarded meanwhile.
            AdapterUnavailableError: nobody knows: ask again.
        """
        self._change_letter(letter, self._letters().discarded)

    def _letters(self) -> Letters:
        return Letters(self._core.identity)

    def _change_letter(self, letter: DeadLetter, change: Callable[[Record, Origin], Write]) -> None:
        self._check_open()
        core, at_once = self._core, self._core.crew.manual
        lost: WorkflowError | None = None
        for _ in range(_TRIES):
            found = patiently(lambda: core.store.lookup_many([letter.id], primary=True), at_once)
            record = found.get(letter.id)
            if record is None or record.workflow != names.dead_letters(letter.workflow):
                raise RunNotFoundError(f"no dead letter {letter.id}", workflow=letter.workflow)
            if state_of(record) not in OPEN:
                raise RunStateError(
                    f"dead letter {letter.id} is {state_of(record)} already",
                    workflow=letter.workflow,
                )
            write = change(record, origin_of(record, letter.workflow))
            outcome = patiently(_committing(core.journal, write), at_once)
            if outcome is None:
                return
            if not isinstance(outcome, VersionConflictError):
                raise outcome
            lost = outcome
        assert lost is not None
        raise lost

    def _check_open(self) -> None:
        raise NotImplementedError  # `Client` has it


class AsyncDeadLetterVerbs:
    """The same for asyncio code."""

    _engine: Client

    async def dead_letters(
        self,
        workflow: Workflow[Any, Any] | str,
        *,
        kinds: Sequence[LetterKind] = tuple(LetterKind),
        states: Sequence[LetterState] = (LetterState.SET_ASIDE,),
        about: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Page[DeadLetter]:
        """As `Engine.dead_letters`."""
        return await self._do(
            lambda: self._engine.dead_letters(
                workflow, kinds=kinds, states=states, about=about, after=after, limit=limit
            )
        )

    async def retry_dead_letter(self, letter: DeadLetter) -> None:
        """As `Engine.retry_dead_letter`."""
        await self._do(lambda: self._engine.retry_dead_letter(letter))

    async def discard_dead_letter(self, letter: DeadLetter) -> None:
        """As `Engine.discard_dead_letter`."""
        await self._do(lambda: self._engine.discard_dead_letter(letter))

    async def _do(self, verb: Callable[[], T]) -> T:
        raise NotImplementedError  # `AsyncEngine` has it


class LetterReconciler(Process):
    """Files the events of letters again whose event was lost; works while its gate is open.

    One per workflow with hooks or connectors, a page per poll, as seldom as the reconciler of runs.
    """

    upkeep = True

    def __init__(
        self,
        workflow: str,
        store: RecordStore,
        journal: Journal,
        identity: Identity,
        *,
        gate: Gate,
        settings: EngineSettings,
        clock: Clock,
    ) -> None:
        self.name = f"{workflow} dead letters"
        self._workflow = workflow
        self._store = store
        self._journal = journal
        self._identity = identity
        self._gate = gate
        self._settings = settings
        self._clock = clock
        self._next_round = clock.monotonic()
        self._query: RecordQuery | None = None

    def poll(self, wait: timedelta) -> bool:
        """Look at one page, if a round is due."""
        if not self._gate.is_open:
            self._query = None
            return False
        if self._query is None:
            if self._clock.monotonic() < self._next_round:
                return False
            self._query = self._new_round()
        before = self._query.updated_before
        assert before is not None
        page = self._store.list_records(self._query)
        late = [r for r in page.items if r.next_try_at is None or r.next_try_at < before]
        self._journal.file(
            [
                retry_event(r, origin_of(r, self._workflow), self._identity, timedelta(0))
                for r in late
            ]
        )
        if page.next is None:
            self._query = None
            every = self._settings.reconcile_every.total_seconds()
            self._next_round = self._clock.monotonic() + every
        else:
            self._query = self._query.replace(after=page.next)
        return True

    def next_due(self) -> timedelta | None:
        """The next round."""
        if not self._gate.is_open:
            return None
        return timedelta(seconds=max(0.0, self._next_round - self._clock.monotonic()))

    def _new_round(self) -> RecordQuery:
        return RecordQuery(
            workflow=names.dead_letters(self._workflow),
            statuses=statuses_of(tuple(LetterKind), (LetterState.RETRYING,)),
            updated_before=self._store.now() - self._settings.reconcile_age,
            limit=_PAGE,
        )


def _committing(journal: Journal, write: Write) -> Callable[[], WorkflowError | None]:
    return lambda: journal.commit([write])[0]


def _name_of(workflow: object) -> str:
    if isinstance(workflow, Workflow):
        return workflow.name
    if isinstance(workflow, str):
        return workflow
    raise InputError(
        f"a workflow or its name is wanted here, not a value of type {type(workflow).__name__}"
    )
