"""What log lines are about, and a formatter that writes each as one line of JSON.

Core speaks to the standard ``logging``, to loggers below ``workflow_core``. The message is for
people; what a line is about is in `FIELDS` beside it, for machines. While the body of a step, a
timer, a callback or a hook runs, every line that it writes, to whatever logger, is about its run
too, and while that of a schedule or a connector does, about that: `fields_of` finds it in the
context of the thread or task.

No field holds a run's data. What a user's exception says is in the line that tells of it, message
and traceback, as it is in the run's record.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Protocol

__all__ = [
    "FIELDS",
    "About",
    "AboutRun",
    "JsonLines",
    "RunFields",
    "fields_of",
    "json_line",
    "run_fields",
]

FIELDS = (
    "workflow",
    "run_id",
    "foreign_id",
    "status",
    "run_state",
    "version",
    "attempt",
    "role",
    "process_name",
    "event_id",
    "schedule",
    "connector",
)
"""What lines of core's may be about; each has some of them.

``status`` is its name where the definition is at hand, else its number; ``process_name`` is a
background process of the engine's; ``role`` is what it may only do while it holds it.
"""

_STANDARD = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"})
_DEEPEST = 8  # levels of what is within a field; also ends what holds itself


class AboutRun(Protocol):
    """A run as a body was given it."""

    @property
    def workflow(self) -> str:
        """The workflow's name."""

    @property
    def run_id(self) -> str:
        """The run."""

    @property
    def foreign_id(self) -> str:
        """Its business key."""

    @property
    def status(self) -> Enum:
        """Where it is."""

    @property
    def version(self) -> int:
        """Of its record."""


_RUN: ContextVar[AboutRun | Mapping[str, object] | None] = ContextVar("workflow_run", default=None)


class About:
    """What is written within, in this thread and in tasks that begin here, is about this run.

    A context manager, for one use. No generator: it is around the body of every step.

    Args:
        run: the run; or the fields themselves, for what is about no run; None: there are none.
    """

    __slots__ = ("_run", "_token")

    def __init__(self, run: AboutRun | Mapping[str, object] | None) -> None:
        self._run = run

    def __enter__(self) -> None:
        self._token = _RUN.set(self._run)

    def __exit__(self, *failure: object) -> None:
        _RUN.reset(self._token)


def run_fields() -> dict[str, object]:
    """The fields of what the body that runs here is about; {} outside of bodies. Any thread."""
    run = _RUN.get()
    if run is None:
        return {}
    if isinstance(run, Mapping):
        return dict(run)
    fields: dict[str, object] = {
        "workflow": run.workflow,
        "run_id": run.run_id,
        "foreign_id": run.foreign_id,
        "status": run.status.name,
        "version": run.version,
    }
    attempt = getattr(run, "attempt", None)  # what a hook is told has none
    return fields if attempt is None else {**fields, "attempt": attempt}


def fields_of(record: logging.LogRecord) -> dict[str, object]:
    """What a log record is about: all that was given as ``extra``, and the run of the body.

    A line that names a run itself is about that one. To be called where the line is written: on
    another thread, as behind a `logging.handlers.QueueHandler`, the body's run is not known any
    more; `RunFields` keeps it.
    """
    fields = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    return fields if "run_id" in fields else {**run_fields(), **fields}


class RunFields(logging.Filter):
    """Keeps in each log record which run it is about: for a handler that passes records on.

    As in ``queue_handler.addFilter(RunFields())``.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets everything pass."""
        if "run_id" not in vars(record):
            for name, value in run_fields().items():
                vars(record).setdefault(name, value)
        return True


class JsonLines(logging.Formatter):
    """Each line of the log as one line of JSON, whatever was logged; never raises.

    ``time`` (UTC), ``level``, ``logger`` and ``message`` come first, then the fields, at last
    ``exception`` and ``stack`` where there are any. A field that is called like one of these has a
    ``_`` behind its name. What JSON does not know is written as its text.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One line, without its end."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        taken = {*line, "exception", "stack"}
        for name, value in fields_of(record).items():
            line[f"{name}_" if name in taken else name] = value
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            line["exception"] = record.exc_text
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return json_line(line)


def json_line(fields: Mapping[str, object]) -> str:
    """One line of JSON, whatever the values are: what JSON does not know is told as its text."""
    text = json.dumps(_plain(fields), ensure_ascii=False)
    # a lone surrogate, as in a file's name, can be written to no stream; its escape is JSON too
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # arguments that do not fit: the line is worth more than its form
        return f"{record.msg} ({type(error).__name__} while formatting)"


def _plain(value: object, depth: int = 0) -> object:
    if isinstance(value, Enum):  # before int: a status is one
        return value.name
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping) and depth < _DEEPEST:
        return {str(key): _plain(each, depth + 1) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)) and depth < _DEEPEST:
        return [_plain(each, depth + 1) for each in value]
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__}>"
