"""A run as its bodies see it, and as those see it who wait for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Generic, TypeVar

from workflow_core.model import UNSTAMPED, Resumed, RunState

__all__ = ["Run", "RunView"]

DataT = TypeVar("DataT")
StatusT = TypeVar("StatusT", bound=IntEnum)

_NO_HEADERS: Mapping[str, str] = {}


def _never() -> bool:
    return False


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
        repeat: how often this stay has answered Repeat.
        attempt: 1 for the first try of this stay, one more after each failure.
        resumed: who resumed the run last, why and when; None if nobody did.
        headers: what came with the trigger.
        created_at: when the run was triggered, by the store's clock.
        entered_at: when it entered its present status, by the store's clock.
    """

    __slots__ = (
        "_cancelled",
        "attempt",
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
        cancelled: Callable[[], bool] = _never,
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
        self._cancelled = cancelled

    @property
    def idempotency_key(self) -> str:
        """What to give a payment API: the same over retries, redelivery, pause and resume.

        New only on a new stay in a status, and after a Repeat.
        """
        return f"{self.run_id}/{self.entered_version}/{self.repeat}"

    @property
    def cancelled(self) -> bool:
        """Whether this attempt's result is no longer wanted; a long body looks now and then."""
        return self._cancelled()

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
