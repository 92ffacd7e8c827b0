"""Types of options: times, durations, statuses, JSON."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from workflow_core import JsonCodec, Workflow
from workflow_core.discovery.durations import parse_duration
from workflow_core.errors import DecodeError

__all__ = ["DURATION", "WHEN", "decoded", "json_text", "status_number"]


class _Duration(click.ParamType[timedelta]):
    name = "duration"

    def convert(self, value: Any, param: Any, ctx: Any) -> timedelta:
        if isinstance(value, timedelta):
            return value
        try:
            return parse_duration(value)
        except ValueError:
            self.fail(f"{value!r} is no duration such as 10s, 5m or 1h30m", param, ctx)


class _When(click.ParamType[datetime]):
    name = "time"

    def convert(self, value: Any, param: Any, ctx: Any) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            return datetime.now(UTC) - parse_duration(value)
        except (ValueError, OverflowError):
            pass
        try:
            at = datetime.fromisoformat(value)
            return at.astimezone(UTC if at.tzinfo is not None else None)
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is neither a time such as 2026-01-31T12:00Z nor how long ago, as 2h",
                param,
                ctx,
            )


_LONGEST = 20  # letters of a number that are read; more are too many anyway

DURATION = _Duration()
WHEN = _When()


def json_text(text: str | None, file: str | None) -> bytes | None:
    """What was given as JSON: in place, or in a file, "-" for standard input; None: nothing."""
    if text is not None and file is not None:
        raise click.UsageError("give the JSON in place or in a file, not both")
    if file is None:
        return None if text is None else text.encode()
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise click.UsageError(f"{file}: {error.strerror}") from error


def decoded(kind: Any, given: bytes, what: str) -> Any:
    """The JSON as a value of this type.

    Raises:
        click.UsageError: it is not of the type; the text tells where.
    """
    try:
        return JsonCodec(kind).decode(given)
    except DecodeError as error:
        told = str(error).removeprefix("the stored data is ")
        raise click.UsageError(f"{what} is {told}") from error


def status_number(workflow: Workflow[Any, Any] | None, told: str) -> int:
    """The number of a status that is told by name or number.

    Raises:
        click.UsageError: it is none of the workflow's, or a name and the workflow is not known.
    """
    if told.removeprefix("-").isdecimal():
        if abs(number := int(told[:_LONGEST])) >= 2**31:
            raise click.UsageError(f"no status has the number {told[:_LONGEST]}")
        return number
    if workflow is None:
        raise click.UsageError(
            f"which status is {told!r}? Give its number, or --workflow and --app"
        )
    known = {status.name: int(status) for status in workflow.statuses}
    for name, number in known.items():
        if name.lower() == told.lower():
            return number
    raise click.UsageError(f"{workflow.name!r} has no status {told!r}; it has {', '.join(known)}")
