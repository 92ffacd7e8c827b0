"""Durations as people write them: ``10s``, ``250ms``, ``1h30m``."""

from __future__ import annotations

import re
from datetime import timedelta

__all__ = ["format_duration", "parse_duration"]

_UNITS = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
# each unit at most once, the greatest first
_DURATION = re.compile("".join(f"(?:({_NUMBER}){unit})?" for unit in _UNITS))


def parse_duration(text: str) -> timedelta:
    """The duration that the text says, to the microsecond.

    Raises:
        ValueError: it says none, or one too long to be kept.
    """
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        raise ValueError("no duration")
    numbers = zip(match.groups(), _UNITS.values(), strict=True)
    try:
        return sum((unit * float(number) for number, unit in numbers if number), timedelta(0))
    except OverflowError as problem:
        raise ValueError("too long a duration") from problem


def format_duration(duration: timedelta) -> str:
    """The shortest text that `parse_duration` reads as this duration; it must not be negative."""
    parts: list[str] = []
    for name, unit in _UNITS.items():
        count, duration = divmod(duration, unit)
        if count:
            parts.append(f"{count}{name}")
    if duration:
        whole = parts.pop().removesuffix("ms") if parts and parts[-1].endswith("ms") else "0"
        parts.append(f"{whole}.{duration.microseconds:03}".rstrip("0") + "ms")
    return "".join(parts) or "0s"
