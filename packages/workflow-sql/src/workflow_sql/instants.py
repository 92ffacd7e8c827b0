"""Instants as whole microseconds since 1970, UTC: what is stored, compared and added up here.

Integers because a transition stamps and reads several times: adding and comparing them costs a
tenth of what aware datetimes do, and no rounding can creep in.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

__all__ = ["from_microseconds", "later", "microseconds", "span"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = 253_402_300_799_999_999  # the end of the year 9999, beyond which no datetime goes


def microseconds(instant: datetime) -> int:
    """The aware `instant` as microseconds."""
    return span(instant - _EPOCH)


@lru_cache(maxsize=1024)  # what is written in one transaction bears one instant
def from_microseconds(instant: int) -> datetime:
    """The aware datetime of what `microseconds` answered."""
    return _EPOCH + timedelta(0, 0, instant)


def span(duration: timedelta) -> int:
    """A duration as microseconds."""
    return (duration.days * 86_400 + duration.seconds) * 1_000_000 + duration.microseconds


def later(now: int, delay: timedelta) -> int:
    """`delay` after `now`, at most the end of the calendar: "never" is a long delay too."""
    return min(now + span(delay), _LAST)
