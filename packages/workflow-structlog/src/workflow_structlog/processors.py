"""From a log record or a structlog event to its line."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger
from workflow_core.logs import fields_of, json_line, run_fields

__all__ = ["add_run_fields", "formatter", "own_chain"]

_FIRST = ("time", "level", "logger", "message")


def add_run_fields(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """A structlog processor: the fields of the run whose body writes the line.

    For those too who configure structlog by themselves. A line that names a run is about that one.
    """
    if "run_id" not in event:
        for name, value in run_fields().items():
            event.setdefault(name, value)
    return event


def own_chain() -> list[Processor]:
    """What lines of structlog go through before they are handed to the standard ``logging``."""
    return [
        structlog.stdlib.filter_by_level,
        *_shared(),
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ]


def formatter(*, json: bool, colours: bool) -> logging.Formatter:
    """The handler's formatter, for lines of structlog and of the standard ``logging``.

    Never with the values of local variables, which structlog would show in tracebacks where the
    package rich is there: they are what runs are about.
    """
    ending: list[Processor]
    if json:
        ending = [
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("message"),
            _as_json,
        ]
    else:
        ending = [
            structlog.dev.ConsoleRenderer(
                colors=colours,
                timestamp_key="time",
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[_add_extra, *_shared()],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
    )


def _shared() -> list[Processor]:
    """What every line goes through, in the thread or task that writes it."""
    return [
        structlog.contextvars.merge_contextvars,
        add_run_fields,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        _add_time,
        structlog.processors.StackInfoRenderer(),
    ]


def _add_extra(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """The fields of a record of the standard ``logging``: core's, and anybody's ``extra``."""
    record = cast(logging.LogRecord, event["_record"])
    for name, value in fields_of(record).items():
        event.setdefault(name, value)
    event["time"] = _text(datetime.fromtimestamp(record.created, UTC))
    return event


def _add_time(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    event.setdefault("time", _text(datetime.now(UTC)))
    return event


def _text(time: datetime) -> str:
    return time.isoformat(timespec="microseconds")


def _as_json(logger: WrappedLogger, method: str, event: EventDict) -> str:
    """In the order of core's `JsonLines`; never raises."""
    first = {name: event.pop(name) for name in _FIRST if name in event}
    last = {name: event.pop(name) for name in ("exception", "stack") if name in event}
    return json_line({**first, **event, **last})
