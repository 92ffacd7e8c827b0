"""What can be set in ``[workflow.adapters.structlog]``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["Format", "Level", "Output", "StructlogSettings"]


class Format(StrEnum):
    """How lines look."""

    AUTO = "auto"
    """For people where the output is a terminal, else JSON."""
    CONSOLE = "console"
    JSON = "json"


class Level(StrEnum):
    """From which importance on lines are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Output(StrEnum):
    """Where lines go."""

    STDERR = "stderr"
    STDOUT = "stdout"


@dataclass(frozen=True)
class StructlogSettings:
    """How the log looks.

    Attributes:
        format: for people or for machines.
        level: from which importance on lines are written.
        levels: the same for single loggers and those below them, such as ``workflow_core``.
        output: where lines go.
    """

    format: Format = Format.AUTO
    level: Level = Level.INFO
    levels: Mapping[str, Level] = field(default_factory=dict)
    output: Output = Output.STDERR
