"""Callbacks: the outside world moves a run on.

The body runs in the caller's process: on the calling thread, or on the calling loop where it is
async and the caller is too. What it raises is the caller's error and changes nothing. So nothing is
counted, nothing is retried behind the caller's back, and the answer of the verb is the whole truth:
it returned, so the run has moved on, durably.

Between the look and the write others may write: a retry of the step of this status, a timer,
another callback. Who loses looks again and decides again, on fresh data, so of two callbacks one
wins and the other is told where the run is now; and a loss against a mere retry is nobody's
business.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from workflow_core.definition import Callback, Run, Skip
from workflow_core.engine.core import Core
from workflow_core.engine.execution import checked_answer, open_run
from workflow_core.engine.ledger import JoinedLedger, Ledger
from workflow_core.engine.observed_bodies import observed
from workflow_core.engine.questions import check_timeout
from workflow_core.engine.searching import searchable
from workflow_core.engine.transition import Transition
from workflow_core.errors import (
    InputError,
    NotAtStatusError,
    PayloadError,
    RunEndedError,
    RunNotFoundError,
    RunPausedError,
    VersionConflictError,
)
from workflow_core.logs import About
from workflow_core.model import Record, RunState
from workflow_core.model.texts import checked_text
from workflow_core.ports import Write

__all__ = ["Call"]

_TRIES = 5
_NOW = timedelta(0)


class Call:
    """One call of a callback on one run: look, let the body answer, commit; again if one lost.

    Args:
        core: the engine's.
        ledger: where it reads and writes.
        callback: what is called.
        run_id: on which run.
        payload: what it is given.
        wait: how long the run may take to come to the callback's status.
        connection: the caller's, whose transaction the ledger has joined; None: it has not.

    Raises:
        InputError: no callback, or a payload of another type (`PayloadError`).
        DefinitionError: the workflow is declared wrongly.
    """

    def __init__(
        self,
        core: Core,
        ledger: Ledger,
        callback: Callback[Any, Any, Any],
        run_id: str,
        payload: object,
        wait: timedelta,
        connection: object | None = None,
    ) -> None:
        check_timeout(wait)
        if wait > _NOW and isinstance(ledger, JoinedLedger):
            raise InputError(
                "a callback in an open transaction cannot wait for its run",
                hint="What is locked there may be what the run waits for: wait before it begins",
            )
        _check(callback, run_id, payload)
        core.timers.learn(callback.workflow)
        self.workflow = callback.workflow
        self.step = (
            callback.step
            if core.observers is None
            else observed(core.observers, callback.workflow, callback.step)
        )
        self.run_id = run_id
        self._core = core
        self._payload = payload
        self._end = core.clock.monotonic() + wait.total_seconds()
        self._ledger = ledger
        self._ties: dict[str, Any] = {} if connection is None else {"connect": lambda: connection}
        self._transition = Transition(self.workflow, "", core.identity)
        self._before: Record | None = None
        self._unsure: Write | None = None
        self._tries = 0
        self._is_over = False  # the run has ended: it comes nowhere any more
        self.is_done = False
        """Whether an earlier write of this call has taken effect, though its answer was lost."""

    def look(self) -> Run[Any, Any] | None:
        """The run as the body is to see it; None: it `is_done`.

        Raises:
            RunNotFoundError: no such run of this workflow.
            NotAtStatusError: it is elsewhere.
            RunPausedError, RunEndedError: it is there, and paused or cancelled.
            DecodeError: its data is not of the workflow's type.
        """
        record = self._read()
        if self._unsure is not None and _has_taken_effect(self._unsure.record, record):
            self.is_done = True
            return None
        self._check_standing(record)
        self._before = record
        return open_run(self.workflow, record, attempt=1, callback=self.step.name, **self._ties)

    @property
    def rest(self) -> timedelta:
        """For how much longer the run may be waited for; zero or less: no longer."""
        if self._is_over:
            return _NOW
        return timedelta(seconds=self._end - self._core.clock.monotonic())

    def arrived(self, record: Record | None) -> bool | None:
        """For the waiter: whether looking again is of any use."""
        if record is None or record.status == self.step.status or record.state.is_finished:
            return True
        return None

    def answer(self, run: Run[Any, Any]) -> object:
        """What the body answers: an answer, or where it is async an awaitable of one."""
        with self._ledger.lent(), About(run):
            if self.step.payload_type is None:
                return self.step.body(run)
            return self.step.body(run, self._payload)

    def commit(self, run: Run[Any, Any], answer: object) -> bool:
        """Write what the body answered; False: somebody else wrote first, look again.

        Raises:
            DefinitionError: the body answered what it does not declare.
            PayloadError: the data that the body left cannot be kept.
            VersionConflictError: lost time after time.
            AdapterUnavailableError: nobody knows whether it took effect: call again.
            AdapterError: the store refuses it for good.
        """
        before = self._before
        assert before is not None
        decision = checked_answer(self.workflow, self.step, answer)
        if isinstance(decision, Skip):
            return True

        def encode() -> bytes:
            return self.workflow.encode(run.data, before.data, run_id=self.run_id)

        write = self._transition.called_back(before, decision, encode, self._ledger.now)
        write = searchable(write, self.workflow, run.data, before)
        outcome = self._ledger.commit([write])[0]
        if outcome is None:
            return True
        self._tries += 1
        if not isinstance(outcome, VersionConflictError) or self._tries == _TRIES:
            raise outcome
        if self._ledger.is_unsure:
            self._unsure = write
        return False

    def _read(self) -> Record:
        record = self._ledger.lock([self.run_id]).get(self.run_id)
        if record is None or record.workflow != self.workflow.name:
            raise RunNotFoundError(
                f"workflow {self.workflow.name!r} has no run {self.run_id}",
                workflow=self.workflow.name,
                run_id=self.run_id,
                hint="" if record is None else f"It is a run of {record.workflow!r}",
            )
        return record

    def _check_standing(self, record: Record) -> None:
        self._is_over = record.state.is_finished
        about = {"workflow": self.workflow.name, "run_id": self.run_id}
        if record.status != self.step.status:
            stands = self.workflow.status(record.status).name
            wanted = self.workflow.status(self.step.status).name
            raise NotAtStatusError(
                f"run {self.run_id} is not at {wanted}, it is at {stands},"
                f" {record.state.name.lower()}",
                status=record.status,
                **about,
            )
        if record.state is RunState.PAUSED:
            raise RunPausedError(
                f"run {self.run_id} is paused", hint="Resume it, then call back again", **about
            )
        if record.state.is_finished:
            raise RunEndedError(
                f"run {self.run_id} has ended: {record.state.name.lower()}", **about
            )


def _has_taken_effect(written: Record, now: Record) -> bool:
    """Whether a write whose answer was lost is what moved the run on, before others did.

    Nobody but us entered that status at that version, unless a rival did the very same.
    """
    if written.entered_version != written.version or now.version == written.version:
        return False
    if now.status == written.status and now.entered_version == written.version:
        return True
    return now.passed.get(written.status) == written.version


def _check(callback: object, run_id: object, payload: object) -> None:
    if not isinstance(callback, Callback):
        raise InputError(
            f"a callback is wanted here, not a value of type {type(callback).__name__}",
            hint="Give what @workflow.callback(…) left under the function's name",
        )
    told = checked_text(run_id, "a run id")
    callback.workflow.check()
    try:
        callback.step.check_payload(payload)
    except PayloadError as error:
        error.workflow, error.run_id = callback.workflow.name, told
        raise
