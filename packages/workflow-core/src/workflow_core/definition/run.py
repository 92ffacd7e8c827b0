"""A run as its bodies see it, and as those see it who wait for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any, Generic, TypeVar

from workflow_core.errors import DefinitionError
from workflow_core.model import UNSTAMPED, Resumed, RunState

__all__ = ["CancelReason", "Run", "RunView"]

DataT = TypeVar("DataT")
StatusT = TypeVar("StatusT", bound=IntEnum)

_NO_HEADERS: Mapping[str, str] = {}


class CancelReason(StrEnum):
    """Why the answer of an attempt is no longer wanted."""

    MOVED_ON = "moved on"
    """Somebody paused, cancelled or moved the run, or another process works on it."""
    TIMED_OUT = "timed out"
    """The body has exceeded its step's timeout; the attempt has failed."""


def _not_cancelled() -> CancelReason | None:
    return None


def _not_stopping() -> bool:
    return False


def _no_connection() -> Any:
    raise DefinitionError(
        "run.connection is there for steps that declare it",
        hint="Declare the step with transaction=True",
    )


class Run(Generic[DataT, StatusT]):
    """One attempt at one run, as handed to a step, callback or timer. One thread or task at a time.

    A unit test makes one by itself: ``Run(data=Order(total=1), status=Status.CREATED)``.

    Attributes:
        data: the user's data; change it in place or put another value there.
        status: where the run stands.
        run_id: the run's id.
        foreign_id: the business key.
        workflow: the workflow's name.
        version: the record's version that this attempt works on.
        entered_version: the version at which the run entered its present status.
        repeat: how often this stay's step has answered Repeat; in a timer, how often the timer has.
        attempt: 1 for the first try of this stay, one more after each failure.
        resumed: who resumed the run last, why and when; None if nobody did.
        headers: what came with the trigger.
        created_at: when the run was triggered, by the store's clock.
        entered_at: when it entered its present status, by the store's clock.
        timer: the name of the timer that fires; "" in steps and callbacks.
        callback: the name of the callback that is called; "" in steps and timers.
    """

    __slots__ = (
        "_cancelled",
        "_connect",
        "_stopping",
        "attempt",
        "callback",
        "created_at",
        "data",
        "entered_at",
        "entered_version",
        "foreign_id",
        "headers",
        "repeat",
        "resumed",
        "run_id",
        "status",
        "timer",
        "version",
        "workflow",
    )

    def __init__(
        self,
        *,
        data: DataT,
        status: StatusT,
        run_id: str = "run",
        foreign_id: str = "",
        workflow: str = "",
        version: int = 1,
        entered_version: int = 1,
        repeat: int = 0,
        attempt: int = 1,
        resumed: Resumed | None = None,
        headers: Mapping[str, str] = _NO_HEADERS,
        created_at: datetime = UNSTAMPED,
        entered_at: datetime = UNSTAMPED,
        timer: str = "",
        callback: str = "",
        cancelled: Callable[[], CancelReason | None] = _not_cancelled,
        stopping: Callable[[], bool] = _not_stopping,
        connect: Callable[[], Any] = _no_connection,
    ) -> None:
        self.data = data
        self.status = status
        self.run_id = run_id
        self.foreign_id = foreign_id
        self.workflow = workflow
        self.version = version
        self.entered_version = entered_version
        self.repeat = repeat
        self.attempt = attempt
        self.resumed = resumed
        self.headers = headers
        self.created_at = created_at
        self.entered_at = entered_at
        self.timer = timer
        self.callback = callback
        self._cancelled = cancelled
        self._stopping = stopping
        self._connect = connect

    @property
    def idempotency_key(self) -> str:
        """What to give a payment API: the same over retries, redelivery, pause and resume.

        New only on a new stay in a status, and after a Repeat. The step, each timer and each
        callback of a stay have keys of their own; step and timers count their repeats apart, and
        all calls of a callback in one stay share its key.
        """
        stay = f"{self.run_id}/{self.entered_version}"
        if self.callback:
            return f"{stay}/{self.callback}()"
        key = f"{stay}/{self.repeat}"
        return f"{key}/{self.timer}" if self.timer else key

    @property
    def cancelled(self) -> bool:
        """Whether this attempt's answer is no longer wanted; a long body looks now and then.

        It had better end then, however it likes: what it answers or raises counts for nothing.
        """
        return self._cancelled() is not None

    @property
    def cancel_reason(self) -> CancelReason | None:
        """Why it is no longer wanted; None: it is."""
        return self._cancelled()

    @property
    def stopping(self) -> bool:
        """Whether this process is being stopped, which waits for the body for its grace time.

        What it answers until then counts; what has not ended then begins again elsewhere, and that
        is no failed attempt. A long body may look, and answer Repeat with what it has come to.
        """
        return self._stopping()

    @property
    def connection(self) -> Any:
        """The connection of a step's own transaction, begun when this is first read.

        What is written on it, and by the engine's verbs in this body from then on, commits with the
        body's answer or not at all: exactly once, however often the body is executed. Never commit
        or roll back on it. With the record store sql it is SQLAlchemy's Connection, and
        ``Session(run.connection)`` is a session on it.

        Raises:
            DefinitionError: the step was not declared with ``transaction=True``.
            AdapterUnavailableError: the database does not answer.
        """
        return self._connect()

    def __repr__(self) -> str:
        # never the data: a run ends up in logs and in tracebacks
        at = f"{self.status.name}, version {self.version}"
        return f"<Run {self.run_id} of {self.workflow!r} at {at}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView(Generic[DataT, StatusT]):
    """A run as it stood at one version. Changing ``data`` changes nothing but this copy."""

    workflow: str
    run_id: str
    foreign_id: str
    status: StatusT
    state: RunState
    version: int
    data: DataT
    reason: str
    """Why it is paused or cancelled, or ""."""
    last_error: str
    """The last failed attempt's error, or ""."""
    attempts: int
    """Failed attempts of the present stay."""
    created_at: datetime
    updated_at: datetime
    next_try_at: datetime | None
    stale: bool = False
    """For a hook whose run has moved on: the store keeps no data of old versions, so what is not
    told by the event itself is as it is now."""
