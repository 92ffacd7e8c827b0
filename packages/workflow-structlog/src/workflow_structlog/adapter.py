"""Sets up the standard ``logging`` and structlog, and takes both down again.

A process has one log: engines of one process share what the first of them has set up, and the last
one that closes takes it down.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import TextIO

import structlog
from workflow_core.errors import ConfigurationError
from workflow_core.ports import AdapterContext, Closable, in_forked_child

from workflow_structlog.processors import formatter, own_chain
from workflow_structlog.settings import Format, Output, StructlogSettings

__all__ = ["StructlogLogging"]


class StructlogLogging(Closable):
    """The log as one engine wants it. Any thread.

    It adds one handler to the root logger, sets its level and those of single loggers, and
    configures structlog to speak to the standard ``logging``, unless the application has configured
    it already. Closing puts all of that back.

    Args:
        settings: how it looks.

    Raises:
        ConfigurationError: another engine of this process wants it otherwise.
    """

    def __init__(self, settings: StructlogSettings) -> None:
        self._is_open = True
        _THE_LOG.take(settings)

    @classmethod
    def from_config(cls, settings: StructlogSettings, context: AdapterContext) -> StructlogLogging:
        """The entry point."""
        return cls(settings)

    def close(self) -> None:
        """Twice is harmless."""
        if self._is_open:
            self._is_open = False
            _THE_LOG.give_back()


class _Log:
    """The one log of the process, and how many engines use it."""

    def __init__(self) -> None:
        self._users = 0
        self._settings = StructlogSettings()
        self._undo = ExitStack()
        self._forked()
        in_forked_child(self._forked)

    def _forked(self) -> None:
        self._lock = threading.Lock()

    def take(self, settings: StructlogSettings) -> None:
        with self._lock:
            if self._users and settings != self._settings:
                raise ConfigurationError(
                    "another engine of this process has set up the log, with other settings",
                    adapter="structlog",
                    hint="Give all engines of a process the same settings of structlog",
                )
            if not self._users:
                self._settings = settings
                self._set_up(settings)
            self._users += 1

    def give_back(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._undo.close()

    def _set_up(self, settings: StructlogSettings) -> None:
        stream = sys.stdout if settings.output is Output.STDOUT else sys.stderr
        handler = logging.StreamHandler(stream)
        for_people = _is_terminal(stream)
        handler.setFormatter(
            formatter(
                json=settings.format is Format.JSON
                or (settings.format is Format.AUTO and not for_people),
                colours=for_people and "NO_COLOR" not in os.environ,
            )
        )
        root = logging.getLogger()
        root.addHandler(handler)
        self._undo.callback(handler.close)
        self._undo.callback(root.removeHandler, handler)
        for name, level in {"": settings.level, **settings.levels}.items():
            self._undo.callback(_set_level(logging.getLogger(name), level.upper()))
        if not structlog.is_configured():
            structlog.configure(
                processors=own_chain(),
                logger_factory=structlog.stdlib.LoggerFactory(),
                wrapper_class=structlog.stdlib.BoundLogger,
            )
            self._undo.callback(structlog.reset_defaults)


def _set_level(logger: logging.Logger, level: str) -> Callable[[], None]:
    """Answers what puts the level back."""
    before = logger.level
    logger.setLevel(level)
    return lambda: logger.setLevel(before)


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # it is closed
        return False


_THE_LOG = _Log()
