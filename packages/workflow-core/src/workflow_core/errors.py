"""Every error of the project, one tree. The driver's own error is always the ``__cause__``.

::

    WorkflowError
    ├── DefinitionError            a workflow is declared wrongly; raised while it is declared
    ├── ConfigurationError         the configuration is wrong; lists all problems at once
    ├── InputError                 a call was given something it cannot take (also a ValueError)
    │   ├── UnknownStatusError     the status is not one of the workflow's
    │   ├── PayloadError           data or payload of the wrong type
    │   └── PayloadTooLargeError   data over the workflow's limit
    ├── DecodeError                stored data is not what the data type says
    ├── RunError                   about one run
    │   ├── RunNotFoundError
    │   ├── RunInProgressError     the foreign id has a live run already: ``live_run_id``
    │   ├── RunStateError          the verb does not fit the run's state
    │   │   ├── RunPausedError
    │   │   └── RunEndedError
    │   ├── AttemptError           an attempt that its body did not end itself; kept with the run
    │   │   ├── ProcessDiedError   its process died: it is counted ahead and runs alone
    │   │   └── StepTimeoutError   it exceeded the step's timeout (also a TimeoutError)
    │   ├── NotAtStatusError       the run is at another status: ``status``
    │   ├── NotReachedError        the wait is over (also a TimeoutError)
    │   └── VersionConflictError   somebody else wrote first
    ├── MoveError                  a move between stores is refused, or its two sides differ
    ├── ServingError               the engine cannot serve, or is asked in the wrong state
    │   ├── StoppedError           the engine or the process is closed or stopping
    │   └── WouldWaitForeverError  a test waits for what can never happen
    └── AdapterError               an adapter said no; alone: refused for good
        ├── AdapterUnavailableError  nobody knows what happened: ask again
        │   └── StoreBusyError     the caller's own transaction must be retried
        ├── ClosedError            the adapter was closed
        └── NotSupportedError      a capability that this adapter does not declare

Errors can be pickled, and carry what they are about as attributes: ``workflow``, ``run_id``,
``role``, ``adapter`` and ``hint`` (what to do). None of them ever holds a run's data.
"""

from __future__ import annotations

from typing import Any, Self

__all__ = [
    "AdapterError",
    "AdapterUnavailableError",
    "AttemptError",
    "ClosedError",
    "ConfigurationError",
    "DecodeError",
    "DefinitionError",
    "InputError",
    "MoveError",
    "NotAtStatusError",
    "NotReachedError",
    "NotSupportedError",
    "PayloadError",
    "PayloadTooLargeError",
    "ProcessDiedError",
    "RunEndedError",
    "RunError",
    "RunInProgressError",
    "RunNotFoundError",
    "RunPausedError",
    "RunStateError",
    "ServingError",
    "StepTimeoutError",
    "StoppedError",
    "StoreBusyError",
    "UnknownStatusError",
    "VersionConflictError",
    "WorkflowError",
    "WouldWaitForeverError",
]


class WorkflowError(Exception):
    """The root of every error raised by the project.

    Args:
        message: what happened, one sentence without a full stop.
        workflow: the workflow's name, or "".
        run_id: the run it is about, or "".
        role: the role that was being played, or "".
        adapter: the adapter's name, or "".
        hint: what to do about it, or "".
    """

    def __init__(
        self,
        message: str,
        *,
        workflow: str = "",
        run_id: str = "",
        role: str = "",
        adapter: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.workflow = workflow
        self.run_id = run_id
        self.role = role
        self.adapter = adapter
        self.hint = hint

    def __str__(self) -> str:
        about = ", ".join(
            f"{label} {value}"
            for label, value in (
                ("workflow", repr(self.workflow) if self.workflow else ""),
                ("run", self.run_id),
                ("role", self.role),
                ("adapter", self.adapter),
            )
            if value and value.strip("'") not in self.message
        )
        text = f"{self.message} ({about})" if about else self.message
        return f"{text}. {self.hint}" if self.hint else text

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions with keyword-only arguments do not survive pickle's default protocol.
        return (_rebuild, (type(self), self.args, self.__dict__))


def _rebuild(cls: type[WorkflowError], args: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(attributes)
    return error


class DefinitionError(WorkflowError):
    """A workflow is declared wrongly. Raised where the mistake stands, or by ``check()``."""


class ConfigurationError(WorkflowError):
    """The configuration cannot be used. ``problems`` lists every problem found, each a sentence."""

    def __init__(self, message: str, *, problems: tuple[str, ...] = (), **about: str) -> None:
        super().__init__(message, **about)
        self.problems = problems

    def __str__(self) -> str:
        return "\n  ".join([super().__str__(), *self.problems])


class InputError(WorkflowError, ValueError):
    """A call was given something it cannot take; nothing was written."""


class UnknownStatusError(InputError):
    """The status is not one of this workflow's, or not one where this can be done."""


class PayloadError(InputError):
    """The data or payload is not of the declared type, or cannot be encoded."""


class PayloadTooLargeError(InputError):
    """The encoded data is over the workflow's limit: ``size`` and ``limit`` in bytes."""

    def __init__(self, message: str, *, size: int, limit: int, **about: str) -> None:
        super().__init__(message, **about)
        self.size = size
        self.limit = limit


class DecodeError(WorkflowError):
    """Stored data cannot be read as the workflow's data type. The stored bytes are left as is."""


class RunError(WorkflowError):
    """About one run, named in ``run_id``."""


class RunNotFoundError(RunError):
    """No such run, or none any more (purged)."""


class RunInProgressError(RunError):
    """The foreign id already has a live run: ``live_run_id``. Nothing was written."""

    def __init__(self, *, workflow: str, foreign_id: str, live_run_id: str) -> None:
        super().__init__(
            f"foreign id {foreign_id!r} already has the live run {live_run_id}",
            workflow=workflow,
            run_id=live_run_id,
            hint="Wait for it to end, or cancel it",
        )
        self.foreign_id = foreign_id
        self.live_run_id = live_run_id


class RunStateError(RunError):
    """The verb does not fit the state that the run is in; nothing was written."""


class RunPausedError(RunStateError):
    """The run is paused; resume it first."""


class RunEndedError(RunStateError):
    """The run has ended: completed, cancelled or its data deleted."""


class AttemptError(RunError):
    """An attempt failed that its body did not end itself."""


class ProcessDiedError(AttemptError):
    """The process of an attempt died, or did not come back."""


class StepTimeoutError(AttemptError, TimeoutError):
    """The body exceeded its step's timeout, or an earlier body of the run has not returned."""


class NotAtStatusError(RunError):
    """The run is at another status than the call needs: ``status`` is the present number."""

    def __init__(self, message: str, *, status: int, **about: str) -> None:
        super().__init__(message, **about)
        self.status = status


class NotReachedError(RunError, TimeoutError):
    """A wait ended before the run reached the status; the run goes on all the same."""


class VersionConflictError(RunError):
    """Somebody else wrote this run first. Nothing of this write was kept.

    ``expected`` is the version that the write wanted to replace, ``found`` the stored one
    (None: no such run).
    """

    def __init__(self, *, run_id: str, expected: int, found: int | None) -> None:
        stands = "no such run exists" if found is None else f"version {found} is stored"
        super().__init__(
            f"run {run_id}: version {expected} was to be replaced, but {stands}", run_id=run_id
        )
        self.expected = expected
        self.found = found


class MoveError(WorkflowError):
    """A move between stores cannot begin or go on, or its two sides differ at its end."""


class ServingError(WorkflowError):
    """The engine cannot do this now: not serving, serving already, or asked wrongly."""


class StoppedError(ServingError):
    """The engine is closed or stopping."""


class WouldWaitForeverError(ServingError):
    """A wait under the test driver can never end: all is quiet and nothing is due."""


class AdapterError(WorkflowError):
    """An adapter refused, for good: the same call would be refused again."""

    @classmethod
    def of(cls, adapter: str, cause: BaseException, *, doing: str) -> Self:
        """The error for a driver's `cause` met while `doing` something; raise it ``from cause``.

        Only the type of the driver's error is told, its text may hold data or passwords.
        """
        return cls(f"{doing} failed with {type(cause).__name__}", adapter=adapter)


class AdapterUnavailableError(AdapterError):
    """The service behind the adapter did not answer, or its answer was lost: ask again."""


class StoreBusyError(AdapterUnavailableError):
    """The caller's own transaction met a lock or a conflict: roll back and retry it."""


class ClosedError(AdapterError):
    """The adapter, sender or receiver was closed, before the call or during it."""


class NotSupportedError(AdapterError):
    """This adapter does not declare the capability that the call needs."""
