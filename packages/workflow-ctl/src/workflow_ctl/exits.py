"""What the exit codes mean. They are for scripts and probes, and do not change."""

from __future__ import annotations

from enum import IntEnum

from workflow_core.errors import (
    AdapterUnavailableError,
    ConfigurationError,
    DefinitionError,
    InputError,
    MoveError,
    NotReachedError,
    NotSupportedError,
    RunError,
    RunNotFoundError,
    WorkflowError,
)

__all__ = ["Exit", "exit_of"]


class Exit(IntEnum):
    """The code with which a command ends."""

    OK = 0
    NO = 1
    """The answer is no: not healthy, not safe to deploy, a schema to be upgraded."""
    USAGE = 2
    """The command, its input, the configuration or a definition is wrong; nothing was done."""
    NOT_FOUND = 3
    REFUSED = 4
    """It does not fit the state of the run, or of the stores of a move; nothing was changed."""
    UNAVAILABLE = 5
    """A server does not answer; nobody knows what was done: ask again."""
    PARTLY = 6
    """Some of many were refused, or work was abandoned at a stop; the output says which."""
    FAILED = 70
    """A mistake of ours, or of an adapter's."""
    UNWRITTEN = 74
    """Its output could not be written, as on a full disk; what the command did is done."""
    INTERRUPTED = 130


_CODES: tuple[tuple[type[WorkflowError], Exit], ...] = (
    # the first that fits
    (RunNotFoundError, Exit.NOT_FOUND),
    (NotReachedError, Exit.NO),
    (RunError, Exit.REFUSED),
    (MoveError, Exit.REFUSED),
    (AdapterUnavailableError, Exit.UNAVAILABLE),
    (NotSupportedError, Exit.USAGE),
    (InputError, Exit.USAGE),
    (ConfigurationError, Exit.USAGE),
    (DefinitionError, Exit.USAGE),
)


def exit_of(error: WorkflowError) -> Exit:
    """The code for an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), Exit.FAILED)
