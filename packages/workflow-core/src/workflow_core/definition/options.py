"""The plain settings of workflows, steps and timers: defaults put in, limits held."""

from __future__ import annotations

import unicodedata
from datetime import timedelta
from typing import Any

from workflow_core.definition.retry import Retry
from workflow_core.errors import DefinitionError

__all__ = ["at_least_one", "check_name", "step_options", "timer_options"]

_LONGEST_NAME = 255
_LAG_ALERT = timedelta(minutes=30)
_NOT_IN_NAMES = ("Cc", "Cs", "Zl", "Zp")  # controls, halves of surrogates, line separators


def check_name(name: object, of: str = "workflow", such_as: str = "order processor") -> None:
    """Refuse what could not be a name in every store, topic and log line.

    Raises:
        DefinitionError: empty, too long, reserved or with control characters.
    """
    if not isinstance(name, str) or not name:
        raise DefinitionError(f"a {of} needs a name, such as {such_as!r}")
    if len(name) > _LONGEST_NAME:
        raise DefinitionError(f"a {of}'s name has at most {_LONGEST_NAME} characters: {name!r}")
    if name.startswith("_"):
        raise DefinitionError(f"names that begin with an underscore are reserved: {name!r}")
    if any(unicodedata.category(character) in _NOT_IN_NAMES for character in name):
        raise DefinitionError(f"a {of}'s name cannot hold control characters: {name!r}")


def at_least_one(number: int, what: str) -> int:
    """The number. Raises DefinitionError where it is less than one."""
    if number < 1:
        raise DefinitionError(f"{what} must be 1 or more, not {number}")
    return number


def step_options(
    *,
    retry: Retry,
    concurrency: int,
    lag: timedelta | None,
    lag_alert: timedelta | None,
    at_most: int | None,
    timeout: timedelta | None,
    transaction: bool,
) -> dict[str, Any]:
    """The fields of a `Step` that are settings.

    Raises:
        DefinitionError: one is out of its limits.
    """
    if lag is not None and lag < timedelta(0):
        raise DefinitionError(f"lag cannot be negative: {lag}")
    if lag_alert is not None and lag_alert <= timedelta(0):
        raise DefinitionError(f"lag_alert must be more than zero, not {lag_alert}")
    if timeout is not None and timeout <= timedelta(0):
        raise DefinitionError(f"timeout must be more than zero, not {timeout}")
    return {
        "retry": retry,
        "concurrency": at_least_one(concurrency, "concurrency"),
        "lag": lag or timedelta(0),
        "lag_alert": lag_alert or _LAG_ALERT,
        "at_most": None if at_most is None else at_least_one(at_most, "at_most"),
        "timeout": timeout,
        "transaction": transaction,
    }


def timer_options(
    *, retry: Retry, after: timedelta | None, fires_at: object, name: str | None
) -> dict[str, Any]:
    """The fields of a `TimeoutStep` that are settings; the name only where one is given.

    Raises:
        DefinitionError: one is out of its limits, or not one of ``after`` and ``fires_at`` given.
    """
    if (after is None) == (fires_at is None):
        raise DefinitionError("a timer takes either after= or fires_at=")
    if after is not None and after <= timedelta(0):
        raise DefinitionError(f"after must be more than zero, not {after}")
    options = {"retry": retry, "after": after, "fires_at": fires_at}
    return options if name is None else {**options, "name": name}
