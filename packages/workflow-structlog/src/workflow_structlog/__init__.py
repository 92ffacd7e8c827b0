"""workflow-core's logging by structlog: one form for all lines, for people or for machines."""

from workflow_structlog.adapter import StructlogLogging
from workflow_structlog.processors import add_run_fields
from workflow_structlog.settings import Format, Level, Output, StructlogSettings

__all__ = [
    "Format",
    "Level",
    "Output",
    "StructlogLogging",
    "StructlogSettings",
    "add_run_fields",
]
