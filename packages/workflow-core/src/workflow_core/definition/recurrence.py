"""When something recurs: by a cron expression in a time zone, or in fixed intervals.

Ticks are instants (UTC), and pure functions of the expression: no state, so every process comes to
the same ones, and nothing drifts.
"""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import takewhile
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError

from workflow_core.errors import DefinitionError

__all__ = ["Cron", "Interval", "Recurrence"]

_SECOND = timedelta(seconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE = timedelta(minutes=1)
_LONGEST_FOLD = timedelta(hours=3)  # no clock is put back by more
_FIRST_WINDOW = timedelta(minutes=1)
_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FIELDS = {
    "minute": "0 to 59",
    "hour": "0 to 23",
    "day-of-month": "1 to 31, where one of the months has it",
    "month": "1 to 12 or JAN to DEC",
    "day-of-week": "0 to 7 or SUN to SAT, 0 and 7 both Sunday",
}


class Recurrence(ABC):
    """Says at which instants something is due. Any thread."""

    zone: tzinfo
    """In which ticks are shown to people and functions."""

    @property
    @abstractmethod
    def told(self) -> str:
        """The whole of it in words; equal if and only if the ticks are the same ones."""

    @abstractmethod
    def after(self, instant: datetime) -> Iterator[datetime]:
        """The ticks strictly after this instant, in order, in UTC."""

    def next(self, instant: datetime) -> datetime | None:
        """The first tick strictly after this instant; None where there will be none."""
        return next(self.after(instant), None)

    def latest(self, after: datetime, until: datetime, *, most: int) -> list[datetime]:
        """Of the ticks after the one instant and not after the other, the last `most`, in order.

        Costs as much for a gap of years as for one of minutes.
        """
        window = _FIRST_WINDOW
        while True:
            begin = max(after, until - window)
            ticks = takewhile(lambda tick: tick <= until, self.after(begin))
            found = deque(ticks, maxlen=most)
            if len(found) == most or begin == after:
                return list(found)
            window *= 4


@dataclass(frozen=True)
class Interval(Recurrence):
    """Each so long, counted from an anchor and not from when the last one was run.

    Raises:
        DefinitionError: less than a second, or an anchor without a time zone.
    """

    every: timedelta
    anchor: datetime = _EPOCH
    zone: tzinfo = UTC

    def __post_init__(self) -> None:
        every: object = self.every
        anchor: object = self.anchor
        if not isinstance(every, timedelta) or every < _SECOND:
            raise DefinitionError(f"every must be a timedelta of a second or more, not {every!r}")
        if not isinstance(anchor, datetime) or anchor.tzinfo is None:
            raise DefinitionError(
                "anchor must be an aware datetime, e.g. datetime(2026, 1, 1, 6, tzinfo=UTC)"
            )

    @property
    def told(self) -> str:
        """E.g. ``every 0:15:00 from 1970-01-01T00:00:00+00:00``."""
        # an anchor that is later by whole intervals means the same ticks
        first = _EPOCH + (self.anchor.astimezone(UTC) - _EPOCH) % self.every
        return f"every {self.every} from {first.isoformat()}"

    def after(self, instant: datetime) -> Iterator[datetime]:
        """As said."""
        anchor = self.anchor.astimezone(
            UTC
        )  # within a zone Python reckons by the clock on the wall
        count = (instant.astimezone(UTC) - anchor) // self.every
        while True:
            count += 1
            try:
                yield anchor + count * self.every
            except OverflowError:
                return


class Cron(Recurrence):
    """Five fields of cron in a time zone, with Debian's rules where clocks are changed.

    - Minute and hour are both told (neither begins with ``*``): once on each day that it is meant
      for. What falls into the hour that is left out is due when that hour has been left out; what
      falls into the hour that comes twice is due the first time only.
    - Otherwise it goes by the clock on the wall: what is left out is not due, what comes twice is
      due twice.

    Args:
        expression: minute, hour, day of month, month, day of week, with lists, ranges, steps and
            names, or one of @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually.
        zone: an IANA name such as ``Europe/Berlin``.

    Raises:
        DefinitionError: an expression that cannot be read or is never due, an unknown zone.
    """

    def __init__(self, expression: str, zone: str = "UTC") -> None:
        self.zone = _zone(zone)
        self._named = zone
        self._fields = _checked(expression)
        minute, hour = self._fields.split()[:2]
        self._by_the_wall = minute.startswith("*") or hour.startswith("*")
        if self.next(_EPOCH) is None:
            raise DefinitionError(
                f"cron {expression!r} is never due",
                hint="Is there such a day in such a month?",
            )

    @property
    def told(self) -> str:
        """E.g. ``cron 0 3 * * * in Europe/Berlin``."""
        return f"cron {self._fields} in {self._named}"

    def after(self, instant: datetime) -> Iterator[datetime]:
        """As said."""
        latest = instant.astimezone(UTC)
        again: deque[datetime] = deque()  # second times, until the first times have come so far
        for wall in self._walls(latest):
            times = self._instants(wall)
            for tick in (*_taken(again, times[:1]), *times[:1]):
                if tick > latest:
                    latest = tick
                    yield tick
            again.extend(times[1:])
        yield from (tick for tick in again if tick > latest)

    def __repr__(self) -> str:
        return f"<{self.told}>"

    def _walls(self, after: datetime) -> Iterator[datetime]:
        """What the wall's clock shows at the ticks after this instant, and at some before it."""
        if self.zone is not UTC:
            # Within an hour's second time, and right after it, those of the first time count too.
            changed = _offset(after - _LONGEST_FOLD, self.zone) != _offset(after, self.zone)
            after = after - _LONGEST_FOLD if changed else after
        try:
            yield from CronSim(self._fields, after.astimezone(self.zone).replace(tzinfo=None))
        except OverflowError:  # the calendar has ended
            return

    def _instants(self, wall: datetime) -> list[datetime]:
        """When it is so late: once, never, or twice."""
        if self.zone is UTC:
            return [wall.replace(tzinfo=UTC)]
        first, second = (self._instant(wall, fold) for fold in (0, 1))
        if first == second:
            return [first]
        if first < second:
            return [first, second] if self._by_the_wall else [first]
        if self._by_the_wall:
            return []
        while self._shown(self._instant(wall, 0)) != wall:  # until the gap is over
            wall += _MINUTE
        return [self._instant(wall, 0)]

    def _instant(self, wall: datetime, fold: int) -> datetime:
        return wall.replace(tzinfo=self.zone, fold=fold).astimezone(UTC)

    def _shown(self, instant: datetime) -> datetime:
        return instant.astimezone(self.zone).replace(tzinfo=None, fold=0)


def _taken(waiting: deque[datetime], limit: Sequence[datetime]) -> Iterator[datetime]:
    """Take what is not after the limit."""
    while waiting and limit and waiting[0] <= limit[0]:
        yield waiting.popleft()


def _offset(instant: datetime, zone: tzinfo) -> timedelta | None:
    return instant.astimezone(zone).utcoffset()


def _checked(expression: object) -> str:
    """The five fields, in one spelling."""
    if not isinstance(expression, str):
        raise DefinitionError(f"cron must be a text, not a {type(expression).__name__}")
    text = _MACROS.get(expression.strip().lower(), expression)
    if text.lstrip().startswith("@"):
        hint = (
            "Use every=timedelta(…) for intervals"
            if text.lstrip().startswith("@every")
            else f"Known are {', '.join(_MACROS)}"
        )
        raise DefinitionError(f"cron {expression!r}: no such word", hint=hint)
    fields = text.upper().split()
    if len(fields) != len(_FIELDS):
        raise DefinitionError(
            f"cron {expression!r} has {len(fields)} fields and not five: "
            "minute, hour, day of month, month, day of week",
            hint="There are no seconds: use every=timedelta(seconds=…)" if len(fields) == 6 else "",
        )
    try:
        CronSim(" ".join(fields), _EPOCH)
    except (CronSimError, ValueError) as error:  # ValueError: a number of thousands of digits
        raise _refusal(expression, fields, error) from error
    return " ".join(fields)


def _refusal(expression: str, fields: list[str], error: Exception) -> DefinitionError:
    for (name, allowed), field in zip(_FIELDS.items(), fields, strict=True):
        if str(error) == f"Bad {name}":
            kind = name.replace("-", " ")
            return DefinitionError(
                f"cron {expression!r}: {field!r} is no {kind}",
                hint=f"A {kind} is {allowed}, alone or as '1-5', '1,3', '*/2'; ranges go upwards",
            )
    return DefinitionError(f"cron {expression!r} cannot be read: {error}")


def _zone(name: object) -> tzinfo:
    if name == "UTC":  # needs no database of zones
        return UTC
    if not isinstance(name, str):
        raise DefinitionError(f"tz must be a zone's name such as 'Europe/Berlin', not {name!r}")
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise DefinitionError(f"no time zone {name!r} here", hint=_zone_hint(name)) from error


def _zone_hint(name: str) -> str:
    known = available_timezones()
    if not known:
        return (
            "This system has no time zones but UTC: install its package tzdata, "
            "or the Python package tzdata"
        )
    by_lower = {zone.lower(): zone for zone in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f"Did you mean {by_lower[near[0]]!r}?" if near else "Names are such as 'Europe/Berlin'"
