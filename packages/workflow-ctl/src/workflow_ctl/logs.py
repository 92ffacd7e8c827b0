"""Log lines of a serving command, on standard error unless the configuration says where to."""

from __future__ import annotations

import logging

from rich.console import Console
from rich.text import Text

from workflow_ctl.output import plain

__all__ = ["log_to"]


class _Lines(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            for line in self.format(record).split("\n"):
                self._console.print(Text(plain(line)), soft_wrap=True)
        except Exception:  # as every handler has it: a log line stops no work
            self.handleError(record)


def log_to(console: Console) -> None:
    """Log what is worth telling, unless somebody has set up logging already."""
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(_Lines(console))
        root.setLevel(logging.INFO)
