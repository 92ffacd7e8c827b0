"""What a definition is made of: one frozen entry per step, callback and timer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import UnionType
from typing import Annotated, Any, ClassVar, TypeAlias, Union, get_args, get_origin, is_typeddict

import msgspec

from workflow_core.definition.bodies import Body
from workflow_core.definition.retry import Retry
from workflow_core.definition.run import Run
from workflow_core.errors import PayloadError

__all__ = ["CallbackStep", "Consumer", "FiresAt", "Step", "TimeoutStep"]

FiresAt: TypeAlias = Callable[[Run[Any, Any], datetime], datetime | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumer:
    """A function that moves runs on from a status."""

    kind: ClassVar[str]
    """What errors call it."""

    status: int
    name: str
    """The function's; of a timer the one it was given, else the function's."""
    where: str
    """File and line of the function, e.g. ``shop/steps.py:31``; "" where it has none."""
    body: Body
    is_async: bool
    """Calling the body gives an awaitable."""
    targets: frozenset[int]
    """Statuses that it may answer."""
    directives: frozenset[type]
    """Those of Pause, Cancel, Skip and Repeat that it may answer."""
    annotated: bool = True
    """What it may answer was read from its annotation; False: its targets were told to add_…."""

    @property
    def told(self) -> str:
        """Its name and place, as errors tell it."""
        return f"{self.name} ({self.where})" if self.where else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(Consumer):
    """The one function that works on runs as soon as they enter a status."""

    kind: ClassVar[str] = "step"

    retry: Retry
    concurrency: int
    """At most so many of its runs are in hand in one process."""
    lag: timedelta
    """Work on no run before it has been this long in the status."""
    lag_alert: timedelta
    """Runs that wait for longer are worth a warning."""
    at_most: int | None = None
    """At most so many of its bodies run at once over all processes; None: no such limit."""
    timeout: timedelta | None = None
    """A body that runs for longer has failed; None: it may take as long as it likes."""
    transaction: bool = False
    """What the body writes on ``run.connection`` commits with its answer, or not at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutStep(Consumer):
    """A timer of a status, and the function that it fires.

    Its name is stored with every timer that waits: keep it stable over deploys.
    """

    kind: ClassVar[str] = "timer"

    after: timedelta | None
    """Fires so long after the run entered the status; None: ``fires_at`` says."""
    fires_at: FiresAt | None
    """Given the run and when it entered the status: when to fire, or None for no timer."""
    retry: Retry


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackStep(Consumer):
    """A function that moves a run on when the outside world calls."""

    kind: ClassVar[str] = "callback"

    payload_type: Any
    """What the body takes beside the run; None: it takes the run alone."""

    def check_payload(self, payload: object) -> None:
        """Hold a payload against the declared type, before anything is done with it.

        Raises:
            PayloadError: it is of another type; the message tells types, never the payload.
        """
        given = type(payload).__name__
        if self.payload_type is None and payload is not None:
            raise PayloadError(f"{self.name} takes no payload, got {given}")
        if self.payload_type is not None and not _is_of_type(payload, self.payload_type):
            wanted = getattr(self.payload_type, "__name__", str(self.payload_type))
            raise PayloadError(f"{self.name} takes {wanted}, got {given}")


def _is_of_type(value: object, wanted: Any) -> bool:
    origin: Any = get_origin(wanted)
    if wanted is Any:
        return True
    if origin is Annotated:
        return _is_of_type(value, get_args(wanted)[0])
    if origin in (Union, UnionType):
        return any(_is_of_type(value, choice) for choice in get_args(wanted))
    if isinstance(wanted, type) and not is_typeddict(wanted):
        return isinstance(value, (int, float) if wanted is float else wanted)
    if isinstance(origin, type) and not isinstance(value, origin):
        return False
    try:
        msgspec.convert(value, wanted)
    except msgspec.ValidationError:
        return False
    except TypeError:  # nothing that could be looked into any further
        return True
    return True
