"""What a request may run into, and the HTTP status that says so."""

from __future__ import annotations

from workflow_core.errors import (
    AdapterUnavailableError,
    ClosedError,
    ConfigurationError,
    DecodeError,
    InputError,
    NotAtStatusError,
    NotReachedError,
    NotSupportedError,
    PayloadTooLargeError,
    RunInProgressError,
    RunNotFoundError,
    RunStateError,
    StoppedError,
    VersionConflictError,
    WorkflowError,
)

__all__ = [
    "BodyTooLargeError",
    "CallbackFailedError",
    "ForbiddenError",
    "MediaTypeError",
    "NotThereError",
    "UiError",
    "status_of",
]


class UiError(WorkflowError):
    """A request cannot be answered: ``status`` is the HTTP status."""

    status = 400


class ForbiddenError(UiError):
    """The user may not, or the request came from another site."""

    status = 403


class NotThereError(UiError):
    """There is no such page, workflow or job."""

    status = 404


class BodyTooLargeError(UiError):
    """The request brings more bytes than are taken."""

    status = 413

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} bytes are not taken")


class CallbackFailedError(UiError):
    """The workflow's own callback raised; the run stays as it is."""

    status = 422


class MediaTypeError(UiError):
    """The body is of a type that is not taken here."""

    status = 415


# the first that fits
_STATUSES: tuple[tuple[type[WorkflowError], int], ...] = (
    (PayloadTooLargeError, 413),
    (InputError, 400),
    (RunNotFoundError, 404),
    (RunInProgressError, 409),
    (RunStateError, 409),
    (NotAtStatusError, 409),
    (VersionConflictError, 409),
    (NotReachedError, 409),
    (DecodeError, 409),
    (NotSupportedError, 501),
    (AdapterUnavailableError, 503),
    (ClosedError, 503),
    (StoppedError, 503),
    (ConfigurationError, 500),
)


def status_of(error: WorkflowError) -> int:
    """The HTTP status that tells of it."""
    if isinstance(error, UiError):
        return error.status
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
